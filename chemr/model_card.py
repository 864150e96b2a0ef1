"""The README.md of an exported model folder, in the Hugging Face form: YAML metadata, then what the model is, where it is from and what it
is not fit for. Every figure comes from the run: its summary, configuration and manifest. Nothing is looked up elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chemr.config import ChemrConfig
from chemr.finished_run import stored_config
from chemr.summary import summary_of
from chemr.tasks import TASKS

TEMPLATE = "model_card.md.jinja"
LICENCE_NAME = "not-chosen"
TAGS = ("chemistry", "reasoning", "reinforcement-learning", "grpo", "chemr")
GRPO_SETTINGS = ("groups_per_step", "samples_per_group", "off_policy_steps", "max_new_tokens")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is made of.

    Attributes:
        settings: the run's whole configuration, as config.yaml has it.
        manifest: its manifest.json; empty when the run wrote none.
        summary: :func:`chemr.summary.summary_of` of its finished stages.
        weights: which weights these are, in words.
    """

    settings: Mapping[str, Any]
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    weights: str


def read_card_facts(run_dir: Path, config: ChemrConfig, results: Mapping[str, Mapping[str, Any]], weights: str) -> CardFacts:
    """From a run's folder and the results of its finished stages; ``config`` speaks for a folder without config.yaml.

    Fields that a run of an earlier version did not have get their defaults.
    """
    stored = stored_config(run_dir)
    settings = _plain(asdict(config)) if stored is None else _over(_plain(asdict(ChemrConfig())), stored)
    manifest_file = run_dir / "manifest.json"
    manifest = json.loads(manifest_file.read_text(encoding="utf-8")) if manifest_file.is_file() else {}
    return CardFacts(settings, manifest, summary_of(results, settings["stages"]), weights)


def model_card(facts: CardFacts) -> str:
    """The whole card."""
    settings, manifest, summary = facts.settings, facts.manifest, facts.summary
    done = summary["stages"]
    base = _folder_name(settings["policy"]["path"])
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(
        metadata=yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=True, width=200),
        name=settings["run"]["name"],
        weights=facts.weights,
        origin=_origin(settings["policy"]["path"]),
        base=base,
        stages=done,
        tasks=_tasks(summary),
        seed=settings["run"]["seed"],
        version=manifest.get("packages", {}).get("chemr", "of unknown version"),
        commit=manifest.get("commit") or "not recorded",
        samples=settings["eval"]["samples"],
        scorer_version=manifest.get("scorers", {}).get("scorer_version", "not recorded"),
        scores=_score_table(summary) if done else None,
        gains=[_gain(stage, summary) for stage in summary["gain"]],
        data=[{"source": source} | dict(rows) for source, rows in manifest.get("data", {}).items()],
        data_text=_data_text(settings),
        traces=_traces_text(settings),
        settings=_settings(settings, summary),
        reward=_reward_text(settings, manifest),
        versions=", ".join(f"{name} {number}" for name, number in manifest.get("packages", {}).items()) or "not recorded",
        size_limit=_size_limit(settings),
    )


def metadata(facts: CardFacts) -> dict[str, Any]:
    """The YAML block of the Hub: tags and, of the last finished stage, one result a task and their mean."""
    settings, summary = facts.settings, facts.summary
    block: dict[str, Any] = {
        "language": "en",
        "license": "other",
        "license_name": LICENCE_NAME,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(TAGS),
    }
    if summary["stages"]:
        last = summary[summary["stages"][-1]]
        scores = {task: score["mean"] for task, score in last["tasks"].items()} | {"mean over tasks": last["mean_reward"]}
        block["model-index"] = [
            {"name": settings["run"]["name"], "results": [_result(task, value, settings) for task, value in scores.items()]}
        ]
    return block


def _result(task: str, value: float, settings: Mapping[str, Any]) -> dict[str, Any]:
    kind = settings["data"]["kind"]
    return {
        "task": {"type": "text-generation", "name": TASKS[task].title if task in TASKS else task},
        "dataset": {"type": f"chemr-{kind}", "name": f"chemr {kind} data, held-out rows", "config": task, "split": "test"},
        "metrics": [{"type": "mean_reward", "name": "mean reward, hardened scorer, temperature 1", "value": value}],
    }


def _origin(path: str | None) -> str:
    if path is None:
        return "random weights, with a tokenizer of its own"
    licence = _licence_of(Path(path) / "README.md")
    return f"the model in the folder `{Path(path).name}`; licence by its card: {licence or 'not recorded'}"


def _licence_of(card: Path) -> str | None:
    """What the YAML block of a model card gives as licence; None without a card, a block or a licence."""
    try:
        _, block, _ = card.read_text(encoding="utf-8").split("---\n", 2)
        content = yaml.safe_load(block)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    licence = content.get("license") if isinstance(content, dict) else None
    return str(licence) if licence else None


def _tasks(summary: Mapping[str, Any]) -> list[str]:
    return sorted(task for task in summary["table"] if task != "mean")


def _score_table(summary: Mapping[str, Any]) -> dict[str, Any]:
    stages = summary["stages"]
    rows = []
    for task in _tasks(summary):
        scores = [summary[stage]["tasks"].get(task) for stage in stages]
        prompts = next(score["prompts"] for score in reversed(scores) if score is not None)
        rows.append({"name": task, "prompts": prompts, "cells": [_cell(score, "mean", "greedy") for score in scores]})
    cells = [_cell(summary[stage], "mean_reward", "greedy_mean_reward") for stage in stages]
    rows.append({"name": "**mean**", "prompts": sum(row["prompts"] for row in rows), "cells": cells})
    return {"stages": stages, "rows": rows}


def _cell(score: Mapping[str, Any] | None, mean: str, greedy: str) -> str:
    if score is None:
        return "–"
    low, high = score["interval95"]
    text = f"{score[mean]:.3f} [{low:.3f}, {high:.3f}]"
    return text if score[greedy] is None else f"{text}, {score[greedy]:.3f}"


def _gain(stage: str, summary: Mapping[str, Any]) -> dict[str, str]:
    low, high = summary["gain_interval95"][stage]
    return {"stage": stage, "text": f"{100 * summary['gain'][stage]:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"}


def _data_text(settings: Mapping[str, Any]) -> str:
    data = settings["data"]
    if data["kind"] == "starter":
        return (
            f"Names and structures come from the package `chemicals`; questions and answers were computed from them with RDKit (seed "
            f"{data['starter']['seed']}). No molecule is in two splits."
        )
    return (
        f"Published files (draw of seed {data['published']['seed']}). Training rows that share a molecule, reaction or text with a row of "
        "any evaluation suite were removed (docs/data.md says by which rules, and what they leave)."
    )


def _traces_text(settings: Mapping[str, Any]) -> str:
    if "distill" not in settings["stages"]:
        return ""
    if settings["distill"]["traces"] is None:
        return "The reasoning that distillation learnt from was computed by a program from the rows and accepted by the scorers."
    file = _folder_name(settings["distill"]["traces"])
    return f"Distillation learnt from traces of the file `{file}`; the terms of the model that wrote them apply."


def _settings(settings: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for stage in settings["stages"]:
        section = settings[stage]
        text = f"{section['steps']} steps, lr {section['optim']['lr']:g} ({section['optim']['schedule']})"
        if stage == "grpo":
            algo = section["algo"]
            text += "".join(f", {name} {section[name]}" for name in GRPO_SETTINGS)
            text += "".join(f", {name} {algo[name]}" for name in ("loss", "advantage", "aggregation", "correction", "kl"))
            text += f", curriculum {section['curriculum']['weighting']}"
        else:
            text += f", {section['documents_per_step']} documents a step"
        if stage in summary["stages"]:
            text += f"; trained on {summary[stage]['trained_samples']:,} samples, {summary[stage]['trained_tokens']:,} tokens"
        else:
            text += "; not finished"
        rows.append((stage, text))
    learner = settings["learner"]
    rows.append(("learner", f"{learner['dtype']}" + (f", LoRA rank {learner['lora_rank']}" if learner["lora_rank"] else ", all weights")))
    rows.append(("engine", f"{settings['generator']['dtype']}, {settings['generator']['max_model_len']} tokens of context"))
    seeds = {"run": settings["run"]["seed"], "evaluation": settings["eval"]["seed"]}
    kind = settings["data"]["kind"]
    seeds["data"] = settings["data"][kind]["seed"]
    rows.append(("seeds", ", ".join(f"{name} {seed}" for name, seed in seeds.items())))
    return rows


def _reward_text(settings: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    if "grpo" not in settings["stages"]:
        return "none was trained on."
    shaping, scorers = settings["grpo"]["shaping"], manifest.get("scorers", {})
    terms = {"all tasks" if not shaping["tasks"] else "other tasks": shaping["default"]} | dict(shaping["tasks"])
    weighed = [f"{task}: " + ", ".join(f"{name} {weight:g}" for name, weight in one.items() if weight) for task, one in terms.items()]
    return (
        f"hardened scorers, version {scorers.get('scorer_version', 'not recorded')}; terms and weights, mixed by {shaping['mix']}: "
        f"{'; '.join(weighed)} (partial is the scorer's value in [0, 1]); grounded claims weigh {settings['rewards']['grounding']:g}; "
        f"names judged with OPSIN: {scorers.get('opsin', settings['rewards']['opsin'])}."
    )


def _size_limit(settings: Mapping[str, Any]) -> str | None:
    data = settings["data"]
    if data["kind"] != "starter":
        return None
    size = data["starter"]["max_heavy_atoms"]
    return f"The molecules of its data have at most {size} heavy atoms (products of reactions one more); larger ones were not trained on."


def _folder_name(path: str | None) -> str | None:
    """Where a folder lay on the training machine is nobody's business."""
    return Path(path).name if path else None


def _over(defaults: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for name, value in stored.items():
        below = merged.get(name)
        merged[name] = _over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
