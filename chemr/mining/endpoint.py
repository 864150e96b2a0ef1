"""Any server that speaks OpenAI's chat completions, as a teacher.

Tries, waits between them and ``Retry-After`` are the client library's own; limits per minute, the budget and what an error means for the
run are here. The key is read from the environment when the teacher is made and is in no message, log or file.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from chemr.mining.config import EndpointConfig
from chemr.mining.errors import MiningInputError, TeacherStopped
from chemr.mining.pacing import Budget, MinuteWindow, estimated_tokens
from chemr.mining.responses import Usage
from chemr.mining.teacher import ChatReply, ChatRequest, RequestFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NO_USE = (401, 402, 403, 404)  # no access, no money, no such model: every further request would end the same way
_MAX_MESSAGE_CHARS = 300


class EndpointTeacher:
    """One server and one model.

    Args:
        config: which.
        used: what earlier starts used of this model, for the budget.
        clock, sleep: of the limits per minute.

    Raises:
        MiningInputError: the server or the model is not named, the key's variable is not set, or the client library is missing.
    """

    def __init__(
        self,
        config: EndpointConfig,
        used: Usage | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if config.base_url is None or not config.model:
            raise MiningInputError(
                f"mining.endpoint.base_url={config.base_url} and mining.endpoint.model={config.model}: mining.teacher=endpoint needs both, "
                "e.g. mining.endpoint.base_url=http://localhost:8000/v1 mining.endpoint.model=NAME"
            )
        self._config = config
        self._model: str = config.model
        self._key = _key_from(config.key_env)
        self._client = _client(config, self._key)
        self._clock, self._sleep = clock, sleep
        self._requests = MinuteWindow(config.requests_per_minute)
        self._tokens = MinuteWindow(config.tokens_per_minute)
        self._turn = asyncio.Lock()  # requests take their turn in the order in which they were made
        self._paid = asyncio.Condition()
        spent = (used or Usage()).cost(config.price_in, config.price_out) or 0.0
        self.budget = Budget(config.budget, config.price_in, config.price_out, spent)

    @property
    def model(self) -> str:
        return self._model

    async def answer(self, request: ChatRequest) -> ChatReply:
        """Raises RequestFailed or TeacherStopped (:class:`chemr.mining.teacher.ChatTeacher`)."""
        prompt_tokens = estimated_tokens(sum(len(message["content"]) for message in request.messages))
        most = prompt_tokens + request.sampling.max_tokens
        reserved = self.budget.price(prompt_tokens, request.sampling.max_tokens)
        await self._reserve(reserved)
        try:
            booking = await self._take_turn(most)
            completion = await self._ask(request)
            reply = self._read(completion)
            self._tokens.correct(booking, reply.prompt_tokens + reply.completion_tokens)
            self.budget.spent += self.budget.price(reply.prompt_tokens, reply.completion_tokens)
            return reply
        finally:
            self.budget.release(reserved)
            async with self._paid:
                self._paid.notify_all()

    async def _reserve(self, amount: float) -> None:
        """Waits until the budget allows the most that a request can cost, which what is in flight may yet free; TeacherStopped if never."""
        async with self._paid:
            while not self.budget.allows(amount):
                if not self.budget.in_flight:
                    raise TeacherStopped(
                        f"mining.endpoint.budget={self._config.budget:g}: {self.budget.spent:.4f} are spent, and the next request may cost "
                        f"{amount:.4f}. What was answered is kept; raise the budget to go on"
                    )
                await self._paid.wait()
            self.budget.reserve(amount)

    async def _take_turn(self, tokens: int) -> list[float]:
        """Waits until the limits per minute allow one more request; returns its booking of tokens."""
        async with self._turn:
            while (wait := max(self._requests.wait_s(1, self._clock()), self._tokens.wait_s(tokens, self._clock()))) > 0:
                await self._sleep(wait)
            self._requests.take(1, self._clock())
            return self._tokens.take(tokens, self._clock())

    async def _ask(self, request: ChatRequest) -> Any:
        import openai

        sampling = request.sampling
        body: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        body[str(self._config.length_field)] = sampling.max_tokens
        if self._config.send_seed:
            body["seed"] = request.seed(self.model)
        messages: Any = [dict(message) for message in request.messages]
        try:
            return await self._client.chat.completions.create(
                model=self.model, messages=messages, extra_body=dict(sampling.extra) or None, **body
            )
        except openai.APIStatusError as error:
            said = self._clean(f"status {error.status_code}: {error.message}")
            if error.status_code in _NO_USE:
                raise TeacherStopped(f"the server at {self._config.base_url} refuses model {self.model}: {said}") from None
            raise RequestFailed(said) from None
        except openai.APIConnectionError as error:  # time-outs too
            cause = f" ({error.__cause__})" if error.__cause__ is not None and str(error.__cause__) else ""
            raise RequestFailed(self._clean(f"{error.message}{cause}")) from None
        except openai.APIError as error:
            raise RequestFailed(self._clean(error.message)) from None
        except json.JSONDecodeError:
            raise RequestFailed("the server's answer is not JSON") from None

    def _read(self, completion: Any) -> ChatReply:
        """The reply of a chat completion. Servers differ: what is missing is empty or 0; without a message the request failed."""
        choices: Sequence[Any] = getattr(completion, "choices", None) or ()
        message = getattr(choices[0], "message", None) if choices else None
        if message is None:
            raise RequestFailed("the server's answer holds no message")
        extra = getattr(message, "model_extra", None) or {}
        reasoning = extra.get("reasoning") or extra.get("reasoning_content") or ""
        usage = getattr(completion, "usage", None)
        return ChatReply(
            text=getattr(message, "content", None) or "",
            reasoning=reasoning if isinstance(reasoning, str) else "",
            finish=str(getattr(choices[0], "finish_reason", None) or ""),
            prompt_tokens=int(getattr(usage, "prompt_tokens", 0) or 0),
            completion_tokens=int(getattr(usage, "completion_tokens", 0) or 0),
            model=str(getattr(completion, "model", None) or ""),
        )

    def _clean(self, message: str) -> str:
        """Without the key, on one line, not endless."""
        text = " ".join(message.split())
        if self._key is not None:
            text = text.replace(self._key, "[key]")
        return text[:_MAX_MESSAGE_CHARS]

    async def close(self) -> None:
        await self._client.close()


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise MiningInputError(
            f"the environment variable {variable} (mining.endpoint.key_env) is not set; put the server's key there, or set "
            "mining.endpoint.key_env=null for a server that wants none"
        )
    return key


def _client(config: EndpointConfig, key: str | None) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI
    except ImportError as error:
        raise MiningInputError(
            f"mining.teacher=endpoint needs the package openai, which cannot be imported ({error}); install chemr[mining]"
        ) from error
    return AsyncOpenAI(api_key=key or "none", base_url=config.base_url, timeout=config.timeout_s, max_retries=config.retries)
