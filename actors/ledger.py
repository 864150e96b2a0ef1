"""Exactly-once accounting of prompts (DESIGN §3.3): submitted = trained + dropped(by reason) + in flight, at every moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any


class LedgerError(RuntimeError):
    """A prompt was lost, or settled twice. Training on would break the exactly-once promise, so the run stops."""


class Ledger:
    """Who was submitted, and what became of them.

    A uid names one submission. ``next_uid`` makes one that no earlier submission of this run had, since the number in it is the count
    of submissions, which checkpoints carry; so a uid that was settled before a crash can never come back after a resume, and the ledger
    need not remember settled ones.
    """

    def __init__(self) -> None:
        self._submitted = 0
        self._trained = 0
        self._dropped: Counter[str] = Counter()
        self._in_flight: dict[str, None] = {}  # a set that keeps submission order
        self._lost: Counter[str] = Counter()  # of those in flight: how often what came back of them was lost before it was trained on
        self._losses = 0

    def next_uid(self, prompt_uid: str) -> str:
        """The uid under which ``prompt_uid`` is to be submitted now: ``<prompt_uid>#<n>``, n the number of submissions before."""
        return f"{prompt_uid}#{self._submitted}"

    def submit(self, uid: str) -> None:
        """A prompt goes to a generator. Raises LedgerError if it is in flight already."""
        if uid in self._in_flight:
            raise LedgerError(f"prompt {uid!r} is in flight already: a prompt drawn twice needs two uids (Ledger.next_uid)")
        self._in_flight[uid] = None
        self._submitted += 1

    def train(self, uids: Iterable[str]) -> None:
        """These groups were trained on. All or none is recorded."""
        settled = list(uids)
        if len(set(settled)) != len(settled):
            raise LedgerError(f"a step trains twice on {sorted(uid for uid, n in Counter(settled).items() if n > 1)}")
        for uid in settled:
            self._require_in_flight(uid, "trained on")
        for uid in settled:
            self._settle(uid)
        self._trained += len(settled)

    def undo(self, uids: Iterable[str]) -> None:
        """The training on these groups was lost with the learner: they are in flight again, before everything else.

        Raises LedgerError when one is in flight already, or when more are undone than were trained."""
        undone = dict.fromkeys(uids)
        again = [uid for uid in undone if uid in self._in_flight]
        if again or len(undone) > self._trained:
            raise LedgerError(f"cannot undo the training on {len(undone)} of {self._trained} groups; in flight all along: {again}")
        self._trained -= len(undone)
        self._in_flight = undone | self._in_flight

    def lose(self, uid: str) -> int:
        """What came back of this prompt was lost before it was trained on: it stays in flight. Returns how often that happened to it."""
        self._require_in_flight(uid, "asked again")
        self._losses += 1
        self._lost[uid] += 1
        return self._lost[uid]

    def drop(self, uid: str, reason: str) -> None:
        """This group will never be trained on, and why (``trivial``, ``straggler``, ``data`` ...)."""
        if not reason:
            raise LedgerError(f"prompt {uid!r} is dropped without a reason")
        self._require_in_flight(uid, f"dropped ({reason})")
        self._settle(uid)
        self._dropped[reason] += 1

    @property
    def submitted(self) -> int:
        return self._submitted

    @property
    def trained(self) -> int:
        return self._trained

    @property
    def dropped(self) -> dict[str, int]:
        """Number of dropped groups by reason, reasons sorted."""
        return dict(sorted(self._dropped.items()))

    @property
    def losses(self) -> int:
        """How often what came back of a prompt was lost before it was trained on, in this process."""
        return self._losses

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Uids submitted and not settled, oldest first."""
        return tuple(self._in_flight)

    @property
    def error(self) -> int:
        """submitted - trained - dropped - in flight: 0, or the number of prompts that were lost (> 0) or settled too often (< 0)."""
        return self._submitted - self._trained - self._dropped.total() - len(self._in_flight)

    def assert_balanced(self) -> None:
        if self.error:
            raise LedgerError(
                f"the ledger is off by {self.error}: submitted {self._submitted}, trained {self._trained}, "
                f"dropped {self.dropped}, in flight {len(self._in_flight)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON data: {submitted, trained, dropped{reason}, in_flight[uid]}."""
        return {
            "submitted": self._submitted,
            "trained": self._trained,
            "dropped": self.dropped,
            "in_flight": list(self._in_flight),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's account. Groups in flight then are still in flight: submit their work again, or drop them.

        Raises LedgerError when the checkpoint itself does not balance."""
        self._submitted = int(state["submitted"])
        self._trained = int(state["trained"])
        self._dropped = Counter({str(reason): int(number) for reason, number in state["dropped"].items()})
        self._in_flight = dict.fromkeys(state["in_flight"])
        self.assert_balanced()

    def _settle(self, uid: str) -> None:
        del self._in_flight[uid]
        self._lost.pop(uid, None)

    def _require_in_flight(self, uid: str, deed: str) -> None:
        if uid not in self._in_flight:
            raise LedgerError(f"prompt {uid!r} is to be {deed} but is not in flight: it was never submitted, or was settled before")
