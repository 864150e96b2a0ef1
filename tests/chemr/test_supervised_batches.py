"""Which documents a supervised step trains on."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chemr.stages.supervised import batches


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 3))
def test_passes_are_even_and_no_step_holds_a_document_twice(documents: int, per_step: int, steps: int, seed: int) -> None:
    if per_step > documents:
        return
    seen: Counter[int] = Counter(dict.fromkeys(range(documents), 0))
    for batch in batches(documents, per_step, steps, seed):
        assert len(set(batch)) == per_step, "a step must hold different documents"
        seen.update(batch)
    assert max(seen.values()) - min(seen.values()) <= 1 + (per_step > documents // 2), f"documents are visited unevenly: {seen}"


def test_a_resumed_run_sees_the_batches_the_uninterrupted_one_would_have_seen() -> None:
    whole = list(batches(50, 8, 20, seed=3))
    assert list(islice(batches(50, 8, 20, seed=3), 11, None)) == whole[11:], "the plan is a function of the seed alone"
    assert whole != list(batches(50, 8, 20, seed=4)), "another seed gives another order"


def test_a_step_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="documents_per_step"):
        next(batches(3, 4, 1, seed=0))
