"""What a board holds: an answer somebody could write, and what it has to be worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """``answer`` is what stands between the tags, or, if ``whole``, all that the model wrote. Its value must be in [at_least, at_most].

    ``reader``: only OPSIN can tell, so the case waits for a machine that has it.
    """

    name: str
    task: str
    answer: str
    reference: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    at_least: float = 1.0
    at_most: float = 1.0
    whole: bool = False
    reader: bool = False

    @property
    def completion(self) -> str:
        return self.answer if self.whole else f"<answer>{self.answer}</answer>"
