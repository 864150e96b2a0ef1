"""A model folder, answering one question at a time with transformers. Enough to try a model; runs generate with the engines of the pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.playground.errors import ModelFolderError, QuestionError
from chemr.tokenization import ChatTokenizer
from learner.model_files import SAFE, check_model_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NO_CHARACTER = "�"  # what unfinished bytes are decoded to


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
        seed: of PyTorch's generator; equal seeds give equal answers on one machine.
        temperature: 0 takes the likeliest token every time, whatever the seed.
        max_new_tokens: at most so many; less where the model's context ends before.
    """

    seed: int = 0
    temperature: float = 0.0
    max_new_tokens: int = 512

    def check(self) -> None:
        """Raises QuestionError."""
        if not 0 <= self.seed < 1 << 63:
            raise QuestionError(f"seed {str(self.seed)[:40]}: a whole number from 0 to 2^63 - 1 was expected")
        if not 0.0 <= self.temperature <= 10.0:
            raise QuestionError(f"temperature {self.temperature:g}: a number from 0 (the likeliest tokens) to 10 was expected")
        if not 1 <= self.max_new_tokens <= 100_000:
            raise QuestionError(f"max_new_tokens {str(self.max_new_tokens)[:40]}: a number from 1 to 100,000 was expected")


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote. ``ended``: ``by itself``, ``at the length limit`` or ``by the person``."""

    text: str
    tokens: int
    prompt_tokens: int
    ended: str
    seconds: float


class ChatModel:
    """A model and its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: ChatTokenizer, device: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.device = device
        self._stop_ids = list(tokenizer.end_ids)
        self._context = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)

    @classmethod
    def load(cls, folder: Path) -> ChatModel:
        """On the GPU if there is one, else in float32.

        Raises:
            ModelFolderError: it is no folder of a model with a tokenizer and a chat template, or transformers does not read it.
        """
        if not (folder / "config.json").is_file():
            raise ModelFolderError(
                f"{folder} is no Hugging Face model folder: it has no config.json (a finished run has one at runs/NAME/model)"
            )
        try:
            tokenizer = ChatTokenizer.load(folder)
        except (FileNotFoundError, ValueError) as error:
            raise ModelFolderError(str(error)) from error
        try:
            import torch
            from transformers import AutoModelForCausalLM
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ModelFolderError(f"asking a model needs PyTorch and transformers, which the extras cpu and gpu bring: {error}") from error
        disable_progress_bar()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            check_model_files(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto" if device == "cuda" else torch.float32, **SAFE)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelFolderError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from error
        return cls(model.to(device).eval(), tokenizer, device)

    def answer(
        self,
        messages: Sequence[dict[str, str]],
        sampling: Sampling,
        on_text: Callable[[str], None] = lambda text: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Written:
        """Writes an answer; ``on_text`` gets its pieces as they come, ``stopped`` is asked after every token whether to end.

        Raises:
            QuestionError: the question leaves no room in the model's context, or its template refuses it.
        """
        import torch
        from transformers import StoppingCriteriaList

        try:
            prompt = self._tokenizer.encode_prompt(messages)
        except ValueError as error:
            raise QuestionError(str(error)) from error
        room = min(sampling.max_new_tokens, self._context - len(prompt))
        if room < 1:
            raise QuestionError(f"the question has {len(prompt)} tokens, and the model's context only {self._context}")
        pieces = _Pieces(self._tokenizer, self._stop_ids, on_text)
        asked_to_stop = False

        def stop(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            nonlocal asked_to_stop
            asked_to_stop = asked_to_stop or stopped()
            return torch.full((ids.shape[0],), asked_to_stop, dtype=torch.bool, device=ids.device)

        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
        began = time.monotonic()
        torch.manual_seed(sampling.seed)
        ids = torch.tensor([prompt], device=self.device)
        with torch.inference_mode():
            output = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=room,
                eos_token_id=self._stop_ids,
                pad_token_id=self._tokenizer.pad_id,
                streamer=pieces,
                stopping_criteria=StoppingCriteriaList([stop]),
                **drawn,
            )
        new = output[0, len(prompt) :].tolist()
        by_itself = bool(new) and new[-1] in self._stop_ids
        ended = "by itself" if by_itself else "by the person" if asked_to_stop else "at the length limit"
        text = self._tokenizer.decode_completion(new[:-1] if by_itself else new)
        return Written(text, len(new), len(prompt), ended, time.monotonic() - began)


class _Pieces:
    """What ``generate`` calls a streamer: gets the prompt first, then every token. Gives text that is whole characters."""

    def __init__(self, tokenizer: ChatTokenizer, stop_ids: Sequence[int], on_text: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids
        self._on_text = on_text
        self._ids: list[int] = []  # of the line in progress
        self._given = 0  # characters of it
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        if self._prompt:
            self._prompt = False
            if self._tokenizer.opening:
                self._on_text(self._tokenizer.opening)
            return
        self._ids += [one for one in value.flatten().tolist() if one not in self._stop_ids]
        text = self._tokenizer.decode(self._ids)
        if not text.endswith(NO_CHARACTER):
            self._give(text)

    def end(self) -> None:
        self._give(self._tokenizer.decode(self._ids))

    def _give(self, text: str) -> None:
        if len(text) > self._given:
            self._on_text(text[self._given :])
        self._given = len(text)
        if text.endswith("\n"):  # a line is decoded again with each of its tokens, and only a line
            self._ids, self._given = [], 0
