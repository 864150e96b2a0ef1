"""The chat template of a model that is not the starter's: Jinja, as Hugging Face folders keep it, rendered without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

_PLACE = "\ue000{}\ue001"  # private-use characters, which no template and no prompt of ours holds


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How a conversation becomes token ids for one model.

    Attributes:
        tokenizer: reads the text of special tokens as special tokens.
        plain: reads it as text.
        special: the texts of all special tokens.
        tokens: what templates may ask for: bos_token, eos_token, pad_token.
    """

    template: Template
    tokenizer: Tokenizer
    plain: Tokenizer
    special: tuple[str, ...]
    tokens: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate:
        """Of a model folder with tokenizer.json, tokenizer_config.json and a template.

        Raises:
            ValueError: a file is missing or has no template or no end-of-sequence token.
        """
        config_file, tokenizer_file = folder / "tokenizer_config.json", str(folder / "tokenizer.json")
        config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
        own = folder / "chat_template.jinja"
        source = own.read_text(encoding="utf-8") if own.is_file() else config.get("chat_template")
        if isinstance(source, list):  # several by name
            source = next((one["template"] for one in source if one["name"] == "default"), None)
        if not isinstance(source, str):
            raise ValueError(
                f"{folder} has no chat template: save one as chat_template.jinja (a base model has none; an instruct model has)"
            )
        tokens = {name: text for name in ("bos_token", "eos_token", "pad_token") if (text := _token(config.get(name)))}
        if "eos_token" not in tokens:
            raise ValueError(f"{config_file} names no eos_token, so an answer could not be ended")
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        plain = Tokenizer.from_file(tokenizer_file)
        plain.encode_special_tokens = True
        tokenizer = Tokenizer.from_file(tokenizer_file)
        special = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
        try:
            template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"{folder}: its chat template cannot be read: {error}") from error
        return cls(template, tokenizer, plain, special, tokens)

    def token_id(self, name: str) -> int | None:
        """The id of ``bos_token``, ``eos_token`` or ``pad_token``; None where the model has none."""
        found: int | None = self.tokenizer.token_to_id(self.tokens.get(name, ""))
        return found

    def turn_end(self) -> int | None:
        """The id of the token that follows an assistant's message; None where that is no token of its own, or the template refuses."""
        answered = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PLACE.format(0)}]
        try:
            rendered = self.template.render(messages=answered, add_generation_prompt=False, **self.tokens)
        except TemplateError:
            return None
        _, found, after = rendered.rpartition(_PLACE.format(0))
        if not found:
            return None
        added = {token.content: index for index, token in self.tokenizer.get_added_tokens_decoder().items()}
        return next((added[text] for text in sorted(added, key=len, reverse=True) if text and after.lstrip().startswith(text)), None)

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Ids of a conversation up to where the assistant's answer begins, as transformers' ``apply_chat_template`` gives them.

        The text of a special token inside a message is text, and cannot end the message or begin another; only then a message is cut off
        from what stands around it before it becomes tokens.

        Raises:
            ValueError: the template refuses the conversation.
        """
        if not any(token in message["content"] for message in messages for token in self.special):
            return list(self.tokenizer.encode(self._render(messages), add_special_tokens=False).ids)
        marked = [{**message, "content": _PLACE.format(index)} for index, message in enumerate(messages)]
        rest = self._render(marked)
        ids: list[int] = []
        for index, message in enumerate(messages):
            before, _, rest = rest.partition(_PLACE.format(index))
            ids += self.tokenizer.encode(before, add_special_tokens=False).ids
            ids += self.plain.encode(message["content"], add_special_tokens=False).ids
        return ids + list(self.tokenizer.encode(rest, add_special_tokens=False).ids)

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        try:
            return self.template.render(messages=messages, add_generation_prompt=True, **self.tokens)
        except TemplateError as error:
            raise ValueError(f"the model's chat template refuses this conversation: {error}") from error


def _token(entry: Any) -> str | None:
    """A token's text; newer files write an object with its properties."""
    return entry.get("content") if isinstance(entry, dict) else entry


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
