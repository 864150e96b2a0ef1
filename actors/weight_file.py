"""What an engine process is told of a file of weights (:mod:`actors.node_weights`), and how it reads it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.weights import ByteArray, TensorSlot, WeightsCorruptError, bucket_starts, unpack

if TYPE_CHECKING:
    import torch


RECEIVED = ""  # the path of a version that is in no file: every engine process has received it by itself (actors.weight_receiver)


@dataclass(frozen=True, slots=True)
class WeightFile:
    """What an engine process is told of a version: a file, which one exactly, and the layout that reads it."""

    path: str
    inode: int
    layout: tuple[TensorSlot, ...]

    def tensors(self, data: ByteArray) -> Iterator[tuple[str, torch.Tensor]]:
        """``(name, tensor)`` in layout order, as views of the mapped file."""
        return unpack(self.layout, data)

    def to_message(self) -> dict[str, Any]:
        """Plain lists and dicts: what survives vLLM's RPC unchanged."""
        return {
            "path": self.path,
            "inode": self.inode,
            "layout": layout_message(self.layout),
        }

    @classmethod
    def from_message(cls, path: str, inode: int, layout: Sequence[Sequence[Any]]) -> WeightFile:
        return cls(path, inode, layout_from_message(layout))


def layout_message(layout: Sequence[TensorSlot]) -> list[list[Any]]:
    """Plain lists: what survives vLLM's RPC unchanged."""
    return [[s.name, s.dtype, list(s.shape), s.bucket, s.offset, s.bytes] for s in layout]


def layout_from_message(message: Sequence[Sequence[Any]]) -> tuple[TensorSlot, ...]:
    return tuple(TensorSlot(name, dtype, tuple(shape), bucket, offset, size) for name, dtype, shape, bucket, offset, size in message)


class MappedFile:
    """The reader's side: keeps its map for as long as it is asked for the same file."""

    def __init__(self) -> None:
        self._inode = -1
        self._data: ByteArray | None = None

    def read(self, file: WeightFile) -> ByteArray:
        """The file's bytes, read-only; later versions appear in the same memory.

        Raises:
            WeightsCorruptError: when the file is another one or of another size than was written.
        """
        nbytes = bucket_starts(file.layout)[-1]
        with open(file.path, "rb") as opened:
            found = os.fstat(opened.fileno())
            if found.st_ino != file.inode or found.st_size != max(1, nbytes):
                raise WeightsCorruptError(
                    f"weight file {file.path} has {found.st_size} bytes, {nbytes} were written: it was changed, cut off or replaced"
                )
            if self._data is None or self._inode != file.inode:
                self._data = np.frombuffer(mmap.mmap(opened.fileno(), found.st_size, access=mmap.ACCESS_READ), dtype=np.uint8)
                self._inode = file.inode
        return self._data[:nbytes]

    def close(self) -> None:
        self._inode, self._data = -1, None
