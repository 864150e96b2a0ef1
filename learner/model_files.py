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


def check_model_files(folder: Path) -> None:
    """Raises ValueError, in one line, for a folder that is no plain model with weights as safetensors."""
    path = folder / "config.json"
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder} holds an adapter (adapter_config.json), which would be loaded with a model from elsewhere; merge the two with "
            "peft's merge_and_unload, and name the folder of the merged model"
        )
    if not path.is_file():
        raise ValueError(f"{folder} is no model folder: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds {type(config).__name__}, a JSON object was expected")
    if config.get("auto_map") and not _known(config.get("model_type")):
        raise ValueError(
            f"{path} names Python code of its own (auto_map) for model_type={config.get('model_type')!r}; a model's code is never run, and "
            "transformers has no such model: choose one that it has"
        )
    if not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{folder} holds no *.safetensors; other files of weights can run code and are not read: save_pretrained writes it"
        )


def _known(model_type: object) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES
