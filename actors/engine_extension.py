"""What chemr adds to vLLM's worker processes: importing this module registers the *store* weight transport there.

vLLM imports :class:`WorkerExtension` as ``worker_extension_cls``, before the model is loaded, and mixes it into its worker class.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

import actors.weight_engine  # noqa: F401  # registers the transport
from actors.collective import Offer
from actors.sampler import CounterSampler
from actors.weight_file import layout_from_message

# tqdm's default lock is a named semaphore, which an engine that is killed would leave behind in /dev/shm. Nobody shares it here.
tqdm.set_lock(threading.RLock())


class WorkerExtension:
    """Methods are called through ``collective_rpc`` by name."""

    # Of the worker this is mixed into: rank is that among the engine's processes.
    model_runner: Any
    weight_transfer_engine: Any
    rank: int

    def use_counter_sampler(self) -> None:
        """Replaces the sampler of vLLM's V1 model runner (the CPU's)."""
        old = self.model_runner.sampler
        self.model_runner.sampler = CounterSampler(old.logprobs_mode, old.use_fp64_gumbel)

    def begin_broadcast(self, offer: Sequence[Any], first_rank: int, host: str, layout: Sequence[Sequence[Any]], digest: str) -> None:
        """Takes part in a broadcast, beside the sampling. ``offer``: the fields of :class:`Offer`; ``first_rank``: of this engine's."""
        self.weight_transfer_engine.receiver.begin(Offer(*offer), first_rank + self.rank, host, layout_from_message(layout), digest)

    def broadcast_outcome(self) -> str | None:
        """See :meth:`actors.weight_receiver.WeightReceiver.outcome`."""
        outcome: str | None = self.weight_transfer_engine.receiver.outcome()
        return outcome
