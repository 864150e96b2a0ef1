"""Exactly-once accounting."""

import json
import random

import pytest

from actors.ledger import Ledger, LedgerError


def test_equation_holds_through_any_history() -> None:
    rng, ledger = random.Random(0), Ledger()
    for _ in range(500):
        deed = rng.choice(["submit", "submit", "train", "drop"])
        if deed == "submit":
            ledger.submit(ledger.next_uid(f"p{rng.randrange(5)}"))
        elif ledger.in_flight and deed == "train":
            ledger.train(rng.sample(ledger.in_flight, min(3, len(ledger.in_flight))))
        elif ledger.in_flight:
            ledger.drop(rng.choice(ledger.in_flight), rng.choice(["trivial", "straggler"]))
        ledger.assert_balanced()
    assert ledger.submitted == ledger.trained + sum(ledger.dropped.values()) + len(ledger.in_flight)


def test_training_or_dropping_twice_is_refused_and_changes_nothing() -> None:
    ledger = Ledger()
    for uid in ("a", "b"):
        ledger.submit(uid)
    ledger.train(["a"])
    for uids in (["a"], ["b", "a"], ["b", "b"]):
        with pytest.raises(LedgerError):
            ledger.train(uids)
    with pytest.raises(LedgerError, match="settled before"):
        ledger.drop("a", "trivial")
    with pytest.raises(LedgerError, match="in flight already"):
        ledger.submit("b")
    assert (ledger.trained, ledger.in_flight, ledger.error) == (1, ("b",), 0)


def test_training_that_was_lost_is_in_flight_again_before_everything_else() -> None:
    ledger = Ledger()
    for uid in ("a", "b", "c"):
        ledger.submit(uid)
    ledger.train(["a", "b"])
    ledger.undo(["b"])
    assert (ledger.trained, ledger.in_flight, ledger.error) == (1, ("b", "c"), 0)
    for uids in (["c"], ["a", "x", "y"]):
        with pytest.raises(LedgerError, match="cannot undo"):
            ledger.undo(uids)
    assert ledger.in_flight == ("b", "c"), "a refused undo changes nothing"


def test_a_resumed_ledger_continues_the_account_and_never_repeats_a_uid() -> None:
    ledger = Ledger()
    uids = []
    for _ in range(4):
        uids.append(ledger.next_uid("prompt"))
        ledger.submit(uids[-1])
    ledger.train(uids[:2])
    ledger.drop(uids[2], "trivial")
    resumed = Ledger()
    resumed.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert resumed.state_dict() == ledger.state_dict()
    assert resumed.in_flight == (uids[3],)
    assert resumed.next_uid("prompt") not in uids


def test_a_checkpoint_that_does_not_balance_is_refused() -> None:
    with pytest.raises(LedgerError, match="off by 1"):
        Ledger().load_state_dict({"submitted": 3, "trained": 1, "dropped": {"trivial": 1}, "in_flight": []})
