"""From what vLLM returns for the samples of a group to what travels on: pure functions over plain sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.trajectory import FloatArray, GroupMeta, GroupRequest, GroupTokens, IntArray

FINISH_REASONS = frozenset({"stop", "length", "abort"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished sample.

    ``token_ids`` and ``logprobs`` have length L ≥ 0; ``spans`` are (weight version, start, end) with start/end in tokens, contiguous.
    """

    token_ids: Sequence[int]
    logprobs: Sequence[float]
    spans: Sequence[tuple[int, int, int]]
    finish: str


def versions_per_token(spans: Sequence[tuple[int, int, int]], length: int) -> IntArray:
    """Expands version spans to one version per token.

    Raises:
        ValueError: when the spans do not tile [0, length) in order. A token of unknown version must never be trained on.
    """
    versions = np.empty(length, dtype=np.int32)
    position = 0
    for version, start, end in spans:
        if start != position or end < start or end > length:
            raise ValueError(f"version spans {list(spans)} do not tile the {length} tokens of the sample in order")
        versions[start:end] = version
        position = end
    if position != length:
        raise ValueError(f"version spans {list(spans)} end at {position}, the sample has {length} tokens")
    return versions


def assemble_group(request: GroupRequest, samples: Sequence[Sample], generator: str, seconds: float) -> tuple[GroupTokens, GroupMeta]:
    """Puts the samples of one group together.

    Raises:
        ValueError: for a sample whose log-probs, versions and tokens differ in number, an unknown finish reason, or a wrong group size.
    """
    if len(samples) != request.sampling.samples:
        raise ValueError(f"group {request.uid!r} asked for {request.sampling.samples} samples and got {len(samples)}")
    logprobs: list[FloatArray] = []
    versions: list[IntArray] = []
    for index, sample in enumerate(samples):
        if len(sample.logprobs) != len(sample.token_ids):
            raise ValueError(f"sample {index} of {request.uid!r}: {len(sample.token_ids)} tokens but {len(sample.logprobs)} log-probs")
        if sample.finish not in FINISH_REASONS:
            raise ValueError(f"sample {index} of {request.uid!r} ended with {sample.finish!r}; known: {sorted(FINISH_REASONS)}")
        logprobs.append(np.asarray(sample.logprobs, dtype=np.float32))
        versions.append(versions_per_token(sample.spans, len(sample.token_ids)))
    tokens = GroupTokens(
        uid=request.uid,
        prompt_ids=np.asarray(request.prompt_ids, dtype=np.int32),
        completion_ids=[np.asarray(sample.token_ids, dtype=np.int32) for sample in samples],
        logprobs=logprobs,
        versions=versions,
        finish=[sample.finish for sample in samples],
    )
    seen = [version for sample in samples for version, start, end in sample.spans if end > start]
    meta = GroupMeta(
        uid=request.uid,
        generator=generator,
        lengths=tuple(len(sample.token_ids) for sample in samples),
        prompt_length=len(request.prompt_ids),
        oldest_version=min(seen, default=-1),
        newest_version=max(seen, default=-1),
        truncated=sum(sample.finish == "length" for sample in samples),
        nonfinite=tuple(index for index, values in enumerate(logprobs) if not bool(np.isfinite(values).all())),
        seconds=seconds,
        cut_samples=tuple(
            index
            for index, sample in enumerate(samples)
            if sample.finish == "length" and len(sample.token_ids) < request.sampling.max_new_tokens
        ),
    )
    return tokens, meta
