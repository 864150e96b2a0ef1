"""From candidate rows to examples: what a task proposes, and which of it is taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chemr.data.example import Example
from chemr.data.starter.compounds import LICENCE, SOURCE
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.splits import Split, unit_hash


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that could be taken. ``size`` is the number of heavy atoms that has to be handled; it grades the difficulty."""

    task: str
    inputs: Mapping[str, Any]
    answer: str
    size: int
    split: Split
    derivation: str  # how the row was made from the source

    @property
    def question(self) -> str:
        return json.dumps([self.task, self.inputs], sort_keys=True)


def choose(drafts: Iterable[Draft], config: StarterConfig) -> dict[Split, list[Example]]:
    """The rows of one task, per split, in random order.

    Drawn without replacement with weights ``size_decay ** size`` (Efraimidis and Spirakis 2006: the largest u^(1/w)). The weights are
    the same in all splits, so that held-out rows are as hard as training rows. Held-out questions are asked once.
    """
    rows = sorted(drafts, key=lambda draft: (draft.question, draft.answer))
    if not rows:
        return {split: [] for split in Split}
    easiest, hardest = min(row.size for row in rows), max(row.size for row in rows)
    limits = {Split.train: config.train_per_task, Split.validation: config.validation_per_task, Split.test: config.test_per_task}
    chosen: dict[Split, list[Example]] = {}
    for split, limit in limits.items():
        drawn = sorted((row for row in rows if row.split is split), key=lambda row: _draw_key(row, config), reverse=True)
        taken = drawn if split is Split.train else _once_per_question(drawn)
        examples = [_example(row, (row.size - easiest) / max(1, hardest - easiest)) for row in taken[:limit]]
        chosen[split] = sorted(examples, key=lambda example: unit_hash(config.seed, "order", example.uid))
    return chosen


def _draw_key(row: Draft, config: StarterConfig) -> float:
    return float(unit_hash(config.seed, row.question, row.answer) ** (1.0 / config.size_decay**row.size))


def _once_per_question(rows: Sequence[Draft]) -> list[Draft]:
    first: dict[str, Draft] = {}
    for row in rows:
        first.setdefault(row.question, row)
    return list(first.values())


def _example(row: Draft, difficulty: float) -> Example:
    identity = hashlib.blake2b(f"{row.question}|{row.answer}".encode(), digest_size=6).hexdigest()
    return Example(
        uid=f"starter/{row.task}/{identity}",
        task=row.task,
        inputs=row.inputs,
        reference={"answer": row.answer},
        difficulty=round(difficulty, 3),
        source=f"{SOURCE}; {row.derivation}",
        licence=LICENCE,
    )
