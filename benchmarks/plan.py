"""How well ``chemr plan --calibrate`` predicts: one short GRPO run to calibrate on, then others that were never looked at.

All runs start from one distilled starter model (--model; made by short supervised stages if there is none) and follow one another: the
calibrated configuration, the others, and at the end the calibrated one again, which says how much the machine itself repeats. Predictions
come from the first run and the other runs' configurations alone; then they are compared with what the others recorded. The bar is the
issue's: step time within 15 %, mean and largest age within one version.

The choice of the calibrated run should not matter. So each of the others is calibrated on as well, for the predictions of all but itself.

JSON (--json FILE): step_error_worst and age_error_worst over the configurations of the bar (BAR), step_error_fit (of the simulation of the
calibrated run itself, whose step time is not fitted), step_drift (the calibrated run at the end against the beginning), calibrate_s,
``runs``: for each predicted and measured step_s, train_s, rollout_s, age_mean, age_max, the relative error of the step time, and the
machine's load average before it; and ``calibrated_on``: for each run the relative errors of the step times predicted from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

from chemr.planning.calibration import Calibration, calibrate, predict
from chemr.planning.run_records import read_records

ROOT = Path(__file__).resolve().parent.parent
CALIBRATED = "starter"
OTHERS: dict[str, list[str]] = {
    "split": ["pool.generators=2", "pool.learners=1"],
    "group": ["grpo.samples_per_group=16"],
    "length": ["grpo.max_new_tokens=24"],
    "sync": ["grpo.off_policy_steps=0"],
    "later": ["grpo.off_policy_steps=3"],
    "one_learner": ["pool.learners=1"],
    "few_groups": ["grpo.groups_per_step=8"],
}
BAR = ("split", "group", "length", "sync", "later")  # other split, group size, length, both directions of S
STEP_BAR, AGE_BAR = 0.15, 1.0


def train(name: str, stages: str, overrides: Sequence[str], root: Path) -> Path:
    """Runs ``chemr train`` and returns the run's folder; its output goes to a log beside it."""
    common = [f"run.root={root}", f"run.name={name}", f"stages={stages}", "tracking.wandb=off", "control.enabled=false"]
    # The calibrated run keeps the starter's own evaluation, which says how fast the engine is with more samples.
    evaluation = (
        []
        if name == CALIBRATED
        else ["eval.samples=1", "eval.greedy=false", "eval.test_prompts_per_task=1", "eval.validation_prompts_per_task=1"]
    )
    command = [sys.executable, "-m", "chemr.cli", "train", "experiment=starter", *common, *evaluation, *overrides]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    log = root / f"{name}.log"
    shutil.rmtree(root / name, ignore_errors=True)  # what a run that did not end has left
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    if code != 0:
        raise SystemExit(f"the run {name} ended with status {code}; the end of its output:\n" + log.read_text(encoding="utf-8")[-3000:])
    return root / name


def measured(folder: Path) -> dict[str, float]:
    """Means over the steps of a run that calibration would look at."""
    records = read_records(folder)
    rollout = records.column("rollout/seconds")
    return {
        "step_s": float(records.column("time/step_s").mean()),
        "train_s": float(records.seconds("train").mean()),
        "rollout_s": float(rollout[rollout == rollout].mean()),
        "age_mean": float(records.column("async/age_mean").mean()),
        "age_max": float(records.column("async/age_max").max()),
        "steps": float(len(records.steps)),
    }


def compare(calibration: Calibration, folder: Path) -> dict[str, Any]:
    """Predicted and measured figures of one run. The prediction sees its configuration only."""
    prediction = predict(calibration, read_records(folder).config)
    found = measured(folder)
    foreseen = {name: float(getattr(prediction, name)) for name in ("step_s", "train_s", "rollout_s", "age_mean", "age_max")}
    return {
        "predicted": foreseen,
        "measured": found,
        "age_bound": float(prediction.age_bound),
        "step_error": foreseen["step_s"] / found["step_s"] - 1.0,
        "age_error": max(abs(foreseen[name] - found[name]) for name in ("age_mean", "age_max")),
    }


def errors_from(folder: Path, runs: dict[str, Path], cores: float | None) -> dict[str, float]:
    """Relative errors of the step times of the other ``runs``, predicted from the one in ``folder``."""
    calibration = calibrate(folder, cores=cores, nice=os.nice(0))
    others = {name: other for name, other in runs.items() if other != folder}
    found = {name: (predict(calibration, read_records(other).config).step_s, measured(other)["step_s"]) for name, other in others.items()}
    return {name: foreseen / seen - 1.0 for name, (foreseen, seen) in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "runs" / "starter" / "stages" / "distill", help="a distilled starter model")
    parser.add_argument("--steps", type=int, default=60, help="GRPO steps of each run")
    parser.add_argument("--only", nargs="*", choices=list(OTHERS), default=list(OTHERS), help="configurations besides the calibrated one")
    parser.add_argument("--cores", type=float, help="cores the runs can use; all of this machine's, if not given")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder, and take those that are finished there as they are")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="chemr-") as temporary:
        root = options.keep or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        figures = measure(options, root.resolve())
    report(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


def measure(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    model = options.model
    if not (model / "config.json").is_file():
        print(f"{model} is no model: short supervised stages make one", file=sys.stderr)
        model = train("model", "[foundation,distill]", ["foundation.steps=200", "distill.steps=200"], root) / "stages" / "distill"
    fixed = [f"policy.path={model.resolve()}", f"grpo.steps={options.steps}", "grpo.checkpoint_every=100000", "grpo.sample_every=2"]
    loads: dict[str, float] = {}

    def run(name: str, overrides: Sequence[str]) -> Path:
        loads[name] = os.getloadavg()[0]
        if (root / name / "summary.json").is_file():
            return root / name
        print(f"{name}: {' '.join(overrides) or 'as calibrated'} (load {loads[name]:.1f})", file=sys.stderr)
        return train(name, "[grpo]", [*fixed, *overrides], root)

    first = run(CALIBRATED, [])
    folders = {name: run(name, OTHERS[name]) for name in options.only}
    again = run("starter_again", [])
    began = time.perf_counter()
    calibration = calibrate(first, cores=options.cores, nice=os.nice(0))
    seconds = time.perf_counter() - began
    runs = {name: compare(calibration, folder) for name, folder in folders.items()}
    for name, figures in runs.items():
        figures["overrides"], figures["load_before"] = OTHERS[name], loads[name]
    every = {CALIBRATED: first} | folders
    calibrated_on = {name: errors_from(folder, every, options.cores) for name, folder in every.items()}
    of_bar = [runs[name] for name in BAR if name in runs] or list(runs.values())
    drift = measured(again)["step_s"] / calibration.measured.step_s - 1.0
    return {
        "step_error_worst": max((abs(each["step_error"]) for each in of_bar), default=0.0),
        "age_error_worst": max((each["age_error"] for each in of_bar), default=0.0),
        "step_error_fit": calibration.step_error,
        "step_drift": drift,
        "calibrate_s": seconds,
        "load_first": loads[CALIBRATED],
        "nice": os.nice(0),
        "assumed": list(calibration.assumed),
        "fit": {
            "predicted": {
                name: float(getattr(calibration.fitted, name)) for name in ("step_s", "train_s", "rollout_s", "age_mean", "age_max")
            },
            "measured": measured(first),
        },
        "runs": runs,
        "calibrated_on": calibrated_on,
    }


def report(figures: dict[str, Any]) -> None:
    table = Table(title="step time and age: predicted from one calibrated run, and measured")
    for column in (
        "configuration",
        "step s",
        "measured",
        "error",
        "train s",
        "measured",
        "age",
        "measured",
        "max",
        "measured",
        "bound",
        "load",
    ):
        table.add_column(column, justify="left" if column == "configuration" else "right")
    rows = {
        f"{CALIBRATED} (calibrated on)": figures["fit"] | {"step_error": figures["step_error_fit"], "load_before": figures["load_first"]}
    }
    for name, row in (rows | figures["runs"]).items():
        before, after = row["predicted"], row["measured"]
        table.add_row(
            name,
            f"{before['step_s']:.3f}",
            f"{after['step_s']:.3f}",
            f"{row['step_error']:+.1%}",
            f"{before['train_s']:.3f}",
            f"{after['train_s']:.3f}",
            f"{before['age_mean']:.2f}",
            f"{after['age_mean']:.2f}",
            f"{before['age_max']:.0f}",
            f"{after['age_max']:.0f}",
            f"{row['age_bound']:.0f}" if "age_bound" in row else "",
            f"{row['load_before']:.1f}",
        )
    Console(width=140).print(table)
    matrix = Table(title="errors of the step time, calibrated on another run")
    matrix.add_column("calibrated on")
    for name in figures["calibrated_on"]:
        matrix.add_column(name, justify="right")
    for name, errors in figures["calibrated_on"].items():
        matrix.add_row(name, *(f"{errors[other]:+.1%}" if other in errors else "" for other in figures["calibrated_on"]))
    Console(width=140).print(matrix)
    met = figures["step_error_worst"] <= STEP_BAR and figures["age_error_worst"] <= AGE_BAR
    print(
        f"worst of {', '.join(name for name in BAR if name in figures['runs']) or 'all'}: step time {figures['step_error_worst']:.1%} "
        f"(bar {STEP_BAR:.0%}), age {figures['age_error_worst']:.2f} versions (bar {AGE_BAR:g}): {'met' if met else 'NOT met'}; the "
        f"calibrated run repeated itself to {figures['step_drift']:+.1%}"
    )


if __name__ == "__main__":
    sys.exit(main())
