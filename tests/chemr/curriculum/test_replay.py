"""ether0's replay: what is kept, how often it is asked again, and that the buffer does not run dry."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chemr.curriculum.config import PromptSampling, PromptsConfig
from chemr.curriculum.replay import ReplayBuffer, stable_epsilon


def config(epsilon: float = 0.25, buffer: int = 256) -> PromptsConfig:
    return PromptsConfig(sampling=PromptSampling.replay, epsilon=epsilon, buffer=buffer)


def taken(buffer: ReplayBuffer, draws: int, seed: int = 0) -> Counter[str | None]:
    """What so many draws give, each put back at once."""
    generator, seen = random.Random(seed), Counter[str | None]()
    for _ in range(draws):
        prompt = buffer.take("t", "t", generator)
        seen[prompt] += 1
        if prompt is not None:
            buffer._kept["t"].append(prompt)
    return seen


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_at_the_bound_as_much_enters_the_buffer_as_leaves_it(fresh: float, replayed: float) -> None:
    epsilon = stable_epsilon(fresh, replayed)
    assert 0.0 <= epsilon <= 1.0
    enters, leaves = (1 - epsilon) * (1 - fresh), epsilon * replayed
    assert enters == pytest.approx(leaves, abs=1e-12) or (epsilon == 1.0 and leaves == 0.0), f"in {enters}, out {leaves} at {epsilon}"


def test_nothing_is_replayed_while_nothing_is_kept() -> None:
    assert set(taken(ReplayBuffer(config(epsilon=1.0)), 50)) == {None}


def test_a_prompt_whose_group_taught_something_is_asked_again_with_probability_epsilon() -> None:
    buffer = ReplayBuffer(config())
    for number in range(4):
        buffer.observe("t", "t", f"p{number}", trivial=False, replayed=False)
    seen = taken(buffer, 4000)
    assert 1 - seen[None] / 4000 == pytest.approx(0.25, abs=0.03), f"a quarter of the draws: {seen}"
    assert min(seen[f"p{number}"] for number in range(4)) > 180, f"all kept prompts alike: {seen}"


def test_a_prompt_leaves_when_it_is_asked_and_comes_back_only_if_it_still_teaches() -> None:
    buffer = ReplayBuffer(config(epsilon=1.0))
    buffer.observe("t", "t", "p", trivial=False, replayed=False)
    assert buffer.take("t", "t", random.Random(0)) == "p"
    assert buffer.take("t", "t", random.Random(0)) is None, "it is in flight"
    buffer.observe("t", "t", "p", trivial=False, replayed=True)
    assert buffer.take("t", "t", random.Random(0)) == "p"
    buffer.observe("t", "t", "p", trivial=True, replayed=True)
    assert buffer.take("t", "t", random.Random(0)) is None, "it is learnt, or hopeless by now"


def test_a_prompt_is_kept_once_and_the_oldest_goes_first() -> None:
    buffer = ReplayBuffer(config(buffer=3))
    for prompt in ("a", "b", "a", "c", "d"):
        buffer.observe("t", "t", prompt, trivial=False, replayed=False)
    assert set(taken(buffer, 300)) - {None} == {"a", "c", "d"}
    assert buffer.metrics()["curriculum/replay/kept"] == 3


def test_decks_do_not_mix() -> None:
    buffer = ReplayBuffer(config(epsilon=1.0))
    buffer.observe("hiv", "hiv/Yes", "y", trivial=False, replayed=False)
    assert buffer.take("hiv", "hiv/No", random.Random(0)) is None
    assert buffer.take("hiv", "hiv/Yes", random.Random(0)) == "y"


def test_epsilon_is_lowered_to_the_bound_of_the_task_and_told_once() -> None:
    buffer = ReplayBuffer(config())
    notices = []
    for number in range(400):
        notices += buffer.observe("hard", "hard", f"h{number}", trivial=number % 20 != 0, replayed=False)
        notices += buffer.observe("hard", "hard", f"r{number}", trivial=number % 2 == 0, replayed=True)
        notices += buffer.observe("good", "good", f"g{number}", trivial=number % 5 == 0, replayed=False)
    shares = {name.rpartition("/")[0].rpartition("/")[2]: value for name, value in buffer.metrics().items() if name.endswith("/hard")}
    assert shares["trivial_fresh"] == pytest.approx(0.95, abs=0.1) and shares["trivial_replayed"] == pytest.approx(0.5, abs=0.1)
    assert shares["epsilon"] == min(0.25, stable_epsilon(shares["trivial_fresh"], shares["trivial_replayed"])) < 0.25
    assert buffer.epsilon("good") == 0.25, "another task's trivial groups do not count here"
    assert buffer.metrics()["curriculum/replay/lowered"] == 1
    assert [notice.kind for notice in notices] == ["replay"] and "epsilon=0.25" in notices[0].text


def test_a_few_trivial_groups_at_the_start_do_not_lower_epsilon() -> None:
    buffer = ReplayBuffer(config())
    for number in range(9):
        buffer.observe("t", "t", str(number), trivial=True, replayed=False)
    assert buffer.epsilon("t") == 0.25, "nine groups are too few to tell"


def simulated(epsilon: float, guarded: bool, steps: int = 6000) -> list[int]:
    """Kept prompts over time when 90 % of fresh and 40 % of replayed groups are trivial: the bound is 0.2."""
    buffer = ReplayBuffer(config(epsilon, buffer=10_000))
    if not guarded:
        buffer.epsilon = lambda task: epsilon  # type: ignore[method-assign]
    generator, kept = random.Random(7), []
    for number in range(steps):
        again = buffer.take("t", "t", generator)
        trivial = generator.random() < (0.9 if again is None else 0.4)
        buffer.observe("t", "t", again or f"p{number}", trivial=trivial, replayed=again is not None)
        kept.append(int(buffer.metrics()["curriculum/replay/kept"]))
    return kept


def test_below_the_bound_the_buffer_grows_and_above_it_it_stays_empty_unless_guarded() -> None:
    assert simulated(0.1, guarded=True)[-1] > 200, "ε = 0.1 is stable"
    unguarded, guarded = simulated(0.6, guarded=False), simulated(0.6, guarded=True)
    assert max(unguarded[-1000:]) < 15, "ε = 0.6 uses up what is kept"
    assert sum(guarded[-1000:]) > 3 * sum(unguarded[-1000:]), "with the bound checked there is something to replay"


def test_a_checkpoint_restores_what_is_kept_and_estimated() -> None:
    original = ReplayBuffer(config())
    for number in range(60):
        original.observe("t", "t", f"p{number}", trivial=number % 7 != 0, replayed=number % 3 == 0)
    state = json.loads(json.dumps(original.state_dict()))
    restored = ReplayBuffer(config())
    restored.load_state_dict(state, {f"p{number}" for number in range(60)})
    assert restored.metrics() == original.metrics()
    assert taken(restored, 100) == taken(original, 100)
    assert restored.observe("t", "t", "x", trivial=True, replayed=False) == [], "what was told is not told again"
    smaller = ReplayBuffer(config(buffer=2))
    smaller.load_state_dict(state, {"p7", "p14", "p49"})
    assert smaller.state_dict()["kept"] == {"t": ["p14", "p49"]}, "prompts that the data lack, and the oldest beyond the size, are gone"
