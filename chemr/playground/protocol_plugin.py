"""Makes the check of steps a scorer. Imported by the scoring processes alone: elsewhere it would be a task that nobody asks."""

from __future__ import annotations

from chemr.playground.checks import PROTOCOL_TASK
from chemr.playground.step_scorer import check_steps
from rewards.registry import scorer

scorer(PROTOCOL_TASK)(check_steps)
