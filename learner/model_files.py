"""What a model folder may hold: weights as safetensors and settings as JSON, nothing that runs.

Whoever writes a model folder could otherwise run code where it is loaded: by Python files that ``auto_map`` names, or by weights in
pickles. An adapter's settings make transformers load another folder than it was given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# For every from_pretrained of a model. transformers asks at the terminal whether to run a folder's code unless it is told not to.
SAFE: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}


HEADER_BYTES = 8  # of a safetensors file: the length of the JSON that follows
MAX_HEADER_BYTES = 100_000_000  # as the format has it
AGAIN = "copy or download the folder again: the file is damaged, or was cut off"


def check_model_files(folder: Path) -> None:
    """Raises ValueError, in one line, for a folder that is no plain model with weights as safetensors."""
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder} holds an adapter (adapter_config.json), which would be loaded with a model from elsewhere; merge the two with "
            "peft's merge_and_unload, and name the folder of the merged model"
        )
    config = read_settings(folder)
    if config.get("auto_map") and not _known(config.get("model_type")):
        raise ValueError(
            f"{folder / 'config.json'} names Python code of its own (auto_map) for model_type={config.get('model_type')!r}; a model's code "
            "is never run, and transformers has no such model: choose one that it has"
        )
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for path in folder.glob(pattern))
        found = f" ({', '.join(others[:3])})" if others else ""
        raise ValueError(
            f"{folder} holds no *.safetensors; other files of weights{found} can run code and are not read: save_pretrained writes it"
        )


def read_settings(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON object of a model folder. Raises ValueError, in one line, if there is no such folder, file or object."""
    path = folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_dir():
            raise ValueError(f"{folder} is no model folder: it has no {name}") from None
        what = "it is a file" if folder.exists() else "it is not there"
        raise ValueError(f"{folder} is no model folder: {what}; looked for its {name}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of JSON, and of UTF-8
        raise ValueError(f"{path} is not JSON: {error}; {AGAIN}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, and a JSON object was expected; {AGAIN}")
    return content


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file, from its header: nothing is loaded.

    Raises:
        ValueError: the file is not there, cannot be read, or is not whole. One line.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_BYTES), "little")
            if size < HEADER_BYTES or length > min(size - HEADER_BYTES, MAX_HEADER_BYTES):
                raise ValueError(f"{path} is not a whole safetensors file ({size:,} bytes); {AGAIN}")
            text = file.read(length)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; {AGAIN}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    try:
        tensors = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        ends = [int(entry["data_offsets"][1]) for entry in tensors.values()]
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in tensors.items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: its header cannot be read; {AGAIN}") from error
    expected = HEADER_BYTES + length + max(ends, default=0)
    if size != expected or not ends:
        raise ValueError(f"{path} has {size:,} bytes, and its header says {expected:,}; {AGAIN}")
    return shapes


def _known(model_type: object) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES
