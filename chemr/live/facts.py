"""The live figures of a run as words: shared by the terminal and the page."""

from __future__ import annotations

from typing import NamedTuple

from chemr.duration import duration
from chemr.live.liveness import Life
from chemr.live.progress import StagePlan, left_s
from chemr.live.run_state import RunState


class Fact(NamedTuple):
    label: str
    text: str


class Figure(NamedTuple):
    """A metric and how it is written. ``scale`` multiplies it."""

    metric: str
    format: str
    unit: str = ""
    scale: float = 1.0


TRAINING = (
    ("loss", (Figure("train/loss", ".3f"),)),
    ("entropy", (Figure("train/entropy", ".2f", "nats"),)),
    ("gradient norm", (Figure("train/grad_norm", ".2f"),)),
    ("learning rate", (Figure("train/lr", ".1e"),)),
    ("trained", (Figure("train/tokens_per_s", ",.0f", "tokens/s"),)),
    ("answer", (Figure("rollout/length", ".0f", "tokens"),)),
    ("cut answers", (Figure("rollout/truncated", ".1f", "%", 100.0),)),
)
FLOW = (
    ("overlap", (Figure("async/overlap_efficiency", ".2f"),)),
    ("idle learner", (Figure("async/idle_learner", ".0f", "%", 100.0),)),
    ("idle generators", (Figure("async/idle_generators", ".0f", "%", 100.0),)),
    ("buffer", (Figure("async/slots_in_use", ".0f", "slots"), Figure("async/queue", ".0f", "ready"))),
    ("engine cache", (Figure("engine/cache_usage", ".0f", "%", 100.0),)),
    ("preemptions", (Figure("engine/preemptions", ",.0f"),)),
    ("weights published", (Figure("weights/publish_s", ".2f", "s"),)),
    ("weights pulled", (Figure("weights/pull_s", ".2f", "s"),)),
    ("weights behind", (Figure("weights/version_lag", ".0f"),)),
    ("probe error", (Figure("weights/probe_error", ".1e", "nats"),)),
)


def speed_text(step_s: float | None) -> str:
    """Whichever of seconds a step and steps a second is above one."""
    if step_s is None:
        return "–"
    if step_s >= 1.0:
        return f"{step_s:.1f} s a step"
    return f"{1 / step_s:.1f} steps/s" if step_s > 0 else "–"


def head_facts(plan: list[StagePlan], state: RunState, life: Life) -> list[Fact]:
    """Where the run is and when the stage will be done."""
    steps = next((one.steps for one in plan if one.name == state.stage), 0)
    of = f" of {steps:,}" if steps else ""
    stage = f"{state.stage}, step {state.stage_step:,}{of}" if state.stage else "–"
    left = left_s(plan, state.stage, state.stage_step, state.pace.step_s) if life is Life.running else None
    facts = [Fact("state", str(life)), Fact("stage", stage), Fact("speed", speed_text(state.pace.step_s))]
    facts.append(Fact("rest of the stage", "–" if left is None else duration(left)))
    facts.append(Fact("running time", duration(state.elapsed_s)))
    return facts


def figures(state: RunState, rows: tuple[tuple[str, tuple[Figure, ...]], ...]) -> list[Fact]:
    """The rows of which something is known."""
    found = []
    for label, row in rows:
        texts = [_written(value, one) for one in row if (value := state.value(one.metric)) is not None]
        if texts:
            found.append(Fact(label, ", ".join(texts)))
    return found


def age_fact(state: RunState) -> list[Fact]:
    """``0.9, oldest 1 (bound 2)``, in versions."""
    mean, oldest, bound = (state.value(f"async/age_{name}") for name in ("mean", "max", "bound"))
    if mean is None or oldest is None:
        return []
    most = f" (bound {bound:.0f})" if bound is not None else ""
    return [Fact("age", f"{mean:.1f}, oldest {oldest:.0f}{most}")]


def members_fact(state: RunState) -> list[Fact]:
    counts = [
        f"{value:.0f} {name.removeprefix('fleet/members/')}"
        for name, (_, value) in sorted(state.newest.items())
        if name.startswith("fleet/members/")
    ]
    return [Fact("actors", ", ".join(counts))] if counts else []


def flow_facts(state: RunState) -> list[Fact]:
    """How the asynchronous parts keep pace: ages, overlap, engines, weights."""
    return [*age_fact(state), *figures(state, FLOW), *members_fact(state)]


def _written(value: float, figure: Figure) -> str:
    return f"{figure.scale * value:{figure.format}}" + (f" {figure.unit}" if figure.unit else "")
