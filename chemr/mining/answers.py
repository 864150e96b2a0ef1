"""Verdicts on completions by the hardened scorers, in processes that may be killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chemr.config import RewardsConfig
from chemr.mining.errors import MiningInputError
from chemr.mining.filters.claims import CLAIMS_TASK
from rewards.errors import ScorerPoolError
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.verdict import Reason, Verdict

_JOBS_AT_ONCE = 256
_CLAIMS_PLUGIN = "chemr.mining.filters.claims_plugin"


@contextmanager
def scorer_pool(config: RewardsConfig) -> Iterator[ScorerPool]:
    """The scorers of a run's reward workers, and the check of claims."""
    try:
        pool = ScorerPool(
            workers=config.processes,
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_mb << 20,
            opsin=config.opsin,
            grounding=config.grounding,
            plugins=(_CLAIMS_PLUGIN,),
        )
    except ScorerPoolError as error:
        raise MiningInputError(f"answers cannot be scored: {error}") from error
    with pool:
        assert CLAIMS_TASK in pool.tasks, f"{_CLAIMS_PLUGIN} registers {CLAIMS_TASK}"
        yield pool


def verdicts(pool: ScorerPool, jobs: Sequence[ScoreJob]) -> list[Verdict]:
    """In the order of ``jobs``; a text too large to be sent to a scorer is too long to be an answer."""
    found: list[Verdict] = []
    for start in range(0, len(jobs), _JOBS_AT_ONCE):
        found += _scored(pool, jobs[start : start + _JOBS_AT_ONCE])
    return found


def _scored(pool: ScorerPool, jobs: Sequence[ScoreJob]) -> list[Verdict]:
    try:
        return pool.score(jobs)
    except ValueError:
        if len(jobs) == 1:
            return [Verdict(0.0, Reason.TOO_LONG)]
        return [verdict for job in jobs for verdict in _scored(pool, [job])]
