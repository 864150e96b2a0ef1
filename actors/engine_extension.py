"""What chemr adds to vLLM's worker processes: importing this module registers the *store* weight transport there.

vLLM imports :class:`WorkerExtension` as ``worker_extension_cls``, before the model is loaded, and mixes it into its worker class.
"""

from __future__ import annotations

import threading
from typing import Any

from tqdm import tqdm

import actors.weight_engine  # noqa: F401  # registers the transport
from actors.sampler import CounterSampler

# tqdm's default lock is a named semaphore, which an engine that is killed would leave behind in /dev/shm. Nobody shares it here.
tqdm.set_lock(threading.RLock())


class WorkerExtension:
    """Methods are called through ``collective_rpc`` by name."""

    model_runner: Any  # of the worker this is mixed into

    def use_counter_sampler(self) -> None:
        """Replaces the sampler of vLLM's V1 model runner (the CPU's)."""
        old = self.model_runner.sampler
        self.model_runner.sampler = CounterSampler(old.logprobs_mode, old.use_fp64_gumbel)
