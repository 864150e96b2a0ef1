"""Whatever file of a model folder names an end of an answer: engines and chats stop there, pairs end there, an export keeps it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from actors.end_tokens import end_tokens
from actors.engine import ModelFacts
from actors.trajectory import GroupTokens
from chemr.export import export_model
from chemr.tokenization import ChatTokenizer

# ids of the vocabulary below
END, TURN_END, OTHER, PAD = 4, 5, 6, 7
WORDS = {"<unk>": 0, "user": 1, "assistant": 2, "CCO": 3}
SPECIAL = {"</s>": END, "<|turn_end|>": TURN_END, "<|other|>": OTHER, "<|pad|>": PAD}
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' CLOSE ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def a_folder(
    folder: Path, generation: Any = None, config: Any = None, tokenizer: Any = "</s>", closes: str = "</s>", special: bool = True
) -> Path:
    """A model folder whose files name these ends; None = the file says nothing, and no generation_config.json at all."""
    vocabulary = Tokenizer(WordLevel(WORDS, unk_token="<unk>"))
    vocabulary.pre_tokenizer = WhitespaceSplit()
    vocabulary.add_tokens([AddedToken(text, special=special) for text in SPECIAL])
    vocabulary.save(str(folder / "tokenizer.json"))
    write(folder / "config.json", {"vocab_size": 8} | ({} if config is None else {"eos_token_id": config}))
    if generation is not None:
        write(folder / "generation_config.json", {"eos_token_id": generation})
    write(
        folder / "tokenizer_config.json",
        {"eos_token": tokenizer, "pad_token": "<|pad|>", "chat_template": TEMPLATE.replace("CLOSE", closes)},
    )
    return folder


FOLDERS: dict[str, tuple[Callable[[Path], Path], set[int], int]] = {
    "one number": (lambda path: a_folder(path, generation=END, config=END), {END}, END),
    "a list": (lambda path: a_folder(path, generation=[END, OTHER], config=END), {END, OTHER}, END),
    "the tokenizer differs": (lambda path: a_folder(path, generation=OTHER, config=OTHER), {END, OTHER}, END),
    "no generation_config": (lambda path: a_folder(path, config=[OTHER], tokenizer={"content": "</s>"}), {END, OTHER}, END),
    "only the template knows": (
        lambda path: a_folder(path, generation=END, config=END, closes="<|turn_end|>"),
        {END, TURN_END},
        TURN_END,
    ),
    "the list has what the template closes with": (
        lambda path: a_folder(path, generation=[END, TURN_END], closes="<|turn_end|>"),
        {END, TURN_END},
        TURN_END,
    ),
    "nobody but the tokenizer": (lambda path: a_folder(path), {END}, END),
    "a template without an end": (lambda path: a_folder(path, generation=[OTHER], closes=""), {END, OTHER}, END),
}


@pytest.mark.parametrize(("make", "ends", "closing"), FOLDERS.values(), ids=FOLDERS)
def test_engine_pairs_export_and_chat_know_the_same_ends(
    tmp_path: Path, make: Callable[[Path], Path], ends: set[int], closing: int
) -> None:
    folder = make(tmp_path)
    tokenizer = ChatTokenizer.load(folder)
    assert set(tokenizer.end_ids) == ends
    assert {*ModelFacts.read(folder).stop_ids, *tokenizer.end_ids} == ends, "what an engine stops at: its folder's and the request's"
    assert tokenizer.encode_completion("CCO") == [3, closing], "a training pair ends as the template ends a turn"

    async def export_hf(target: Path) -> None:
        target.mkdir()
        for file in filter(Path.is_file, folder.iterdir()):
            (target / file.name).write_bytes(file.read_bytes())

    learners = SimpleNamespace(export_hf=export_hf)
    exported = asyncio.run(export_model(learners, tokenizer, tmp_path / "exported", "card", 16))  # type: ignore[arg-type]
    named = json.loads((exported / "generation_config.json").read_text())["eos_token_id"]
    assert set(named if isinstance(named, list) else [named]) == ends, "plain generate listens to this file alone"
    assert set(ModelFacts.read(exported).stop_ids) == set(ChatTokenizer.load(exported).end_ids) == ends


def test_a_text_config_and_a_special_tokens_map_count_and_ids_outside_the_vocabulary_do_not(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, generation=[END, 4000, -1])
    write(folder / "config.json", {"text_config": {"vocab_size": 8, "eos_token_id": OTHER}})
    write(folder / "tokenizer_config.json", {})
    write(folder / "special_tokens_map.json", {"eos_token": {"content": "<|turn_end|>"}})
    assert end_tokens(folder) == (END, TURN_END, OTHER)
    assert ModelFacts.read(folder).vocabulary == 8


def test_a_folder_that_names_no_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "config.json", {"vocab_size": 8})
    with pytest.raises(ValueError, match="names no eos_token_id: every sample would run to its limit"):
        ModelFacts.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generation_config.json", '{"eos_token_id": "</s>"}', "generation_config.json: eos_token_id is '</s>'"),
        ("generation_config.json", '{"eos_token_id": [1, null]}', "a token id or a list of them was expected"),
        ("config.json", "{", "config.json cannot be read"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json holds list"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    (a_folder(tmp_path, config=END) / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        end_tokens(tmp_path)


def test_the_token_that_ended_a_sample_is_no_part_of_its_answer_even_if_the_tokenizer_calls_it_plain() -> None:
    samples = [np.array([3, TURN_END], np.int32), np.array([3, 3], np.int32)]
    logprobs, versions = [np.zeros(2, np.float32)] * 2, [np.zeros(2, np.int32)] * 2
    tokens = GroupTokens("u", np.array([1], np.int32), samples, logprobs, versions, ["stop", "length"])
    assert tokens.answer_ids() == [[3], [3, 3]]
