"""``chemr curriculum simulate``: a sampler on recorded pass rates, alone or beside another one. Needs no live run, no torch and no Ray."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from chemr.command_parsers import add_command, completes
from chemr.completion.words import field_words
from chemr.config_overrides import Fields, OverrideError, override_values
from chemr.curriculum.config import CurriculumConfig, PromptsConfig
from chemr.curriculum.recording import Recording, RecordingError, read_recording
from chemr.curriculum.simulation import Clock, SimulatedTask, Simulation, SimulationSettings, simulate
from chemr.data.text_table import text_table
from chemr.exit_status import EXIT_OK, EXIT_USAGE

EXAMPLES = (
    "chemr curriculum simulate runs/mine --set weighting=variance",
    "chemr curriculum simulate runs/mine --set floors.forward=0.05 --compare weighting=uniform --json simulated.json",
)
BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 12


class SettingsError(ValueError):
    """Settings that cannot be; the message says which and what to do."""


def add_simulate(verbs: Any) -> None:
    """Registers the verb. ``verbs`` is what ``add_subparsers`` of ``chemr curriculum`` returned."""
    parser = add_command(
        verbs,
        "simulate",
        "run a sampler on recorded pass rates",
        description="Run a task sampler on recorded pass rates, alone or beside a second one (docs/curriculum.md). Needs no live run.",
        examples=EXAMPLES,
        run=run_simulate,
    )
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a run's folder, its metrics.jsonl, or a CSV or JSON table")
    setting: dict[str, Any] = {"action": "append", "default": [], "metavar": "NAME=VALUE"}
    fields_of = field_words(lambda: CurriculumConfig)
    completes(parser.add_argument("--set", **setting, help="a field of grpo.curriculum, e.g. weighting=variance"), fields_of)
    completes(parser.add_argument("--compare", **setting, help="a second sampler, with these settings instead"), fields_of)
    parser.add_argument("--steps", type=int, metavar="N", help="steps to simulate; as many as were recorded, if not given")
    parser.add_argument("--groups-per-step", type=int, metavar="P", help="as in the run's config.yaml, else 16")
    parser.add_argument("--samples", type=int, metavar="G", help="answers to a prompt; as in the run's config.yaml, else 8")
    parser.add_argument("--age", type=int, default=0, metavar="A", help="versions that the answering policy is old (0)")
    parser.add_argument("--clock", choices=[str(clock) for clock in Clock], default="steps", help="what moves pass rates (steps)")
    parser.add_argument("--smooth", type=int, metavar="N", help="average recorded rates over N points (metrics: a twelfth of them)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of draws and answers (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, step by step, to this file")


def run_simulate(options: argparse.Namespace) -> int:
    """Prints a table; returns the exit status: 0, or 2 for arguments or a recording that cannot be."""
    try:
        for name in ("steps", "groups_per_step", "samples", "smooth"):
            value = getattr(options, name)
            if value is not None and value < 1:
                raise SettingsError(f"--{name.replace('_', '-')} {value} must be at least 1")
        if options.age < 0:
            raise SettingsError(f"--age {options.age} must be 0 or more")
        recording = read_recording(options.recording, options.smooth)
        of_run = _run_section(options.recording)
        settings = SimulationSettings(
            steps=options.steps or recording.steps,
            groups_per_step=options.groups_per_step or of_run.get("groups_per_step", 16),
            samples=options.samples or of_run.get("samples_per_group", 8),
            age=options.age,
            seed=options.seed,
            clock=Clock(options.clock),
        )
        arms = {"sampler": _config(of_run.get("curriculum", {}), options.set)}
        if options.compare:
            arms["compared"] = _config(of_run.get("curriculum", {}), options.compare)
        results = {name: _simulated(recording, config, settings) for name, config in arms.items()}
    except (RecordingError, SettingsError) as error:
        print(f"chemr curriculum simulate: {error}", file=sys.stderr)
        return EXIT_USAGE
    print("\n".join(report(recording, arms, results, settings)))
    if options.json is not None:
        figures: dict[str, Any] = {"settings": asdict(settings), "recorded_steps": recording.steps}
        for name, result in results.items():
            simulated = asdict(arms[name])
            del simulated["prompts"]
            figures[name] = {"curriculum": simulated, **result.to_json()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return EXIT_OK


def report(
    recording: Recording, arms: Mapping[str, CurriculumConfig], results: Mapping[str, Simulation], settings: SimulationSettings
) -> list[str]:
    """Lines for people."""
    lines = [
        f"{len(recording.tasks)} tasks, {recording.steps} recorded steps; {settings.steps} steps of {settings.groups_per_step} groups of "
        f"{settings.samples}, seed {settings.seed}, clock {settings.clock}"
    ]
    for name, result in results.items():
        lines += ["", f"{name}: weighting {arms[name].weighting}"]
        rows = [_row(task, simulated) for task, simulated in result.tasks.items()]
        lines += text_table(["task", "draws", "weight", "over time", "estimate", "pass rate", "unlocked", "alerts"], rows)
        lines.append(
            f"entropy {_first_last(result.entropy)} nats, effective tasks {_first_last(result.effective_tasks, '.1f')} "
            f"(mean {fmean(result.effective_tasks):.1f}), groups that teach {result.teaching:.1%}"
        )
    if settings.clock is Clock.groups:  # by the other clock they are the recording's own
        lines.append("")
        rows = [[name, f"{result.mean_rate:.3f}", f"{result.worst_third:.3f}"] for name, result in results.items()]
        lines += text_table(["pass rate at the end", "mean", "worst third"], rows)
    return lines


def _row(task: str, simulated: SimulatedTask) -> list[str]:
    weights = simulated.weights
    unlocked = "never" if simulated.locked else f"step {simulated.unlocked_at}" if simulated.unlocked_at is not None else "–"
    return [
        task,
        f"{simulated.share:.1%}",
        _first_last(weights),
        spark(weights),
        _first_last(simulated.observed) if simulated.observed else "–",
        f"{simulated.rate_first:.2f} → {simulated.rate_last:.2f}",
        unlocked,
        ", ".join(f"{kind} {step}" for step, kind in simulated.alerts) or "–",
    ]


def spark(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """The course of values in [0, max] as bars; each is the mean of as many neighbours as it takes."""
    width = min(width, len(values))
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    means = [fmean(values[start:end]) for start, end in itertools.pairwise(edges)]
    top = max(means)
    return "".join(BARS[min(len(BARS) - 1, int(len(BARS) * mean / top))] if top > 0 else BARS[0] for mean in means)


def _first_last(values: Sequence[float], form: str = ".2f") -> str:
    return f"{values[0]:{form}} → {values[-1]:{form}}"


def _simulated(recording: Recording, config: CurriculumConfig, settings: SimulationSettings) -> Simulation:
    try:
        return simulate(recording, config, settings)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _run_section(recording: Path) -> Mapping[str, Any]:
    """Section ``grpo`` of the run's config.yaml; empty when the recording is not of a run."""
    import yaml

    folder = recording if recording.is_dir() else recording.parent
    file = folder / "config.yaml"
    if not file.is_file() or (recording.is_file() and recording.name != "metrics.jsonl"):
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingsError(f"{file} is not YAML: {error}") from error
    section = content.get("grpo", {}) if isinstance(content, dict) else {}
    return section if isinstance(section, dict) else {}


def _config(of_run: Mapping[str, Any], settings: Sequence[str]) -> CurriculumConfig:
    """The run's curriculum (or the default) with ``NAME=VALUE`` settings."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for setting in settings:
        name, equals, _ = setting.partition("=")
        if not name or not equals:
            raise SettingsError(f"{setting!r} should be NAME=VALUE, e.g. weighting=difficulty or floors.forward=0.05")
        if name.partition(".")[0] == "prompts":
            raise SettingsError(f"{setting!r}: recorded pass rates are of tasks, so there are no prompts to sample; leave it out")
    try:
        changes = override_values(settings, Fields(CurriculumConfig))
        merged = OmegaConf.merge(OmegaConf.structured(CurriculumConfig), OmegaConf.create(dict(of_run)), changes)
        config = OmegaConf.to_object(merged)
    except OverrideError as error:
        raise SettingsError(str(error)) from error
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        where = ", ".join(settings) or "the settings of the run"
        raise SettingsError(f"grpo.curriculum with {where}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, CurriculumConfig)
    config.prompts = PromptsConfig()  # of the run: not simulated
    try:
        config.validate()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return config
