"""An evaluation as a table for people, JSON for programs and Parquet for a closer look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from chemr.display import Display
from chemr.evaluation import Evaluation
from chemr.prompts import render_prompt
from rewards.benchmark.figures import BenchmarkReport


def say_evaluation(display: Display, evaluation: Evaluation, published: Mapping[str, BenchmarkReport]) -> None:
    """One line a task: the hardened scorer's mean reward and solved shares, and the first published figure where there is one."""
    most = max((k for score in evaluation.tasks.values() for k in score.pass_at), default=1)
    table = Table(title="held-out scores, %", title_justify="left", header_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("task")
    for column in ("prompts", "reward", "95 % interval", "pass@1", f"pass@{most}", "greedy solved"):
        table.add_column(column, justify="right")
    table.add_column("published rule, greedy" if published else "")
    for task, score in evaluation.tasks.items():
        report = published.get(task)
        low, high = score.interval
        table.add_row(
            task,
            str(score.prompts),
            _percent(score.mean),
            f"{100 * low:.1f} – {100 * high:.1f}",
            _percent(score.pass_at.get(1)),
            _percent(score.pass_at.get(most)),
            _percent(score.greedy_solved),
            f"{report.figures[0].name} {_figure(report.figures[0].mean)}" if report and report.figures else "",
        )
    display.console.print(table)


def final_lines(evaluation: Evaluation, unasked: int) -> list[str]:
    lines = [f"mean reward {evaluation.mean:.3f}, 95 % interval {evaluation.interval[0]:.3f} to {evaluation.interval[1]:.3f}"]
    failures = sum(score.failures for score in evaluation.tasks.values())
    if failures:
        lines.append(f"{failures} answers could not be scored and are left out; per task: failures in the JSON file")
    if unasked:
        lines.append(f"{unasked} prompts were too long to be asked and count as unanswered")
    return lines


def write_json(path: Path, suite: str, evaluation: Evaluation, published: Mapping[str, BenchmarkReport], unasked: Sequence[str]) -> None:
    """All figures; ``published`` holds the benchmark's own rules, ``tasks`` the hardened scorers', ``unasked`` uids of too long prompts."""
    document: dict[str, Any] = {"suite": suite} | evaluation.to_json() | {"unasked": list(unasked)}
    document["published"] = {task: report.to_json() for task, report in published.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_answers(path: Path, evaluation: Evaluation) -> None:
    """Every answer as a row: uid, task, kind, sample, prompt, completion, reward (null: not known), reason, reference."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "uid": answered.example.uid,
            "task": answered.example.task,
            "kind": answered.kind,
            "sample": sample,
            "prompt": render_prompt(answered.example),
            "completion": text,
            "reward": verdict.value,
            "reason": str(verdict.reason),
            "reference": json.dumps(dict(answered.example.reference), ensure_ascii=False),
        }
        for answered in evaluation.answers
        for sample, (text, verdict) in enumerate(zip(answered.texts, answered.verdicts, strict=True))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
