"""What reward workers notice about a completion: taken where the tokens are, carried as plain numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.completion_traits import FORMAT, REPETITION, CompletionTraits, repeated_share
from actors.reward_worker import RewardWorker
from actors.trajectory import GroupTokens
from rewards.verdict import Reason, Verdict

FULL = "<think>count</think><answer>CCO</answer>"


@pytest.mark.parametrize(
    ("ids", "n", "share"),
    [
        ([1, 2, 3, 4], 2, 0.0),
        ([7, 7, 7, 7, 7], 2, 0.75),  # four bigrams, one distinct
        ([1, 2, 1, 2, 1], 2, 0.5),
        ([5, 5, 6], 1, 1 / 3),
        ([1, 2], 3, 0.0),
        ([], 4, 0.0),
    ],
)
def test_the_share_of_repeated_ngrams_is_counted_by_hand(ids: list[int], n: int, share: float) -> None:
    assert repeated_share(ids, n) == pytest.approx(share, abs=1e-15)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 5))
def test_the_share_equals_what_a_plain_loop_counts(ids: list[int], n: int) -> None:
    seen: list[tuple[int, ...]] = []
    repeated = 0
    for start in range(len(ids) - n + 1):
        gram = tuple(ids[start : start + n])
        repeated += gram in seen
        seen.append(gram)
    assert repeated_share(ids, n) == pytest.approx(repeated / len(seen) if seen else 0.0, abs=1e-12)


def test_only_what_is_asked_for_is_added_and_the_verdict_keeps_its_worth() -> None:
    verdict = Verdict(0.3, Reason.PARTIAL, {"tanimoto": 0.6}, seconds=0.1)
    assert CompletionTraits().added_to(verdict, FULL, [1, 1]) is verdict, "by default a verdict is passed on as it is"
    both = CompletionTraits(format=True, repetition_ngram=1).added_to(verdict, FULL, [1, 1])
    assert (both.value, both.reason, both.seconds) == (0.3, Reason.PARTIAL, 0.1)
    assert dict(both.parts) == {"tanimoto": 0.6, FORMAT: 1.0, REPETITION: 0.5}
    failed = CompletionTraits(format=True).added_to(Verdict(None, Reason.TIMEOUT), "", [])
    assert failed.value is None, "a failure stays a failure"


def test_a_reward_worker_adds_the_traits_of_each_sample_to_its_verdict() -> None:
    class Pool:
        def score(self, jobs: Any) -> list[Verdict]:
            scored.extend(job.completion for job in jobs)
            return [Verdict(1.0, Reason.CORRECT) for _ in jobs]

    scored: list[str] = []
    worker: Any = RewardWorker.__new__(RewardWorker)  # without its processes
    texts = [FULL, "<answer>CCO</answer>"]
    worker._tokenizer = SimpleNamespace(decode_batch=lambda ids, skip_special_tokens: texts)
    worker._opening = ""
    worker._pool, worker._traits = Pool(), CompletionTraits(format=True, repetition_ngram=2)
    ids = [np.array([1, 2, 3], np.int32), np.array([4, 4, 4], np.int32)]
    tokens = GroupTokens("p#0", np.array([9], np.int32), ids, [], [], ["stop", "stop"])
    verdicts, brought = worker.score(tokens, "forward", {}, {}, want_texts=False)
    assert [dict(verdict.parts) for verdict in verdicts] == [{FORMAT: 1.0, REPETITION: 0.0}, {FORMAT: 0.0, REPETITION: 0.5}]
    assert brought == [], "numbers travel, texts stay"
    scored.clear()
    verdicts, brought = worker.score(tokens, "forward", {}, {}, want_texts=True, blind=["CCN"])
    assert scored == [*texts, "<answer>CCN</answer>"] and brought == texts, "a question-blind answer is scored beside, and is no sample"
    assert [bool(verdict.parts) for verdict in verdicts] == [True, True, False]
