"""``chemr ablate experiment=starter arms=paper seeds=0,1,2``: run the arms, then write one table and one picture."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from chemr.ablation import report
from chemr.ablation.arms import Arm, ArmsError, Comparison, load_comparison
from chemr.ablation.results import ArmResult, SeedResult, compare, read_result
from chemr.ablation.schedule import ArmRun, plan_runs, run_all
from chemr.config import ConfigError, conf_directory, load, mapping_fields
from chemr.data.text_table import text_table
from chemr.exit_status import EXIT_FAILED, EXIT_OK
from chemr.finished_run import differing_fields, stored_config

NAMES = ("arms", "seeds", "name", "parallel")
BESIDE = ("run.resume", "run.keep_checkpoints", "tracking", "control")  # fields that change nothing in the table
MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class AblationOptions:
    """``experiment``: Hydra overrides that all arms share. ``root``: where runs and tables lie, ``<runs>/<name>``."""

    experiment: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    seeds: tuple[int, ...]
    parallel: int
    root: Path
    config_dir: Path | None
    runs: Mapping[tuple[str, str, int], ArmRun]  # by comparison, arm and seed


def read_options(arguments: Sequence[str], config_dir: Path | None) -> AblationOptions:
    """Of ``field=value`` arguments, ours (:data:`NAMES`) among the experiment's; every arm's configuration is loaded once.

    Raises:
        ConfigError: something is not as it should be; nothing was started.
    """
    ours: dict[str, str] = {}
    experiment: list[str] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in NAMES:
            ours[name] = value
        else:
            experiment.append(argument)
    seeds = _numbers("seeds", ours.get("seeds", "0,1,2"))
    (parallel,) = _numbers("parallel", ours.get("parallel", "1"))[:1]
    if parallel < 1:
        raise ConfigError(f"parallel={parallel}: at least one run at a time")
    folders = [*([config_dir] if config_dir is not None else []), conf_directory()]
    try:
        comparisons = tuple(load_comparison(name, folders) for name in ours.get("arms", "paper").split(","))
    except ArmsError as error:
        raise ConfigError(str(error)) from error
    config, _ = load(experiment, config_dir)
    root = Path(config.run.root) / ours.get("name", f"ablation-{config.run.name}")

    def identity(arm: Arm) -> str:
        """All of an arm's configuration. A mistake in the last arm is found here, before the first has run for hours."""
        return load([*experiment, *arm.overrides], config_dir)[1]

    runs = plan_runs(comparisons, seeds, root, functools.cache(identity))
    return AblationOptions(tuple(experiment), comparisons, seeds, parallel, root, config_dir, runs)


def ablate(options: AblationOptions, dry_run: bool) -> int:
    """Returns the exit status: 0 when every arm has finished, 1 when some did not (what there is of the table is written).

    Raises:
        ConfigError: a run that is there was made with another configuration; nothing was started.
    """
    runs = list({run.directory: run for run in options.runs.values()}.values())
    for run in runs:
        require_same_config(options, run)
    if dry_run:
        for run in runs:
            print(f"chemr train {' '.join(run.overrides(options.experiment))}" + ("   # finished" if run.has_finished() else ""))
        return EXIT_OK
    failed = asyncio.run(run_all(runs, options.experiment, options.config_dir, options.parallel, lambda line: print(line, flush=True)))
    for comparison in options.comparisons:
        write_report(options, comparison)
    return EXIT_FAILED if failed else EXIT_OK


def require_same_config(options: AblationOptions, run: ArmRun) -> None:
    """Raises ConfigError when the run's directory holds one that was made otherwise: it would stand in the table under this arm's name."""
    stored = stored_config(run.directory)
    if stored is None:
        return
    _, resolved = load(run.overrides(options.experiment), options.config_dir)
    differing = differing_fields(stored, yaml.safe_load(resolved), mapping_fields(), BESIDE)
    if differing:
        shown = "; ".join(f"{name} was {old!r} and is now {new!r}" for name, old, new in differing[:MAX_SHOWN])
        more = f"; and {len(differing) - MAX_SHOWN} fields more" if len(differing) > MAX_SHOWN else ""
        raise ConfigError(
            f"{run.directory} holds a run of this arm that was made otherwise: {shown}{more}. Give this comparison another name "
            "(name=NAME), set the fields as they were, or remove that directory (and those of arms that go on from it) to train it anew"
        )


def write_report(options: AblationOptions, comparison: Comparison) -> None:
    """``<comparison>.md``, ``.json`` and ``.svg`` beside the runs, from those that have finished."""
    results: dict[str, list[SeedResult]] = {}
    for (name, arm, _), run in options.runs.items():
        if name == comparison.name and run.has_finished():
            results.setdefault(arm, []).append(read_result(run))
    if not results.get(comparison.reference):
        print(f"{comparison.name}: no table, since the reference {comparison.reference} has no finished run")
        return
    arms = compare(comparison, results)
    files = {
        ".md": report.markdown(arms, comparison.reference, options.experiment),
        ".json": json.dumps(_to_json(comparison, arms), indent=2) + "\n",
        ".svg": report.picture(comparison.name, arms, comparison.reference),
    }
    for suffix, content in files.items():
        (options.root / f"{comparison.name}{suffix}").write_text(content, encoding="utf-8")
    print("\n".join(text_table(report.HEADER, report.rows(arms))))
    print(f"written: {options.root / comparison.name}{{{','.join(files)}}}")


def _to_json(comparison: Comparison, arms: Sequence[ArmResult]) -> dict[str, object]:
    return {"reference": comparison.reference, "arms": {arm.name: arm.to_json() for arm in arms}}


def _numbers(name: str, value: str) -> tuple[int, ...]:
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdigit() for part in parts) or len(set(parts)) != len(parts):
        raise ConfigError(f"{name}={value}: should be whole numbers, none twice, like 0,1,2")
    return tuple(map(int, parts))
