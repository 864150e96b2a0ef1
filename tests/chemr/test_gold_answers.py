"""Every gold answer of the published test files earns the maximum, and the answers of other rows earn about what chance does.

Reads the folder named by CHEMR_DATA. CHEMR_GOLD_ROWS (default 40; ``all``) is the number of rows per file, evenly spread:

    CHEMR_GOLD_ROWS=all pytest tests/chemr/test_gold_answers.py -s

Rows whose gold cannot be right are in ``gold_exceptions.json`` with a chemical reason each; open questions have no gold.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from chemr.data.example import Example
from chemr.data.sources import suites
from rewards.job import ScoreJob
from rewards.scoring import score_here

LIMIT = os.environ.get("CHEMR_GOLD_ROWS", "40")
EXCEPTIONS: dict[str, str] = json.loads(Path(__file__).with_name("gold_exceptions.json").read_text(encoding="utf-8"))
TEST_FILES = [(suite, task) for suite, tasks in suites.SUITES.items() for task in tasks]

CHANCE = {"ligand": 0.35, "reactant": 0.65, "solvent": 0.65, "mol2text": 0.1, "smiles2formula": 0.2, "iupac2formula": 0.2}
"""The most that golds of other rows may earn on average: a reactant or solvent is the best of two or three, a few ligands are the best of
most rows, formulas resemble each other. All other tasks have one answer, hence 0.1 at most."""
CHANCE_ELSEWHERE = 0.1
CHANCE_MARGIN = 0.15  # of two classes, whose chance follows from their shares

pytestmark = pytest.mark.skipif(not suites.default_data_dir().is_dir(), reason="the published data (CHEMR_DATA) are not here")


def rows_of(suite: str, task: str) -> list[Example]:
    """The rows that have a gold, at most LIMIT of them."""
    rows = [row for row in suites.test_rows(suite, task, suites.default_data_dir()) if row.reference.get("answer")]
    step = 1 if LIMIT == "all" else max(1, len(rows) // int(LIMIT))
    return rows[::step]


def score(row: Example, answer: str) -> float:
    verdict = score_here(ScoreJob(row.task, f"<answer>{answer}</answer>", row.inputs, row.reference))
    assert verdict.value is not None
    return verdict.value


@pytest.mark.parametrize(("suite", "task"), TEST_FILES, ids=[f"{suite}-{task}" for suite, task in TEST_FILES])
def test_the_gold_answer_earns_the_maximum_and_the_gold_of_another_row_does_not(suite: str, task: str):
    rows = [row for row in rows_of(suite, task) if row.uid not in EXCEPTIONS]
    if not rows:
        pytest.skip("open questions: no row has a gold")
    below = [row.uid for row in rows if score(row, row.reference["answer"]) != 1.0]
    golds = [row.reference["answer"] for row in rows]
    random.Random(1).shuffle(golds)
    shuffled = sum(score(row, gold) for row, gold in zip(rows, golds, strict=True)) / len(rows)
    print(f"\n{suite}/{task}: {len(rows)} golds, {len(below)} below the maximum; shuffled {shuffled:.3f}")
    assert not below, f"gold answers that do not earn the maximum: {below[:20]}"
    chance = next((limit for start, limit in CHANCE.items() if task.startswith(start)), CHANCE_ELSEWHERE)
    if set(golds) <= {"Yes", "No"}:
        chance = sum((golds.count(word) / len(golds)) ** 2 for word in ("Yes", "No")) + CHANCE_MARGIN
    assert shuffled <= chance, f"the golds of other rows earn {shuffled:.3f} on average; chance is at most {chance}"


def test_the_exceptions_are_few_and_each_has_a_reason():
    assert len(EXCEPTIONS) <= 20
    assert all(len(reason) > 20 for reason in EXCEPTIONS.values())
