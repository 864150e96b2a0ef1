"""Training prompts that supervised stages leave alone, so that reinforcement learning starts on questions the model has not memorised."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from chemr.data.example import Example


def split_reserve(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """(for supervised training, for GRPO): the rows whose uid hashes below ``share`` are reserved. 0 gives all rows to both.

    The split is a function of the uids alone: the same rows are reserved in every run, whatever its seed and the order of the rows.
    """
    if share == 0.0:
        return list(examples), list(examples)
    supervised: list[Example] = []
    reserved: list[Example] = []
    for example in examples:
        digest = hashlib.blake2b(example.uid.encode(), digest_size=8).digest()
        (reserved if int.from_bytes(digest, "big") / 2**64 < share else supervised).append(example)
    return supervised, reserved
