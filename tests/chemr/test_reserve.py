"""Prompts kept for reinforcement learning are never seen by the supervised stages."""

from __future__ import annotations

import random

from chemr.data.example import Example
from chemr.data.reserve import split_reserve


def rows(count: int) -> list[Example]:
    return [Example(f"starter/forward/{i}", "forward", {}, {"answer": "C"}, 0.0, "test", "CC0-1.0") for i in range(count)]


def test_the_two_parts_are_disjoint_complete_and_of_the_size_asked_for() -> None:
    supervised, reserved = split_reserve(rows(2000), 0.25)
    assert not {e.uid for e in supervised} & {e.uid for e in reserved}, "no row may be in both parts"
    assert len(supervised) + len(reserved) == 2000
    assert 420 < len(reserved) < 580, f"about a quarter is reserved, not {len(reserved)} of 2000"


def test_the_same_rows_are_reserved_whatever_their_order() -> None:
    examples = rows(300)
    shuffled = random.Random(0).sample(examples, len(examples))
    assert {e.uid for e in split_reserve(examples, 0.3)[1]} == {e.uid for e in split_reserve(shuffled, 0.3)[1]}


def test_without_a_reserve_every_stage_uses_every_row() -> None:
    supervised, reserved = split_reserve(rows(10), 0.0)
    assert supervised == reserved and len(supervised) == 10
