"""The sampled answers of all runs as tables that the page filters: questions once, molecules once, texts bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chemr.report.charts import in_order, title_of
from chemr.report.molecules import EDITED_TASKS, MoleculeTable, answer_is_molecule, asked_texts
from chemr.report.run_data import RunData, Sample
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, Answer, extract

MAX_TEXT_CHARS = 12_000  # of one answer


def gallery(runs: Sequence[RunData], limit: int) -> dict[str, Any]:
    """At most ``limit`` samples, spread evenly over groups and runs.

    ``groups``: [run, step, uid, task, question, reference answer, places of the asked molecules, place of the reference, other inputs].
    ``samples``: [group, reward, reason, tokens, oldest version, newest version, generator, reasoning, answer, place of the answer's
    molecule, parts, difference to the reference, difference to the asked molecule]; a difference is [atoms of the answer, atoms of the
    other], or null. The answer is null when the text has none; then ``reasoning`` is the whole text.
    """
    table = MoleculeTable()
    groups: list[list[Any]] = []
    samples: list[list[Any]] = []
    total = sum(len(run.samples) for run in runs)
    for place, run in enumerate(runs):
        for members in _chosen(run.samples, limit if total <= limit else max(1, limit * len(run.samples) // total)):
            groups.append(_group(place, members[0], table))
            samples += [_sample(len(groups) - 1, groups[-1], sample, table) for sample in members]
    tasks = [[task, title_of(task)] for task in in_order({group[3] for group in groups})]
    return {
        "groups": groups,
        "samples": samples,
        "molecules": table.drawings,
        "tasks": tasks,
        "total": total,
        "skipped_differences": table.skipped_pairs,
    }


def _chosen(samples: Sequence[Sample], limit: int) -> list[list[Sample]]:
    """Whole groups, evenly spaced over the run, until ``limit`` samples; at least one group."""
    groups: dict[tuple[int, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.step, sample.uid), []).append(sample)
    members = list(groups.values())
    if len(samples) <= limit or not members:
        return members
    kept = max(1, limit * len(members) // len(samples))
    return [members[index * len(members) // kept] for index in range(kept)]


def _group(run: int, sample: Sample, table: MoleculeTable) -> list[Any]:
    asked = [place for text in asked_texts(sample.inputs) if (place := table.place(text)) is not None]
    answer = (sample.reference or {}).get("answer")
    reference = answer if isinstance(answer, str) else None
    drawn = table.place(reference) if reference is not None and answer_is_molecule(sample.task) else None
    return [run, sample.step, sample.uid, sample.task, sample.prompt, reference, asked, drawn, _other_inputs(sample.inputs)]


def _other_inputs(inputs: Mapping[str, Any] | None) -> str:
    """What the scorer was given, as text; fields that begin with an underscore are the pool's own."""
    if not inputs:
        return ""
    return json.dumps({name: value for name, value in inputs.items() if not name.startswith("_")}, ensure_ascii=False)[:MAX_TEXT_CHARS]


def _sample(place: int, group: Sequence[Any], sample: Sample, table: MoleculeTable) -> list[Any]:
    reasoning, answer = split_completion(sample.completion)
    drawn = table.place(answer) if answer is not None and answer_is_molecule(sample.task) else None
    to_reference = None if drawn is None or group[7] is None else table.difference(drawn, group[7])
    to_asked = table.difference(drawn, group[6][0]) if drawn is not None and group[6] and sample.task in EDITED_TASKS else None
    return [
        place,
        None if sample.reward is None else round(sample.reward, 4),
        sample.reason,
        sample.tokens,
        sample.oldest_version,
        sample.newest_version,
        sample.generator,
        reasoning[:MAX_TEXT_CHARS],
        None if answer is None else answer[:MAX_TEXT_CHARS],
        drawn,
        _figures(sample),
        to_reference,
        to_asked,
    ]


def _figures(sample: Sample) -> list[list[Any]]:
    """(name, value) of the verdict's parts and of the terms of a shaped reward."""
    named = [*sample.parts.items(), *((f"term {name}", value) for name, value in sample.terms.items())]
    return [[name, round(value, 4)] for name, value in named if isinstance(value, (int, float))]


def split_completion(text: str) -> tuple[str, str | None]:
    """(reasoning, answer) of a text; (the whole text, None) when it breaks the form that scorers read."""
    found = extract(text)
    if not isinstance(found, Answer):
        return text, None
    before = text[: text.find(ANSWER_OPEN)]
    opened, closed = before.find(THINK_OPEN), before.find(THINK_CLOSE)
    if opened >= 0:
        before = before[:opened] + before[opened + len(THINK_OPEN) : closed] + before[closed + len(THINK_CLOSE) :]
    elif closed >= 0:
        before = before[:closed] + before[closed + len(THINK_CLOSE) :]
    assert ANSWER_CLOSE in text
    return before.strip(), found.text
