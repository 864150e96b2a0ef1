"""A model folder that plain transformers and vLLM load: weights, config, tokenizer with chat template, generation config, model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.learner_group import LearnerGroup
from chemr.config import ChemrConfig
from chemr.tokenization import ChatTokenizer


async def export_model(
    learners: LearnerGroup, tokenizer: ChatTokenizer, config: ChemrConfig, target: Path, results: Mapping[str, Any]
) -> Path:
    """Write the learner's weights (with the tokenizer it began with) to ``target``, whole or not at all."""
    aside = target.with_name(target.name + ".partial")
    aside.parent.mkdir(parents=True, exist_ok=True)
    await learners.export_hf(aside)
    generation = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "do_sample": True,
        "temperature": 1.0,
        "max_new_tokens": config.eval.max_new_tokens,
    }
    (aside / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    (aside / "README.md").write_text(model_card(config, results), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
    return target


def model_card(config: ChemrConfig, results: Mapping[str, Any]) -> str:
    """What the model is, how it was made and what it scored; figures only where a stage was evaluated."""
    lines = [
        "---",
        "library_name: transformers",
        "tags: [chemistry, reasoning, grpo, chemr]",
        "---",
        f"# {config.run.name}",
        "",
        "A language model that reasons about chemistry, trained with [chemr](https://arxiv.org/abs/2510.16880)'s three phases: foundation",
        "SFT, distillation of reasoning protocols, multi-task GRPO. It answers",
        "`<think>` numbered bold steps `</think><answer>` … `</answer>`.",
        "",
        f"Stages: {', '.join(str(stage) for stage in config.stages)}. Seed: {config.run.seed}.",
    ]
    scored = {stage: result["evaluation"] for stage, result in results.items() if "evaluation" in result}
    if scored:
        tasks = sorted({task for evaluation in scored.values() for task in evaluation["tasks"]})
        lines += ["", "Held-out mean reward (hardened scorers, T = 1):", "", "| task | " + " | ".join(scored) + " |"]
        lines.append("|---|" + "---|" * len(scored))
        for task in tasks:
            values = [f"{evaluation['tasks'][task]['mean']:.3f}" for evaluation in scored.values()]
            lines.append(f"| {task} | " + " | ".join(values) + " |")
        means = [f"**{evaluation['mean_reward']:.3f}**" for evaluation in scored.values()]
        lines.append("| **mean** | " + " | ".join(means) + " |")
    return "\n".join(lines) + "\n"
