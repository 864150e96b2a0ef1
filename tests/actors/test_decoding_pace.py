"""What a decoding step costs, found from the steps an engine did."""

from __future__ import annotations

import numpy as np
import pytest

from actors.decoding_pace import FEWEST_STEPS, MEMORY_STEPS, DecodingPace, PaceMeter, pace_of


def measured(steps: list[tuple[int, int, float]], meter: PaceMeter | None = None, end_s: float = 0.0) -> PaceMeter:
    """A meter after steps of (samples, prompt tokens, seconds) without a gap; each sample that ended takes ``end_s`` of the next step."""
    meter, now, ended_before = meter or PaceMeter(), 0.0, 0
    meter.interrupt()
    meter.step(now, 0, 0, 0, goes_on=True)
    for number, (samples, prompt_tokens, seconds) in enumerate(steps):
        arrived = steps[number + 1][1] // 14 if number + 1 < len(steps) else 0
        ended = max(0, samples + arrived - steps[number + 1][0]) if number + 1 < len(steps) else 0
        now += seconds + end_s * ended_before
        meter.step(now, samples, prompt_tokens, ended, goes_on=True)
        ended_before = ended
    return meter


def bursts(number: int, step_s: float, sample_s: float, prompt_token_s: float, noise: float = 0.0) -> list[tuple[int, int, float]]:
    """As rollouts come: groups of 8 with prompts of 15 tokens now and then, samples that end one after the other."""
    rng, running, steps = np.random.default_rng(3), 0, []
    for _ in range(number):
        running -= int(rng.binomial(running, 0.04))
        arrived = 8 * int(rng.poisson(0.6)) if running < 200 else 0
        running += arrived
        if running:
            exact = step_s + sample_s * running + prompt_token_s * 14 * arrived
            steps.append((running, 14 * arrived, exact * float(rng.lognormal(0.0, noise))))
    return steps


def found(meter: PaceMeter) -> DecodingPace:
    pace = pace_of(meter.moments())
    assert pace is not None
    return pace


def test_the_cost_of_a_step_a_sample_a_prompts_token_and_a_samples_end_is_found() -> None:
    steps = bursts(3000, 0.0027, 0.0001, 0.00002)
    pace = found(measured(steps))
    assert (pace.step_s, pace.sample_s, pace.prompt_token_s) == pytest.approx((0.0027, 0.0001, 0.00002), rel=1e-6)
    ends = found(measured(steps, end_s=0.0003))
    assert (ends.step_s, ends.sample_s, ends.end_s) == pytest.approx((0.0027, 0.0001, 0.0003), rel=1e-6)
    noisy = found(measured(bursts(3000, 0.0027, 0.0001, 0.00002, noise=0.3)))
    assert noisy.sample_s == pytest.approx(0.0001, rel=0.1) and noisy.step_s == pytest.approx(0.0027, rel=0.15), "noise of 30 % a step"


def test_a_few_long_steps_do_not_decide_alone() -> None:
    """After a burst all samples are young and cheap; steps as long as those are few, but carry most of a plain sum of squares."""
    ordinary = bursts(2000, 0.003, 0.0001, 0.0)
    young = [(160, 0, 0.003 + 0.00006 * 160)] * 100
    steps = [step for n, one in enumerate(ordinary) for step in ([one, young[n // 20]] if n % 20 == 0 else [one])]
    columns = np.array([(1.0, samples, seconds) for samples, _, seconds in steps[-1000:]])
    plain = float(np.linalg.lstsq(columns[:, :2], columns[:, 2], rcond=None)[0] @ (1.0, 20.0))
    pace = found(measured(steps)).seconds(20, 0, 0)
    assert abs(pace - 0.005) < 0.6 * abs(plain - 0.005), f"5 ms with 20 samples: {1e3 * pace:.2f} ms; by plain squares {1e3 * plain:.2f} ms"


def test_means_are_those_of_the_steps() -> None:
    pace = found(measured([(4, 0, 0.01), (8, 0, 0.03)] * 60))
    assert pace.samples == pytest.approx(6.0, abs=0.02) and pace.mean_s == pytest.approx(0.02, rel=0.01)


def test_nothing_is_negative_and_what_cannot_be_told_apart_is_still_the_mean() -> None:
    falling = found(measured([(4, 0, 0.02), (40, 0, 0.01)] * 100))
    assert min(falling.step_s, falling.sample_s, falling.prompt_token_s) >= 0.0, "a slope below 0 is noise"
    assert falling.sample_s == 0.0 and 0.01 < falling.step_s < 0.02, "without the slope a mean of the steps is left"
    alike = found(measured([(10, 0, 0.02)] * 100))
    assert alike.step_s + 10 * alike.sample_s == pytest.approx(0.02), "steps that are all alike still add up"


def test_a_gap_without_work_or_for_new_weights_belongs_to_no_step() -> None:
    meter = measured([(10, 0, 0.02)] * 100)
    meter.step(3.0, 10, 0, 0, goes_on=False)  # a step, and then nothing to do
    before = meter.moments()
    meter.step(900.0, 10, 0, 0, goes_on=True)
    assert meter.moments() == before, "the engine was idle for 897 s: no step took that long"
    meter.interrupt()
    meter.step(1800.0, 10, 0, 0, goes_on=True)
    assert meter.moments() == before, "the weights were being changed"


def test_what_was_long_ago_is_forgotten_and_too_little_says_nothing() -> None:
    meter = measured([(10, 0, 0.5)] * 200)
    assert found(measured([(10, 0, 0.02)] * (7 * MEMORY_STEPS), meter)).mean_s == pytest.approx(0.02, rel=0.05)
    assert pace_of(measured([(10, 0, 0.02)] * (FEWEST_STEPS - 1)).moments()) is None
