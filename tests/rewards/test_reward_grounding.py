"""The grounded term: claims are found, checked against the row's molecules, and can only cost."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from rewards.answer import MAX_COMPLETION_CHARS, thinking
from rewards.claims import claimed_groups
from rewards.functional_groups import GROUP_NAMES
from rewards.grounding import CLAIM_SMARTS, fabricated_share
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.molecule import answer_molecule
from rewards.preparation import Preparation
from rewards.scoring import score_answer
from rewards.verdict import Reason
from tests.patience import PATIENCE


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("It has a hydroxyl group and two esters.", ("ester", "hydroxyl")),
        ("1. **Groups**: nitro, amino-substituted phenyl.", ("amine", "benzene_ring", "nitro")),
        ("There is no nitro group. The nitrile stays.", ("nitrile",)),
        ("Without a thiol; a ketone is there\nbut not an aldehyde", ("ketone",)),
        ("The name is 2-hydroxypropane; count atoms C3 O1.", ()),
        ("hydroxyl hydroxyl hydroxyl", ("hydroxyl",)),
        ("", ()),
    ],
)
def test_a_claim_is_a_mention_without_a_denial_before_it(text, claims):
    assert claimed_groups(text) == claims


def test_thinking_is_the_text_between_the_tags_and_degenerate_text_is_cheap():
    assert thinking("<think>a ketone</think><answer>CCO</answer>") == "a ketone"
    assert thinking("a ketone</think><answer>CCO</answer>") == "a ketone", "opened by the prompt: what it claims counts all the same"
    assert thinking("<answer>CCO</answer>") == thinking("</think>x<think>") == thinking("<think>" + "n" * MAX_COMPLETION_CHARS) == ""
    assert claimed_groups("no " * 20_000 + "\n" * 4_000) == ()


def test_every_group_of_the_benchmark_can_be_claimed_and_checked():
    assert set(CLAIM_SMARTS) == set(GROUP_NAMES)


def test_the_fabricated_share_counts_groups_that_no_molecule_has():
    acid, amine = answer_molecule("CC(=O)O"), answer_molecule("CN(C)C")
    assert fabricated_share(("carboxyl", "amine"), [acid, amine]) == 0.0, "a tertiary amine is an amine"
    assert fabricated_share(("carboxyl", "amine"), [acid]) == 0.5
    assert fabricated_share((), [acid]) == 0.0


def test_false_claims_cost_their_share_true_ones_earn_nothing_and_silence_is_free():
    def job(thinking: str, answer: str = "CCCCO") -> ScoreJob:
        return ScoreJob(
            "moledit_add", f"<think>{thinking}</think><answer>{answer}</answer>", {"smiles": "CCCC", "add": "hydroxyl"}, {"answer": "CCCCO"}
        )

    jobs = [job("so"), job("Add a hydroxyl."), job("Keep the nitro group."), job("a hydroxyl and a nitro"), job("a nitro", "C.C")]
    with ScorerPool(workers=1, deadline_s=10.0 * PATIENCE, grounding=0.5) as pool:
        verdicts = pool.score(jobs)
        assert [v.value for v in verdicts] == [1.0, 1.0, 0.5, 0.75, 0.0]
        assert verdicts[3].parts["fabricated"] == 0.5 and verdicts[2].reason is Reason.PARTIAL
        assert pool.manifest()["grounding"] == 0.5
        formula = ScoreJob("smiles2formula", "<think>a nitro</think><answer>C2H6O</answer>", {"smiles": "CCO"}, {"answer": "C2H6O"})
        assert pool.score([formula])[0].value == 0.5, "tasks that need no worker are checked too"
    with ScorerPool(workers=1, deadline_s=10.0 * PATIENCE) as pool:
        assert pool.score([jobs[2]])[0].value == 1.0, "the term is off by default"
        assert pool.manifest()["legacy_ring_finding"] is True


def test_a_weight_outside_zero_and_one_is_refused():
    with pytest.raises(ValueError, match="grounding"):
        ScorerPool(grounding=1.5)


def test_claims_alone_are_reported_and_take_nothing_away():
    inputs = {"smiles": "CCCC", "add": "hydroxyl", "_claims": ["hydroxyl", "nitro"], "_grounding": 0.0}
    right = score_answer("moledit_add", "CCCCO", inputs, {"answer": "CCCCO"})
    assert (right.value, right.reason, right.parts["fabricated"]) == (1.0, Reason.CORRECT, 0.5)
    wrong = score_answer("moledit_add", "C.C", inputs, {"answer": "CCCCO"})
    assert (wrong.value, wrong.parts["fabricated"]) == (0.0, 1.0), "a wrong answer's reasoning is checked too"
    unreadable = score_answer("moledit_add", "no molecule", inputs, {"answer": "CCCCO"})
    assert (unreadable.value, unreadable.parts["fabricated"]) == (0.0, 1.0), "the question's own molecule is there to check against"


@pytest.mark.parametrize(("grounding", "claims", "asked"), [(0.0, False, False), (0.0, True, True), (0.5, False, True)])
def test_claims_are_part_of_a_job_where_they_are_asked_for(grounding, claims, asked):
    job = ScoreJob("smiles2formula", "<think>a nitro</think><answer>C2H6O</answer>", {"smiles": "CCO"}, {"answer": "C2H6O"})
    verdicts, pending = Preparation(16, grounding, Counter(), claims).prepare([job])
    assert (verdicts[0] is None) is asked, "only a worker has the molecules that claims are checked against"
    if asked:
        inputs = json.loads(pending[0].message.partition(b"\t")[2])[0]
        assert (inputs["_claims"], inputs["_grounding"]) == (["nitro"], grounding)
