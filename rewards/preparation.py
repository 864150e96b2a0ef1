"""What a pool does with a batch before any worker sees it: format errors, tasks in plain Python, remembered verdicts, equal answers."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rewards.answer import extract, thinking
from rewards.claims import claimed_groups
from rewards.errors import BadReferenceError
from rewards.fields import CLAIMS_FIELD, GROUNDING_FIELD
from rewards.job import ScoreJob
from rewards.registry import IN_CALLER, SCORER_VERSION
from rewards.scoring import score_answer
from rewards.verdict import Reason, Verdict
from rewards.worker import MAX_MESSAGE_BYTES, encode_job, encode_row
from rewards.worker_link import Pending

logger = logging.getLogger(__name__)

_NO_INPUTS: Mapping[str, Any] = MappingProxyType({})


class Preparation:
    """Remembers verdicts by task, answer, inputs, reference and scorer version. Not thread-safe; the pool serialises its calls.

    Args:
        cache_size: verdicts to remember; the least recently used go first.
        grounding: weight of the grounded term; unless it is 0, the claims of the thinking are part of a job.
        counts: where ``unformatted``, ``in_caller``, ``cache_hits`` and ``duplicates`` are counted.
        claims: they are part of a job even when they take nothing away.
    """

    def __init__(self, cache_size: int, grounding: float, counts: Counter[str], claims: bool = False) -> None:
        self._cache: OrderedDict[bytes, Verdict] = OrderedDict()
        self._cache_size = cache_size
        self._grounding = grounding
        self._claims = claims or grounding > 0.0
        self._counts = counts

    def prepare(self, jobs: Sequence[ScoreJob]) -> tuple[list[Verdict | None], list[Pending]]:
        """The verdicts that need no worker, in the places of their jobs, and the distinct rest.

        Raises:
            TypeError: inputs or reference that are not JSON.
            ValueError: a job of more than 128 kB.
        """
        verdicts: list[Verdict | None] = [None] * len(jobs)
        distinct: dict[bytes, Pending] = {}
        rows: dict[tuple[int, int], str] = {}  # by identity: the samples of a group share their row
        for place, job in enumerate(jobs):
            answer = extract(job.completion)
            if isinstance(answer, Verdict):
                verdicts[place] = answer
                self._counts["unformatted"] += 1
                continue
            if job.task in IN_CALLER and not self._claims:
                verdicts[place] = _score_here(job, answer.text)
                self._counts["in_caller"] += 1
                continue
            message = self._encode(job, answer.text, rows)
            if len(message) > MAX_MESSAGE_BYTES:
                raise ValueError(f"job {place} ({job.task}): answer, inputs and reference take {len(message)} bytes of {MAX_MESSAGE_BYTES}")
            key = hashlib.blake2b(message, digest_size=16, person=SCORER_VERSION.encode()).digest()
            remembered = self._cache.get(key)
            if remembered is not None:
                self._cache.move_to_end(key)
                verdicts[place] = Verdict(remembered.value, remembered.reason, remembered.parts)  # a hit costs no seconds
                self._counts["cache_hits"] += 1
            elif key in distinct:
                distinct[key].places.append(place)
                self._counts["duplicates"] += 1
            else:
                distinct[key] = Pending(key, message, job.task, [place])
        return verdicts, list(distinct.values())

    def remember(self, key: bytes, verdict: Verdict) -> None:
        """Keeps a verdict that is not a failure."""
        if self._cache_size <= 0:
            return
        self._cache[key] = verdict
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    def forget(self) -> None:
        """Empties the memory."""
        self._cache.clear()

    def _encode(self, job: ScoreJob, answer: str, rows: dict[tuple[int, int], str]) -> bytes:
        if self._claims:
            claims = {CLAIMS_FIELD: claimed_groups(thinking(job.completion)), GROUNDING_FIELD: self._grounding}
            return encode_job(job.task, answer, encode_row(_own_fields(job.inputs) | claims, job.reference))
        identity = id(job.inputs), id(job.reference)
        row = rows.get(identity)
        if row is None:
            row = rows[identity] = encode_row(_own_fields(job.inputs), job.reference)
        return encode_job(job.task, answer, row)


def _score_here(job: ScoreJob, answer: str) -> Verdict:
    """The verdict of a task of IN_CALLER; such tasks read the reference only."""
    try:
        return score_answer(job.task, answer, _NO_INPUTS, job.reference)
    except BadReferenceError as error:
        reason, note = Reason.BAD_REFERENCE, str(error)
    # As in a worker: a bug of a scorer is reported and counted, becomes no zero, and does not take the rest of the batch along.
    except Exception:  # noqa: BLE001
        reason, note = Reason.SCORER_BUG, traceback.format_exc()
    logger.warning("%s for task %s: %s", reason, job.task, note)
    return Verdict(None, reason)


def _own_fields(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A row's inputs without the names that are reserved for the pool."""
    return {name: value for name, value in inputs.items() if not name.startswith("_")}
