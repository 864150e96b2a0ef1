"""Counter-based sampling: the bookkeeping of batch rows, and the distribution that is drawn from."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

from actors.sampler import SEED_KEY, CounterSampler, SampleSeeds, position_seeds


def params(seed: int) -> SamplingParams:
    return SamplingParams(temperature=1.0, extra_args={SEED_KEY: seed})


def followed() -> SampleSeeds:
    return SampleSeeds(None, torch.device("cpu"), False)  # type: ignore[arg-type]


def test_seeds_of_positions_are_distinct_non_negative_and_pure() -> None:
    seeds = np.repeat(np.arange(200, dtype=np.uint64) + np.uint64(2**63 - 100), 50)
    positions = np.tile(np.arange(50, dtype=np.uint64), 200)
    drawn = position_seeds(seeds, positions)
    assert len(set(drawn.tolist())) == len(drawn), "neighbouring samples and positions must not share noise"
    assert drawn.min() >= 0, "vLLM's kernel takes signed seeds"
    assert np.array_equal(drawn[7:9], position_seeds(seeds[7:9], positions[7:9])), "a seed must not depend on its company"


def test_rows_follow_their_samples_through_random_additions_removals_and_moves() -> None:
    rng = random.Random(0)
    table, rows = followed(), {}
    for step in range(300):
        removed = rng.sample(sorted(rows), k=rng.randint(0, len(rows)) // 2)
        for index in removed:
            del rows[index]
        added: list[Any] = []
        for _ in range(rng.randint(0, 3)):
            index = next(i for i in range(99) if i not in rows)
            output = [0] * rng.randint(0, 5)
            rows[index] = (step * 100 + len(added), output)
            added.append((index, params(rows[index][0]), None, output))
        moved: list[Any] = []
        for target in range(len(rows)):  # condense as vLLM does: fill holes from the end
            if target not in rows:
                source = max(rows)
                rows[target] = rows.pop(source)
                moved.append((source, target, MoveDirectionality.UNIDIRECTIONAL))
        if len(rows) >= 2 and rng.random() < 0.3:
            a, b = rng.sample(sorted(rows), k=2)
            rows[a], rows[b] = rows[b], rows[a]
            moved.append((a, b, MoveDirectionality.SWAP))
        table.update_state(BatchUpdate(batch_size=len(rows), removed=removed, added=added, moved=moved))
        for _, output in rows.values():
            output.append(1)
        expected = [
            position_seeds(np.array([s], np.uint64), np.array([len(o)], np.uint64))[0] for s, o in (rows[i] for i in range(len(rows)))
        ]
        assert table.next_seeds(len(rows)).tolist() == expected, f"every row must have the seed of its own sample (step {step})"


def test_a_sampled_request_without_a_seed_is_refused_and_a_greedy_one_is_not() -> None:
    with pytest.raises(ValueError, match=SEED_KEY):
        SampleSeeds.validate_params(SamplingParams(temperature=1.0))
    SampleSeeds.validate_params(SamplingParams(temperature=0.0))


def metadata(table: SampleSeeds, temperature: torch.Tensor, **changes: Any) -> Any:
    greedy = temperature < 1e-5
    fields = dict(
        temperature=temperature, all_greedy=bool(greedy.all()), all_random=not bool(greedy.any()), top_k=None, top_p=None,
        max_num_logprobs=0, logitsprocs=SimpleNamespace(argmax_invariant=[table]),
    )  # fmt: skip
    return SimpleNamespace(**(fields | changes))


def test_tokens_are_drawn_from_the_softmax_after_temperature() -> None:
    draws, temperature = 40_000, 0.7
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    table = followed()
    table.update_state(BatchUpdate(draws, [], [(i, params(i), None, []) for i in range(draws)], []))
    tokens, logprobs = CounterSampler("processed_logprobs").sample(
        logits.repeat(draws, 1), metadata(table, torch.full((draws,), temperature))
    )
    expected = torch.log_softmax(logits / temperature, -1)
    assert logprobs is not None and torch.allclose(logprobs[0], expected, atol=1e-6), "log-probs must be those after temperature"
    counts = torch.bincount(tokens, minlength=5).double()
    chi2 = float(((counts - draws * expected.exp()) ** 2 / (draws * expected.exp())).sum())
    assert chi2 < 18.5, f"the draws must follow the softmax: chi² = {chi2:.1f} at 4 degrees of freedom has p < 0.001"


def test_greedy_rows_take_the_maximum_beside_sampled_ones() -> None:
    table = followed()
    table.update_state(BatchUpdate(2, [], [(0, params(3), None, []), (1, params(4), None, [])], []))
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 0.0, 0.0]])
    tokens, _ = CounterSampler("processed_logprobs").sample(logits, metadata(table, torch.tensor([0.0, 1.0])))
    assert int(tokens[0]) == 1, "temperature 0 is greedy"


def test_top_p_leaves_the_likeliest_tokens_and_rows_without_it_as_they_are() -> None:
    draws = 20_000
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    table = followed()
    table.update_state(BatchUpdate(2 * draws, [], [(i, params(i), None, []) for i in range(2 * draws)], []))
    top_p = torch.tensor([0.7] * draws + [1.0] * draws)
    tokens, logprobs = CounterSampler("processed_logprobs").sample(
        logits.repeat(2 * draws, 1), metadata(table, torch.ones(2 * draws), top_p=top_p)
    )
    assert logprobs is not None
    expected = torch.tensor([0.625, 0.375, 0.0, 0.0])
    assert torch.allclose(logprobs[0].exp(), expected, atol=1e-6), "log-probs are those of what is left of the distribution"
    assert torch.allclose(logprobs[-1], logits, atol=1e-6), "a row with top_p = 1 keeps its distribution"
    shares = torch.bincount(tokens[:draws], minlength=4) / draws
    assert torch.allclose(shares, expected, atol=0.02) and shares[2:].sum() == 0, f"the draws must follow it, too: {shares.tolist()}"
    assert len(set(tokens[draws:].tolist())) == 4


def test_top_k_is_refused() -> None:
    table = followed()
    with pytest.raises(NotImplementedError, match="behaviour distribution"):
        CounterSampler("processed_logprobs").sample(torch.zeros(1, 3), metadata(table, torch.ones(1), top_k=torch.ones(1)))
