"""Sampled completions as a table for people: the same rows as the trajectory log's, split, with the molecules that are to be drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chemr.report.gallery import split_completion
from chemr.report.molecules import answer_is_molecule
from chemr.reward_shaping import TERMS

DRAWN = ("answer_drawn", "reference_drawn")
COLUMNS: dict[str, type] = {  # name -> type of its cells, None besides
    "step": int,
    "task": str,
    "uid": str,
    "sample": int,
    **dict.fromkeys(("prompt", "reasoning", "answer", "reference"), str),
    **dict.fromkeys(DRAWN, str),
    "reward": float,
    "reason": str,
    "tokens": int,
    "parts": str,
    **dict.fromkeys((f"term/{term}" for term in TERMS), float),
}
MAX_TEXT_CHARS = 8_000


def cells(step: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the trajectory log by :data:`COLUMNS`; of :data:`DRAWN` the text of the molecule, None where the task's answer is none.

    Terms of a shaped reward are unweighted; None without shaping. ``parts`` is the verdict's, as JSON.
    """
    reasoning, answer = split_completion(row["completion"])
    reference = json.loads(row["reference"]).get("answer")
    terms = json.loads(row["terms"])
    drawable = answer_is_molecule(row["task"])
    return {
        "step": step,
        **{name: row[name] for name in ("task", "uid", "sample", "reward", "reason", "tokens", "parts")},
        "prompt": row["prompt"][:MAX_TEXT_CHARS],
        "reasoning": reasoning[:MAX_TEXT_CHARS],
        "answer": None if answer is None else answer[:MAX_TEXT_CHARS],
        "reference": None if reference is None else str(reference)[:MAX_TEXT_CHARS],
        "answer_drawn": answer if drawable and answer else None,
        "reference_drawn": str(reference) if drawable and reference else None,
        **{f"term/{term}": terms.get(term) for term in TERMS},
    }


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Cells without drawings as one Markdown text, for sinks that have no tables. What a model wrote is shown, not interpreted."""
    parts = []
    for row in rows:
        reward = "no reward" if row["reward"] is None else f"{row['reward']:.3f}"
        terms = ", ".join(f"{term} {row[f'term/{term}']:.3f}" for term in TERMS if row[f"term/{term}"] is not None)
        parts.append(f"**{row['task']}** {row['uid']} [{row['sample']}]: {row['reason']}, {reward}" + (f" ({terms})" if terms else ""))
        texts = {name: row[name] for name in ("prompt", "reasoning", "answer", "reference")}
        parts.append("\n".join(f"    {name}: {line}" for name, text in texts.items() if text is not None for line in text.split("\n")))
    return "\n\n".join(parts)
