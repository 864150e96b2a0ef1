"""Settings of the curriculum, section ``grpo.curriculum``; what each does in formulas is in docs/curriculum.md."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chemr.nearest_name import did_you_mean

SECTION = "grpo.curriculum"


class Weighting(StrEnum):
    """How success estimates become task weights (DESIGN §4)."""

    uniform = "uniform"
    difficulty = "difficulty"  # w ∝ max(floor, (1 − p)^α): hard tasks are not left behind (Chem-R's curriculum weighting)
    variance = "variance"  # w ∝ max(floor, 4p(1 − p)): most where success is a coin toss (marin)
    advantage = "advantage"  # w ∝ exp(Q/τ), Q = running mean |advantage| (SEC bandit)


class PromptSampling(StrEnum):
    """Which prompt of the task that was drawn."""

    uniform = "uniform"  # a shuffled deck: every prompt once before any a second time
    replay = "replay"  # the deck, and now and then a prompt whose last group was not trivial (ether0, arXiv 2506.17238)
    gaussian = "gaussian"  # the deck, and prompts seen before by exp(−(p − target)²/2σ²) of their own pass rate


@dataclass
class UnlockRule:
    """When a task joins the others.

    Attributes:
        after: the tasks before it; each of them has to pass.
        success: success estimate from which a task before it passes; in (0, 1].
        plateau: a task before it also passes when it has got stuck: its estimate rose by at most ``plateau_gain`` over so many of its
            groups; null = it does not.
        plateau_gain: see plateau.
    """

    after: list[str] = field(default_factory=list)
    success: float = 0.5
    plateau: int | None = None
    plateau_gain: float = 0.02

    def validate(self, name: str) -> None:
        if not self.after:
            raise ValueError(f"{name}.after is empty: name the tasks that come before it, or leave the rule out")
        if not 0.0 < self.success <= 1.0:
            raise ValueError(f"{name}.success={self.success} is outside (0, 1]; it is a mean reward")
        if self.plateau is not None and self.plateau < 2:
            raise ValueError(f"{name}.plateau={self.plateau} must be at least 2 groups, between which a rise can be seen, or null")
        if not 0.0 <= self.plateau_gain < 1.0:
            raise ValueError(f"{name}.plateau_gain={self.plateau_gain} is outside [0, 1); it is a difference of mean rewards")


@dataclass
class PromptsConfig:
    """Which prompt of the task that was drawn.

    Attributes:
        sampling: see :class:`PromptSampling`.
        epsilon: ε, the chance that a draw takes a prompt asked before instead of the deck's next (replay: at most, see ``rate``;
            gaussian: while the deck holds unseen prompts, always afterwards); in [0, 1].
        buffer: replay keeps so many prompts of a task, or of a class of a yes/no task; the oldest goes first.
        rate: step size of the averages from which replay estimates up to which ε its buffer does not run dry; in (0, 1].
        target, width: of the Gaussian over pass rates.
        pass_rate_step: step size of a prompt's own pass rate, for a group of the current policy; in (0, 1].
    """

    sampling: PromptSampling = PromptSampling.uniform
    epsilon: float = 0.25
    buffer: int = 256
    rate: float = 0.02
    target: float = 0.5
    width: float = 0.2
    pass_rate_step: float = 0.5

    def validate(self) -> None:
        name = f"{SECTION}.prompts"
        for field_name in ("epsilon", "target"):
            if not 0.0 <= getattr(self, field_name) <= 1.0:
                raise ValueError(f"{name}.{field_name}={getattr(self, field_name)} is outside [0, 1]; choose a value in that range")
        for field_name in ("rate", "pass_rate_step"):
            if not 0.0 < getattr(self, field_name) <= 1.0:
                raise ValueError(f"{name}.{field_name}={getattr(self, field_name)} is outside (0, 1]; choose a value in that range")
        if self.buffer < 1:
            raise ValueError(f"{name}.buffer={self.buffer} keeps no prompt; use 1 or more, or {name}.sampling=uniform")
        if not self.width > 0.0:
            raise ValueError(f"{name}.width={self.width} must be positive: it is the standard deviation of a Gaussian over pass rates")


@dataclass
class AlertsConfig:
    """What a person is told of a task that learns badly; nothing is changed by it.

    Attributes:
        enabled: false = no alerts.
        window: groups of the task that are looked back upon; a *level* is the mean of the estimates over the last quarter of them.
        stall_below, stall_gain: stalled: the level is below the one, and estimates rose by at most the other over the window.
        mastered, drop: regressed: the level was once at ``mastered`` or above, and is now ``drop`` or more below it.
        swing, turns: oscillates: the moving mean turned ``turns`` times or more within the window, by ``swing`` or more each.
    """

    enabled: bool = True
    window: int = 200
    stall_below: float = 0.2
    stall_gain: float = 0.02
    mastered: float = 0.8
    drop: float = 0.15
    swing: float = 0.15
    turns: int = 4

    @property
    def level_groups(self) -> int:
        """A level is the mean of so many estimates."""
        return self.window // 4

    @property
    def swing_groups(self) -> int:
        """Turns are those of the moving mean over so many estimates."""
        return self.window // 10

    def validate(self) -> None:
        name = f"{SECTION}.alerts"
        if self.window < 20:
            raise ValueError(f"{name}.window={self.window} is too short to tell a course from noise; use 20 groups or more")
        for field_name in ("stall_below", "stall_gain"):
            if not 0.0 <= getattr(self, field_name) <= 1.0:
                raise ValueError(f"{name}.{field_name}={getattr(self, field_name)} is outside [0, 1]; it is a mean reward")
        for field_name in ("mastered", "drop", "swing"):
            if not 0.0 < getattr(self, field_name) <= 1.0:
                raise ValueError(f"{name}.{field_name}={getattr(self, field_name)} is outside (0, 1]; it is a mean reward")
        if self.drop >= self.mastered:
            raise ValueError(f"{name}.drop={self.drop} is not below {name}.mastered={self.mastered}: no estimate could fall so far")
        if self.turns < 2:
            raise ValueError(f"{name}.turns={self.turns} must be at least 2: one turn is a peak, not an oscillation")


@dataclass
class CurriculumConfig:
    """Task and prompt curriculum of the GRPO stage.

    Attributes:
        weighting: see :class:`Weighting`.
        alpha: exponent of the difficulty weighting.
        floor: smallest unnormalised weight, so that no task starves; in (0, 1].
        rate: step size of the exponential averages for a sample of the current policy; in (0, 1].
        age_decay: a sample that is ``a`` versions old updates with ``rate · age_decay^a``: it describes a policy that is gone.
        temperature: softmax temperature of the advantage weighting.
        floors, caps: smallest and largest share of the prompts of single tasks, whatever the weighting says; of all prompts, in [0, 1].
        unlock: when which tasks join the others (:class:`UnlockRule`); a task without a rule is sampled from the beginning.
        prompts: which prompt of a task.
        alerts: what a person is told of.
    """

    weighting: Weighting = Weighting.difficulty
    alpha: float = 1.0
    floor: float = 0.2
    rate: float = 0.1
    age_decay: float = 0.7
    temperature: float = 0.1
    floors: dict[str, float] = field(default_factory=dict)
    caps: dict[str, float] = field(default_factory=dict)
    unlock: dict[str, UnlockRule] = field(default_factory=dict)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        for name, low, high in (("floor", 0.0, 1.0), ("rate", 0.0, 1.0), ("age_decay", 0.0, 1.0)):
            value = getattr(self, name)
            if not low < value <= high:
                raise ValueError(f"grpo.curriculum.{name}={value} is outside ({low:g}, {high:g}]; choose a value in that range")
        if self.alpha < 0:
            raise ValueError(f"grpo.curriculum.alpha={self.alpha} is negative, which would favour easy tasks; use alpha >= 0")
        if self.temperature <= 0:
            raise ValueError(f"grpo.curriculum.temperature={self.temperature} must be positive")
        self._validate_shares()
        for task, rule in self.unlock.items():
            rule.validate(f"{SECTION}.unlock.{task}")
        _refuse_cycles(self.unlock)
        self.prompts.validate()
        self.alerts.validate()

    def _validate_shares(self) -> None:
        for task, share in self.floors.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{SECTION}.floors.{task}={share:g} is outside [0, 1]; it is a share of all prompts")
        for task, share in self.caps.items():
            if not 0.0 < share <= 1.0:
                raise ValueError(f"{SECTION}.caps.{task}={share:g} is outside (0, 1]; to leave a task out, take it out of data.tasks")
            if share < self.floors.get(task, 0.0):
                raise ValueError(f"{SECTION}.caps.{task}={share:g} is below {SECTION}.floors.{task}={self.floors[task]:g}; lower the floor")
        if sum(self.floors.values()) > 1.0 + 1e-9:
            raise ValueError(f"{SECTION}.floors sum to {sum(self.floors.values()):g}, but there is only 1 to share out; lower some of them")

    def check_tasks(self, tasks: Collection[str]) -> None:
        """Whether these settings fit the tasks that a run trains.

        Raises:
            ValueError: a name that is none of them, or caps that leave nothing to fill the rest with.
        """
        named = [("floors", task) for task in self.floors] + [("caps", task) for task in self.caps]
        for task, rule in self.unlock.items():
            named += [("unlock", task), *((f"unlock.{task}.after", other) for other in rule.after)]
        for where, task in named:
            if task not in tasks:
                known = ", ".join(sorted(tasks)) + did_you_mean(task, tasks)
                raise ValueError(f"{SECTION}.{where} names {task!r}, which is no task of this run; its tasks: {known}")
        # Tasks only ever join: what fits those open at the beginning fits all that follow.
        open_tasks = set(tasks) - set(self.unlock)
        room = sum(self.caps.get(task, 1.0) for task in open_tasks)
        if room < 1.0 - 1e-9:
            when = " that are open at the beginning" if self.unlock else ""
            raise ValueError(
                f"{SECTION}.caps allow the {len(open_tasks)} tasks{when} ({', '.join(sorted(open_tasks))}) only {room:g} of the prompts "
                "together, and the rest would go to nobody; raise some of them"
            )


def _refuse_cycles(rules: Mapping[str, UnlockRule]) -> None:
    """Raises ValueError that names the tasks which wait for each other: they would stay locked for ever."""
    for start in rules:
        path, waiting = [start], [iter(rules[start].after)]
        done: set[str] = set()
        while waiting:
            task = next(waiting[-1], None)
            if task is None:
                waiting.pop()
                done.add(path.pop())
            elif task in path:
                circle = " after ".join([*path[path.index(task) :], task])
                raise ValueError(f"{SECTION}.unlock goes round in a circle: {circle}; these tasks would stay locked, take one rule out")
            elif task in rules and task not in done:
                path.append(task)
                waiting.append(iter(rules[task].after))
