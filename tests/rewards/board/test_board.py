"""Forms of right answers that must earn what they deserve, and near misses that must not: one table per family of tasks.

The tables are written as a chemist would write them down, not from the scorers. An entry that fails shows a kind of answer that a scorer
does not know; the scorer is to be mended, for the kind.
"""

from __future__ import annotations

import pytest

from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.opsin import OpsinMode, find_opsin
from tests.patience import PATIENCE
from tests.rewards.board import (
    captions,
    custom,
    design,
    edits,
    formulas,
    forward,
    names,
    retro,
    selections,
    structures,
    yes_no,
)
from tests.rewards.board.case import Case

BOARDS = {
    "formulas": formulas.CASES,
    "names": names.CASES,
    "structures": structures.CASES,
    "custom": custom.CASES,
    "edits": edits.CASES,
    "forward": forward.CASES,
    "retro": retro.CASES,
    "selections": selections.CASES,
    "design": design.CASES,
    "captions": captions.CASES,
    "yes_no": yes_no.CASES,
}


@pytest.fixture(scope="module")
def board_pool():
    with ScorerPool(workers=1, deadline_s=20.0 * PATIENCE) as running:
        yield running


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{board}-{case.name}") for board, cases in BOARDS.items() for case in cases])
def test_an_answer_is_worth_what_a_chemist_says(board_pool: ScorerPool, case: Case):
    if case.reader and find_opsin(OpsinMode.AUTO).jar is None:
        pytest.skip("no Java runtime or no OPSIN jar")
    [verdict] = board_pool.score([ScoreJob(case.task, case.completion, case.inputs, case.reference)])
    assert verdict.value is not None, verdict
    assert case.at_least - 1e-9 <= verdict.value <= case.at_most + 1e-9, f"{case.answer!r} for {case.reference.get('answer')!r}: {verdict}"


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_has_its_share_of_right_and_of_wrong_answers_each_once(board: str):
    cases = BOARDS[board]
    assert sum(case.at_least > 0.0 for case in cases) >= 30
    assert sum(case.at_least == 0.0 for case in cases) >= 30
    assert len({case.name for case in cases}) == len(cases)
