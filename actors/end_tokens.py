"""The tokens that end an answer, according to the files of a model folder: all that any of them names.

Folders disagree with themselves. An instruct model may end its turns with a token that only ``generation_config.json`` lists, or only the
tokenizer; a fine-tune often has none of the former. Whoever listens to one file alone lets most answers run to their limit. What a chat
template closes a turn with comes on top (:class:`chemr.tokenization.ChatTokenizer`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer


def end_tokens(folder: Path) -> tuple[int, ...]:
    """Ids in ascending order; empty when no file names any. Ids outside the model's vocabulary are left out.

    Looks at ``eos_token_id`` (a number or a list) of generation_config.json and config.json, also inside its ``text_config``, and at
    ``eos_token`` of tokenizer_config.json and special_tokens_map.json, which tokenizer.json gives an id.

    Raises:
        ValueError: one of the files is no JSON object, or an id in it no number; the message names the file.
    """
    config = read_json(folder / "config.json")
    text = config.get("text_config")
    text = text if isinstance(text, dict) else {}
    generation = folder / "generation_config.json"
    found = {
        *_ids(generation, read_json(generation)),
        *_ids(folder / "config.json", config),
        *_ids(folder / "config.json", text),
        *_tokenizer_ids(folder),
    }
    vocabulary = config.get("vocab_size", text.get("vocab_size"))
    return tuple(sorted(one for one in found if one >= 0 and (not isinstance(vocabulary, int) or one < vocabulary)))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is no such file. Raises ValueError naming the file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, a JSON object was expected")
    return content


def read_tokenizer(folder: Path) -> Tokenizer:
    """Of ``tokenizer.json``. Raises ValueError, in one line, for a file that is missing or cannot be read."""
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises nothing but plain Exception
        if type(error) is not Exception:
            raise
        raise ValueError(f"{path} cannot be read: {error}") from error


def _ids(path: Path, content: dict[str, Any]) -> Iterator[int]:
    value = content.get("eos_token_id")
    for one in value if isinstance(value, list) else [] if value is None else [value]:
        if not isinstance(one, int) or isinstance(one, bool):
            raise ValueError(f"{path}: eos_token_id is {value!r}; a token id or a list of them was expected")
        yield one


def _tokenizer_ids(folder: Path) -> Iterator[int]:
    entries = [read_json(folder / name).get("eos_token") for name in ("tokenizer_config.json", "special_tokens_map.json")]
    texts = {text for entry in entries if (text := _text(entry)) is not None}
    if texts and (folder / "tokenizer.json").is_file():
        tokenizer = read_tokenizer(folder)
        yield from (one for text in texts if (one := tokenizer.token_to_id(text)) is not None)


def _text(entry: Any) -> str | None:
    """A token's text; newer files write an object with its properties."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else None
