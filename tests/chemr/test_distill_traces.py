"""Distillation from a file of traces: they are verified again, and what does not fit the model is left out and counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from chemr.config import ChemrConfig
from chemr.data.example import Example
from chemr.prompts import completion_with_trace
from chemr.stages.distill import of_file, taught, verified
from chemr.teachers import ProgrammaticTeacher
from rewards.job import ScoreJob
from rewards.scoring import score_here
from rewards.verdict import Verdict
from tests.chemr.protocol_rows import ROWS

EXAMPLES = [row for row in ROWS if row.task == "smiles2formula"]


class Fleet:
    async def score_texts(self, jobs: Sequence[ScoreJob]) -> list[Verdict]:
        return [score_here(job) for job in jobs]


class Letters:
    """A tokenizer of single letters."""

    def encode_prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        return [1] * len(messages[0]["content"])

    def encode_completion(self, text: str) -> list[int]:
        return [1] * len(text)


def run_with(path: Path | None, max_model_len: int = 256) -> SimpleNamespace:
    config = ChemrConfig()
    config.distill.traces = None if path is None else str(path)
    config.distill.traces_per_task = 5
    config.generator.max_model_len = max_model_len
    logged: list[dict[str, float]] = []
    return SimpleNamespace(
        config=config,
        supervised_examples=EXAMPLES,
        data=SimpleNamespace(train=EXAMPLES),
        fleet=Fleet(),
        tokenizer=Letters(),
        log=logged.append,
        logged=logged,
        teacher=ProgrammaticTeacher(),
    )


def line(example: Example, answer: str, trace: str = "1. **Atoms**: counted") -> str:
    return json.dumps({"uid": example.uid, "task": example.task, "completion": completion_with_trace(trace, answer)}) + "\n"


def test_traces_of_a_file_are_verified_again(tmp_path: Path) -> None:
    right, wrong, long = EXAMPLES[:3]
    path = tmp_path / "sft.jsonl"
    path.write_text(
        '{"header": {}}\n'
        + line(right, right.reference["answer"])
        + line(wrong, "C99H3")
        + line(long, long.reference["answer"], "1. **A**: " + "b" * 300)
    )
    run = run_with(path)
    kept = asyncio.run(verified(run, of_file(run, path)))
    assert [(example.uid, "counted" in text) for example, text in kept] == [(right.uid, True)]
    assert run.logged == [
        {"distill/asked": 3.0, "distill/written": 2.0, "distill/verified": 1.0, "distill/rejected/smiles2formula/wrong": 1.0}
    ]


def test_the_teacher_is_asked_as_before(tmp_path: Path) -> None:
    run = run_with(None)
    kept = asyncio.run(verified(run, asyncio.run(taught(run))))
    assert len(kept) == 5 and run.logged[0]["distill/asked"] == run.logged[0]["distill/verified"] == 5.0
