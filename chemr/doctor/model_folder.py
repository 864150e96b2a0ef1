"""A Hugging Face model folder: whether learner and engines will load it, and answer with it, before either is started."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.weights import MAX_HEADER_BYTES
from chemr.doctor.finding import Check
from learner.model_family import refusals

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

HEADER_BYTES = 8  # of a safetensors file: the length of the JSON that follows
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
        shape = _json_object(folder, "config.json")
        _check_shape(folder, shape, config)
        weights = _check_weights(folder)
        _check_tokenizer(folder, shape)
    except _Unusable as error:
        return [Check("model", False, f"{field}={folder}: {error}", error.remedy)]
    return [Check("model", True, f"{folder}: {shape['model_type']}, {weights / (1 << 30):.2f} GiB of weights")]


def _json_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        if not folder.is_dir():
            what = "is a file, and a folder was expected" if folder.exists() else "is not there"
            raise _Unusable(what)
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except _Unusable:
        raise
    except FileNotFoundError:
        raise _Unusable(f"is not a Hugging Face model folder: it has no {name}") from None
    except OSError as error:
        raise _Unusable(f"{name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of JSON, and of UTF-8
        raise _Unusable(f"{name} is not JSON: {error}", "download the folder again: the file is damaged") from error
    if not isinstance(content, dict):
        raise _Unusable(f"{name} holds {type(content).__name__}, and a JSON object was expected", "download the folder again")
    return content


def _check_shape(folder: Path, shape: Mapping[str, Any], config: ChemrConfig) -> None:
    """What config.json says of the model against what the run wants of it."""
    kind = shape.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise _Unusable(
            "config.json has no model_type" + (" (it is an adapter)" if (folder / "adapter_config.json").exists() else ""),
            "merge an adapter into its model first (peft's merge_and_unload); a folder of weights alone cannot be loaded",
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
    """Bytes of all safetensors files, each whole. Raises _Unusable."""
    if (folder / INDEX).exists():
        files = _json_object(folder, INDEX).get("weight_map")
        if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
            raise _Unusable(f"{INDEX} has no weight_map of names and files", "download the folder again: the file is damaged")
        names = sorted(set(files.values()))
    elif (folder / WEIGHTS).exists():
        names = [WEIGHTS]
    else:
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for path in folder.glob(pattern))
        pickled = f" ({', '.join(others[:3])} are not read: pickled weights can run code)" if others else ""
        raise _Unusable(f"there are no weights: neither {WEIGHTS} nor {INDEX}{pickled}", "save it as safetensors (save_pretrained does)")
    return sum(_whole_file(folder, name) for name in names)


def _whole_file(folder: Path, name: str) -> int:
    again = "download the folder again: the file is damaged, or its download was cut off"
    if Path(name).name != name:
        raise _Unusable(f"{INDEX} names the file {name!r}, which is not in the folder", again)
    path = folder / name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_BYTES), "little")
            if size < HEADER_BYTES or length > min(size - HEADER_BYTES, MAX_HEADER_BYTES):
                raise _Unusable(f"{name} is not a whole safetensors file ({size:,} bytes)", again)
            header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for tensor_name, tensor in header.items() if tensor_name != "__metadata__"]
        expected = HEADER_BYTES + length + max(ends, default=0)
    except FileNotFoundError:
        raise _Unusable(f"{name} is missing", again) from None
    except OSError as error:
        raise _Unusable(f"{name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        if isinstance(error, _Unusable):
            raise
        raise _Unusable(f"{name} is not a safetensors file: its header cannot be read", again) from error
    if size != expected or not ends:
        raise _Unusable(f"{name} has {size:,} bytes, and its header says {expected:,}", again)
    return size


def _check_tokenizer(folder: Path, shape: Mapping[str, Any]) -> None:
    for name in OPTIONAL_JSON:
        if os.path.lexists(folder / name):
            _json_object(folder, name)
    _json_object(folder, "tokenizer.json")
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
