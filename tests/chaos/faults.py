"""What can go wrong, and who gets what: faults are dealt from a shuffled deck of all kinds, so that few runs cover every kind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    kill = "kill"  # SIGKILL
    freeze = "freeze"  # SIGSTOP for ever: hangs, does not die (the driver is continued after a while: nobody watches it)
    slow = "slow"  # SIGSTOP and SIGCONT in turn
    full_disk = "full disk"  # the checkpoints' file system has no room until a checkpoint has failed
    corrupt = "corrupt checkpoint"  # a flipped byte in the newest one, then the loss of the learner or the driver, who need it
    pressure = "object store"  # more objects than it has room for
    clock = "clock jump"  # of the driver's clocks, either way


class Role(StrEnum):
    """Whose process. As in ``pool.pids()`` without the number; empty for faults that hit no process."""

    generator = "generator"
    engine = "engine"
    reward = "reward"
    zygote = "zygote"
    worker = "worker"
    learner = "learner"
    driver = "driver"
    nobody = ""

    def of(self, name: str) -> bool:
        """Whether a name of ``pool.pids()`` (``generator-0/engine``, ``reward-1``) has this role."""
        return name.rpartition("/")[2].rpartition("-")[0] == self or name.rpartition("/")[2] == self


@dataclass(frozen=True, slots=True)
class Kind:
    action: Action
    role: Role = Role.nobody

    @property
    def name(self) -> str:
        return f"{self.action} {self.role}".strip()


ROLES = tuple(role for role in Role if role is not Role.nobody)
KINDS: tuple[Kind, ...] = (
    *(Kind(Action.kill, role) for role in ROLES),
    *(Kind(Action.freeze, role) for role in ROLES),
    *(Kind(Action.slow, role) for role in (Role.generator, Role.engine, Role.reward, Role.learner)),
    Kind(Action.full_disk),
    Kind(Action.corrupt),
    Kind(Action.pressure),
    Kind(Action.clock),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind and the GRPO step after which it strikes; ``seed`` decides whatever is left to chance when it does."""

    kind: Kind
    step: int
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One run's faults, in the order of their steps. ``steps`` is the length of the run."""

    seed: int
    faults: tuple[Fault, ...]
    steps: int


FIRST_STEP, EVERY, LAST_STEPS = 2, 3, 3


def schedule(kinds: Sequence[Kind], seed: int) -> Plan:
    """A run in which these kinds strike, three steps apart, with a few undisturbed steps at the end."""
    faults = tuple(Fault(kind, FIRST_STEP + EVERY * index, 1000 * seed + index) for index, kind in enumerate(kinds))
    return Plan(seed, faults, FIRST_STEP + EVERY * len(kinds) + LAST_STEPS)


def deal(runs: int, per_run: int, seed: int, kinds: Sequence[Kind] = KINDS) -> list[Plan]:
    """``runs`` plans of ``per_run`` faults. No kind comes a second time before all others came once."""
    rng = random.Random(f"chaos/{seed}")
    deck: list[Kind] = []
    plans = []
    for run in range(runs):
        while len(deck) < per_run:
            fresh = list(kinds)
            rng.shuffle(fresh)
            deck += fresh
        hand, deck = deck[:per_run], deck[per_run:]
        plans.append(schedule(hand, seed + run))
    return plans
