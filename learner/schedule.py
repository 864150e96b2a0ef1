"""Learning rate as a pure function of the step, so that a resumed run needs no scheduler state but the step."""

from __future__ import annotations

import math

from learner.config import OptimConfig, Schedule


def learning_rate(config: OptimConfig, step: int, total_steps: int) -> float:
    """Learning rate of update ``step`` (0-based) out of ``total_steps``.

    Warm-up is linear and its first update already moves: ``lr * (step + 1) / warmup_steps``. The decay runs from ``lr`` at the end of
    the warm-up to ``lr * min_lr_ratio`` at the last update and stays there for any later one.

    Raises:
        ValueError: ``step`` < 0 or ``total_steps`` < 1.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"step {step} of {total_steps} does not exist: steps count from 0 and a stage has at least one")
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == Schedule.constant:
        return config.lr
    decay_steps = max(1, total_steps - 1 - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / decay_steps)
    remaining = 1.0 - progress if config.schedule == Schedule.linear else 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.lr * (config.min_lr_ratio + (1.0 - config.min_lr_ratio) * remaining)
