"""A misspelt name is answered with the one that was meant, or with nothing."""

from __future__ import annotations

import pytest

from chemr.nearest_name import did_you_mean, nearest_name


@pytest.mark.parametrize(
    ("name", "nearest"), [("foward", "forward"), ("retor", "retro"), ("forward", "forward"), ("xyz", None), ("", None)]
)
def test_the_nearest_name(name: str, nearest: str | None) -> None:
    assert nearest_name(name, {"forward": 1, "retro": 2}) == nearest


def test_the_hint_ends_a_message() -> None:
    assert did_you_mean("foward", ["forward"]) == "; did you mean 'forward'?"
    assert did_you_mean("xyz", ["forward"]) == "", "no hint where nothing is near"
    assert did_you_mean("forxxxx", ["forward"]) == "" and did_you_mean("forxxxx", ["forward"], cutoff=0.4), "the cutoff decides"
