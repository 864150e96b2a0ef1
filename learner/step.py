"""From a list of documents to the micro-batches of one rank: everything about a step that is known before the first forward pass.

Per-token quantities of the whole step live in flat arrays ordered by document, completion, position (axis ``A``, all targets of all ranks);
a micro-batch knows which of those targets are its own. A loss weighted with :func:`token_weights` sums to the mean over the *global* batch,
so neither micro-batch size, packing nor the number of ranks changes the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learner.batch import Completion, Document, PackedBatch, Rows, pack, split_documents
from learner.config import Aggregation
from learner.packing import packing_efficiency, plan_micro_batches

Floats = npt.NDArray[np.float32]


@dataclass(slots=True)
class MicroBatch:
    """``token_A``: int64 [N], the targets of this micro-batch in the step's flat order.

    ``phantom``: there was nothing left for this rank in this round. It computes a copy of the first document, because collectives need
    every rank, and its loss must be multiplied by 0.
    """

    packed: PackedBatch
    token_A: Tensor
    phantom: bool


@dataclass(slots=True)
class Step:
    """The share of one rank, and totals over all ranks.

    Attributes:
        lengths_C: tokens of every completion of the step, in flat order.
        rows: rows of all micro-batches of all ranks.
        efficiency: see packing.packing_efficiency.
    """

    micro_batches: list[MicroBatch]
    lengths_C: Rows
    rows: int
    efficiency: float

    @property
    def tokens(self) -> int:
        return int(self.lengths_C.sum())


def plan_step(documents: Sequence[Document], rank: int, ranks: int, budget: int, max_positions: int) -> Step:
    """Packs this rank's share of ``documents`` in micro-batches of at most ``budget`` rows.

    Raises:
        ValueError: there is nothing to compute, or a document is malformed or too long.
    """
    if not documents:
        raise ValueError("there is no document to compute: the step is empty")
    for document in documents:
        document.check(max_positions)
    lengths_C = np.array([len(completion.ids) for document in documents for completion in document.completions], dtype=np.int64)
    token_start_C = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths_C)])
    first_completion = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum([len(document.completions) for document in documents])])
    parts = split_documents(documents, budget)
    rows = [part.rows for _, _, part in parts]
    plan = plan_micro_batches(rows, ranks, budget)

    def targets(index: int) -> Rows:
        number, first, part = parts[index]
        completion = int(first_completion[number]) + first
        return np.arange(token_start_C[completion], token_start_C[completion + len(part.completions)])

    micro_batches = []
    for members in plan[rank]:
        chosen = members or [0]
        packed = pack([parts[index][2] for index in chosen])
        token_A = torch.from_numpy(np.concatenate([targets(index) for index in chosen]))
        micro_batches.append(MicroBatch(packed, token_A, phantom=not members))
    return Step(micro_batches, lengths_C, sum(rows), packing_efficiency(plan, rows))


def token_weights(lengths_C: Rows, aggregation: Aggregation, constant_length: int = 1) -> Floats:
    """Weight of every token [A] such that the sum of weighted token losses over all ranks is the step's loss.

    * token_mean: 1 / total tokens (DAPO, arXiv:2503.14476).
    * sequence_mean: 1 / (sequences * tokens of the sequence) (GRPO, arXiv:2402.03300).
    * constant: 1 / (sequences * constant_length) (Dr. GRPO, arXiv:2503.20783).
    """
    sequences = len(lengths_C)
    if aggregation == Aggregation.token_mean:
        per_completion = np.full(sequences, 1.0 / max(1, int(lengths_C.sum())))
    elif aggregation == Aggregation.sequence_mean:
        per_completion = 1.0 / (sequences * np.maximum(lengths_C, 1))
    else:
        per_completion = np.full(sequences, 1.0 / (sequences * constant_length))
    return np.repeat(per_completion, lengths_C).astype(np.float32)


def token_advantages(documents: Sequence[Document], lengths_C: Rows) -> Floats:
    """The advantage of each token's sample, [A]."""
    return np.repeat([c.advantage for document in documents for c in document.completions], lengths_C).astype(np.float32)


def token_behaviour(documents: Sequence[Document]) -> Floats | None:
    """Behaviour log-probs [A]; None if no completion has any.

    Raises:
        ValueError: some completions have them and others not.
    """
    arrays = [c.behaviour_logprobs for document in documents for c in document.completions]
    present = [array for array in arrays if array is not None]
    if not present:
        return None
    if len(present) != len(arrays):
        raise ValueError(f"{len(arrays) - len(present)} of {len(arrays)} completions lack behaviour log-probs: give them for all or none")
    return np.concatenate(present).astype(np.float32)


def reject_nonfinite(documents: Sequence[Document]) -> tuple[list[Document], int]:
    """Leaves out the completions with a non-finite behaviour log-prob (or advantage), and says how many there were."""
    kept: list[Document] = []
    rejected = 0
    for document in documents:
        good = [completion for completion in document.completions if _finite(completion)]
        rejected += len(document.completions) - len(good)
        if len(good) == len(document.completions):
            kept.append(document)
        elif good:
            kept.append(Document(document.prompt_ids, good))
    return kept, rejected


def _finite(completion: Completion) -> bool:
    behaviour = completion.behaviour_logprobs
    return bool(np.isfinite(completion.advantage)) and (behaviour is None or bool(np.isfinite(behaviour).all()))


def split_per_completion(value_A: Floats, documents: Sequence[Document]) -> list[list[Floats]]:
    """The flat array as [document][completion] -> float32 [L]."""
    result: list[list[Floats]] = []
    start = 0
    for document in documents:
        arrays = []
        for completion in document.completions:
            arrays.append(value_A[start : start + len(completion.ids)])
            start += len(completion.ids)
        result.append(arrays)
    return result
