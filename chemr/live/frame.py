"""One picture of a run for a terminal of any size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chemr.duration import duration
from chemr.live.facts import TRAINING, Fact, figures, flow_facts, speed_text
from chemr.live.liveness import Life
from chemr.live.progress import StagePlan, left_s
from chemr.live.run_state import RunState, Told, recent_mean, stage_rows

BARS = "▁▂▃▄▅▆▇█"
WIDE = 136  # columns from which tasks and figures stand side by side
FIGURES_WIDTH = 62  # of the figures there
WITH_SHARE, WITH_HELD_OUT = 68, 80  # columns from which a task's row has these, too
LEAST_TASKS = 3
_COLOURS = {Life.running: "green", Life.finished: "cyan", Life.stopped: "yellow", Life.not_begun: "yellow"}


def frame(
    run: Path,
    plan: Sequence[StagePlan],
    state: RunState,
    life: Life,
    damaged: int,
    width: int,
    height: int,
    notes: Sequence[str] = (),
) -> RenderableType:
    """The whole picture. ``height`` bounds how many tasks are shown."""
    title = Text.assemble((f" {run.name} ", "bold"), (f"{life} ", _COLOURS[life]))
    if life is Life.not_begun:
        return Panel(Text(f"It has not begun: there is no config.yaml in {run} yet."), title=title, title_align="left")
    stages = _stages(plan, state, life, width)
    if not state.records:
        return Panel(
            Group(stages, Text("Nothing is recorded yet: the actors are being started.", style="dim")), title=title, title_align="left"
        )
    facts = [("training", figures(state, TRAINING)), ("flow", flow_facts(state))]
    told = _told(state, damaged, notes)
    above_and_below = 5 + len(plan) + len(told)
    if width >= WIDE:
        columns = Table.grid(padding=(0, 4))
        columns.add_row(_tasks(state, width - FIGURES_WIDTH, height - above_and_below), Group(*(_facts(*some) for some in facts)))
        body: list[RenderableType] = [columns]
    else:
        flowing = [_flowing(*some) for some in facts if some[1]]
        lines = sum(-(-sum(len(label) + len(text) + 4 for label, text in some) // (width - 4)) + 1 for _, some in facts if some)
        body = [_tasks(state, width, height - above_and_below - lines), Text(), *flowing]
    parts = [stages, Text(), *body, *([Text()] if told else []), *told]
    return Panel(Group(*parts), title=title, title_align="left", subtitle=_subtitle(state, life), subtitle_align="right")


def sparkline(values: Sequence[float], width: int) -> str:
    """Means of equal stretches as bars from 0 to 1, newest right, at most ``width`` characters."""
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    edges = [round(place * len(values) / count) for place in range(count + 1)]
    means = [fmean(list(values)[start:end]) for start, end in pairwise(edges)]
    return "".join(BARS[min(len(BARS) - 1, max(0, int(mean * len(BARS))))] for mean in means)


def _stages(plan: Sequence[StagePlan], state: RunState, life: Life, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    bar_width = max(8, min(40, width - 60))
    for name, done, steps, when in stage_rows(plan, state):
        style = {"now": "bold", "next": "dim"}.get(when, "")
        bar = ProgressBar(total=max(1, steps), completed=min(done, steps) if steps else 0, width=bar_width)
        note = ""
        if when == "now":
            left = left_s(plan, name, done, state.pace.step_s) if life is Life.running else None
            note = speed_text(state.pace.step_s) + (f", {duration(left)} left" if left else "")
        table.add_row(Text(name, style=style), bar, Text(f"{done:,}/{steps:,}" if steps else f"{done:,}", style=style), Text(note))
    return table


def _tasks(state: RunState, width: int, rows: int) -> RenderableType:
    """``rows``: lines that there are for it; a few tasks are shown in any case."""
    if not state.rewards:
        return _evaluations(state, rows)
    weights = state.weights()
    shares, held_out = width >= WITH_SHARE, width >= WITH_HELD_OUT
    spark_width = max(8, min(40, width - 41 - 8 * shares - 10 * held_out))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("reward by task", no_wrap=True)
    table.add_column("now", justify="right", min_width=5)
    table.add_column("from 0 to 1", no_wrap=True, min_width=spark_width)
    if shares:
        table.add_column("share", justify="right", min_width=6)
    if held_out:
        table.add_column("held out", justify="right", min_width=8)
    tasks = sorted(state.rewards.keys() - {"mean"}, key=lambda task: (-weights.get(task, 0.0), task))
    room = max(LEAST_TASKS, rows - 2)
    shown = tasks if len(tasks) <= room else tasks[: room - 1]
    for task in [*(["mean"] if "mean" in state.rewards else []), *shown]:
        values = list(state.rewards[task])
        held = state.evaluations.get(task)
        cells: list[RenderableType] = [Text(task), f"{100 * recent_mean(values):.0f} %"]
        cells.append(Text(sparkline(values, spark_width), style="green"))
        cells += [f"{100 * weights[task]:.1f} %" if task in weights else ""] * shares
        cells += [f"{100 * held[1]:.1f} %" if held else "–"] * held_out
        table.add_row(*cells, style="bold" if task == "mean" else None)
    if len(shown) < len(tasks):
        table.add_row(Text(f"and {len(tasks) - len(shown)} more", style="dim"))
    return table


def _evaluations(state: RunState, rows: int) -> RenderableType:
    """Before reinforcement learning there are held-out evaluations at most."""
    if not state.evaluations:
        return Text("No rewards yet: this stage is supervised.", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("held-out reward by task", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    for task, (_, value) in list(state.evaluations.items())[: max(LEAST_TASKS, rows - 1)]:
        table.add_row(task, f"{100 * value:.1f} %")
    return table


def _facts(title: str, facts: Sequence[Fact]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=bool(facts))
    table.add_column(title, style="dim", no_wrap=True)
    table.add_column("", overflow="fold")
    for label, text in facts:
        table.add_row(label, text)
    return table


def _flowing(title: str, facts: Sequence[Fact]) -> RenderableType:
    """Side by side, as many as there is room for."""
    items = [Text.assemble((f"{label} ", "dim"), text) for label, text in facts]
    return Columns([Text(title, style="dim italic"), *items], padding=(0, 3))


def _told(state: RunState, damaged: int, notes: Sequence[str]) -> list[Text]:
    lines = []
    going_on = ", ".join(f"{task}: {kind}" for task, kind in sorted(state.active))
    if going_on:
        lines.append(Text.assemble(("goes on  ", "bold yellow"), going_on))
    lines += [_line("alert", "yellow", told) for told in list(state.alerts)[-2:]]
    lines += [_line("failure", "red", told) for told in list(state.failures)[-3:]]
    lines += [Text.assemble(("note  ", "bold"), note, no_wrap=True, overflow="ellipsis") for note in notes]
    if damaged:
        lines.append(Text.assemble(("file   ", "bold red"), f"{damaged} lines of metrics.jsonl are no records and are left out"))
    return lines


def _line(kind: str, colour: str, told: Told) -> Text:
    return Text.assemble((f"{kind}  ", f"bold {colour}"), f"step {told.step:,}: {told.text}")


def _subtitle(state: RunState, life: Life) -> Text:
    if life is Life.running and state.time:
        return Text(f" last record {duration(max(0.0, time.time() - state.time))} ago ", style="dim")
    return Text(f" {state.records:,} records ", style="dim")
