"""Which split of the GPUs between generation and training is best.

For every size of engine (tensor parallelism) the two times of a step are monotone in the split: more engines generate faster, fewer ranks
train slower. So the crossing is found by bisection on the roofline, and only splits around it are simulated: a dozen evaluations of the
formulas and a few simulations, whether there are 8 GPUs or 4,096.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from actors.pool_config import FleetTiming
from chemr.planning.devices import Assumptions, Gpu
from chemr.planning.errors import PlanError
from chemr.planning.memory import (
    EngineMemory,
    LearnerLayout,
    LearnerMemory,
    engine_memory,
    learner_memory,
    require_engine,
    require_learner,
)
from chemr.planning.model_sizes import Model
from chemr.planning.scenario import Prediction, Setup
from chemr.planning.simulation import MOST_GROUPS, simulate
from chemr.planning.throughput import EngineSpeed, LearnerSpeed, engine_roofline, learner_roofline
from chemr.planning.workload import Workload

MICRO_BATCHES = (32768, 16384, 8192, 4096, 2048, 1024)
TENSOR_PARALLEL = (1, 2, 4, 8)
MOST_SEQS = 1024  # samples in an engine's step: what vLLM is set to on large GPUs
SIMULATED = 3  # splits per size of engine
SHOWN = 6  # alternatives
STEPS = 32  # of a simulation in the search
SEARCHED_GROUPS = 48  # simulated one by one while splits are compared
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        gpus: all of them; each belongs to one engine or is one learner rank.
        longest: tokens of the longest prompt with its answer (generator.max_model_len).
        max_num_seqs: of an engine; None: what the slots put in flight, within MOST_SEQS and its cache.
        old_forward, reference: whether a step computes old log-probs, and holds a frozen copy for a KL term.
        reward_processes: that score answers, on CPUs; None: as many as are busy for half of the time.
        checkpoint_every: steps; a lost learner does half of that again on average.
    """

    model: Model
    gpu: Gpu
    gpus: int
    workload: Workload
    longest: int
    assumed: Assumptions = field(default_factory=Assumptions)
    dtype: str = "bf16"
    engine_dtype: str = "bfloat16"
    utilization: float = 0.9
    max_num_seqs: int | None = None
    keep_cache: bool = False
    old_forward: bool = True
    reference: bool = False
    logprob_buffer_mb: int = 1024
    reward_processes: int | None = None
    checkpoint_every: int = 50
    timing: FleetTiming = field(default_factory=FleetTiming)


@dataclass(frozen=True, slots=True)
class Split:
    """One way to use the GPUs, with its speeds by the roofline. ``estimate_s``: the larger of generation and training of a step."""

    generators: int
    tensor_parallel: int
    max_num_seqs: int
    layout: LearnerLayout
    engine: EngineSpeed
    learner: LearnerSpeed
    engine_memory: EngineMemory
    learner_memory: LearnerMemory
    generation_s: float
    estimate_s: float

    @property
    def gpus(self) -> int:
        return self.generators * self.tensor_parallel + self.layout.ranks


@dataclass(frozen=True, slots=True)
class Alternative:
    """A simulated split. ``availability``: share of the time that is not lost to failures of GPUs."""

    split: Split
    prediction: Prediction
    availability: float

    @property
    def step_s(self) -> float:
        """With what failures cost."""
        return self.prediction.step_s / self.availability

    @property
    def tokens_per_day(self) -> float:
        """Trained tokens of answers."""
        return self.prediction.trained_tokens_per_s * self.availability * DAY_S

    def cost_per_million_tokens(self, price: float, gpus: int) -> float:
        """``price``: of a GPU-hour; all ``gpus`` are paid, used or not."""
        return price * gpus * 24.0 / (self.tokens_per_day / 1e6)


def search(request: Request, seed: int = 0) -> list[Alternative]:
    """The best splits, best first.

    Raises:
        PlanError: there are too few GPUs, or nothing fits: it says what was the closest.
    """
    if request.gpus < 2:
        raise PlanError(f"--gpus {request.gpus}: a plan needs at least 2, one that generates and one that trains")
    reasons: list[str] = []
    found: list[Split] = []
    for tensors in TENSOR_PARALLEL:
        if tensors <= request.assumed.gpus_per_node and tensors < request.gpus and request.model.shape.heads % tensors == 0:
            found += _around_the_crossing(request, tensors, reasons)
    if not found:
        raise PlanError("\n".join([f"nothing fits on {request.gpus} × {request.gpu.name}:", *dict.fromkeys(reasons)]))
    compared = sorted((evaluate(request, split, seed, SEARCHED_GROUPS) for split in found), key=_merit)
    return sorted((evaluate(request, each.split, seed) for each in compared[:SHOWN]), key=_merit)


def _merit(each: Alternative) -> tuple[float, int]:
    return each.step_s, each.split.gpus


def evaluate(
    request: Request, split: Split, seed: int = 0, most_groups: int = MOST_GROUPS, engine_failures_per_hour: float = 0.0
) -> Alternative:
    """Simulate one split. With ``engine_failures_per_hour``, of each, engines are lost and come back within the simulation."""
    setup = replace(setup_of(request, split), failures_per_hour=engine_failures_per_hour)
    prediction = simulate(setup, STEPS, seed, most_groups)
    return Alternative(split, prediction, availability(request, split, prediction.step_s))


def setup_of(request: Request, split: Split) -> Setup:
    """The simulated set-up of a split; engines do not fail in it (failures are in ``availability``)."""
    return Setup(
        engines=split.generators,
        engine=split.engine,
        learner=split.learner,
        workload=request.workload,
        reward_servers=reward_processes(request, split),
        keep_cache=request.keep_cache,
        timing=request.timing,
        restart_s=request.assumed.generator_restart_s,
    )


def reward_processes(request: Request, split: Split) -> int:
    """Scoring processes: those given, or twice as many as the answers of a step need in its time."""
    if request.reward_processes is not None:
        return request.reward_processes
    work = request.workload.generated_groups * request.workload.samples_per_group * request.workload.reward_s
    return max(1, math.ceil(2.0 * work / split.estimate_s))


def availability(request: Request, split: Split, step_s: float) -> float:
    """Share of time left by unexpected failures.

    A lost rank costs its restart and half of the steps between two checkpoints; a lost engine its share of generation until it is back,
    where generation is what a step waits for.
    """
    per_s = request.assumed.gpu_failures_per_hour / 3600.0
    learner = split.layout.ranks * per_s * (request.assumed.learner_restart_s + request.checkpoint_every * step_s / 2)
    waits = split.generation_s > split.learner.train_s
    engines = (
        split.tensor_parallel * per_s * request.assumed.generator_restart_s if waits else 0.0
    )  # E engines fail E times as often, for 1/E
    return 1.0 / (1.0 + learner + engines)


def split_of(request: Request, generators: int, tensor_parallel: int, ranks: int) -> Split:
    """A split with the best layout of its ranks. Raises PlanError when something does not fit."""
    memory = engine_memory(request.model, request.engine_dtype, tensor_parallel, request.gpu.memory, request.utilization, request.assumed)
    what = f"an engine of {request.model.name} on {tensor_parallel} × {request.gpu.name}"
    require_engine(memory, request.longest, request.gpu.memory, request.utilization, what)
    work = request.workload
    in_flight = math.ceil((work.off_policy_steps + 1) * work.groups_per_step / generators) * work.samples_per_group
    seqs = request.max_num_seqs or min(MOST_SEQS, 8 * math.ceil(in_flight / 8))
    engine = engine_roofline(
        request.model,
        request.gpu,
        request.engine_dtype,
        tensor_parallel,
        memory.cache_tokens,
        seqs,
        work,
        request.assumed,
    )
    layout, of_learner, learner = best_layout(request, ranks)
    generation = generation_s(work, engine, generators)
    training = learner.train_s + learner.publish_s
    sync = work.off_policy_steps == 0
    return Split(
        generators,
        tensor_parallel,
        seqs,
        layout,
        engine,
        learner,
        memory,
        of_learner,
        generation,
        generation + training + engine.pull_s if sync else max(generation, training),
    )


def best_layout(request: Request, ranks: int) -> tuple[LearnerLayout, LearnerMemory, LearnerSpeed]:
    """The fastest layout that fits on at most ``ranks`` GPUs; ranks are left idle where communication makes fewer faster (whole nodes).

    Raises PlanError naming the layout that came closest.
    """
    node = int(request.assumed.gpus_per_node)
    most = min(ranks, request.workload.groups_per_step)
    counts = {most} | ({most // node * node, node} if most > node else set())
    fitting: list[tuple[float, int, LearnerLayout, LearnerMemory, LearnerSpeed]] = []
    closest: tuple[float, LearnerLayout, LearnerMemory] | None = None
    for count in counts:
        for layout in _layouts(request, count):
            memory = learner_memory(request.model, layout, request.assumed)
            if closest is None or memory.total < closest[0]:
                closest = (memory.total, layout, memory)
            if memory.total > request.gpu.memory:
                continue
            speed = learner_roofline(request.model, request.gpu, layout, request.workload, request.assumed, old_forward=request.old_forward)
            fitting.append((speed.train_s, len(fitting), layout, memory, speed))
    if not fitting:
        assert closest is not None
        _, layout, memory = closest
        what = f"training {request.model.name} on {layout.ranks} × {request.gpu.name} with ZeRO-{layout.zero_stage}"
        what += f"{', checkpointing' if layout.gradient_checkpointing else ''} and micro-batches of {layout.micro_batch_tokens}"
        require_learner(memory, request.gpu.memory, what)
    _, _, layout, memory, speed = min(fitting, key=lambda each: each[:2])
    return layout, memory, speed


def generation_s(workload: Workload, engine: EngineSpeed, generators: int) -> float:
    """Seconds that the engines need for the groups of a step, with those that teach nothing, at the samples in flight that slots allow.

    By Little's law: groups of a step × seconds of a group / groups in flight. A group lasts as long as its longest sample, and a sample
    that has ended leaves its place empty until then.
    """
    samples = workload.samples_per_group
    in_flight = max(1, workload.off_policy_steps) * workload.groups_per_step * samples
    busy = min(generators, in_flight // samples)  # a group is not split between engines
    leased = min(in_flight / busy, 1.25 * engine.most_samples)
    mean, longest = workload.lengths.capped_mean, workload.lengths.longest_of_group(samples)
    running = max(1.0, min(leased * mean / longest, float(engine.most_samples)))
    pace = engine.step_s(running)
    prompts = running / mean * workload.prompt_tokens * engine.prefill_s / pace  # seconds of reading prompts to one of writing
    of_group = longest * pace * (1.0 + prompts)
    return workload.generated_groups * samples * of_group / (leased * busy) + engine.update_s


def _layouts(request: Request, ranks: int) -> Iterable[LearnerLayout]:
    """All that may be tried, in the order of preference among equally fast ones."""
    micro_batches = [tokens for tokens in MICRO_BATCHES if tokens >= request.longest] or [request.longest]
    stages = (1, 2, 3) if request.dtype == "bf16" or ranks > 1 else (0,)
    for tensors in TENSOR_PARALLEL:
        if ranks % tensors or tensors > request.assumed.gpus_per_node or request.model.shape.kv_heads % tensors:
            continue
        for stage in stages:
            for checkpointing in (False, True):
                for tokens in micro_batches:
                    yield LearnerLayout(
                        ranks,
                        request.dtype,
                        stage,
                        tensors,
                        1,
                        tokens,
                        checkpointing,
                        request.logprob_buffer_mb,
                        reference=request.reference,
                    )


def _around_the_crossing(request: Request, tensors: int, reasons: list[str]) -> list[Split]:
    """The most promising splits for engines of ``tensors`` GPUs."""
    slots = (request.workload.off_policy_steps + 1) * request.workload.groups_per_step
    most = min((request.gpus - 1) // tensors, slots)
    known: dict[int, Split | None] = {}

    def at(generators: int) -> Split | None:
        if generators not in known:
            try:
                known[generators] = split_of(request, generators, tensors, request.gpus - generators * tensors)
            except PlanError as error:
                reasons.append(str(error))
                known[generators] = None
        return known[generators]

    if most < 1 or at(1) is None:  # fewer ranks need not more memory: what does not fit with one engine never does
        return []
    low, high = 1, most
    while low < high:  # the last split whose ranks fit and whose training is still the faster of the two
        middle = (low + high + 1) // 2
        split = at(middle)
        if split is not None and split.generation_s >= split.learner.train_s + split.learner.publish_s:
            low = middle
        else:
            high = middle - 1
    near = {low + step for step in (-2, -1, 0, 1, 2)} | {round(low * part) for part in (0.5, 0.7, 0.85, 1.2, 1.5)}
    splits = [split for generators in sorted(near) if 1 <= generators <= most and (split := at(generators)) is not None]
    return sorted(splits, key=lambda split: split.estimate_s)[:SIMULATED]


def scaled_tail(request: Request, sigma: float) -> Request:
    """The same request with another tail of the lengths, their mean unchanged."""
    return replace(request, workload=replace(request.workload, lengths=replace(request.workload.lengths, sigma=sigma)))
