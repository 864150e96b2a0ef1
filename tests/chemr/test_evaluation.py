"""Held-out evaluation: what is averaged, what counts as unanswered, and the command's outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.failures import GroupDropped
from actors.trajectory import GroupRequest
from chemr.data.example import Example
from chemr.evaluation import evaluate, pass_at_k
from chemr.evaluation_config import EvalConfig
from chemr.evaluation_output import write_answers, write_json
from rewards.verdict import Reason, Verdict


def example(task: str, row: int, answer: str = "C2H6O") -> Example:
    inputs = {"smiles": "CCO"} if task == "smiles2formula" else {"reactants": "CCO.CC(=O)O"}
    return Example(f"tiny/{task}/{row}", task, inputs, {"answer": answer}, 0.5, "test", "CC0-1.0")


class ScriptedFleet:
    """Every sampled group has one right answer of four on even rows, none on odd ones; greedy answers are right; row 9 is lost."""

    async def run_group(self, request: GroupRequest, want_texts: bool = False, whole: bool = False) -> Any:
        assert whole, "an evaluation must not be cut at a deadline"
        row = int(request.uid.rpartition("/")[2])
        if row == 9:
            raise GroupDropped(request.uid, "straggler", "lost")
        greedy = request.sampling.temperature == 0.0
        right = 1 if greedy or row % 2 == 0 else 0
        verdicts = [Verdict(1.0, Reason.CORRECT)] * right + [Verdict(0.0, Reason.WRONG)] * (request.sampling.samples - right)
        texts = [f"<answer>{index}</answer>" for index in range(len(verdicts))] if want_texts else []
        return SimpleNamespace(verdicts=verdicts, texts=texts, meta=SimpleNamespace(lengths=(3,) * len(verdicts)))


class WordTokenizer:
    end_ids = (1,)

    def encode_prompt(self, messages: list[dict[str, str]]) -> list[int]:
        return list(range(len(messages[0]["content"].split())))


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 1, 2), (5, 2, 3), (4, 0, 4), (4, 4, 1), (6, 3, 1)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(samples: int, correct: int, k: int) -> None:
    draws = list(combinations(range(samples), k))
    share = sum(any(index < correct for index in draw) for draw in draws) / len(draws)
    assert pass_at_k(samples, correct, k) == pytest.approx(share), "not the chance that one of k drawn answers is right"


async def test_the_share_of_answers_that_are_their_reference_to_the_letter_needs_texts_and_one_right_answer() -> None:
    rows = [example("smiles2formula", 0, answer="2"), example("smiles2formula", 1), example("moledit_add", 0, answer="2")]
    tokenizer, fleet = WordTokenizer(), ScriptedFleet()
    rows[2] = replace(rows[2], inputs={"smiles": "CCO", "add": "halo"})
    config = EvalConfig()
    with_texts, without = [
        await evaluate(fleet, rows, tokenizer, config, version=1, want_texts=wanted)  # type: ignore[arg-type]
        for wanted in (True, False)
    ]
    assert with_texts.tasks["smiles2formula"].verbatim == 1 / (2 * config.samples), "one of four answers of one row says 2"
    assert with_texts.tasks["moledit_add"].verbatim is None and without.tasks["smiles2formula"].verbatim is None
    assert [name for name in with_texts.metrics("validation") if "verbatim" in name] == ["eval/validation/smiles2formula/verbatim"]


async def test_prompts_that_cannot_be_asked_count_as_unanswered_and_lost_groups_do_not() -> None:
    asked = [example("smiles2formula", row) for row in (0, 1, 9)]
    too_long = [example("smiles2formula", 12)]
    told: list[tuple[int, int]] = []
    evaluation = await evaluate(
        ScriptedFleet(),  # type: ignore[arg-type]
        asked,
        WordTokenizer(),  # type: ignore[arg-type]
        EvalConfig(),
        version=3,
        unasked=too_long,
        want_texts=True,
        on_answer=lambda back, of: told.append((back, of)),
    )
    score = evaluation.tasks["smiles2formula"]
    assert score.prompts == 3, "two answered prompts and the one that was too long; a lost group is no prompt"
    assert score.mean == pytest.approx((0.25 + 0.0 + 0.0) / 3), "a prompt that was not asked is worth 0, not left out"
    assert score.pass_at == pytest.approx({1: 0.25 / 3, 2: 0.5 / 3, 4: 1 / 3})
    assert score.greedy_solved == pytest.approx(2 / 3) and score.failures == 5, "four sampled answers and a greedy one were lost"
    assert score.reasons["no_answer"] == 4, "unasked prompts are seen among the reasons"
    assert told[-1] == (6, 6), "progress ends at the number of questions asked"


async def test_figures_and_answers_are_written_for_programs(tmp_path: Path) -> None:
    rows = [example("smiles2formula", 0), example("forward", 1, "CCOC(C)=O")]
    evaluation = await evaluate(ScriptedFleet(), rows, WordTokenizer(), EvalConfig(), version=0, want_texts=True)  # type: ignore[arg-type]
    write_json(tmp_path / "out" / "figures.json", "starter", evaluation, {}, ["tiny/forward/7"])
    document = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert document["unasked"] == ["tiny/forward/7"] and document["tasks"]["forward"]["pass_at"] == {"1": 0.0, "2": 0.0, "4": 0.0}
    write_answers(tmp_path / "answers.parquet", evaluation)
    table = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert len(table) == 2 * (4 + 1), "every sampled and greedy answer is a row"
    assert {row["kind"] for row in table} == {"sampled", "greedy"} and table[0]["prompt"], "a row says what was asked"
