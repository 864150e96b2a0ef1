"""What is kept of sampled groups is enough to show and judge them later."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.graded_group import GradedGroup, grade
from chemr.reward_shaping import ShapingConfig, TermWeights
from chemr.trajectory_log import TrajectoryLog
from learner.config import GrpoConfig
from rewards.verdict import Reason, Verdict

TOKENIZER: Any = SimpleNamespace(decode=lambda ids: f"prompt {ids}")


def group(uid: str, shaping: ShapingConfig | None = None) -> GradedGroup:
    request = GroupRequest(uid, "forward", (1, 2), {"reactants": "C.O"}, {"answer": "CO"}, Sampling(2, 8), 0)
    meta = GroupMeta(uid, "generator-0", (3, 4), 2, 5, 6, 0, (), 0.1)
    verdicts = [Verdict(1.0, Reason.CORRECT, {"tanimoto": 1.0}), Verdict(None, Reason.TIMEOUT)]
    return grade(ScoredGroup(request, meta, verdicts, tokens_ref=None, texts=["é", "b"]), GrpoConfig(), shaping)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_a_row_holds_the_question_the_answer_the_reference_and_the_verdict(tmp_path: Path) -> None:
    log = TrajectoryLog(tmp_path, TOKENIZER, every=10)
    assert log.claim("a")
    log.add(group("a"))
    log.add(group("nobody claimed it"))
    log.finish_step(9)
    assert not list(tmp_path.iterdir()), "nothing is due at step 9"
    log.finish_step(10)
    first, second = rows_of(tmp_path / "step-000010.parquet")
    assert (first["uid"], first["prompt"], first["completion"], first["tokens"]) == ("a", "prompt (1, 2)", "é", 3)
    assert json.loads(first["inputs"]) == {"reactants": "C.O"} and json.loads(first["reference"]) == {"answer": "CO"}
    assert json.loads(first["parts"]) == {"tanimoto": 1.0} and json.loads(first["terms"]) == {}
    assert (first["reward"], second["reward"], second["reason"]) == (1.0, None, "timeout"), "a failure is not a zero"


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "is full"), (errno.ESTALE, "Stale file handle")])
def test_storage_that_fails_costs_samples_and_a_warning_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, said: str
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(number, os.strerror(number))

    log = TrajectoryLog(tmp_path, TOKENIZER, every=1)
    assert log.claim("a")
    log.add(group("a"))
    with monkeypatch.context() as patched:
        patched.setattr("chemr.trajectory_log.write_whole", full)
        assert len(log.finish_step(1)) == 2, "what was sampled is still shown where there is room"
    assert said in caplog.text
    assert log.claim("b"), "the next sample is asked for"
    log.add(group("b"))
    log.finish_step(2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002.parquet"]


def test_a_shaped_reward_s_terms_are_kept_by_sample(tmp_path: Path) -> None:
    log = TrajectoryLog(tmp_path, TOKENIZER, every=1)
    assert log.claim("a")
    log.add(group("a", ShapingConfig(TermWeights(exact=1.0, partial=0.0))))
    log.finish_step(1)
    terms = [json.loads(row["terms"]) for row in rows_of(tmp_path / "step-000001.parquet")]
    assert terms == [{"exact": pytest.approx(1.0)}, {"exact": None}]
