"""The rows of a run in a few lines: what an artifact says of its data, so that two runs on the same rows are seen to be."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from chemr.data.task_data import SPLITS, TaskData


def describe(data: TaskData, selection: Mapping[str, Any]) -> dict[str, Any]:
    """Counts by task and SHA-256 of each split (over its rows as JSON, in their order), and how the rows were asked for.

    Args:
        selection: the ``data`` section of the configuration.
    """
    splits = {split: getattr(data, split) for split in SPLITS}
    return {
        "kind": str(selection.get("kind", "")),
        "selection": dict(selection),
        "rows": {split: dict(sorted(Counter(row.task for row in rows).items())) for split, rows in splits.items()},
        "sha256": {split: _digest(rows) for split, rows in splits.items()},
    }


def _digest(rows: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.to_json().encode() + b"\n")
    return digest.hexdigest()
