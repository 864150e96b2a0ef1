"""How loaded an engine is, as far as its scheduler tells: what the limit of samples in flight follows.

On the CPU :mod:`actors.rollout_scheduler` sends it with every finished sample; on a GPU vLLM's statistics do (:func:`stat_logger`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from actors.decoding_pace import PaceMeter

LOAD_KEY = "engine_load"  # beside the weight spans in EngineCoreOutput.kv_transfer_params
STEPS_FILE = "steps"  # in the engine's folder


@dataclass(slots=True)
class EngineLoad:
    """``cache_usage``: share of the key-value cache in use; ``preemptions``: samples thrown out for want of cache, since the start;
    ``moments``: of its decoding steps (:mod:`actors.decoding_pace`), empty before the first.

    ``steps``: that vLLM's statistics told of since the start (on the CPU a :class:`StepCounter` knows).
    ``meter`` is filled where vLLM's statistics tell of the steps, on a GPU.
    """

    cache_usage: float = 0.0
    preemptions: int = 0
    moments: list[float] = field(default_factory=list)
    steps: int = 0
    meter: PaceMeter = field(default_factory=PaceMeter)


class StepCounter:
    """Counts the steps of an engine in eight bytes of shared memory: its process writes, its actor reads at any time.

    The scheduler on the CPU sends nothing before a sample is finished, so this is the only sign of life of an engine with long samples.
    """

    def __init__(self, path: Path) -> None:
        """Whoever comes first makes the file, with 0 in it."""
        with open(path, "ab") as file:
            if not file.tell():
                file.write(bytes(8))
        self._steps = np.memmap(path, dtype=np.int64, mode="r+", shape=(1,))

    def count(self) -> None:
        self._steps[0] += 1

    @property
    def value(self) -> int:
        return int(self._steps[0])


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
                load.steps += 1
                load.cache_usage = float(scheduler_stats.kv_cache_usage)
            if count_preemptions and iteration_stats is not None:
                load.preemptions += int(iteration_stats.num_preempted_reqs)
            if scheduler_stats is not None and iteration_stats is not None:
                load.meter.step(
                    time.monotonic(),
                    int(iteration_stats.num_generation_tokens),  # a sample that runs has one in each step
                    int(iteration_stats.num_prompt_tokens),
                    len(iteration_stats.finished_requests),
                    goes_on=scheduler_stats.num_running_reqs + scheduler_stats.num_waiting_reqs > 0,
                )
                load.moments = load.meter.moments()

        def log_engine_initialized(self) -> None:
            pass

    return LoadLogger
