"""The arithmetic of bounded staleness."""

import pytest

from actors.staleness import age_in_steps, max_age, slot_count, window_size


@pytest.mark.parametrize("groups", [1, 2, 3, 8, 64])
def test_synchronous_training_has_age_zero(groups: int) -> None:
    assert slot_count(groups, 0) == groups
    assert window_size(groups, 0, 1.0) == 1, "S = 0 must give groups out in strict order whatever the window fraction"
    assert max_age(groups, 0, 1.0) == 0


@pytest.mark.parametrize(
    ("groups", "steps", "fraction", "expected"), [(8, 1, 0.5, 2), (8, 1, 0.01, 1), (8, 2, 1.0, 5), (1, 3, 0.5, 4), (4, 1, 0.5, 2)]
)
def test_bound_is_the_published_formula(groups: int, steps: int, fraction: float, expected: int) -> None:
    assert max_age(groups, steps, fraction) == expected


@pytest.mark.parametrize(
    ("groups", "steps", "fraction", "named"),
    [(0, 1, 0.5, "groups_per_step"), (1, -1, 0.5, "off_policy_steps"), (1, 1, 0.0, "window_fraction"), (1, 1, 1.5, "window_fraction")],
)
def test_impossible_settings_are_refused_by_name(groups: int, steps: int, fraction: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        max_age(groups, steps, fraction)


def test_age_counts_the_steps_that_stand() -> None:
    assert age_in_steps(2, 5, []) == 3
    assert age_in_steps(2, 8, [(4, 7)]) == 3, "versions 5, 6 and 7 were lost or are the restored weights"
    assert age_in_steps(6, 8, [(4, 7)]) == 1, "a group made under undone weights"
    assert age_in_steps(2, 9, [(4, 7), (3, 8)]) == 2, "a second loss went back further"
