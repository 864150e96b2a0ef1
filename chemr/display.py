"""What a person sees while a run goes on: a live panel on a terminal, one line per step everywhere else.

Both show the same few of a step's metrics (:data:`SHOWN`); all of them are in ``metrics.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class Shown(NamedTuple):
    """A metric worth a person's attention at every step."""

    metric: str
    label: str
    format: str


SHOWN = (
    Shown("train/loss", "loss", ".3f"),
    Shown("reward/*/mean", "reward", ".3f"),
    Shown("train/entropy", "entropy", ".2f"),
    Shown("train/grad_norm", "grad norm", ".2f"),
    Shown("train/lr", "lr", ".1e"),
    Shown("train/tokens_per_s", "trained tok/s", ",.0f"),
    Shown("rollout/length", "length", ".0f"),
    Shown("async/age_max", "age", ".0f"),
    Shown("async/overlap_efficiency", "overlap", ".2f"),
    Shown("curriculum/effective_tasks", "tasks", ".1f"),
)


def shown(metrics: Mapping[str, float]) -> dict[str, str]:
    """The metrics of a step that are shown, formatted, by label. ``reward/*/mean`` is the mean over the tasks that occurred."""
    texts = {}
    for metric, label, form in SHOWN:
        if "*" in metric:
            before, after = metric.split("*")
            values = [value for name, value in metrics.items() if name.startswith(before) and name.endswith(after)]
            if values:
                texts[label] = format(fmean(values), form)
        elif metric in metrics:
            texts[label] = format(metrics[metric], form)
    return texts


class Display:
    """One line per event, for log files, CI and pipes. :meth:`create` picks the live panel where there is a terminal."""

    def __init__(self, console: Console, on_note: Callable[[str], None] | None = None) -> None:
        self.console = console
        self._on_note = on_note
        self._started = time.monotonic()

    @staticmethod
    def create(console: Console | None = None, on_note: Callable[[str], None] | None = None) -> Display:
        """The display that fits where the output goes. ``on_note`` is given every note, too (:mod:`chemr.run_notes`)."""
        console = console or Console(highlight=False)
        kind = LiveDisplay if console.is_terminal and not console.is_dumb_terminal else Display
        return kind(console, on_note)

    def stage(self, name: str, total_steps: int) -> None:
        """A stage of ``total_steps`` optimiser steps begins."""
        self._line(f"{name}: {total_steps} steps")

    def step(self, stage: str, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Step ``step`` of ``total`` (counted from 1) is done."""
        values = "  ".join(f"{label} {text}" for label, text in shown(metrics).items())
        self._line(f"{stage} {step}/{total}  {values}".rstrip())

    def evaluation(self, stage: str, per_task: Mapping[str, float], mean: float) -> None:
        """Held-out mean rewards in [0, 1], per task and over tasks."""
        values = "  ".join(f"{task} {value:.3f}" for task, value in per_task.items())
        self._line(f"{stage} held-out reward {mean:.3f}  ({values})")

    def final_table(self, rows: Mapping[str, Mapping[str, float]]) -> None:
        """Held-out mean reward, task × stage. A row named ``mean`` comes last, in bold; the last column is the change."""
        self.console.print(reward_table(rows))

    def note(self, text: str) -> None:
        """Something a person should know."""
        self._line(text)
        if self._on_note is not None:
            self._on_note(text)

    def close(self) -> None:
        """Leave the terminal as it was found. May be called twice, and before anything was shown."""

    def _line(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self.console.print(Text(f"[{minutes:02d}:{seconds:02d}] {text}"), soft_wrap=True)


class LiveDisplay(Display):
    """A panel that is redrawn four times a second: a bar per stage, the last step's numbers, the last evaluation."""

    def __init__(self, console: Console, on_note: Callable[[str], None] | None = None) -> None:
        super().__init__(console, on_note)
        self._progress = Progress(
            TextColumn("[bold]{task.description:<11}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._metrics: dict[str, str] = {}
        self._evaluations: dict[str, dict[str, float]] = {}  # task -> stage -> newest value
        self._live = Live(self._render(), console=console, refresh_per_second=4, transient=True)

    def stage(self, name: str, total_steps: int) -> None:
        self._open()
        if name in self._bars:  # the stage goes on after a resume or a lost learner
            self._progress.update(self._bars[name], total=total_steps)
        else:
            self._bars[name] = self._progress.add_task(name, total=total_steps)
        self._metrics = {}
        self._live.update(self._render())

    def step(self, stage: str, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self._open()
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._bars[stage], completed=step, total=total)
        self._metrics = shown(metrics)
        self._live.update(self._render())

    def evaluation(self, stage: str, per_task: Mapping[str, float], mean: float) -> None:
        self._open()
        for task, value in (*per_task.items(), ("mean", mean)):
            self._evaluations.setdefault(task, {})[stage] = value
        self._live.update(self._render())

    def final_table(self, rows: Mapping[str, Mapping[str, float]]) -> None:
        self.close()
        super().final_table(rows)

    def close(self) -> None:
        if self._live.is_started:
            self._live.stop()

    def _open(self) -> None:
        if not self._live.is_started:
            self._live.start()

    def _render(self) -> RenderableType:
        numbers = Table.grid(padding=(0, 2))
        for label, text in self._metrics.items():
            numbers.add_row(Text(label, style="dim"), Text(text, justify="right"))
        parts: list[RenderableType] = [self._progress]
        columns = Table.grid(padding=(0, 4))
        columns.add_row(numbers, reward_table(self._evaluations) if self._evaluations else Text(""))
        parts.append(columns)
        return Panel(Group(*parts), title="chemr", border_style="cyan")


def reward_table(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Mean rewards as per cent, task × stage, with the change from the first to the last stage."""
    stages = list(dict.fromkeys(stage for values in rows.values() for stage in values))
    table = Table(title="held-out mean reward, %", title_justify="left", header_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("task")
    for stage in stages:
        table.add_column(stage, justify="right")
    if len(stages) > 1:
        table.add_column("change", justify="right")
    tasks = [task for task in rows if task != "mean"]
    for task in [*tasks, *(["mean"] if "mean" in rows else [])]:
        values = rows[task]
        cells = [f"{100 * values[stage]:.1f}" if stage in values else "–" for stage in stages]
        if len(stages) > 1:
            both = stages[0] in values and stages[-1] in values
            cells.append(f"{100 * (values[stages[-1]] - values[stages[0]]):+.1f}" if both else "–")
        table.add_row(task, *cells, style="bold" if task == "mean" else None)
    return table
