import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.batch import Completion, Document, split_documents
from learner.packing import length_buckets, packing_efficiency, plan_micro_batches


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 90), max_size=60), st.integers(1, 4), st.integers(1, 100))
def test_a_plan_covers_every_document_once_within_the_budget(counts, dp, budget):
    plan = plan_micro_batches(counts, dp, budget)
    assert len(plan) == dp, "one list per rank"
    assert sorted(index for rank in plan for batch in rank for index in batch) == list(range(len(counts))), "each document exactly once"
    assert len({len(rank) for rank in plan}) == 1, "equal numbers of micro-batches on all ranks, for the collectives"
    for rank in plan:
        for batch in rank:
            assert len(batch) == 1 or sum(counts[index] for index in batch) <= budget, "only a lone document may exceed the budget"


def test_the_plan_is_the_same_on_every_call():
    counts = np.random.default_rng(0).integers(1, 50, 40).tolist()
    assert plan_micro_batches(counts, 2, 128) == plan_micro_batches(counts, 2, 128), "ranks rely on deriving the same plan"


@pytest.mark.parametrize("dp", [1, 2, 4])
@pytest.mark.parametrize("budget", [2048, 4096])
def test_passes_are_full_for_long_tailed_lengths(dp, budget):
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = np.clip(rng.lognormal(5.2, 0.45, 128), 8, budget).astype(int).tolist()
        plan = plan_micro_batches(counts, dp, budget)
        assert packing_efficiency(plan, counts) >= 0.97, f"micro-batches must be nearly full: {packing_efficiency(plan, counts)}"


def test_ranks_are_balanced_and_passes_are_full():
    counts = np.random.default_rng(0).integers(20, 60, 200).tolist()
    plan = plan_micro_batches(counts, 2, 600)
    loads = [sum(counts[index] for batch in rank for index in batch) for rank in plan]
    assert max(loads) / min(loads) < 1.02, f"token loads per rank differ too much: {loads}"
    assert packing_efficiency(plan, counts) > 0.9, "micro-batches must be nearly full"


def test_what_is_left_for_the_last_round_is_shared_out():
    plan = plan_micro_batches([540] * 16, 2, 2048)
    assert [[len(batch) for batch in rank] for rank in plan] == [[3, 3, 2], [3, 3, 2]], "no rank waits for the other"


def test_no_round_is_spent_that_first_fit_decreasing_would_save():
    counts = [1200] * 4 + [800] * 4
    assert [len(rank) for rank in plan_micro_batches(counts, 1, 2000)] == [4], "each long document leaves room for one short one"


def test_similar_lengths_meet():
    plan = plan_micro_batches([100, 48, 99, 47, 49, 50], 1, 200)
    assert [sorted(batch) for batch in plan[0]] == [[0, 2], [1, 3, 4, 5]], "long documents belong together"


def test_fewer_documents_than_ranks_leave_empty_micro_batches():
    assert plan_micro_batches([5], 2, 10) == [[[0]], [[]]], "the second rank takes part with an empty micro-batch"


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        plan_micro_batches([1], 0, 10)
    with pytest.raises(ValueError, match="at least one token"):
        plan_micro_batches([0], 1, 10)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=50))
def test_buckets_hold_every_index_once_and_bound_the_padding(lengths):
    array = np.array(lengths, dtype=np.int64)
    buckets = length_buckets(array, waste=0.15)
    assert sorted(int(i) for bucket in buckets for i in bucket) == list(range(len(lengths))), "each index exactly once"
    for bucket in buckets:
        assert array[bucket].max() * len(bucket) <= 1.15 * array[bucket].sum() + 1e-9, "a bucket pads too much"


def test_a_group_above_the_budget_is_split_between_completions():
    completions = [Completion(np.arange(11)) for _ in range(5)]
    parts = split_documents([Document(np.arange(3), []), Document(np.arange(10), completions)][1:], budget=30)
    assert [(first, len(part.completions)) for _, first, part in parts] == [(0, 2), (2, 2), (4, 1)], (
        "two completions of 10 rows fit beside the prompt"
    )
    assert all(part.rows <= 30 for _, _, part in parts), "every part keeps the budget"


def test_a_group_within_the_budget_is_left_as_it_is():
    document = Document(np.arange(10), [Completion(np.arange(11)) for _ in range(2)])
    assert split_documents([document], budget=30)[0][2] is document, "nothing to split"
