"""The pool's use of OPSIN: one JVM, started when the first name needs it, replaced when it dies or hangs."""

from __future__ import annotations

import logging
from collections import Counter

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


class NameReading:
    """Not thread-safe; the pool serialises its calls."""

    def __init__(self, mode: OpsinMode, deadline_s: float) -> None:
        """Starts nothing. Raises ScorerPoolError if OPSIN is insisted on and not installed."""
        self._mode = mode
        self._deadline_s = deadline_s
        self._found = find_opsin(mode)
        self._reader: NameReader | None = None
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
        try:
            self._start(zygote)
        except (ReaderLostError, ZygoteLostError) as error:
            raise ScorerPoolError(f"ScorerPool: opsin=always, but the JVM with {self._found.jar} does not read names: {error}") from error

    def add_reading(self, item: Pending, zygote: Zygote, counts: Counter[str]) -> None:
        """Puts the SMILES that OPSIN reads from the item's answer into its message.

        Nothing is added when OPSIN is off or missing, or when the text alone decides (the gold name, a name with control characters). A
        name that costs two JVMs gets a failure as verdict. Raises ZygoteLostError: start another one and ask again.
        """
        if self._found.jar is None:
            self._warn_once()
            return
        task, answer, inputs, reference = decode_job(item.message.decode())
        name, gold = readable(answer), reference.get("answer")
        if name is None or not isinstance(gold, str) or normalised(answer) == normalised(gold):
            return
        for _ in range(MAX_TRIES):
            try:
                if self._reader is None:
                    self._start(zygote)
                    counts["opsin_starts"] += 1
                assert self._reader is not None
                smiles = self._reader.read(name, self._deadline_s)
            except ReaderLostError as error:
                failure, reason = error, Reason.TIMEOUT if error.timed_out else Reason.CRASH
                self._end(zygote)
                continue
            counts["names_read"] += 1
            message = encode_job(task, answer, encode_row({**inputs, OPSIN_FIELD: smiles}, reference))
            if len(message) <= MAX_MESSAGE_BYTES:
                item.message = message
            return
        logger.warning("%s for task %s in OPSIN after %d tries: %s; name: %.300r", reason, item.task, MAX_TRIES, failure, name)
        item.verdict = Verdict(None, reason)

    def drop(self) -> None:
        """Forgets the JVM, whose zygote is gone or about to go."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _start(self, zygote: Zygote) -> None:
        assert self._found.jar is not None
        pid, connection = zygote.start_reader(self._found.jar)
        try:
            self._reader = NameReader(pid, connection)
        except ReaderLostError:
            connection.close()
            zygote.end(pid)
            raise

    def _end(self, zygote: Zygote) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
            zygote.end(reader.pid)

    def _warn_once(self) -> None:
        if self._mode is OpsinMode.AUTO and not self._warned:
            self._warned = True
            logger.warning("IUPAC names are judged as strings only: OPSIN is %s", self._found.description)
