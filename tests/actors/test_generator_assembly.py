"""From finished samples to groups: pure functions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actors.rollout_assembly import Sample, assemble_group, versions_per_token
from actors.trajectory import GroupRequest, Sampling


def a_request(samples: int) -> GroupRequest:
    return GroupRequest("u", "task", (1, 2, 3), {}, {"answer": ""}, Sampling(samples, 8), seed=0)


def test_spans_become_one_version_per_token() -> None:
    assert versions_per_token([(3, 0, 2), (4, 2, 3)], 3).tolist() == [3, 3, 4]
    assert versions_per_token([], 0).tolist() == []


@pytest.mark.parametrize("spans", [[], [(1, 0, 2)], [(1, 1, 3)], [(1, 0, 2), (2, 1, 3)], [(1, 0, 4)], [(1, 0, 3), (2, 3, 2)]])
def test_spans_that_do_not_tile_the_sample_are_refused(spans: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="version spans"):
        versions_per_token(spans, 3)


def test_a_group_says_which_versions_made_it_and_which_samples_are_unusable() -> None:
    samples = [
        Sample([5, 6], [-0.1, -0.2], [(7, 0, 1), (9, 1, 2)], "stop"),
        Sample([5], [-math.inf], [(8, 0, 1)], "length"),
        Sample([4], [math.nan], [(8, 0, 1)], "stop"),
    ]
    tokens, meta = assemble_group(a_request(3), samples, "g0", seconds=1.5)
    assert (meta.oldest_version, meta.newest_version) == (7, 9), "the range is over all tokens of the group"
    assert meta.nonfinite == (1, 2), "infinite and NaN log-probs must be named"
    assert meta.lengths == (2, 1, 1) and meta.truncated == 1 and meta.prompt_length == 3 and meta.generator == "g0"
    assert [v.tolist() for v in tokens.versions] == [[7, 9], [8], [8]]
    assert all(ids.dtype == np.int32 for ids in tokens.completion_ids) and all(p.dtype == np.float32 for p in tokens.logprobs)


def test_a_sample_that_ended_by_length_below_its_limit_was_cut() -> None:
    samples = [Sample([5] * 8, [-0.1] * 8, [(0, 0, 8)], "length"), Sample([5], [-0.1], [(0, 0, 1)], "length")]
    _, meta = assemble_group(a_request(2), samples, "g0", seconds=1.0)
    assert (meta.truncated, meta.cut) == (2, 1) and meta.cut_samples == (1,)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample([1, 2], [-0.1], [(0, 0, 2)], "stop"), "2 tokens but 1 log-probs"),
        (Sample([1], [-0.1], [(0, 0, 1)], "error"), "ended with 'error'"),
    ],
)
def test_a_sample_that_does_not_add_up_is_refused(sample: Sample, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assemble_group(a_request(1), [sample], "g0", 0.0)


def test_a_group_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="asked for 2 samples and got 0"):
        assemble_group(a_request(2), [], "g0", 0.0)
