"""The chat template of a model that is not the starter's: Jinja, as Hugging Face folders keep it, rendered without transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from actors.end_tokens import read_json, read_tokenizer
from chemr.template_process import TemplateProcess
from rewards.answer import THINK_CLOSE, THINK_OPEN

_PLACE = "\ue000{}\ue001"  # private-use characters, which no template and no prompt of ours holds


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How a conversation becomes token ids for one model.

    Attributes:
        tokenizer: reads the text of special tokens as special tokens.
        plain: reads it as text.
        special: the texts of all special tokens.
        tokens: what templates may ask for: bos_token, eos_token, pad_token, ….
        opening: what the prompt has already written of the answer and left open, ``<think>`` and the blanks after it; mostly empty.
    """

    template: TemplateProcess
    tokenizer: Tokenizer
    plain: Tokenizer
    special: tuple[str, ...]
    tokens: Mapping[str, str]
    opening: str = ""

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate:
        """Of a model folder with tokenizer.json, tokenizer_config.json and a template.

        Raises:
            ValueError: a file is missing or damaged, or has no template or no end-of-sequence token. One line that names it.
        """
        config_file = folder / "tokenizer_config.json"
        config = read_json(config_file)
        own = folder / "chat_template.jinja"
        source = _text_of(own) if own.is_file() else config.get("chat_template")
        if isinstance(source, list):  # several by name
            named = [one for one in source if isinstance(one, dict)]
            source = next((one.get("template") for one in named if one.get("name") == "default"), None)
        if not isinstance(source, str):
            raise ValueError(
                f"{folder} has no chat template: save one as chat_template.jinja (a base model has none; an instruct model has)"
            )
        tokens = {name: text for name, entry in config.items() if name.endswith("_token") and isinstance(text := _token(entry), str)}
        if "eos_token" not in tokens:
            raise ValueError(f"{config_file} names no eos_token, so an answer could not be ended")
        plain = read_tokenizer(folder)
        plain.encode_special_tokens = True
        tokenizer = read_tokenizer(folder)
        special = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
        template = TemplateProcess(source)
        try:
            template.check()
        except ValueError as error:
            raise ValueError(f"{folder}: its chat template cannot be read: {error}") from error
        read = cls(template, tokenizer, plain, special, tokens)
        return replace(read, opening=read._left_open())

    def token_id(self, name: str) -> int | None:
        """The id of ``bos_token``, ``eos_token`` or ``pad_token``; None where the model has none."""
        found: int | None = self.tokenizer.token_to_id(self.tokens.get(name, ""))
        return found

    def turn_end(self) -> int | None:
        """The id of the token that follows an assistant's message; None where that is no token of its own, or the template refuses."""
        answered = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PLACE.format(0)}]
        try:
            rendered = self._render(answered, add_generation_prompt=False)
        except ValueError:
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

    def _left_open(self) -> str:
        """The end of a prompt from its last ``<think>`` on, if nothing closes it."""
        try:
            prompt = self._render([{"role": "user", "content": _PLACE.format(0)}])
        except ValueError:  # a template that wants another conversation than ours refuses it when it is asked
            return ""
        added = prompt.rpartition(_PLACE.format(0))[2]
        start = added.rfind(THINK_OPEN)
        return added[start:] if start > added.rfind(THINK_CLOSE) else ""

    def _render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        try:
            return self.template.render(messages, add_generation_prompt, self.tokens)
        except ValueError as error:
            raise ValueError(f"the model's chat template refuses this conversation: {error}") from error


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _token(entry: Any) -> str | None:
    """A token's text; newer files write an object with its properties. None for anything else (add_bos_token is a flag)."""
    return entry.get("content") if isinstance(entry, dict) else entry
