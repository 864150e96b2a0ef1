"""Counter-based sampling for vLLM's CPU engine: the noise of a token is a pure function of (sample seed, position).

vLLM's own per-request seeds keep one ``torch.Generator`` per sample. On the CPU that is slow (a Python loop over the batch at every step)
and unsafe: when a prompt is cut into chunks, vLLM 0.32 rewinds the generator with ``set_offset``, which CPU generators refuse, and the
engine dies. Here position t of a sample draws its Gumbel noise from the seed ``mix(seed + t·φ)``: nothing is stored, nothing is rewound,
neither the company in the batch nor a preemption can change a sample, and a batch is seeded by one vectorised expression.

:class:`SampleSeeds` is a vLLM logits processor that only follows which sample sits in which row of the batch. :class:`CounterSampler`
replaces the model runner's sampler. On a GPU vLLM's model runner V2 samples this way itself and none of this is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch
from vllm.v1.sample.sampler import Sampler

SEED_KEY = "sample_seed"  # in SamplingParams.extra_args
GREEDY_BELOW = 1e-5  # temperature; vLLM's own limit

_PHI = np.uint64(0x9E3779B97F4A7C15)


def position_seeds(seeds: npt.NDArray[np.uint64], positions: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Seeds of single tokens: SplitMix64 (Steele, Lea, Flood 2014) at step ``position`` of the stream of ``seed``. [B], in [0, 2⁶³)."""
    mixed = seeds + (positions + np.uint64(1)) * _PHI
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


class SampleSeeds(LogitsProcessor):
    """Follows the rows of the running batch; changes no logits. Row i holds a seed and the list vLLM appends the sample's tokens to."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._rows: dict[int, tuple[int, list[int]]] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Raises ValueError for a request whose tokens could not be drawn again."""
        if sampling_params.temperature >= GREEDY_BELOW and SEED_KEY not in (sampling_params.extra_args or {}):
            raise ValueError(f"a request with temperature {sampling_params.temperature} needs extra_args[{SEED_KEY!r}]")

    def is_argmax_invariant(self) -> bool:
        return True

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Removed, added, moved: in this order, as vLLM prescribes."""
        if batch_update is None:
            return
        rows = self._rows
        for index in batch_update.removed:
            rows.pop(index, None)
        for index, params, _, output_ids in batch_update.added:
            rows[index] = ((params.extra_args or {}).get(SEED_KEY, 0), output_ids)
        for source, target, direction in batch_update.moved:
            moving, displaced = rows.pop(source, None), rows.pop(target, None)
            if moving is not None:
                rows[target] = moving
            if displaced is not None and direction == MoveDirectionality.SWAP:
                rows[source] = displaced

    def next_seeds(self, batch: int) -> torch.Tensor:
        """int64 [batch]: the seed of the token each row is about to draw."""
        rows = [self._rows[index] for index in range(batch)]
        seeds = np.array([seed for seed, _ in rows], dtype=np.uint64)
        positions = np.array([len(output_ids) for _, output_ids in rows], dtype=np.uint64)
        return torch.from_numpy(position_seeds(seeds, positions))


class CounterSampler(Sampler):
    """vLLM's sampler with counter-based noise and without the rank of the sampled token, which nobody asks for."""

    def sample(
        self, logits: torch.Tensor, sampling_metadata: SamplingMetadata, logprobs_mode_override: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Draws one token per row.

        Args:
            logits: float32 [B, V]; overwritten.
            sampling_metadata: of the batch. Top-p (of a teacher's requests) cuts a row's distribution before its token is drawn, and
                log-probs are those of what is left. Top-k is refused.

        Returns:
            Tokens [B] and log-probs after temperature and top-p [B, V], or None when no request wants any.
        """
        if sampling_metadata.top_k is not None:
            raise NotImplementedError("top_k is not available: nobody asks for it, and it changes the behaviour distribution")
        greedy = None if sampling_metadata.all_random else self.greedy_sample(logits)
        if not sampling_metadata.all_greedy:
            assert sampling_metadata.temperature is not None
            logits = self.apply_temperature(logits, sampling_metadata.temperature, sampling_metadata.all_random)
            if sampling_metadata.top_p is not None:
                logits = apply_top_k_top_p_pytorch(logits, None, sampling_metadata.top_p, allow_cpu_sync=True)
        logprobs = logits.log_softmax(dim=-1) if sampling_metadata.max_num_logprobs is not None else None
        if sampling_metadata.all_greedy:
            assert greedy is not None
            return greedy, logprobs
        (seeds,) = (p for p in sampling_metadata.logitsprocs.argmax_invariant if isinstance(p, SampleSeeds))
        drawn = torch.ops._C.fused_gumbel_argmax(logits, seeds.next_seeds(logits.shape[0]))
        if greedy is not None:
            drawn = torch.where(sampling_metadata.temperature < GREEDY_BELOW, greedy, drawn)
        return drawn, logprobs

    @staticmethod
    def gather_logprobs(logprobs: torch.Tensor, num_logprobs: int, token_ids: torch.Tensor) -> LogprobsTensors:
        """The log-prob of ``token_ids`` [N] in ``logprobs`` [N, V]; ranks are 0. More than that falls back to vLLM."""
        if num_logprobs != 0:
            return Sampler.gather_logprobs(logprobs, num_logprobs, token_ids)
        chosen = token_ids.unsqueeze(-1)
        return LogprobsTensors(chosen.to(torch.int32), logprobs.gather(-1, chosen), torch.zeros(len(token_ids), dtype=torch.int32))
