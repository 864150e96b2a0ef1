"""A long series made short keeps what a person looks for."""

from __future__ import annotations

import numpy as np
import pytest

from chemr.report.thinning import bucket_edges, bucket_means, kept_points, moving_mean


@pytest.mark.parametrize("count", [5, 401, 1000, 99_999, 100_000])
@pytest.mark.parametrize("points", [4, 57, 400])
def test_the_ends_and_the_extremes_stay_and_the_rest_is_bounded(count: int, points: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    spike, dip = count // 3, count // 2
    values[spike], values[dip] = 50.0, -50.0
    kept = kept_points(values, points)
    assert kept.size <= points, f"{kept.size} points are more than {points}"
    assert (np.diff(kept) > 0).all(), "points have to stay in order"
    assert {0, count - 1, spike, dip} <= set(kept.tolist()), "an end or an extreme was thinned away"


def test_every_stretch_of_a_series_keeps_its_own_extremes() -> None:
    values = np.zeros(10_000)
    spikes = np.arange(50, 10_000, 100)
    values[spikes] = 1.0
    assert set(spikes.tolist()) <= set(kept_points(values, 250).tolist()), "a spike of a stretch was lost"


def test_short_series_stay_as_they_are_and_too_few_points_are_refused() -> None:
    assert kept_points(np.arange(7.0), 10).tolist() == list(range(7))
    assert kept_points(np.empty(0), 10).size == 0
    with pytest.raises(ValueError, match="at least 4"):
        kept_points(np.arange(7.0), 3)


def test_a_moving_mean_has_the_mean_of_what_is_there_at_the_ends() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert moving_mean(values, 3).tolist() == [1.5, 2.0, 3.0, 4.0, 4.5]
    assert moving_mean(values, 1).tolist() == values.tolist()


def test_means_of_buckets_leave_empty_ones_unknown() -> None:
    edges = bucket_edges(10, 29, 2)
    assert edges.tolist() == [10, 20, 30], "both ends have to lie inside"
    means = bucket_means(np.array([10, 19, 9, 30]), np.array([1.0, 3.0, 100.0, 100.0]), edges)
    assert means[0] == 2.0 and np.isnan(means[1])
