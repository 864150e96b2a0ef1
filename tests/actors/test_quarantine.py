"""How long a seat stays empty."""

from __future__ import annotations

from actors.quarantine import FailureHistory


def test_failures_far_apart_are_just_replaced() -> None:
    history = FailureHistory(after=3, window_s=100.0, first_s=10.0)
    assert [history.failed(now, served_s=50.0) for now in (0.0, 60.0, 120.0, 180.0, 240.0)] == [0.0] * 5


def test_failures_within_the_window_empty_the_seat_for_a_growing_time() -> None:
    history = FailureHistory(after=3, window_s=100.0, first_s=10.0)
    assert [history.failed(now, served_s=0.0) for now in (0.0, 1.0, 2.0, 13.0, 500.0)] == [0.0, 0.0, 10.0, 20.0, 40.0]
    assert [history.failed(1000.0, served_s=0.0) for _ in range(4)] == [80.0, 160.0, 160.0, 160.0], "at most 16 times the first"


def test_a_member_that_served_for_the_window_clears_the_record() -> None:
    history = FailureHistory(after=2, window_s=100.0, first_s=10.0)
    assert [history.failed(now, served_s=0.0) for now in (0.0, 1.0)] == [0.0, 10.0]
    assert history.failed(200.0, served_s=150.0) == 0.0
