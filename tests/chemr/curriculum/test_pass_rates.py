"""Prompts by their pass rate: near the target more often, unseen ones through the deck."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest

from chemr.curriculum.config import PromptSampling, PromptsConfig
from chemr.curriculum.pass_rates import PassRates


def rates(**settings: float) -> PassRates:
    sampler = PassRates(PromptsConfig(sampling=PromptSampling.gaussian, **settings), age_decay=0.7)
    for prompt, success in (("never", 0.0), ("seldom", 0.25), ("half", 0.5), ("always", 1.0)):
        sampler.observe("t", prompt, success, age=0)
    return sampler


def draws(sampler: PassRates, number: int, rows: int = 4) -> Counter[str | None]:
    generator = random.Random(0)
    return Counter(sampler.draw("t", rows, generator) for _ in range(number))


@pytest.mark.parametrize("width", [0.2, 0.05])
def test_prompts_are_drawn_by_the_gaussian_of_their_distance_to_the_target(width: float) -> None:
    seen = draws(rates(width=width), 6000)
    rates_of = {"never": 0.0, "seldom": 0.25, "half": 0.5, "always": 1.0}
    weights = {prompt: math.exp(-((p - 0.5) ** 2) / (2 * width**2)) for prompt, p in rates_of.items()}
    for prompt, weight in weights.items():
        assert seen[prompt] / 6000 == pytest.approx(weight / sum(weights.values()), abs=0.02), f"{prompt}: {seen}"


def test_far_from_the_target_the_nearest_still_win() -> None:
    sampler = PassRates(PromptsConfig(sampling=PromptSampling.gaussian, target=1.0, width=0.01), age_decay=0.7)
    for prompt, success in (("worst", 0.0), ("better", 0.1)):
        sampler.observe("t", prompt, success, age=0)
    assert set(draws(sampler, 20, rows=2)) == {"better"}, "weights that round to 0 must not stop the draw"


def test_while_prompts_are_unseen_only_a_share_epsilon_goes_to_known_ones() -> None:
    seen = draws(rates(epsilon=0.25), 4000, rows=5)
    assert seen[None] / 4000 == pytest.approx(0.75, abs=0.03), "the others go on through the deck"
    assert draws(rates(epsilon=0.25), 500, rows=4)[None] == 0, "once all are seen, all draws are by pass rate"
    assert PassRates(PromptsConfig(), 0.7).draw("t", 3, random.Random(0)) is None, "nothing is known yet"


def test_an_estimate_follows_its_prompt_and_an_old_policy_counts_less() -> None:
    fresh, stale = rates(), rates()
    fresh.observe("t", "never", 1.0, age=0)
    stale.observe("t", "never", 1.0, age=4)
    moved = [dict((p, r) for p, r, _ in sampler.state_dict()["t"])["never"] for sampler in (fresh, stale)]
    assert moved[0] == 0.5 and moved[1] < 0.2, f"the first two groups are averaged; four versions old they count a quarter: {moved}"


def test_a_checkpoint_restores_estimates_and_leaves_out_what_the_data_lack() -> None:
    original = rates()
    restored = PassRates(PromptsConfig(sampling=PromptSampling.gaussian), age_decay=0.7)
    state = json.loads(json.dumps(original.state_dict()))
    restored.load_state_dict(state, dict.fromkeys(("never", "seldom", "half", "always"), "t"))
    assert draws(restored, 200) == draws(original, 200)
    restored.load_state_dict(state, {"half": "t"})
    assert restored.metrics() == {"curriculum/prompts/seen": 1.0}
