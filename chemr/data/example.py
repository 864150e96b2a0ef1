"""One typed row of task data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """A question with everything needed to ask it, score it and cite it.

    Attributes:
        uid: unique over all sources and splits, stable between builds (``starter/smiles2formula/1a2b3c``).
        task: a name in ``chemr.tasks.TASKS``.
        inputs: what the prompt shows and what the scorer may read (see the table in docs/tasks.md).
        reference: the gold answer; the key ``answer`` is the text a perfect model writes between the answer tags. Only tests of open
            generation have none: any molecule that does what is asked is right.
        difficulty: in [0, 1] within its task, 0 easiest; graded by molecule size.
        source: where the row came from.
        licence: SPDX id of the source.
    """

    uid: str
    task: str
    inputs: Mapping[str, Any]
    reference: Mapping[str, Any]
    difficulty: float
    source: str
    licence: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> Example:
        return cls(**json.loads(line))
