"""A finished run as one picture: held-out mean reward over wall time with the phases shaded, and every task after every stage.

    python -m chemr.report_figure runs/starter docs/images/starter.svg

It is drawn from ``metrics.jsonl`` and ``summary.json`` only, so it
can be made again from any run directory.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.exit_status import EXIT_FAILED, EXIT_OK
from chemr.svg import FAINT, GRID, INK, document, dot, label, nice, rect, stroke
from chemr.tracking.metrics_log import read_metrics

PHASES = {  # stage -> (what a reader calls it, colour)
    "foundation": ("foundation", "#4C78A8"),
    "distill": ("distillation", "#E39A33"),
    "grpo": ("GRPO", "#3B9C6E"),
}
OTHER_PHASE = "#8A8F98"
Scale = Callable[[float], float]  # a value to its place in the picture

WIDTH = 960
CURVE_TOP, CURVE_HEIGHT = 64, 250
LEFT, RIGHT = 64, 36
TASK_LABELS, TASK_ROW, TASK_COLUMNS = 156, 30, 2


class FigureError(RuntimeError):
    """The run directory does not hold what the figure shows."""


@dataclass(frozen=True, slots=True)
class Point:
    """A held-out evaluation: mean reward in [0, 1] at ``seconds`` of run time; ``interval`` is its 95 % interval, where known."""

    seconds: float
    mean: float
    stage: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class RunFigure:
    """What is drawn.

    Attributes:
        title: heading.
        spans: (stage, first second, last second) in order of time.
        during: evaluations while a stage went on (validation molecules).
        after: evaluations after each stage (test molecules).
        tasks: task -> stage -> held-out mean reward in [0, 1].
    """

    title: str
    spans: Sequence[tuple[str, float, float]]
    during: Sequence[Point]
    after: Sequence[Point]
    tasks: Mapping[str, Mapping[str, float]]


def load_run(run_dir: Path) -> RunFigure:
    """Read a run directory.

    Raises:
        FigureError: ``metrics.jsonl`` or ``summary.json`` is missing, or no held-out evaluation is in them.
    """
    for name in ("metrics.jsonl", "summary.json"):
        if not (run_dir / name).is_file():
            raise FigureError(f"{run_dir / name} is missing: the figure is drawn from a run that has finished")
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    records = list(read_metrics(run_dir / "metrics.jsonl"))
    stages: list[str] = summary["stages"]
    during = [Point(r["elapsed_s"], r["eval/validation/mean"], r.get("stage", "")) for r in records if "eval/validation/mean" in r]
    ends = {r["stage"]: r["elapsed_s"] for r in records if "eval/test/mean" in r and r.get("stage") in stages}  # the last one of each
    after = [
        Point(ends[stage], summary[stage]["mean_reward"], stage, tuple(summary[stage]["interval95"])) for stage in stages if stage in ends
    ]
    if not after:
        raise FigureError(f"{run_dir} holds no held-out evaluation (eval/test/mean with a stage): nothing to draw")
    tasks = {task: dict(values) for task, values in summary["table"].items() if task != "mean"}
    return RunFigure(summary["run"], _spans(records), during, after, tasks)


def draw(figure: RunFigure) -> str:
    """The picture as an SVG document."""
    rows = math.ceil(len(figure.tasks) / TASK_COLUMNS)
    tasks_top = CURVE_TOP + CURVE_HEIGHT + 84
    height = tasks_top + rows * TASK_ROW + 28
    parts = [
        label(LEFT, 30, f"{figure.title}: held-out mean reward", size=17, weight="bold"),
        *_curve(figure),
        label(LEFT, tasks_top - 18, "every task after every stage (held-out mean reward, %)", size=14, weight="bold"),
        *_task_panel(figure, tasks_top),
    ]
    return document(WIDTH, height, _caption(figure), parts)


def _curve(figure: RunFigure) -> list[str]:
    seconds = max([end for _, _, end in figure.spans] + [point.seconds for point in (*figure.during, *figure.after)] + [1.0])
    top_value = _ceiling(max([p.interval[1] if p.interval else p.mean for p in (*figure.during, *figure.after)]))
    right, bottom = WIDTH - RIGHT, CURVE_TOP + CURVE_HEIGHT

    def x(at: float) -> float:
        return LEFT + (right - LEFT) * at / seconds

    def y(value: float) -> float:
        return bottom - CURVE_HEIGHT * min(value, top_value) / top_value

    parts = []
    for stage, start, end in figure.spans:
        name, colour = _phase(stage)
        parts.append(rect(x(start), CURVE_TOP, x(end) - x(start), CURVE_HEIGHT, colour, opacity=0.12))
        parts.append(label((x(start) + x(end)) / 2, CURVE_TOP - 8, name, size=13, colour=colour, weight="bold", anchor="middle"))
    for tick in _ticks(top_value):
        parts.append(stroke([(LEFT, y(tick)), (right, y(tick))], GRID, width=1))
        parts.append(label(LEFT - 8, y(tick) + 4, f"{tick:g}", size=12, colour=FAINT, anchor="end"))
    step = nice(seconds / 60 / 6)
    for index in range(int(seconds / 60 / step) + 1):
        parts.append(label(x(index * step * 60), bottom + 18, f"{index * step:g}", size=12, colour=FAINT, anchor="middle"))
    parts.append(label((LEFT + right) / 2, bottom + 36, "minutes", size=12, colour=FAINT, anchor="middle"))
    parts += _line(figure.during or figure.after, x, y)
    for point in figure.after:
        colour = _phase(point.stage)[1]
        if point.interval is not None:
            parts.append(stroke([(x(point.seconds), y(value)) for value in point.interval], colour, width=2))
        parts.append(dot(x(point.seconds), y(point.mean), 5.5, colour))
        parts.append(label(x(point.seconds) - 10, y(point.mean) - 9, f"{point.mean:.2f}", size=13, weight="bold", anchor="end"))
    parts.append(dot(right - 388, 26, 5, FAINT))
    parts.append(label(right - 378, 30, "after a stage, test molecules, 95 % interval", size=12, colour=FAINT))
    if figure.during:
        parts.append(stroke([(right - 78, 26), (right - 60, 26)], INK, width=1.6))
        parts.append(label(right, 30, "validation", size=12, colour=FAINT, anchor="end"))
    return parts


def _line(points: Sequence[Point], x: Scale, y: Scale) -> list[str]:
    places = [(x(point.seconds), y(point.mean)) for point in points]
    return [stroke(places, INK, width=1.6), *(dot(*place, 2.2, INK) for place in places)]


def _task_panel(figure: RunFigure, top: float) -> list[str]:
    """Each task a row: its name, a bar for each stage on a common 0–100 % scale, and the last stage's value."""
    stages = [stage for stage in PHASES if any(stage in values for values in figure.tasks.values())]
    stages += sorted({stage for values in figure.tasks.values() for stage in values} - set(PHASES))
    rows = math.ceil(len(figure.tasks) / TASK_COLUMNS)
    column_width = (WIDTH - LEFT / 2 - RIGHT) / TASK_COLUMNS
    parts = []
    for index, (task, values) in enumerate(figure.tasks.items()):
        column, row = divmod(index, rows)
        left = LEFT / 2 + column * column_width
        start, width = left + TASK_LABELS, column_width - TASK_LABELS - 52
        middle = top + row * TASK_ROW + TASK_ROW / 2
        parts.append(label(left + TASK_LABELS - 10, middle + 4, task, size=12, anchor="end"))
        bar_top, bar_height = middle - TASK_ROW / 2 + 5, (TASK_ROW - 10) / max(1, len(stages))
        parts.append(rect(start, bar_top, width, TASK_ROW - 10, GRID, opacity=0.55))
        for place, stage in enumerate(stages):
            if stage in values:
                parts.append(rect(start, bar_top + place * bar_height, width * values[stage], bar_height - 0.8, _phase(stage)[1]))
        last = next((values[stage] for stage in reversed(stages) if stage in values), None)
        if last is not None:
            parts.append(label(start + width + 8, middle + 4, f"{100 * last:.0f}", size=12, weight="bold"))
    return parts


def _spans(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """When each stage began and ended, from the labels of the records; a stage lasts until the next begins."""
    starts: dict[str, float] = {}
    for record in records:
        if record.get("stage"):
            starts.setdefault(record["stage"], record["elapsed_s"])
    edges = [*starts.values(), records[-1]["elapsed_s"]] if records else []
    return [(stage, edges[i], edges[i + 1]) for i, stage in enumerate(starts)]


def _caption(figure: RunFigure) -> str:
    return f"{figure.title}: " + ", ".join(f"{point.mean:.2f} after {_phase(point.stage)[0]}" for point in figure.after)


def _phase(stage: str) -> tuple[str, str]:
    return PHASES.get(stage, (stage, OTHER_PHASE))


def _ceiling(value: float) -> float:
    """The top of the reward axis: a multiple of 0.1 with room above ``value``, at most 1."""
    return min(1.0, max(0.1, math.ceil(value * 10 + 0.5) / 10))


def _ticks(top: float) -> list[float]:
    step = 0.1 if top <= 0.6 else 0.2
    return [round(index * step, 1) for index in range(int(top / step + 1e-9) + 1)]


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chemr.report_figure",
        description="Draw a finished run as an SVG picture.",
        epilog="example:\n  python -m chemr.report_figure runs/starter picture.svg",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", type=Path, help="a run directory, e.g. runs/starter")
    parser.add_argument("svg", type=Path, help="the file to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = command_parser().parse_args(arguments)
    try:
        picture = draw(load_run(parsed.run_dir))
    except FigureError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    parsed.svg.parent.mkdir(parents=True, exist_ok=True)
    parsed.svg.write_text(picture, encoding="utf-8")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
