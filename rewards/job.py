"""One answer to be scored, in plain data that travels anywhere (Ray, gRPC, pipes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """``completion`` is the model's whole text; the answer normaliser finds the answer in it.

    ``inputs`` and ``reference`` are the JSON-like fields of the task's example; each scorer's docstring says which ones it reads.
    """

    task: str
    completion: str
    inputs: Mapping[str, Any]
    reference: Mapping[str, Any]
