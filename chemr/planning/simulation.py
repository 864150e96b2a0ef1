"""A stage predicted: simulated as it is, or by a smaller cluster that stands for it."""

from __future__ import annotations

import math
from dataclasses import replace

from chemr.planning.scenario import Prediction, Setup
from chemr.planning.stage_simulation import StageSimulation
from chemr.planning.workload import Workload

MOST_GROUPS = 128  # a step that are simulated one by one; more are aggregated
MOST_ENGINES = 64


def aggregated(setup: Setup, most_groups: int) -> tuple[Setup, float]:
    """A smaller cluster that stands for a large one: of k equal engines one is simulated, with a k-th of the groups and reward processes.

    The learner's seconds, slots per engine and the window's share of the slots stay. Returns the setup and k (1 when nothing had to be
    aggregated: at most ``most_groups`` groups a step and MOST_ENGINES engines).
    """
    groups = setup.workload.groups_per_step
    wanted = max(groups / most_groups, setup.engines / MOST_ENGINES)
    if wanted <= 1.0:
        return setup, 1.0
    engines = max(1, math.ceil(setup.engines / wanted))
    scale = setup.engines / engines
    workload = replace(setup.workload, groups_per_step=max(1, round(groups / scale)))
    servers = max(1, round(setup.reward_servers / scale))
    return replace(setup, engines=engines, reward_servers=servers, workload=workload), scale


def simulate(setup: Setup, steps: int = 40, seed: int = 0, most_groups: int = MOST_GROUPS) -> Prediction:
    """Predict a stage. A cluster with more than ``most_groups`` groups a step is aggregated.

    The slowest of many samples is slower than the slowest of few, and a step waits for some of them. So an aggregate is simulated in two
    sizes, a fourth of it too, and the step time is continued along the expected longest sample of a step, which it follows.

    Raises:
        PlanError: no step gets full, e.g. because every group passes its deadline.
    """
    smaller, scale = aggregated(setup, most_groups)
    prediction = StageSimulation(smaller, seed).run(steps)
    if scale == 1.0:
        return prediction
    least, _ = aggregated(setup, max(4, most_groups // 4))
    fewest = StageSimulation(least, seed).run(steps)
    long, longer, longest = (_longest_of_step(each) for each in (least.workload, smaller.workload, setup.workload))
    slope = max(0.0, (prediction.step_s - fewest.step_s) / (longer - long)) if longer > long else 0.0
    step_s = prediction.step_s + slope * (longest - longer)
    slower = step_s / prediction.step_s
    ratio = setup.workload.groups_per_step / smaller.workload.groups_per_step / slower
    generation = (1.0 - prediction.idle_generators) * prediction.step_s  # the wait is with the generators still at work
    return replace(
        prediction,
        step_s=step_s,
        wait_s=prediction.wait_s + step_s - prediction.step_s,
        overlap_efficiency=max((generation + step_s - prediction.step_s) / step_s, prediction.train_s / step_s),
        idle_learner=max(0.0, 1.0 - prediction.train_s / step_s),
        trained_tokens_per_s=prediction.trained_tokens_per_s * ratio,
        generated_tokens_per_s=prediction.generated_tokens_per_s * ratio,
        aggregated=scale,
    )


def _longest_of_step(workload: Workload) -> float:
    return workload.lengths.expected_longest(workload.groups_per_step * workload.samples_per_group)
