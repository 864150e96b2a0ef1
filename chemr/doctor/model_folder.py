"""A Hugging Face model folder: whether learner and engines will load it, and answer with it, before either is started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.doctor.finding import Check
from learner.model_family import refusals
from learner.model_files import AGAIN, check_model_files, read_settings, tensor_shapes

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OPTIONAL_JSON = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json")
_OF_FILES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError)  # what a damaged file ends in
ELSEWHERE = "name a folder with config.json, tokenizer.json and *.safetensors, as `huggingface-cli download` or `chemr export` write it"


class _Unusable(ValueError):
    """What is wrong, and what to do."""

    def __init__(self, detail: str, remedy: str = ELSEWHERE) -> None:
        super().__init__(detail)
        self.remedy = remedy


def check_model_folder(folder: Path, config: ChemrConfig, field: str = "policy.path") -> list[Check]:
    """One finding: the first thing that keeps the model from being loaded or asked, or its size.

    Args:
        field: what named the folder, for the message.
    """
    try:
        check_model_files(folder)
        shape = read_settings(folder)
        _check_shape(folder, shape, config)
        weights = _check_weights(folder)
        _check_tokenizer(folder, shape)
    except _Unusable as error:
        return [Check("model", False, f"{field}={folder}: {error}", error.remedy)]
    except ValueError as error:  # of learner.model_files: it names the folder
        return [Check("model", False, f"{field}: {error}", ELSEWHERE)]
    return [Check("model", True, f"{folder}: {shape['model_type']}, {weights / (1 << 30):.2f} GiB of weights")]


def _check_shape(folder: Path, shape: Mapping[str, Any], config: ChemrConfig) -> None:
    """What config.json says of the model against what the run wants of it."""
    kind = shape.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise _Unusable(
            "config.json has no model_type", "a folder of weights alone cannot be loaded: take config.json of the model they belong to"
        )
    for found in refusals(shape):  # what the learner would not compute exactly
        own = " (auto_map: its own Python code is never run)" if "auto_map" in shape else ""
        raise _Unusable(f"config.json: {found}{own}", "")
    positions, limit = shape.get("max_position_embeddings"), config.generator.max_model_len
    if isinstance(positions, int) and limit > positions:
        raise _Unusable(
            f"generator.max_model_len={limit} exceeds the {positions} positions of {folder} (max_position_embeddings)",
            f"set generator.max_model_len={positions} or less",
        )
    heads, parts = shape.get("num_attention_heads"), config.generator.tensor_parallel
    if isinstance(heads, int) and heads % parts:
        raise _Unusable(f"its {heads} attention heads cannot be dealt to generator.tensor_parallel={parts}", "set a divisor of the heads")


def _check_weights(folder: Path) -> int:
    """Bytes of all safetensors files that will be read, each whole. Raises ValueError."""
    if (folder / INDEX).exists():
        files = read_settings(folder, INDEX).get("weight_map")
        if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
            raise _Unusable(f"{INDEX} has no weight_map of names and files", AGAIN)
        names = sorted(set(files.values()))
    else:
        names = [WEIGHTS]
    for name in names:
        if Path(name).name != name:
            raise _Unusable(f"{INDEX} names the file {name!r}, which is not in the folder", AGAIN)
        tensor_shapes(folder / name)
    return sum((folder / name).stat().st_size for name in names)


def _check_tokenizer(folder: Path, shape: Mapping[str, Any]) -> None:
    for name in OPTIONAL_JSON:
        if os.path.lexists(folder / name):
            read_settings(folder, name)
    read_settings(folder, "tokenizer.json")
    from chemr.tokenization import ChatTokenizer

    try:
        tokenizer = ChatTokenizer.load(folder)
        tokenizer.encode_prompt([{"role": "user", "content": "Formula of CCO"}])
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, _OF_FILES):
            raise  # `tokenizers` raises nothing but plain Exception
        raise _Unusable(f"its tokenizer or chat template cannot be used: {' '.join(str(error).split())}") from error
    vocabulary = shape.get("vocab_size")
    if isinstance(vocabulary, int) and tokenizer.vocab_size > vocabulary:
        raise _Unusable(
            f"its tokenizer has {tokenizer.vocab_size} tokens, and the model (vocab_size) {vocabulary}",
            "take the tokenizer that belongs to the model, or resize the model's embeddings",
        )


def checkpoint_bytes(folder: Path | None, parameters: int) -> int:
    """About what one checkpoint takes: weights in float32, and two moments of each; of ``folder``'s weights, else of ``parameters``."""
    if folder is None:
        return 12 * parameters
    return 6 * sum(size for size in _sizes(folder))  # of weights in 16 bits


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.glob("*.safetensors"):
        yield path.stat().st_size
