"""What must hold after any run, whatever struck it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.history import HISTORY
from tests.chaos.observer import Observer


def verify(
    run_dir: Path,
    chaos_dir: Path,
    observer: Observer,
    finished: bool,
    not_the_runs: Callable[[psutil.Process], bool] = lambda process: False,
) -> list[str]:
    """What does not hold, one sentence each. Results are only looked for when the run ``finished``; ``not_the_runs``: see
    :meth:`Observer.leftovers`."""
    problems = check_ages(observer.records)
    if finished:
        problems += check_results(run_dir, chaos_dir)
    return problems + [f"left behind: {what}" for what in observer.leftovers(not_the_runs)]


def check_ages(records: list[dict[str, Any]]) -> list[str]:
    return [
        f"step {record['step']}: age {record['async/age_max']:g} exceeds the bound {record['async/age_bound']:g}"
        for record in records
        if record.get("async/age_max", 0.0) > record.get("async/age_bound", 0.0)
    ]


def check_results(run_dir: Path, chaos_dir: Path) -> list[str]:
    """Ledger exact, and the learner's own account of the final weights agrees with it."""
    if not (run_dir / "summary.json").is_file():
        return ["the run ended without summary.json"]
    grpo = json.loads((run_dir / "summary.json").read_text())["grpo"]
    ledger = grpo["ledger"]
    problems = []
    settled = ledger["trained"] + sum(ledger["dropped"].values()) + ledger["in_flight"]
    if grpo["ledger_error"] or ledger["submitted"] != settled:
        problems.append(f"the ledger is off: {ledger}")
    if grpo["age_max"] > grpo["age_bound"]:
        problems.append(f"summary: age {grpo['age_max']} exceeds the bound {grpo['age_bound']}")
    path = chaos_dir / HISTORY
    if not path.is_file():
        return [*problems, "no model was exported by a learner"]
    return problems + check_history(json.loads(path.read_text()), ledger["trained"])


def check_history(history: list[list[str]], trained: int) -> list[str]:
    """``history``: [submission, digest] of every group in the final weights."""
    problems = []
    if len(history) != trained:
        problems.append(f"the final weights were trained on {len(history)} groups, the ledger says {trained}")
    for index, what in enumerate(("submission", "group of tokens")):
        twice = [name for name, count in Counter(entry[index] for entry in history).items() if count > 1]
        if twice:
            problems.append(f"trained twice on the same {what}: {', '.join(twice[:3])}")
    return problems
