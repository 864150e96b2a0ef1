"""Which task the next prompt comes from, and which prompt of that task. For researchers: docs/curriculum.md.

    config.py           every setting, and what cannot be
    task_curriculum.py  success estimates → weights → the next task; put together from
        estimates.py      estimates that correct for the age of the policy, and what their course says (rise, turns)
        weights.py        the four weightings, and shares with floors and caps
        unlocking.py      the task graph
        alerts.py         tasks that stall, regress or oscillate
    prompt_cursor.py    a shuffled deck of each task's prompts
    prompt_sampler.py   decks, or prompts asked before: replay.py (ether0), pass_rates.py (Gaussian)
    outcome.py          what both samplers are told of a group
    recording.py, simulation.py, simulate_command.py    the simulator

All of it is pure and checkpointable: nothing here knows of Ray, models or time. The stage driver draws and feeds back, always in
submission order, so that a synchronous run (S = 0) is a pure function of its seed.
"""

from chemr.curriculum.config import CurriculumConfig, Weighting
from chemr.curriculum.prompt_cursor import PromptCursor
from chemr.curriculum.task_curriculum import TaskCurriculum

__all__ = ["CurriculumConfig", "PromptCursor", "TaskCurriculum", "Weighting"]
