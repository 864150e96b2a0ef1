"""A comparison as one table (Markdown and terminal) and one picture."""

from __future__ import annotations

from collections.abc import Sequence

from chemr.ablation.results import ArmResult, Interval
from chemr.svg import FAINT, GRID, INK, document, dot, label, nice, rect, stroke

WIDTH, LEFT, RIGHT, TOP, ROW = 960, 270, 60, 70, 46
BAR, REFERENCE_BAR = "#4C78A8", "#8A8F98"
HEADER = ("arm", "seeds", "mean", "gain", "worst third", "gain", "worst task", "gain")


def rows(arms: Sequence[ArmResult]) -> list[tuple[str, ...]]:
    """Cells under :data:`HEADER`, in points (per cent of the held-out reward) with 95 % intervals over seeds."""
    return [
        (
            arm.title,
            str(len(arm.seeds)),
            _points(arm.mean),
            _points(arm.gain, signed=True),
            _points(arm.worst_third),
            _points(arm.gain_worst_third, signed=True),
            _points(arm.worst_task),
            _points(arm.gain_worst_task, signed=True),
        )
        for arm in arms
    ]


def markdown(arms: Sequence[ArmResult], reference: str, experiment: Sequence[str]) -> str:
    """The table of the arms, and under it that of every task."""
    lines = [
        f"Held-out mean reward in points, with 95 % intervals over seeds; gains are over `{reference}`, paired by seed and prompt. The "
        f"worst task and the worst third are those of `{reference}`.",
        "",
        f"`{' '.join(experiment)}`",
        "",
        *_table(HEADER, rows(arms)),
        "",
        *_table(("task", *(arm.title for arm in arms)), task_rows(arms)),
    ]
    return "\n".join(lines) + "\n"


def task_rows(arms: Sequence[ArmResult]) -> list[tuple[str, ...]]:
    """Each task's mean over seeds in every arm, worst first."""
    names = sorted({task for arm in arms for task in arm.tasks}, key=lambda task: min(arm.tasks.get(task, 1.0) for arm in arms))
    return [(task, *(f"{100 * arm.tasks[task]:.1f}" if task in arm.tasks else "" for arm in arms)) for task in names]


def picture(name: str, arms: Sequence[ArmResult], reference: str) -> str:
    """A bar per arm with its interval and a dot per seed, and the worst third below it, thinner."""
    height = TOP + len(arms) * ROW + 60
    top = max([arm.mean[2] for arm in arms] + [one.mean for arm in arms for one in arm.seeds] + [0.1])
    scale = (WIDTH - LEFT - RIGHT) / top
    bottom = TOP + len(arms) * ROW
    parts = [
        label(30, 32, f"{name}: held-out mean reward, %", size=17, weight="bold"),
        label(
            WIDTH - RIGHT,
            32,
            "mean over seeds, 95 % interval; dots: seeds; thin: the worst third",
            size=12,
            colour=FAINT,
            anchor="end",
        ),
    ]
    step = nice(top / 6)
    for index in range(int(top / step) + 1):
        x = LEFT + scale * index * step
        parts.append(stroke([(x, TOP - 8), (x, bottom)], GRID, width=1))
        parts.append(label(x, bottom + 18, f"{100 * index * step:g}", size=12, colour=FAINT, anchor="middle"))
    for row, arm in enumerate(arms):
        middle = TOP + row * ROW + ROW / 2
        colour = REFERENCE_BAR if arm.name == reference else BAR
        value, low, high = arm.mean
        parts.append(label(LEFT - 12, middle, arm.title, size=13, anchor="end"))
        parts.append(rect(LEFT, middle - 15, scale * value, 18, colour))
        parts.append(rect(LEFT, middle + 5, scale * arm.worst_third[0], 6, colour, opacity=0.55))
        parts.append(stroke([(LEFT + scale * max(0.0, low), middle - 6), (LEFT + scale * min(top, high), middle - 6)], INK, width=1.6))
        parts += [dot(LEFT + scale * one.mean, middle - 6, 3, INK) for one in arm.seeds]
        right = LEFT + scale * max([value, *(one.mean for one in arm.seeds)]) + 10
        parts.append(label(right, middle - 1, f"{100 * value:.1f}", size=13, weight="bold"))
    return document(WIDTH, height, f"{name}: " + ", ".join(f"{arm.title} {100 * arm.mean[0]:.1f}" for arm in arms), parts)


def _points(interval: Interval | None, signed: bool = False) -> str:
    if interval is None:
        return "–"
    value, low, high = (100 * number for number in interval)
    sign = "+" if signed else ""
    text = f"{value:{sign}.1f}"
    return text if low == high else f"{text} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]
