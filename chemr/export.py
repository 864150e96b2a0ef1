"""A model folder that plain transformers and vLLM load: weights, config, tokenizer with chat template, generation config, model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from actors.learner_group import LearnerGroup
from chemr.checkpoints import storage_failure
from chemr.run_stopped import RunStopped
from chemr.tokenization import ChatTokenizer


class ModelNotWritten(RunStopped):
    """There is no room for the model, or its storage fails."""


async def export_model(learners: LearnerGroup, tokenizer: ChatTokenizer, target: Path, card: str, max_new_tokens: int) -> Path:
    """Write the learner's weights (with the tokenizer it began with) to ``target``, whole or not at all.

    Args:
        card: the content of its README.md (:mod:`chemr.model_card`).
        max_new_tokens: what plain ``generate`` stops at.

    Raises:
        ModelNotWritten: the storage is full or fails; nothing half-written is left.
    """
    aside = target.with_name(target.name + ".partial")
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        return await _write(learners, tokenizer, target, aside, card, max_new_tokens)
    except Exception as error:  # torch and safetensors raise others than OSError, and Ray wraps them
        why = storage_failure(error, target.parent)
        shutil.rmtree(aside, ignore_errors=True)
        if not why:
            raise
        raise ModelNotWritten(f"the model {target} was not written: {why}") from error


async def _write(learners: LearnerGroup, tokenizer: ChatTokenizer, target: Path, aside: Path, card: str, max_new_tokens: int) -> Path:
    await learners.export_hf(aside)
    generation = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.end_ids[0] if len(tokenizer.end_ids) == 1 else list(tokenizer.end_ids),
        "pad_token_id": tokenizer.pad_id,
        "do_sample": True,
        "temperature": 1.0,
        "max_new_tokens": max_new_tokens,
    }
    (aside / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    (aside / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
    return target
