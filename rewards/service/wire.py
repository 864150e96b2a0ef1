"""Messages of ``v1/reward.proto`` to and from this package's own types."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from rewards.answer import MAX_ANSWER_CHARS, MAX_COMPLETION_CHARS
from rewards.job import ScoreJob
from rewards.service.v1 import reward_pb2
from rewards.verdict import Reason, Verdict
from rewards.worker import MAX_MESSAGE_BYTES, encode_job, encode_row

_BYTES_PER_CHAR = 12  # of JSON in ASCII, for a character outside the basic plane
_ROOM_FOR_FIELDS = MAX_MESSAGE_BYTES - MAX_ANSWER_CHARS * _BYTES_PER_CHAR


class InvalidJobError(ValueError):
    """A job message that can never be scored; the message says which field is wrong and what was expected."""


class UnknownReasonError(ValueError):
    """The server is newer than this client and uses a reason code that the client does not have."""


def job_from_message(message: reward_pb2.Job, known_tasks: Collection[str]) -> ScoreJob:
    """Raises InvalidJobError: unknown task, fields that are not JSON objects or too large together."""
    if message.task not in known_tasks:
        raise InvalidJobError(f"there is no scorer for the task {message.task!r}; known tasks: {', '.join(sorted(known_tasks))}")
    inputs, reference = _json_object("inputs_json", message.inputs_json), _json_object("reference_json", message.reference_json)
    if (len(message.inputs_json) + len(message.reference_json)) * _BYTES_PER_CHAR > _ROOM_FOR_FIELDS:
        size = len(encode_job(message.task, "", encode_row(inputs, reference)))
        if size > _ROOM_FOR_FIELDS:
            raise InvalidJobError(f"inputs_json and reference_json take {size} bytes together; at most {_ROOM_FOR_FIELDS} can be scored")
    # What is cut off here was too long anyway (Reason.TOO_LONG), and need not wait in memory.
    return ScoreJob(message.task, message.completion[: MAX_COMPLETION_CHARS + 1], inputs, reference)


def job_to_message(job: ScoreJob) -> reward_pb2.Job:
    """Raises InvalidJobError for inputs or a reference that are not JSON objects.

    A protobuf string is UTF-8: lone surrogates, which no tokenizer should produce, travel as U+FFFD. No scorer takes either.
    """
    return reward_pb2.Job(
        task=job.task,
        completion=_utf8(job.completion[: MAX_COMPLETION_CHARS + 1]),
        inputs_json=_json_text("inputs", job.inputs),
        reference_json=_json_text("reference", job.reference),
    )


def verdict_to_message(verdict: Verdict) -> reward_pb2.Verdict:
    return reward_pb2.Verdict(value=verdict.value, reason=verdict.reason, parts=dict(verdict.parts), seconds=verdict.seconds)


def verdict_from_message(message: reward_pb2.Verdict) -> Verdict:
    """Raises UnknownReasonError."""
    try:
        reason = Reason(message.reason)
    except ValueError as error:
        raise UnknownReasonError(f"the server gave the reason {message.reason!r}, which this version of chemr does not know") from error
    return Verdict(message.value if message.HasField("value") else None, reason, dict(message.parts), message.seconds)


def _utf8(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json_text(field: str, content: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(content), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidJobError(f"{field} should be a JSON object, found {content!r:.200}: {error}") from error


def _json_object(field: str, text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidJobError(f"{field} should be a JSON object, found {text!r:.200}: {error}") from error
    if not isinstance(found, dict):
        raise InvalidJobError(f"{field} should be a JSON object, found {text!r:.200}")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
