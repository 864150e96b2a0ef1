"""From what a run recorded to what others will do: speeds of engine and learner, lengths, overheads.

The engine measures itself: what a decoding step costs, each sample and each token of a prompt in it, and each sample that ends
(:mod:`actors.decoding_pace`). Neither of these can be had from the seconds of rollouts or steps: a run whose steps wait for the learner is
as long with any engine. So is it with the learner's ranks on shared cores, which count their CPU seconds; of their time the part that grows
with tokens is what they spend on forward and backward.

Three things remain that a run shows only in their effects, and they are corrected until the simulation of the very same configuration has
the run's means: how much slower the engine is beside other processes (seconds of a rollout), how much else computes while it does
(seconds of training, on shared cores), and what passes between engine, reward process and driver (seconds from a group's submission to
its verdicts). The step's own length is fitted to nothing, nor are ages, waits, rates, and the evaluation after GRPO: how far off they are
is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chemr.config import ChemrConfig
from chemr.planning.errors import PlanError
from chemr.planning.model_sizes import Model, model_named, model_of_scratch
from chemr.planning.run_records import RunRecords, read_records, share_between_prompts
from chemr.planning.scenario import Prediction, Setup, SharedCores
from chemr.planning.simulation import simulate
from chemr.planning.throughput import EngineSpeed, LearnerSpeed, step_flops
from chemr.planning.workload import Lengths, Workload, trivial_share

TIMES = ("seconds", "turnaround_s")  # of a group, under rollout/
ROUNDS = 12  # of correction
MOST_SERVICE = 0.95  # cores that what serves an engine takes beside it: nearly one more, or no core would be left for the learner
SHORTEST_EVALUATION = 4  # prompts for each that may be in flight
STEPS = 60  # simulated
FIT_STEPS = 240  # in a round of correction: a step of the mean of so many is known to 1 or 2 %
# What a calibration has seen and a prediction must leave alone: (section, field).
FIXED = (
    (
        "learner",
        (
            "dtype",
            "device",
            "zero_stage",
            "sequence_parallel",
            "tensor_parallel",
            "gradient_checkpointing",
            "compile",
            "threads",
            "lora_rank",
        ),
    ),
    ("generator", ("dtype", "device", "tensor_parallel", "threads", "enforce_eager", "prefix_caching", "keep_cache")),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Means of the run that was calibrated on."""

    steps: int
    step_s: float
    train_s: float
    wait_s: float
    age_mean: float
    age_max: float
    rollout_s: float
    turnaround_s: float
    samples_in_flight: float
    generated_tokens_per_s: float


@dataclass(frozen=True, slots=True)
class EvaluationRate:
    """The evaluation after GRPO: ``parts`` of (samples running in an engine, tokens it wrote), ``length`` of an answer and of a prompt, and
    the seconds of all of it."""

    parts: tuple[tuple[float, float], ...]
    length: float
    prompt_tokens: float
    seconds: float

    def predicted_s(self, engine: EngineSpeed) -> float:
        """What an engine would have taken."""
        a_sample = self.prompt_tokens * engine.prefill_s + engine.end_s
        return sum(tokens * (engine.step_s(samples) / samples + a_sample / self.length) for samples, tokens in self.parts)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found.

    Attributes:
        train_fixed_s, train_per_flop: of one rank; core-seconds on shared cores.
        latency_s, service: see :class:`chemr.planning.scenario.Setup` and its SharedCores.
        evaluation: what is compared but not fitted; None where there was none or it was too short.
        assumed: what could not be measured and was assumed, for people.
    """

    config: ChemrConfig
    model: Model
    workload: Workload
    engine: EngineSpeed
    train_fixed_s: float
    train_per_flop: float
    publish_s: float
    overhead_s: float
    latency_s: float
    service: float
    cores: float | None
    nice: int
    measured: Measured
    fitted: Prediction
    evaluation: EvaluationRate | None
    assumed: tuple[str, ...]

    @property
    def step_error(self) -> float:
        """Relative error of the simulation in the step time of the calibrated configuration itself, which it was not fitted to."""
        return self.fitted.step_s / self.measured.step_s - 1.0


def calibrate(folder: Path, cores: float | None = None, nice: int = 0, seed: int = 0) -> Calibration:
    """Reads a run and fits the model to it.

    Args:
        cores: of the machine the run had; None: as many as this one has. Only used where engines and learner compute on CPUs.
        nice: niceness the run was started with: learners reach 19 at most.

    Raises:
        PlanError: files are missing, or the run is too short.
    """
    records = read_records(folder)
    if not records.steps:
        raise PlanError(f"--calibrate {folder}: every recorded step held a checkpoint or an evaluation; set grpo.checkpoint_every higher")
    return fit(records, model_of_run(records), _cores(records.config, cores), nice, share_between_prompts(folder), seed)


def fit(records: RunRecords, model: Model, cores: float | None, nice: int = 0, between: float | None = None, seed: int = 0) -> Calibration:
    """The calibration of a run's records. ``between``: see :class:`chemr.planning.workload.Lengths`; None: assumed."""
    config, assumed = records.config, []
    grpo = config.grpo
    if between is None:
        between = 0.5
        assumed.append("half of the variance of log length is between prompts (too few sampled trajectories)")
    graded, step_s = records.graded(), records.column("time/step_s")
    lengths = _lengths(records, graded, between, seed)
    rollout = records.column("rollout/seconds")
    came = np.isfinite(rollout) & (graded > 0)
    if not came.any():
        raise PlanError(f"--calibrate {records.folder}: no step recorded rollout/seconds")
    rollout_s, turnaround_s = (float(np.average(records.column(f"rollout/{name}")[came], weights=graded[came])) for name in TIMES)
    flight = graded * grpo.samples_per_group * np.where(came, rollout, 0.0) / step_s / config.pool.generators
    in_flight = float(np.average(flight, weights=step_s))
    prompt_tokens = _prompt_tokens(records)
    evaluation = evaluation_rate(records, lengths, prompt_tokens)
    generated = float(graded.sum()) * grpo.samples_per_group * lengths.capped_mean
    measured = Measured(
        steps=len(records.steps),
        step_s=float(step_s.mean()),
        train_s=float(records.seconds("train").mean()),
        wait_s=float(records.seconds("wait_rollouts").mean()),
        age_mean=float(records.column("async/age_mean").mean()),
        age_max=float(records.column("async/age_max").max()),
        rollout_s=rollout_s,
        turnaround_s=turnaround_s,
        samples_in_flight=in_flight,
        generated_tokens_per_s=generated / float(step_s.sum()),
    )
    reward_s = records.column("reward/seconds")
    known = np.isfinite(reward_s)
    if not known.any():
        assumed.append("scoring takes no time (reward/seconds was not recorded)")
    workload = Workload(
        grpo.groups_per_step,
        grpo.samples_per_group,
        grpo.off_policy_steps,
        grpo.window_fraction,
        lengths,
        prompt_tokens,
        float(np.clip(np.nansum(records.column("async/dropped/zero_variance", 0.0)) / max(1.0, graded.sum()), 0.0, 0.99)),
        float(np.average(reward_s[known], weights=np.maximum(graded[known], 1e-9))) if known.any() else 0.0,
    )
    pull = records.mean_of_weights("weights/pull_s")
    still = records.mean_of_weights("weights/pull/pause_s", "weights/pull/load_s", "weights/pull/probe_s")
    publish = records.mean_of_weights("weights/publish_s")
    engine = EngineSpeed(
        weights_s=0.0,
        cache_s=0.0,
        arithmetic_s=0.0,
        constant_s=records.mean("engine/pace/step_s"),
        sample_s=records.mean("engine/pace/sample_s"),
        prefill_s=records.mean("engine/pace/prompt_token_s"),
        most_samples=config.generator.max_num_seqs,
        update_s=still if still is not None else (pull or 0.0),
        pull_s=pull or 0.0,
        end_s=records.mean("engine/pace/end_s"),
    )
    growing = _growing_share(records)
    total = measured.train_s if cores is None else _core_seconds(records)
    calibration = Calibration(
        config,
        model,
        workload,
        engine,
        total * (1.0 - growing),
        total * growing * config.pool.learners / step_flops(model, workload),
        publish or 0.0,
        float(records.seconds("unaccounted").mean()),
        0.0,
        0.0,
        cores,
        nice,
        measured,
        _NOTHING,
        evaluation,
        tuple(assumed),
    )
    return _corrected(calibration, seed)


def model_of_run(records: RunRecords) -> Model:
    """From the model folder the run left, else from its configuration."""
    for name in ("model", "initial-model"):
        if (records.folder / name / "config.json").is_file():
            return model_named(str(records.folder / name))
    return model_of_scratch(records.config.policy.scratch, records.config.policy.vocab_size)


def predict(calibration: Calibration, config: ChemrConfig, steps: int = STEPS, seed: int = 0) -> Prediction:
    """What another configuration will do on the same kind of machine.

    Raises:
        PlanError: it differs in something the calibration says nothing about.
    """
    return simulate(setup_for(calibration, config), steps, seed)


def setup_for(calibration: Calibration, config: ChemrConfig) -> Setup:
    """The simulated set-up of a configuration with the calibrated speeds."""
    old, known = calibration.config, calibration.workload
    for section, names in FIXED:
        for name in names:
            before, now = getattr(getattr(old, section), name), getattr(getattr(config, section), name)
            if before != now:
                raise PlanError(
                    f"{section}.{name}={now}: the run that was calibrated on had {before}, and nothing "
                    "was measured of any other; calibrate on a run with it"
                )
    grpo = config.grpo
    workload = replace(
        known,
        groups_per_step=grpo.groups_per_step,
        samples_per_group=grpo.samples_per_group,
        off_policy_steps=grpo.off_policy_steps,
        window_fraction=grpo.window_fraction,
        lengths=replace(known.lengths, cap=grpo.max_new_tokens),
        trivial=trivial_share(known.trivial, known.samples_per_group, grpo.samples_per_group),
    )
    growing = calibration.train_per_flop * step_flops(calibration.model, workload) / config.pool.learners
    cores = None
    if calibration.cores is not None:
        niceness = min(19, calibration.nice + config.pool.learner_nice) - calibration.nice
        cores = SharedCores(calibration.cores, config.pool.learners, niceness, calibration.service)
    return Setup(
        engines=config.pool.generators,
        engine=replace(calibration.engine, most_samples=config.generator.max_num_seqs),
        learner=LearnerSpeed(calibration.train_fixed_s + growing, calibration.publish_s, growing),
        workload=workload,
        reward_servers=config.pool.reward_workers * config.rewards.processes,
        keep_cache=config.generator.keep_cache,
        overhead_s=calibration.overhead_s,
        latency_s=calibration.latency_s,
        timing=config.pool.timing,
        cores=cores,
    )


def evaluation_rate(records: RunRecords, lengths: Lengths, prompt_tokens: float) -> EvaluationRate | None:
    """From summary.json of a finished run; None where the evaluation was too short to say anything."""
    evaluation, setup = records.evaluation, records.config.eval
    if evaluation is None:
        return None
    prompts, tokens, seconds = evaluation
    if prompts < SHORTEST_EVALUATION * setup.concurrency or tokens <= 0 or seconds <= 0.0:
        return None
    engines, most = records.config.pool.generators, records.config.generator.max_num_seqs
    of_eval = replace(lengths, cap=setup.max_new_tokens)
    kinds = [setup.samples] + ([1] if setup.greedy else [])
    parts = []
    for samples in kinds:  # one after the other; in a group that has not ended, samples that have leave their place empty
        leased = min(setup.concurrency * samples / engines, float(most))
        running = max(1.0, leased * of_eval.capped_mean / of_eval.longest_of_group(samples))
        parts.append((running, tokens * samples / sum(kinds) / engines))
    return EvaluationRate(tuple(parts), of_eval.capped_mean, prompt_tokens, seconds)


def _corrected(calibration: Calibration, seed: int) -> Calibration:
    """Corrects what a run shows only in its effects; see the module's docstring."""
    measured = calibration.measured
    waiting = measured.turnaround_s - measured.rollout_s
    for _ in range(ROUNDS):
        fitted = predict(calibration, calibration.config, FIT_STEPS, seed)
        # A slower engine has more samples in flight, which slows it again: half of the way at a time.
        slower = (measured.rollout_s / fitted.rollout_s) ** 0.5 if fitted.rollout_s > 0 else 1.0
        calibration = replace(
            _with_training(calibration, fitted.train_s),
            engine=calibration.engine.scaled(slower),
            latency_s=max(0.0, calibration.latency_s + waiting - (fitted.turnaround_s - fitted.rollout_s)),
        )
    return replace(calibration, fitted=predict(calibration, calibration.config, FIT_STEPS, seed))


def _with_training(calibration: Calibration, fitted_s: float) -> Calibration:
    """Nearer to the run's seconds of training, where the simulation has ``fitted_s``: by the cores that are left for it, or, where these
    are its own or no service explains it, by its own speed."""
    if fitted_s <= 0.0 or calibration.measured.train_s <= 0.0:
        return calibration
    dearer = calibration.measured.train_s / fitted_s
    if calibration.cores is not None:
        # On two cores training takes as long as the rest of one, 1 - service, allows it; elsewhere it is a step in the right direction.
        service = 1.0 - (1.0 - calibration.service) / dearer
        if 0.0 <= service <= MOST_SERVICE:
            return replace(calibration, service=service)
    return replace(calibration, train_fixed_s=calibration.train_fixed_s * dearer, train_per_flop=calibration.train_per_flop * dearer)


def _core_seconds(records: RunRecords) -> float:
    """Of one rank in a step: its CPU seconds in the learner, and as many more as the calls around it are longer. One thread is taken to
    compute, so they are no more than the seconds that passed."""
    inside, around = records.mean("train/seconds"), float(records.seconds("train").mean())
    return min(records.mean("train/cpu_s") * around / max(inside, 1e-9), around)


def _lengths(records: RunRecords, graded: np.ndarray, between: float, seed: int) -> Lengths:
    """A capped lognormal with the run's mean length and, of its spread, the share that was truncated or else the longest of a step."""
    grpo = records.config.grpo
    length, longest = records.column("rollout/length"), records.column("rollout/length_max")
    known = np.isfinite(length)
    if not known.any():
        raise PlanError(f"--calibrate {records.folder}: no step recorded rollout/length")
    mean = float(np.average(length[known], weights=np.maximum(graded[known], 1e-9)))
    truncated = float(np.average(records.column("rollout/truncated", 0.0)[known], weights=np.maximum(graded[known], 1e-9)))
    most = float(np.mean(longest[known]))
    groups = max(1, round(float(np.mean(graded[known]))))

    def candidate(sigma: float) -> Lengths:
        low, high = mean, mean * 50.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if Lengths(middle, sigma, grpo.max_new_tokens, between).capped_mean < mean else (low, middle)
        return Lengths(low, sigma, grpo.max_new_tokens, between)

    def too_wide(lengths: Lengths) -> bool:
        drawn = lengths.draw(64 * groups, grpo.samples_per_group, np.random.default_rng(seed))
        if truncated > 0.01:
            return bool((drawn >= grpo.max_new_tokens).mean() > truncated)
        return bool(drawn.reshape(64, -1).max(axis=1).mean() > most)

    low, high = 0.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if too_wide(candidate(middle)) else (middle, high)
    return candidate(low)


def _prompt_tokens(records: RunRecords) -> float:
    """Rows of a step are its prompts and all but the last token of each answer (learner/batch.py)."""
    rows, tokens, samples = records.column("train/rows"), records.column("train/tokens"), records.column("train/samples")
    found = (rows - tokens + samples) / records.config.grpo.groups_per_step
    found = found[np.isfinite(found)]
    return float(max(0.0, found.mean())) if found.size else 0.0


def _growing_share(records: RunRecords) -> float:
    """Share of training's time that is forward and backward; 0.8 where the run does not say."""
    passes = records.column("train/forward_share") + records.column("train/backward_share")
    share = passes * records.column("train/seconds") / np.maximum(records.seconds("train"), 1e-9)
    share = share[np.isfinite(share)]
    return float(np.clip(share.mean(), 0.0, 1.0)) if share.size else 0.8


def _cores(config: ChemrConfig, cores: float | None) -> float | None:
    import os

    if config.learner.device == "cuda" and config.generator.device == "cuda":
        return None
    return cores if cores is not None else float(os.cpu_count() or 1)


_NOTHING = Prediction(0.0, 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, {}, 0, 0)
