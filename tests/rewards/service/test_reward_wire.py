"""Jobs and verdicts survive the wire exactly; what cannot be scored is refused by name."""

from __future__ import annotations

import pytest

from rewards.answer import MAX_COMPLETION_CHARS, extract
from rewards.job import ScoreJob
from rewards.service.row_fields import fields_from_column
from rewards.service.v1 import reward_pb2
from rewards.service.wire import (
    InvalidJobError,
    UnknownReasonError,
    job_from_message,
    job_to_message,
    verdict_from_message,
    verdict_to_message,
)
from rewards.verdict import Reason, Verdict

TASKS = ("retro", "smiles2formula")


def test_a_job_comes_back_as_it_was():
    job = ScoreJob("retro", "<answer>ü 🙂</answer>", {"counts": {"C": 2}, "list": [1, 2.5, None]}, {"answer": "CCO"})
    assert job_from_message(job_to_message(job), TASKS) == job


def test_a_lone_surrogate_travels_as_the_replacement_character():
    assert job_from_message(job_to_message(ScoreJob("retro", "<answer>C\ud800C</answer>", {}, {})), TASKS).completion == (
        "<answer>C\ufffdC</answer>"
    )


def test_a_completion_without_end_travels_short_and_is_still_too_long():
    message = job_to_message(ScoreJob("retro", "<answer>" + "C" * 10_000_000, {}, {}))
    assert message.ByteSize() < 2 * MAX_COMPLETION_CHARS
    verdict = extract(job_from_message(message, TASKS).completion)
    assert isinstance(verdict, Verdict) and verdict.reason is Reason.TOO_LONG


@pytest.mark.parametrize(
    "verdict", [Verdict(0.0, Reason.WRONG), Verdict(None, Reason.TIMEOUT), Verdict(0.25, Reason.PARTIAL, {"a": 1.5}, 0.125)]
)
def test_a_verdict_comes_back_as_it_was_and_unknown_is_not_zero(verdict):
    assert verdict_from_message(reward_pb2.Verdict.FromString(verdict_to_message(verdict).SerializeToString())) == verdict


def test_a_reason_of_a_newer_server_is_an_error_not_a_guess():
    with pytest.raises(UnknownReasonError, match="'sabotage'"):
        verdict_from_message(reward_pb2.Verdict(value=1.0, reason="sabotage"))


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": NaN}', "[" * 100_000, "1" * 10_000])
def test_fields_that_are_not_json_objects_are_named(text):
    with pytest.raises(InvalidJobError, match="inputs_json should be a JSON object"):
        job_from_message(reward_pb2.Job(task="retro", inputs_json=text), TASKS)


def test_fields_too_large_for_a_worker_are_refused_before_they_are_queued():
    large = job_to_message(ScoreJob("retro", "x", {}, {"answer": "C" * 120_000}))
    with pytest.raises(InvalidJobError, match=r"take 120031 bytes together; at most \d+ can be scored"):
        job_from_message(large, TASKS)


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(InvalidJobError, match="'alchemy'; known tasks: retro, smiles2formula"):
        job_from_message(reward_pb2.Job(task="alchemy"), TASKS)


def test_numbers_that_are_not_json_are_refused_by_the_client_already():
    with pytest.raises(InvalidJobError, match="reference should be a JSON object"):
        job_to_message(ScoreJob("retro", "x", {}, {"yield": float("nan")}))


def test_the_fields_of_a_row_are_read_from_text_and_from_what_arrow_makes_of_dicts():
    wanted = {"counts": {"C": 2}}
    assert fields_from_column("inputs", '{"counts": {"C": 2}}') == wanted
    assert fields_from_column("inputs", {"counts": {"C": 2, "N": None}, "smiles": None}) == wanted
    assert fields_from_column("inputs", None) == {}
    with pytest.raises(ValueError, match="inputs should be a JSON object"):
        fields_from_column("inputs", "CCO")
