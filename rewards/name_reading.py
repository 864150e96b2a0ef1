"""The pool's use of OPSIN: a JVM, started when the first name needs it, more beside one that a name keeps busy, replaced when lost."""

from __future__ import annotations

import logging
import select
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.errors import ScorerPoolError
from rewards.fields import OPSIN_FIELD
from rewards.iupac_name import normalised, readable
from rewards.opsin import NameReader, OpsinMode, ReaderLostError, find_opsin
from rewards.verdict import Reason, Verdict
from rewards.worker import MAX_MESSAGE_BYTES, decode_job, encode_job, encode_row
from rewards.worker_link import Pending
from rewards.zygote_client import Zygote, ZygoteLostError

logger = logging.getLogger(__name__)

NAME_TASKS = frozenset({"smiles2iupac"})
MAX_TRIES = 2
MAX_READERS = 4  # 256 MiB of heap each
PATIENCE_S = 0.25  # a name takes milliseconds; what waits behind one that takes longer gets another JVM


@dataclass(slots=True, eq=False)
class _Question:
    """A name that one item of a batch asks OPSIN for. ``name`` is None when it must not, or need not, be read."""

    item: Pending
    job: tuple[str, str, Mapping[str, Any], Mapping[str, Any]]
    name: str | None
    tries: int = 0

    @classmethod
    def of(cls, item: Pending) -> _Question:
        _, answer, inputs, reference = job = decode_job(item.message.decode())
        name, gold = readable(answer), reference.get("answer")
        if OPSIN_FIELD in inputs or not isinstance(gold, str) or normalised(answer) == normalised(gold):
            name = None
        return cls(item, job, name)

    def answer(self, smiles: str) -> None:
        task, answer, inputs, reference = self.job
        message = encode_job(task, answer, encode_row({**inputs, OPSIN_FIELD: smiles}, reference))
        if len(message) <= MAX_MESSAGE_BYTES:
            self.item.message = message

    def fail(self, reason: Reason, error: ReaderLostError) -> None:
        logger.warning("%s for task %s in OPSIN (%s); name: %.300r", reason, self.item.task, error, self.name)
        self.item.verdict = Verdict(None, reason)


class NameReading:
    """Not thread-safe; the pool serialises its calls."""

    def __init__(self, mode: OpsinMode, deadline_s: float, workers: int = 1) -> None:
        """Starts nothing. Raises ScorerPoolError if OPSIN is insisted on and not installed."""
        self._mode = mode
        self._deadline_s = deadline_s
        self._found = find_opsin(mode)
        self._readers: list[NameReader] = []
        self._at_most = min(max(workers, 2), MAX_READERS)
        self._failed_starts = 0
        self._warned = False
        if mode is OpsinMode.ALWAYS and self._found.jar is None:
            raise ScorerPoolError(f"ScorerPool: opsin=always, but OPSIN is {self._found.description}")

    @property
    def description(self) -> str:
        """OPSIN's version; ``off``; or ``unavailable: ...``, when names are judged as strings only."""
        return self._found.description

    def require(self, zygote: Zygote) -> None:
        """With ``opsin=always``: starts the JVM now. Raises ScorerPoolError if it does not come up."""
        if self._mode is not OpsinMode.ALWAYS:
            return
        known = Pending(b"", encode_job("smiles2iupac", "ethane", encode_row({}, {"answer": "methane"})), "smiles2iupac", [])
        try:
            self.read([known], zygote, Counter())
        except ZygoteLostError as error:
            raise ScorerPoolError(f"ScorerPool: opsin=always, but the JVM with {self._found.jar} cannot be started: {error}") from error
        if known.verdict is not None:
            raise ScorerPoolError(f"ScorerPool: opsin=always, but the JVM with {self._found.jar} reads no names ({known.verdict.reason})")

    def read(self, items: Sequence[Pending], zygote: Zygote, counts: Counter[str]) -> None:
        """Puts the SMILES that OPSIN reads from each item's answer into its message.

        Nothing is added when OPSIN is off or missing, or when the text alone decides (the gold name, a name with control characters, one
        that cannot be a molecule within the limits). A name that costs two JVMs, or one JVM all its time, gets a failure as verdict.

        Raises:
            ZygoteLostError: start another one and ask again, with the same items.
        """
        if self._found.jar is None:
            if items:
                self._warn_once()
            return
        questions = [_Question.of(item) for item in items if item.verdict is None]
        waiting = deque(question for question in questions if question.name is not None)
        asked: dict[NameReader, _Question] = {}
        while waiting or asked:
            for reader in [reader for reader in self._readers if reader.idle][: len(waiting)]:
                asked[reader] = waiting.popleft()
                try:
                    reader.ask(asked[reader].name or "")
                except ReaderLostError as error:
                    self._lose(reader, error, asked, waiting, zygote)
            if waiting and self._wants_another():
                self._readers.append(NameReader(*zygote.start_reader(self._found.jar)))
                counts["opsin_starts"] += 1
            self._collect(asked, waiting, zygote, counts)

    def _wants_another(self) -> bool:
        """Whether what waits should get one more JVM: there is none, or all have been at their names for long."""
        if len(self._readers) >= self._at_most:
            return False
        now = time.monotonic()
        return all(not reader.idle and reader.ready and now - reader.asked > PATIENCE_S for reader in self._readers)

    def _collect(self, asked: dict[NameReader, _Question], waiting: deque[_Question], zygote: Zygote, counts: Counter[str]) -> None:
        """Waits a moment for a line, an end or a deadline, and deals with all that have come."""
        poll = select.poll()
        by_descriptor = {reader.connection.fileno(): reader for reader in self._readers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        ready = {by_descriptor[descriptor] for descriptor, _ in poll.poll(PATIENCE_S * 1000.0)}
        for reader in list(self._readers):
            try:
                if reader not in ready:
                    reader.check_deadline(self._deadline_s)
                    continue
                smiles = reader.collect()
            except ReaderLostError as error:
                self._lose(reader, error, asked, waiting, zygote)
                continue
            if smiles is None:
                continue
            reader.ready, self._failed_starts = True, 0
            question = asked.pop(reader, None)
            if question is not None:
                counts["names_read"] += 1
                question.answer(smiles)

    def _lose(
        self, reader: NameReader, error: ReaderLostError, asked: dict[NameReader, _Question], waiting: deque[_Question], zygote: Zygote
    ) -> None:
        """Ends a JVM; the name that it was at is asked again, has no reading, or fails."""
        question = asked.pop(reader, None)
        self._readers.remove(reader)
        reader.close()
        if question is None:
            self._failed_starts += not reader.ready
            while self._failed_starts >= MAX_TRIES and waiting:
                waiting.popleft().fail(Reason.CRASH, error)
        elif error.reason is None:
            question.answer("")
        else:
            question.tries += 1
            if error.reason is Reason.TIMEOUT or question.tries >= MAX_TRIES:
                question.fail(error.reason, error)
            else:
                waiting.append(question)
        zygote.end(reader.pid)

    def drop(self) -> None:
        """Forgets the JVMs, whose zygote is gone or about to go."""
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    def _warn_once(self) -> None:
        if self._mode is OpsinMode.AUTO and not self._warned:
            self._warned = True
            logger.warning("IUPAC names are judged as strings only: OPSIN is %s", self._found.description)
