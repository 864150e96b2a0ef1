"""Floors and caps on shares: the result is a distribution within the bounds, and nothing moves that need not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chemr.curriculum.config import CurriculumConfig, UnlockRule, Weighting
from chemr.curriculum.estimates import TaskEstimate
from chemr.curriculum.weights import bounded_shares, task_weights

TASKS = ("a", "b", "c", "d", "e")


@st.composite
def bounded_problems(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Weights, and floors and caps that some distribution respects."""
    tasks = TASKS[: draw(st.integers(1, len(TASKS)))]
    weights = {task: draw(st.floats(1e-3, 1e3)) for task in tasks}
    inside = {task: draw(st.floats(0.01, 1.0)) for task in tasks}  # a distribution within the bounds
    total = sum(inside.values())
    floors = {task: inside[task] / total * draw(st.floats(0, 1)) for task in tasks if draw(st.booleans())}
    caps = {task: min(1.0, inside[task] / total * draw(st.floats(1, 4))) for task in tasks if draw(st.booleans())}
    return weights, floors, caps


@given(bounded_problems())
@settings(max_examples=120, deadline=None)
def test_shares_are_a_distribution_within_their_bounds(problem: tuple[dict[str, float], dict[str, float], dict[str, float]]) -> None:
    weights, floors, caps = problem
    shares = bounded_shares(weights, floors, caps)
    assert sum(shares.values()) == pytest.approx(1.0), "shares sum to 1"
    for task, share in shares.items():
        assert floors.get(task, 0.0) - 1e-9 <= share <= caps.get(task, 1.0) + 1e-9, f"{task} is outside its bounds: {shares}"


@given(bounded_problems())
@settings(max_examples=120, deadline=None)
def test_tasks_at_no_bound_keep_their_ratios_and_bounds_only_push_the_way_they_must(
    problem: tuple[dict[str, float], dict[str, float], dict[str, float]],
) -> None:
    weights, floors, caps = problem
    shares = bounded_shares(weights, floors, caps)
    free = [t for t in weights if floors.get(t, 0.0) + 1e-9 < shares[t] < caps.get(t, 1.0) - 1e-9]
    levels = [shares[task] / weights[task] for task in free]
    if levels:
        assert max(levels) == pytest.approx(min(levels)), "no bound touches these tasks, so their ratios stay"
        for task in set(weights) - set(free):
            lifted = shares[task] / weights[task] >= levels[0] * (1 - 1e-6)
            at_floor = shares[task] <= floors.get(task, 0.0) + 1e-9
            at_cap = shares[task] >= caps.get(task, 1.0) - 1e-9
            assert (
                (at_floor and lifted)
                or (at_cap and not lifted)
                or (at_floor and at_cap)
                or math.isclose(shares[task] / weights[task], levels[0], rel_tol=1e-6)
            ), f"{task} was moved away from its weight without need: {shares}"


def test_without_bounds_nothing_changes() -> None:
    assert bounded_shares({"a": 1.0, "b": 3.0}, {}, {}) == pytest.approx({"a": 0.25, "b": 0.75})


def test_a_worked_example() -> None:
    shares = bounded_shares({"a": 8.0, "b": 1.0, "c": 1.0}, {"b": 0.2}, {"a": 0.5})
    assert shares == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25}), "what a may not have goes to the others by their weights"
    shares = bounded_shares({"a": 8.0, "b": 1.0, "c": 1.0}, {"b": 0.4}, {"a": 0.5})
    assert shares == pytest.approx({"a": 0.5, "b": 0.4, "c": 0.1})


@pytest.mark.parametrize(("floors", "caps"), [({"a": 0.7, "b": 0.7}, {}), ({}, {"a": 0.2, "b": 0.2}), ({"a": 0.5}, {"a": 0.4})])
def test_bounds_that_nothing_fits_are_refused(floors: dict[str, float], caps: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no shares"):
        bounded_shares({"a": 1.0, "b": 1.0}, floors, caps)


@pytest.mark.parametrize("weighting", list(Weighting))
def test_a_locked_task_gets_nothing_not_even_its_floor(weighting: Weighting) -> None:
    config = CurriculumConfig(weighting=weighting, floors={"a": 0.3, "c": 0.2}, unlock={"a": UnlockRule(["b"])})
    weights = task_weights({task: TaskEstimate() for task in "abc"}, config, locked=("a",))
    assert weights["a"] == 0.0 and weights["c"] >= 0.2, f"the floor of a locked task does not hold: {weights}"
    assert sum(weights.values()) == pytest.approx(1.0)
    assert list(weights) == ["a", "b", "c"], "the order of tasks decides what a seed draws"
