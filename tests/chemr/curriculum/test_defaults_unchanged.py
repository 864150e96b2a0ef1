"""With defaults, the curriculum draws what it drew before it had floors, caps, locks, alerts and prompt samplers.

``draws_before.json`` was recorded with :func:`course` from ``chemr/curriculum.py`` as of commit 71edc55, the last with one module.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from chemr.curriculum import CurriculumConfig, PromptCursor, TaskCurriculum, Weighting

RECORDED = Path(__file__).with_name("draws_before.json")
SIZES = {"forward": 5, "retro": 9, "iupac2smiles": 4, "text2mol": 7}


def course(weighting: str) -> dict[str, Any]:
    """Twenty steps of eight draws, each with its outcomes; a floor is set on the way."""
    curriculum = TaskCurriculum(tuple(SIZES), CurriculumConfig(weighting=Weighting(weighting)), seed=11)
    cursor = PromptCursor(SIZES, seed=11)
    luck = random.Random("outcomes")
    draws: list[str] = []
    weights = []
    for step in range(20):
        tasks = [curriculum.draw() for _ in range(8)]
        draws += [f"{task[0]}{cursor.draw(task)}" for task in tasks]
        for task in tasks:
            level = {"forward": 0.9, "retro": 0.1, "iupac2smiles": 0.5, "text2mol": 0.0}[task]
            success = min(1.0, max(0.0, level + luck.uniform(-0.2, 0.2)))
            curriculum.update(task, success=success, abs_advantage=luck.random() / 2, age=luck.randrange(3))
        if step == 12 and weighting in ("difficulty", "variance"):
            curriculum.set_floor("forward", 0.6)
        weights.append([weight.hex() for weight in curriculum.weights.values()])
    return {"draws": " ".join(draws), "weights": weights[::5], "metrics": {k: v.hex() for k, v in curriculum.metrics().items()}}


@pytest.mark.parametrize("weighting", ["uniform", "difficulty", "variance", "advantage"])
def test_draws_and_weights_are_to_the_bit_what_they_were(weighting: str) -> None:
    before = json.loads(RECORDED.read_text(encoding="utf-8"))[weighting]
    now = course(weighting)
    assert now["draws"] == before["draws"], "old experiments would train on other prompts"
    assert now["weights"] == before["weights"], "weights differ in their last bits, and sooner or later a draw will"
    assert {name: now["metrics"][name] for name in before["metrics"]} == before["metrics"], "a metric changed its value"
