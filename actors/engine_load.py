"""How loaded an engine is, as far as its scheduler tells: what the limit of samples in flight follows.

On the CPU :mod:`actors.rollout_scheduler` sends it with every finished sample; on a GPU vLLM's statistics do (:func:`stat_logger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LOAD_KEY = "engine_load"  # beside the weight spans in EngineCoreOutput.kv_transfer_params


@dataclass(slots=True)
class EngineLoad:
    """``cache_usage``: share of the key-value cache in use; ``preemptions``: samples thrown out for want of cache, since the start."""

    cache_usage: float = 0.0
    preemptions: int = 0


def stat_logger(load: EngineLoad, *, count_preemptions: bool) -> Any:
    """A factory for ``AsyncLLM(stat_loggers=...)`` that keeps ``load`` up to date.

    Where a weight update drops the caches it preempts every sample, and vLLM counts those like any other: then leave them out.
    """
    from vllm.v1.metrics.loggers import StatLoggerBase

    class LoadLogger(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            pass

        def record(self, scheduler_stats: Any, iteration_stats: Any, *args: Any, **kwargs: Any) -> None:
            if scheduler_stats is not None:
                load.cache_usage = float(scheduler_stats.kv_cache_usage)
            if count_preemptions and iteration_stats is not None:
                load.preemptions += int(iteration_stats.num_preempted_reqs)

        def log_engine_initialized(self) -> None:
            pass

    return LoadLogger
