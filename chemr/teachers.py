"""Who writes the reasoning that distillation learns from.

A teacher sees the question and may see the gold answer; what it writes counts only after the reward workers have verified it. The
starter's teacher is a program; a large language model behind the same protocol writes less reliably and is treated no differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from chemr.data.example import Example
from chemr.prompts import completion_with_trace
from chemr.protocols.teacher import write_trace


class Teacher(Protocol):
    """Writes one completion (``<think>`` steps ``</think><answer>`` … ``</answer>``) for each example, or None where it cannot."""

    async def completions(self, examples: Sequence[Example]) -> list[str | None]: ...


class ProgrammaticTeacher:
    """Computes each step of the task's protocol with RDKit, so that every claim in its traces is true."""

    async def completions(self, examples: Sequence[Example]) -> list[str | None]:
        return await asyncio.to_thread(lambda: [completion_with_trace(write_trace(one), one.reference["answer"]) for one in examples])
