"""What the weights are made of, written down by the process that makes them.

The ledger is the driver's word. This is the learner's: a rank that keeps, beside its weights, the list of the groups that went into them.
It is saved and loaded with the checkpoint, so after any number of losses and resumes it is the history of the surviving weights, and the
export of the final model says which groups these are.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actors.learner_worker import LearnerWorker, NotSaved, TrainGroup
from actors.trajectory import GroupTokens
from learner.sealed_files import SealedFile, seal

if TYPE_CHECKING:
    from learner.config import GrpoConfig, OptimConfig

CHAOS_DIR_VARIABLE = "CHEMR_CHAOS_DIR"  # inherited by every process of the private cluster
HISTORY = "history.json"


def tokens_digest(tokens: GroupTokens) -> str:
    """Names a group by what was sampled: two submissions with the same name are the same, and so are two names of one payload."""
    digest = hashlib.sha256(tokens.prompt_ids.tobytes())
    for ids, logprobs in zip(tokens.completion_ids, tokens.logprobs, strict=True):
        digest.update(ids.tobytes())
        digest.update(logprobs.tobytes())
    return digest.hexdigest()[:24]


class HistoryLearner(LearnerWorker):
    """A learner rank with a memory. One entry per group: [submission, digest of its tokens]."""

    def __init__(self, rank: int, size: int, nice: int = 0) -> None:
        super().__init__(rank, size, nice)
        self._history: list[list[str]] = []

    def grpo_step(self, groups: Sequence[TrainGroup], grpo: GrpoConfig) -> dict[str, float]:
        payloads = list(self._fetched)
        metrics = super().grpo_step(groups, grpo)
        self._history += [[tokens.uid, tokens_digest(tokens)] for tokens in payloads]
        return metrics

    def save(self, directory: str) -> list[SealedFile] | NotSaved:
        saved = super().save(directory)
        if isinstance(saved, NotSaved) or self._rank != 0:
            return saved
        path = Path(directory) / HISTORY
        try:
            path.write_text(json.dumps(self._history))
            return [*saved, seal(path, HISTORY)]
        except OSError as error:
            return NotSaved(error.errno or errno.EIO, str(error))

    def load(self, directory: str, stage: tuple[OptimConfig, int] | None = None) -> None:
        super().load(directory, stage)
        self._history = json.loads((Path(directory) / HISTORY).read_text())

    def export_hf(self, directory: str) -> None:
        super().export_hf(directory)
        if self._rank == 0:
            (Path(os.environ[CHAOS_DIR_VARIABLE]) / HISTORY).write_text(json.dumps(self._history))
