"""What the pool consists of and how long it waits: plain data, checked before anything starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from actors.completion_traits import CompletionTraits
from actors.generator_config import GeneratorConfig

if TYPE_CHECKING:
    from learner.config import LearnerConfig


TRANSPORTS = ("store", "collective", "direct")


@dataclass(frozen=True, slots=True)
class GeneratorActors:
    """``count`` generator actors, each with ``cpus`` logical CPUs and ``gpus`` GPUs of Ray's account, all with the same engine."""

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    engine: GeneratorConfig = field(default_factory=GeneratorConfig)

    def validate(self) -> None:
        """Raises ValueError unless an engine on GPUs finds as many as it is split over: Ray shows an actor those of its one bundle, and its
        processes inherit that."""
        self.engine.validate()
        split, gpus = self.engine.tensor_parallel, self.gpus
        if self.engine.device == "cuda" and (gpus <= 0 or (split > 1 and gpus != split)):
            raise ValueError(
                f"pool.generator_gpus is {gpus:g} with generator.device=cuda and generator.tensor_parallel={split}: an engine sees only "
                f"the GPUs that Ray reserves for it; set pool.generator_gpus={split}"
            )


@dataclass(frozen=True, slots=True)
class RewardActors:
    """``count`` reward actors, each with ``workers`` scoring processes (``rewards.isolation.ScorerPool`` explains the limits). With none
    of them nothing is scored.

    ``tokenizer_dir`` holds tokenizer.json: reward actors decode the tokens they score. ``opening`` is what every prompt has already written
    of the answer and left open (``<think>``, by some chat templates); it belongs to the text that is scored.
    """

    tokenizer_dir: Path
    count: int = 1
    opening: str = ""
    cpus: float = 0.5
    workers: int = 1
    deadline_s: float = 2.0
    memory_bytes: int = 3 << 30
    recycle_jobs: int = 20_000
    recycle_rss_bytes: int = 1 << 30
    opsin: str = "auto"
    grounding: float = 0.0
    claims: bool = False  # the claims of the reasoning are checked even when they take nothing away (grounding 0)
    traits: CompletionTraits = field(default_factory=CompletionTraits)  # of completions that come as tokens


@dataclass(frozen=True, slots=True)
class LearnerActors:
    """``ranks`` DeepSpeed ranks, one actor each, with ``cpus``/``gpus`` of Ray's account. Threads are the learner config's.
    ``nice`` is what their processes add to their niceness (0 to 19)."""

    config: LearnerConfig
    ranks: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    nice: int = 0
    start_timeout_s: float = 300.0
    step_timeout_s: float = 900.0  # a training step, a publication, a checkpoint


class OnStraggler(Enum):
    """What happens to a group that is not done at the rollout deadline."""

    replace = "replace"  # it is generated again elsewhere, the second time dropped
    cut = "cut"  # its unfinished samples end where they are and leave the group, which is replaced only when it does not come back either


@dataclass
class FleetTiming:
    """Deadlines of the fleet, in seconds.

    Attributes:
        on_straggler: what becomes of a group at the rollout deadline: see :class:`OnStraggler`. Evaluations are never cut.
        straggler_multiple: of the running p99 of group durations: that is the rollout deadline.
        straggler_floor_s, straggler_ceiling_s: limits of that deadline; the ceiling also holds until durations are known. A group that
            was cut has the floor's time to come back.
        score_s: scoring of one group, from when a reward actor begins with it, waiting for one not included; an actor that takes longer
            is replaced. Where the deadlines of the answers (``rewards.deadline_s``) add up to more, it has three times as long as they do.
            Also the time that the tokens of a group may take to it; if they take longer another actor tries.
        pull_s: one generator fetching and loading a version; who takes longer gets no groups until it has the newest version.
        start_s: one generator or reward actor coming up.
        health_period_s, health_s: time between two health checks, and how long is waited for an answer before it is asked for again.
        hang_s: a generator whose engine has something to do and made no step for so long is replaced, and so is whoever answered no health
            check for so long. It must be longer than the longest single step, on a CPU the reading of the longest prompt.
        quarantine_after, quarantine_window_s, quarantine_s: a seat whose members failed so often within the window stays empty for
            ``quarantine_s``, after every further failure twice as long (at most 16 times), then is filled again.
        fleet_wait_s: how long a run waits with fewer members than its minimum, or for a lost learner to come back, before it ends.
        drain_s: how long a member that leaves (scaled down, or told to end by SIGTERM) may finish what it has; the rest is generated
            elsewhere.
    """

    on_straggler: OnStraggler = OnStraggler.replace
    straggler_multiple: float = 4.0
    straggler_floor_s: float = 20.0
    straggler_ceiling_s: float = 600.0
    score_s: float = 60.0
    pull_s: float = 120.0
    start_s: float = 300.0
    health_period_s: float = 2.0
    health_s: float = 30.0
    hang_s: float = 180.0
    quarantine_after: int = 5
    quarantine_window_s: float = 300.0
    quarantine_s: float = 30.0
    fleet_wait_s: float = 1800.0
    drain_s: float = 30.0

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and the remedy."""
        for name, value in vars(self).items():
            if not isinstance(value, OnStraggler) and value <= 0:
                raise ValueError(f"pool.timing.{name}={value} must be positive")
        if self.straggler_multiple <= 1.0:
            raise ValueError(f"pool.timing.straggler_multiple={self.straggler_multiple} multiplies a p99; it must be above 1")
        if self.straggler_floor_s > self.straggler_ceiling_s:
            raise ValueError(
                f"pool.timing.straggler_floor_s={self.straggler_floor_s} is above straggler_ceiling_s={self.straggler_ceiling_s}"
            )


@dataclass
class WeightsConfig:
    """How a version of the weights comes to the generators.

    Attributes:
        transport: ``store``: each generator fetches it from the object store. ``collective``: the learner's rank 0 also broadcasts it to
            all generators that serve at that moment (gloo, over host memory, whatever the device), so that it leaves the learner's node
            once and not once per generator; newcomers, and everybody when the broadcast fails, fetch it from the store (counted,
            ``weights/fallback``). ``direct``: the same, but into memory that the engines' processes have beside the model's, by NCCL from
            GPU to GPU where learner and generators have GPUs; it costs a copy of the weights there.
        timeout_s: for a whole broadcast, meeting included; then the generators turn to the store.
    """

    transport: str = "store"
    timeout_s: float = 30.0

    @property
    def broadcasts(self) -> bool:
        """Whether versions are offered to the serving generators in a broadcast."""
        return self.transport != "store"

    def validate(self, pull_s: float) -> None:
        """Raises ValueError naming the field, its value and the remedy; ``pull_s`` is the deadline of a whole pull."""
        if self.transport not in TRANSPORTS:
            raise ValueError(f"pool.weights.transport={self.transport} is none of {', '.join(TRANSPORTS)}")
        if self.broadcasts and not 0.0 < self.timeout_s < pull_s:
            raise ValueError(
                f"pool.weights.timeout_s={self.timeout_s} must be above 0 and below pool.timing.pull_s={pull_s}, so that a generator whose "
                "broadcast failed has time to fetch the version from the store"
            )


@dataclass(frozen=True, slots=True)
class FleetSize:
    """Bounds of the fleet; see :class:`PoolConfig`.

    ``engine_samples``: what one engine computes in a step; the limit of samples in flight follows it. None = no limit.
    """

    min_generators: int = 1
    min_reward_workers: int = 1
    max_generators: int | None = None
    engine_samples: int | None = None


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """The whole pool. ``learner=None`` is a pool for evaluation only.

    Attributes:
        run_dir: gets ``pool.json`` (what to sweep after a crash) and ``logs/`` (of Ray, kept when a start fails).
        min_generators, min_reward_workers: with fewer of them serving the run waits, for ``timing.fleet_wait_s`` at most.
        max_generators: the fleet grows up to it when the cluster has room for another generator; None = it does not grow by itself.
        address: of a running Ray cluster; None starts a private one on this machine.
        num_cpus: logical CPUs of the private cluster; may exceed the physical ones (the loops rarely all compute at once). None = exactly
            what the actors ask for, with ``max_generators`` of them.
        object_store_mb: shared memory of the private cluster: a few versions of the weights plus trajectories above 100 kB.
        role_labels: generators, reward workers and learner ranks run only on nodes with the Ray label ``chemr-generator``,
            ``chemr-reward`` or ``chemr-learner`` = true (a node may have several).
        nodes_wait_s: how long a start waits for the nodes of a cluster that was joined; 0 = they are there or the start fails.
        log_to_driver: print what actors print.
    """

    run_dir: Path
    rewards: RewardActors
    generators: GeneratorActors = field(default_factory=GeneratorActors)
    learner: LearnerActors | None = None
    timing: FleetTiming = field(default_factory=FleetTiming)
    min_generators: int = 1
    min_reward_workers: int = 1
    max_generators: int | None = None
    address: str | None = None
    num_cpus: int | None = None
    object_store_mb: int = 256
    role_labels: bool = False
    nodes_wait_s: float = 0.0
    log_to_driver: bool = False

    def bundles(self) -> dict[str, dict[str, float]]:
        """Ray resources of every actor, by name: generator-i, reward-i, learner-i. An actor's name is its place for the whole run."""
        bundles = {f"generator-{i}": self.bundle("generator") for i in range(self.generators.count)}
        bundles |= {f"reward-{i}": self.bundle("reward") for i in range(self.rewards.count)}
        if self.learner is not None:
            bundles |= {f"learner-{i}": _resources(self.learner.cpus, self.learner.gpus) for i in range(self.learner.ranks)}
        return bundles

    def node_labels(self, name: str) -> dict[str, str]:
        """Ray labels that the node of the actor of this name must have; empty = any node."""
        return {role_label(name): "true"} if self.role_labels else {}

    def logical_cpus(self) -> int:
        """CPUs the private cluster is started with."""
        return self.num_cpus or max(1, math.ceil(self.cpus_at_most()))

    def cpus_at_most(self) -> float:
        """CPUs of Ray's account that the actors ask for when the fleet has grown as far as it may."""
        growth = max(0, (self.max_generators or 0) - self.generators.count) * self.bundle("generator").get("CPU", 0.0)
        return sum(bundle.get("CPU", 0.0) for bundle in self.bundles().values()) + growth

    def bundle(self, kind: str) -> dict[str, float]:
        """Ray resources of one more ``generator`` or ``reward`` actor."""
        return _resources(self.generators.cpus, self.generators.gpus) if kind == "generator" else _resources(self.rewards.cpus, 0.0)

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and the remedy."""
        self.generators.validate()
        if self.generators.count < 0:
            raise ValueError(f"pool.generators.count is {self.generators.count}; use 0 (no generation) or more")
        if self.rewards.count < 0 or self.rewards.workers < 1:
            raise ValueError(
                f"pool.rewards has count {self.rewards.count} and workers {self.rewards.workers}; the count must be 0 (no scoring) or "
                "more, the workers at least 1"
            )
        if self.learner is not None and self.learner.ranks < 1:
            raise ValueError(f"pool.learner.ranks is {self.learner.ranks}; use at least 1, or no learner at all")
        for name, cpus in (("generators", self.generators.cpus), ("rewards", self.rewards.cpus)):
            if cpus < 0:
                raise ValueError(f"pool.{name}.cpus is {cpus}; a share of CPUs is 0 or more")
        if not (self.rewards.tokenizer_dir / "tokenizer.json").is_file():
            raise ValueError(f"pool.rewards.tokenizer_dir is {self.rewards.tokenizer_dir}: there is no tokenizer.json in it")
        for name, minimum, count in (
            ("generators", self.min_generators, max(1, self.generators.count)),
            ("reward_workers", self.min_reward_workers, max(1, self.rewards.count)),
        ):
            if not 1 <= minimum <= count:
                raise ValueError(f"pool.min_{name} is {minimum}; it must be at least 1 and at most pool.{name}, which is {count}")
        if self.max_generators is not None and self.max_generators < self.generators.count:
            raise ValueError(
                f"pool.max_generators is {self.max_generators}, below pool.generators = {self.generators.count}; raise it, or set null"
            )
        if self.nodes_wait_s < 0:
            raise ValueError(f"pool.nodes_wait_s is {self.nodes_wait_s}; it must be 0 (no wait) or more seconds")
        if self.address is None and (self.role_labels or self.nodes_wait_s):
            raise ValueError(
                f"pool.role_labels is {self.role_labels} and pool.nodes_wait_s {self.nodes_wait_s:g}, but pool.address is null: a private "
                "cluster has one node, which is there and has no labels; set them to false and 0"
            )
        needed = self.cpus_at_most()
        if self.address is None and needed > self.logical_cpus() + 1e-6:
            raise ValueError(
                f"pool.num_cpus is {self.num_cpus} but the actors ask for {needed:g} ({_sum_by_kind(self.bundles())}); raise num_cpus "
                "(logical CPUs may exceed physical ones) or lower the cpus of an actor kind"
            )
        if self.object_store_mb < 80:
            raise ValueError(f"pool.object_store_mb is {self.object_store_mb}; Ray needs at least 80")


def _resources(cpus: float, gpus: float) -> dict[str, float]:
    """A placement group bundle must not be empty, so an actor that asks for nothing gets a thousandth of a CPU."""
    bundle = {"CPU": cpus} if cpus > 0 or gpus > 0 else {"CPU": 0.001}
    return bundle | ({"GPU": gpus} if gpus > 0 else {})


def _sum_by_kind(bundles: dict[str, dict[str, float]]) -> str:
    totals: dict[str, float] = {}
    for name, bundle in bundles.items():
        kind = name.rsplit("-", 1)[0]
        totals[kind] = totals.get(kind, 0.0) + bundle.get("CPU", 0.0)
    return ", ".join(f"{kind}s {cpus:g}" for kind, cpus in totals.items())


def role_label(name: str) -> str:
    """The Ray label of nodes for the actor of this name (``learner-3``) or role (``learner``)."""
    return f"chemr-{name.split('-', 1)[0]}"


def infeasible(
    bundles: dict[str, dict[str, float]], nodes: list[dict[str, float]], labels: list[dict[str, str]] | None = None
) -> str | None:
    """Why these bundles cannot be placed on nodes with these free resources, or None when first-fit-decreasing places them all.

    With ``labels``, one mapping per node, a bundle goes only to nodes with the label of its role.

    Checked before a placement group is created, since Ray would wait for ever.
    """
    if labels is not None:
        roles = {role_label(name) for name in bundles}
        for role in sorted(roles):
            if not any(each.get(role) == "true" for each in labels):
                return f"no node has the label {role}=true, without which pool.role_labels places no {role.removeprefix('chemr-')} actor"
    free = [dict(node) for node in nodes]
    for name, bundle in sorted(bundles.items(), key=lambda entry: (-entry[1].get("GPU", 0.0), -entry[1].get("CPU", 0.0))):
        allowed = [node for i, node in enumerate(free) if labels is None or labels[i].get(role_label(name)) == "true"]
        home = next((node for node in allowed if all(node.get(kind, 0.0) + 1e-6 >= amount for kind, amount in bundle.items())), None)
        if home is None:
            wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in bundle.items())
            total = {kind: sum(each.get(kind, 0.0) for each in bundles.values()) for kind in ("CPU", "GPU")}
            have = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
            short = ", ".join(f"{max(0.0, total[kind] - have[kind]):g} {kind}" for kind in ("CPU", "GPU"))
            return (
                f"{name} needs {wanted} on one node and none of {len(allowed)}{_of_role(name, labels)} has it left: the pool asks for "
                f"{total['CPU']:g} CPU and {total['GPU']:g} GPU, the cluster has {have['CPU']:g} and {have['GPU']:g} free "
                f"(short of {short}); use fewer or smaller actors, or a larger cluster"
            )
        for kind, amount in bundle.items():
            home[kind] -= amount
    return None


def _of_role(name: str, labels: list[dict[str, str]] | None) -> str:
    return "" if labels is None else f" with the label {role_label(name)}=true"
