"""Documents and the flat row they are packed into.

A document is a prompt with its completions: one for supervised training, a whole group for GRPO. **Shared-prefix packing**: a
micro-batch is one row of tokens in which every prompt stands once, whatever its number of completions,

    [prompt of a][prompt of b] ... [a's completion 1][a's completion 2][b's completion 1] ...     (T rows)

and attention (attention.py) lets a completion see its own prompt and itself. Positions continue from the prompt, so the result is that of
the unpacked sequences. The last token of a completion predicts nothing and is left out of the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learner.packing import length_buckets

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]


@dataclass(slots=True)
class Completion:
    """``ids``: [L >= 1] tokens to learn from. ``behaviour_logprobs``: float [L], log-probs of the policy that sampled them, if any."""

    ids: IntArray
    advantage: float = 0.0
    behaviour_logprobs: FloatArray | None = None


@dataclass(slots=True)
class Document:
    """``prompt_ids``: [P >= 1], context that is not learnt from."""

    prompt_ids: IntArray
    completions: list[Completion]

    @property
    def rows(self) -> int:
        """Rows it takes in a micro-batch."""
        return len(self.prompt_ids) + sum(len(completion.ids) - 1 for completion in self.completions)

    @property
    def targets(self) -> int:
        """Tokens it is trained on."""
        return sum(len(completion.ids) for completion in self.completions)

    def check(self, max_positions: int) -> None:
        """Raises ValueError if it cannot be trained on by a model with ``max_positions`` positions."""
        if len(self.prompt_ids) == 0:
            raise ValueError("a document has an empty prompt: nothing predicts its first token; start the prompt with the BOS token")
        if not self.completions:
            raise ValueError("a document has no completion: leave it out of the batch")
        for index, completion in enumerate(self.completions):
            if len(completion.ids) == 0:
                raise ValueError(f"completion {index} of a document is empty: even an empty answer ends with the EOS token")
            behaviour = completion.behaviour_logprobs
            if behaviour is not None and len(behaviour) != len(completion.ids):
                raise ValueError(f"completion {index} has {len(completion.ids)} tokens but {len(behaviour)} behaviour log-probs")
        longest = len(self.prompt_ids) + max(len(completion.ids) for completion in self.completions)
        if longest > max_positions:
            raise ValueError(
                f"a sequence of {longest} tokens is longer than the model's {max_positions} positions: "
                "cap the prompt and the completion, or make the model with a larger max_position_embeddings"
            )


def split_documents(documents: Iterable[Document], budget: int) -> list[tuple[int, int, Document]]:
    """Cuts documents of more than ``budget`` rows into parts with fewer completions (the prompt is computed once per part).

    Returns:
        (document, first completion, part) in order; a part with one completion may still exceed the budget.
    """
    parts: list[tuple[int, int, Document]] = []
    for number, document in enumerate(documents):
        first = 0
        rows = len(document.prompt_ids)
        for index, completion in enumerate(document.completions):
            if rows + len(completion.ids) - 1 > budget and index > first:
                parts.append((number, first, Document(document.prompt_ids, document.completions[first:index])))
                first, rows = index, len(document.prompt_ids)
            rows += len(completion.ids) - 1
        whole = first == 0
        parts.append((number, first, document if whole else Document(document.prompt_ids, document.completions[first:])))
    return parts


@dataclass(slots=True)
class AttentionBlock:
    """n sequences padded to one width, computed by one call of attention.

    Attributes:
        count, width: n and Lq.
        rows: rows of the batch that belong to the block; they are consecutive, and blocks follow each other.
        query_rows: int64 [n * Lq] among the block's own rows, padding points at the first; None when nothing is padded (rows = n * Lq).
        key_rows: int64 [n * Lk] among all rows, or None when the keys are the queries' own rows.
        mask: bool [n or 1, 1, Lq, Lk], True = visible; None = causal (padding is on the right, where no real query looks).
    """

    count: int
    width: int
    rows: int
    query_rows: Tensor | None
    key_rows: Tensor | None
    mask: Tensor | None
    _windows: dict[int, Tensor] = field(default_factory=dict)  # computed once for all layers

    def within(self, window: int, keys: Tensor) -> Tensor:
        """``mask`` of layers in which a query sees the ``window`` tokens up to itself: bool [n or 1, 1, Lq, Lk], never None.

        Distances are those of the document, so a completion's window reaches back into its prompt.

        Args:
            keys: [n, H_kv, Lk, D], of which the length and the device are read.
        """
        if window not in self._windows:
            place = torch.arange(self.width, device=keys.device)
            distance = (place[:, None] - place)[None, None]  # of own tokens: [1, 1, Lq, Lq]
            seen = distance >= 0
            if self.mask is not None:
                seen = self.mask
                prefixes = torch.arange(keys.shape[2] - self.width, device=keys.device)
                # The first query of a run sees its whole prefix.
                lengths = seen[:, :, :1, : len(prefixes)].sum(-1, keepdim=True)
                from_prefix = lengths + place[:, None] - prefixes
                distance = torch.cat([from_prefix, distance.expand(len(seen), -1, -1, -1)], dim=-1)
            self._windows[window] = seen & (distance < window)
        return self._windows[window]


@dataclass(slots=True)
class PackedBatch:
    """One micro-batch. T rows, N targets, C completions; targets are ordered by document, completion, position.

    Attributes:
        ids_1T, positions_1T: int64, what the model reads.
        blocks: how attention is computed; together they cover all rows in order.
        output_rows: int64 [T], where each row's result lies in the concatenated block outputs; None when they are the rows already.
        source_N: int64, the row whose hidden state predicts the target.
        target_N: int64, the token predicted.
        segment_N: int64, the completion (0..C-1) the target belongs to.
        lengths_C: tokens of each completion.
    """

    ids_1T: Tensor
    positions_1T: Tensor
    blocks: list[AttentionBlock]
    output_rows: Tensor | None
    source_N: Tensor
    target_N: Tensor
    segment_N: Tensor
    lengths_C: Rows

    @property
    def completions(self) -> int:
        return len(self.lengths_C)

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        blocks = [
            AttentionBlock(
                block.count,
                block.width,
                block.rows,
                None if block.query_rows is None else block.query_rows.to(device),
                None if block.key_rows is None else block.key_rows.to(device),
                None if block.mask is None else block.mask.to(device),
            )
            for block in self.blocks
        ]
        output_rows = None if self.output_rows is None else self.output_rows.to(device)
        return PackedBatch(
            self.ids_1T.to(device),
            self.positions_1T.to(device),
            blocks,
            output_rows,
            self.source_N.to(device),
            self.target_N.to(device),
            self.segment_N.to(device),
            self.lengths_C,
        )


class _RowWriter:
    """Lays runs of tokens out in the flat row and remembers where each began."""

    def __init__(self) -> None:
        self.ids: list[IntArray] = []
        self.positions: list[Rows] = []
        self.blocks: list[AttentionBlock] = []
        self.output: list[Rows] = []
        self.rows = 0
        self.outputs = 0

    def add(self, runs: Sequence[IntArray], first_positions: Sequence[int], prefixes: tuple[Rows, Rows] | None = None) -> Rows:
        """Adds one block of runs; with ``prefixes`` = (first row, length) per run, each run sees its prefix and itself, else only itself.

        Returns:
            int64 [n], the first row of every run.
        """
        lengths = np.array([len(run) for run in runs], dtype=np.int64)
        starts = self.rows + np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)[:-1]])
        width = int(lengths.max())
        own_rows = _padded_rows(starts, lengths, width)
        full = bool((lengths == width).all())
        key_rows, mask = (None, None) if prefixes is None else _prefixed_keys(own_rows, *prefixes, width)
        self.blocks.append(
            AttentionBlock(
                count=len(runs),
                width=width,
                rows=int(lengths.sum()),
                query_rows=None if full else torch.from_numpy(np.maximum(own_rows - self.rows, 0).reshape(-1)),
                key_rows=key_rows,
                mask=mask,
            )
        )
        self.output.append((self.outputs + np.arange(len(runs))[:, None] * width + np.arange(width))[_filled(lengths, width)])
        self.ids.extend(runs)
        self.positions.extend(np.arange(first, first + len(run)) for first, run in zip(first_positions, runs, strict=True))
        self.rows += int(lengths.sum())
        self.outputs += len(runs) * width
        return starts


def pack(documents: Sequence[Document]) -> PackedBatch:
    """Packs documents into one row. See the module's docstring for the layout.

    Completions of similar length share a block of attention. The row is ordered as the blocks are, so that blocks without padding are views
    of it.
    """
    writer = _RowWriter()
    prompt_row = np.zeros(len(documents), dtype=np.int64)
    prompt_length = np.array([len(document.prompt_ids) for document in documents], dtype=np.int64)
    owner = np.array([number for number, document in enumerate(documents) for _ in document.completions], dtype=np.int64)
    completions = [completion.ids for document in documents for completion in document.completions]
    lengths = np.array([len(ids) for ids in completions], dtype=np.int64)
    first_row = np.zeros(len(completions), dtype=np.int64)
    shared = np.array([len(document.completions) > 1 for document in documents], dtype=np.bool_)

    groups = np.flatnonzero(shared)
    for bucket in length_buckets(prompt_length[groups]):
        members = groups[bucket]
        prompt_row[members] = writer.add([documents[number].prompt_ids for number in members], [0] * len(members))

    branches = np.flatnonzero(shared[owner] & (lengths > 1))
    for bucket in length_buckets(lengths[branches] - 1):
        members = np.sort(branches[bucket])
        prefixes = (prompt_row[owner[members]], prompt_length[owner[members]])
        first_row[members] = writer.add([completions[c][:-1] for c in members], [int(x) for x in prefixes[1]], prefixes)

    singles = np.flatnonzero(~shared[owner])
    for bucket in length_buckets(prompt_length[owner[singles]] + lengths[singles] - 1):
        members = singles[bucket]
        runs = [np.concatenate([documents[owner[c]].prompt_ids, completions[c][:-1]]) for c in members]
        prompt_row[owner[members]] = writer.add(runs, [0] * len(members))
        first_row[members] = prompt_row[owner[members]] + prompt_length[owner[members]]

    last_prompt_row = prompt_row[owner] + prompt_length[owner] - 1
    return _finish(writer, completions, lengths, first_row, last_prompt_row)


def _finish(writer: _RowWriter, completions: list[IntArray], lengths: Rows, first_row: Rows, last_prompt_row: Rows) -> PackedBatch:
    segment_N = np.repeat(np.arange(len(lengths)), lengths)
    offset_N = np.arange(len(segment_N)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    source_N = np.where(offset_N == 0, last_prompt_row[segment_N], first_row[segment_N] + offset_N - 1)
    output_rows = np.concatenate(writer.output)
    return PackedBatch(
        ids_1T=torch.from_numpy(np.concatenate(writer.ids).astype(np.int64))[None],
        positions_1T=torch.from_numpy(np.concatenate(writer.positions))[None],
        blocks=writer.blocks,
        output_rows=None if writer.outputs == writer.rows else torch.from_numpy(output_rows),
        source_N=torch.from_numpy(source_N),
        target_N=torch.from_numpy(np.concatenate(completions).astype(np.int64)),
        segment_N=torch.from_numpy(segment_N),
        lengths_C=lengths,
    )


def _filled(lengths: Rows, width: int) -> npt.NDArray[np.bool_]:
    return np.arange(width) < lengths[:, None]


def _padded_rows(starts: Rows, lengths: Rows, width: int) -> Rows:
    return np.where(_filled(lengths, width), starts[:, None] + np.arange(width), 0)


def _prefixed_keys(own_rows: Rows, prefix_rows: Rows, prefix_lengths: Rows, width: int) -> tuple[Tensor, Tensor]:
    """Keys [prefix, padded | own, padded] and the mask that shows a query its prefix and its own tokens up to itself."""
    prefix_width = int(prefix_lengths.max())
    key_rows = np.concatenate([_padded_rows(prefix_rows, prefix_lengths, prefix_width), own_rows], axis=1)
    uniform = bool((prefix_lengths == prefix_width).all())
    prefix_seen = _filled(prefix_lengths[:1] if uniform else prefix_lengths, prefix_width)[:, None, :]
    own_seen = np.tri(width, dtype=np.bool_)[None]
    count = len(prefix_seen)
    mask = np.concatenate(
        [np.broadcast_to(prefix_seen, (count, width, prefix_width)), np.broadcast_to(own_seen, (count, width, width))], axis=2
    )
    return torch.from_numpy(key_rows.reshape(-1)), torch.from_numpy(mask[:, None])
