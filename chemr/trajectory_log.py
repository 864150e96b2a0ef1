"""Sampled trajectories on disk, as Parquet: what the model was asked, what it wrote, what that was worth and why.

Mappings (``inputs``, ``reference``, ``parts`` of the verdict, ``terms`` of a shaped reward) are columns of JSON text: their keys differ
from task to task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemr.checkpoints import storage_failure
from chemr.graded_group import GradedGroup
from chemr.tokenization import ChatTokenizer
from chemr.whole_file import write_whole

log = logging.getLogger(__name__)
GROUPS_PER_SAMPLE = 2


class TrajectoryLog:
    """Keeps the texts of the first few groups that are rolled out after every ``every``-th step."""

    def __init__(self, directory: Path, tokenizer: ChatTokenizer, every: int) -> None:
        self._directory = directory
        self._tokenizer = tokenizer
        self._every = every
        self._wanted = GROUPS_PER_SAMPLE
        self._claimed: set[str] = set()
        self._rows: list[dict[str, Any]] = []

    def claim(self, uid: str) -> bool:
        """Whether this group should bring its texts along."""
        if self._wanted == 0:
            return False
        self._wanted -= 1
        self._claimed.add(uid)
        return True

    def add(self, group: GradedGroup) -> None:
        """Remember a group that was claimed; the others, with or without texts, are left alone."""
        if group.uid not in self._claimed:
            return
        self._claimed.remove(group.uid)
        scored = group.scored
        prompt = self._tokenizer.decode(scored.request.prompt_ids)
        inputs, reference = _json(scored.request.inputs), _json(scored.request.reference)
        for index, text in enumerate(scored.texts):
            verdict = scored.verdicts[index]
            terms = {} if group.shaped is None else {name: values[index] for name, values in group.shaped.terms.items()}
            self._rows.append(
                {
                    "uid": group.uid,
                    "task": group.task,
                    "sample": index,
                    "prompt": prompt,
                    "completion": text,
                    "reward": verdict.value,
                    "reason": str(verdict.reason),
                    "tokens": scored.meta.lengths[index],
                    "oldest_version": scored.meta.oldest_version,
                    "newest_version": scored.meta.newest_version,
                    "generator": scored.meta.generator,
                    "inputs": inputs,
                    "reference": reference,
                    "parts": _json(verdict.parts),
                    "terms": _json(terms),
                }
            )

    def finish_step(self, step: int) -> list[dict[str, Any]]:
        """After optimiser step ``step`` of the run: write what was collected when it is due, and ask for the next sample.

        Returns the rows that were collected. They are samples, so storage that fails costs them and a warning, not the run.
        """
        if step % self._every:
            return []
        written, self._rows = self._rows, []
        if written:
            import pyarrow as pa
            import pyarrow.parquet as pq

            content = pa.BufferOutputStream()  # a few groups
            pq.write_table(pa.Table.from_pylist(written), content)
            path = self._directory / f"step-{step:06d}.parquet"
            try:
                write_whole(path, content.getvalue().to_pybytes())
            except OSError as error:
                reason = storage_failure(error, self._directory)
                if not reason:
                    raise
                log.warning("%s was NOT written: %s. Training goes on", path, reason)
        self._wanted = GROUPS_PER_SAMPLE
        return written


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(dict(content), ensure_ascii=False, default=str)
