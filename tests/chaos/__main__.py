"""``python -m tests.chaos --runs 30 --seed 1 --json chaos.json``: seeded faults against real GRPO runs (docs/chaos.md).

Ends with status 1 when a run broke a promise; its folder, with the driver's output, is kept and named.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.faults import KINDS, Plan, deal, schedule
from tests.chaos.harness import PATIENCE, ChaosRun, Outcome, starting_model
from tests.chaos.report import as_json, table

EXAMPLES = """\
examples:
  python -m tests.chaos --runs 30 --seed 1 --json chaos.json
  python -m tests.chaos --runs 1 --kinds 'freeze engine,kill driver' --set pool.generators=1 --keep
"""


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Seeded faults against real GRPO runs, and what must hold afterwards (docs/chaos.md).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=4, help="how many (4)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others count up")
    parser.add_argument("--faults", type=int, default=6, help="faults per run")
    parser.add_argument("--parallel", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=20.0, help="no run is started after this time")
    parser.add_argument("--kinds", default="", help="comma-separated names instead of a dealt hand, e.g. 'kill learner,freeze engine'")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help=f"multiplies every deadline (as measured on this machine: {PATIENCE:g})"
    )
    parser.add_argument("--model", type=Path, help="a model folder that GRPO can improve, instead of training one first")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="more overrides, e.g. pool.generators=1")
    parser.add_argument("--json", type=Path, help="write the outcome to this file")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs without problems too")
    return parser


def main() -> int:
    parser = command_parser()
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    plans = deal(options.runs, options.faults, options.seed)
    if options.kinds:
        by_name = {kind.name: kind for kind in KINDS}
        unknown = [name for name in options.kinds.split(",") if name not in by_name]
        if unknown:
            parser.error(f"unknown fault {unknown[0]!r}; known: {', '.join(by_name)}")
        plans = [schedule([by_name[name] for name in options.kinds.split(",")], options.seed)]
    began = time.monotonic()
    model = options.model or starting_model(folder)

    def one(plan: Plan) -> Outcome | None:
        if time.monotonic() - began > 60 * options.minutes:
            return None
        print(f"run {plan.seed}: {', '.join(fault.kind.name for fault in plan.faults)}", flush=True)
        outcome = ChaosRun(folder / f"run-{plan.seed}", plan, model, options.patience, options.set).run()
        for strike in outcome.strikes:
            seconds = "no step after it" if strike.recovery_s is None else f"{strike.recovery_s:.1f} s"
            print(f"run {plan.seed}: {strike.kind} after step {strike.step} on {strike.victim}: {strike.skipped or seconds}", flush=True)
        if outcome.problems:
            print(f"run {plan.seed} broke a promise: {'; '.join(outcome.problems)}; see {folder / f'run-{plan.seed}'}", flush=True)
        elif not options.keep:
            shutil.rmtree(folder / f"run-{plan.seed}", ignore_errors=True)
        return outcome

    with ThreadPoolExecutor(options.parallel) as threads:
        outcomes = [outcome for outcome in threads.map(one, plans) if outcome is not None]
    missing = sorted({kind.name for kind in KINDS} - {strike.kind for o in outcomes for strike in o.strikes if not strike.skipped})
    print("\n" + table(outcomes))
    if len(outcomes) < len(plans):
        print(f"{len(plans) - len(outcomes)} runs were not started within {options.minutes:g} minutes")
    if missing:
        print(f"kinds that did not strike: {', '.join(missing)}")
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(outcomes, missing), indent=2) + "\n")
    kept = options.keep or any(outcome.problems for outcome in outcomes)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
