"""The one interface of those who write traces: a conversation in, a text with its usage out.

A teacher answers one request at a time and may be asked many at once. It neither stores nor counts: :mod:`chemr.mining.asking` does, so
that every teacher is resumable and nothing is paid for twice, whoever it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from chemr.data.example import Example
from chemr.prompts import completion_with_trace
from chemr.protocols.teacher import PROTOCOLS, write_trace


@dataclass(frozen=True, slots=True)
class ChatSampling:
    """How a text is drawn. ``extra``: further fields of the request that change what comes back."""

    temperature: float
    top_p: float
    max_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One text wanted from a teacher.

    Attributes:
        messages: the conversation, as ``{"role": …, "content": …}``.
        sampling: how it is drawn.
        sample: 0, 1, 2, … for several texts to one conversation.
        example: the row it is about; not part of the request's identity, and seen by programs only.
        purpose: for people who read the store: ``mine``, ``mine_shown``, ``synthesise``.
    """

    messages: tuple[Mapping[str, str], ...]
    sampling: ChatSampling
    sample: int
    example: Example
    purpose: str

    def key(self, model: str) -> str:
        """32 hex digits: the same for the same model, conversation, sampling and sample, and for nothing else."""
        content = [model, [dict(message) for message in self.messages], asdict(self.sampling), self.sample]
        return hashlib.blake2b(json.dumps(content, sort_keys=True, ensure_ascii=False).encode(), digest_size=16).hexdigest()

    def seed(self, model: str) -> int:
        """A seed of 31 bits that follows from the key: several samples of one conversation differ, and a sample can be made again."""
        return int(self.key(model)[:8], 16) >> 1


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came back.

    Attributes:
        text: the message.
        reasoning: what the server set apart as reasoning, if it does that.
        finish: why it ended: ``stop``, ``length``, or the server's own word.
        prompt_tokens, completion_tokens: as the server counts (and bills) them.
        model: what the server says it answered with.
    """

    text: str
    reasoning: str = ""
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""


class RequestFailed(Exception):
    """This request got no answer after all its tries; others may."""


class ChatTeacher(Protocol):
    """Who writes traces: an endpoint, an engine of the pool, a program."""

    @property
    def model(self) -> str:
        """The name under which answers are stored: other weights need another name."""
        ...

    async def answer(self, request: ChatRequest) -> ChatReply:
        """The text for one request.

        Raises:
            RequestFailed: no answer to this one, which is not stored and will be asked again by the next start.
            TeacherStopped: no use to go on; the message says what to do.
        """
        ...

    async def close(self) -> None: ...


class ProgrammaticChat:
    """The programmatic teacher (:mod:`chemr.protocols`) as a chat teacher: it reads the example instead of the conversation."""

    @property
    def model(self) -> str:
        return "chemr-programmatic"

    async def answer(self, request: ChatRequest) -> ChatReply:
        example = request.example
        if example.task not in PROTOCOLS:
            raise RequestFailed(f"the programmatic teacher has no protocol for {example.task}; it has {', '.join(sorted(PROTOCOLS))}")
        text = await asyncio.to_thread(lambda: completion_with_trace(write_trace(example), example.reference["answer"]))
        return ChatReply(text, model=self.model)

    async def close(self) -> None:
        pass
