"""Trajectories a second through the driver: curriculum, generators, reward workers, buffer, learner; at 1 to 256 generators.

The product's own GRPO loops, fleet, buffer, ledger, curriculum, tokenizer, metrics log and Ray calls run as in a real run; generators,
reward workers and learner are scripted: they wait and answer, so nothing but the driver can be the bottleneck. Several scripted generators
share an actor process, since a process each would only measure this machine's memory; the driver makes the same calls either way. A
generator holds ``--groups`` groups at a time and takes ``--seconds`` (lognormal, median) for one; it could deliver ``offered`` trajectories
a second. What arrives below that was held up by the driver or by the actor processes, which share these cores with it: ``driver cpu`` says
which (1 = the driver's one thread is full).

JSON (--json FILE): trajectories_per_s_256 (and _1, _16, _64), tokens_per_s_256 at 2,000 tokens a trajectory, and by number of generators:
offered, achieved, driver_cpu, driver_ms_per_trajectory, driver_rss_mb, age_max, ledger_error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

from actors.failures import await_ref
from actors.fleet import RolloutFleet
from actors.generator import GeneratorHealth
from actors.handles import RayGenerator, RayScorer
from actors.pool_config import FleetTiming
from actors.trajectory import GroupMeta, GroupRequest, GroupTokens, Sampling
from actors.weights import PullAck, TensorSlot, WeightManifest
from chemr.config import Stage, load
from chemr.data.loading import load_data
from chemr.display import Display
from chemr.policy_folder import prepare_policy
from chemr.prompt_source import PromptSource
from chemr.run_directory import Resume, RunDirectory
from chemr.stages.grpo import learn, submit
from chemr.stages.grpo_state import GrpoState
from chemr.supervision import run_until_done
from chemr.teachers import ProgrammaticTeacher
from chemr.tokenization import ChatTokenizer
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.tracker import Tracker
from chemr.training_run import TrainingRun
from rewards.verdict import Reason, Verdict

SAMPLES = 8  # per group
SCRIPTED_TOKENS = 8  # the driver never sees tokens, so their number does not matter to it
TOKENS = 2000  # per trajectory, for the extrapolation
GENERATORS = (1, 16, 64, 256)


class ScriptedActor:
    """Stands for many generators and reward workers: every call waits, then answers what the real one would."""

    def __init__(self, seed: int, seconds: float) -> None:
        self._random = random.Random(seed)
        self._seconds = seconds
        self._version = 0
        self._groups = 0

    async def start(self, model_dir: str, version: int) -> int:
        self._version = version
        return os.getpid()

    async def pid(self) -> int:
        return os.getpid()

    async def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=2)
    async def generate(self, request: GroupRequest) -> tuple[GroupTokens, GroupMeta]:
        version = self._version
        await asyncio.sleep(self._random.lognormvariate(np.log(self._seconds), 0.5))
        count, ids = request.sampling.samples, np.zeros(SCRIPTED_TOKENS, dtype=np.int32)
        logprobs = np.zeros(SCRIPTED_TOKENS, dtype=np.float32)
        self._groups += 1
        prompt = np.asarray(request.prompt_ids, dtype=np.int32)
        tokens = GroupTokens(request.uid, prompt, [ids] * count, [logprobs] * count, [ids] * count, ["stop"] * count)
        lengths = (SCRIPTED_TOKENS,) * count
        return tokens, GroupMeta(request.uid, "scripted", lengths, len(prompt), version, version, 0, (), self._seconds)

    async def begin(self, method: str, payload: list[Any], arguments: Sequence[Any], fetch_s: float) -> AsyncIterator[Any]:
        tokens = await payload[0]
        yield None
        yield await getattr(self, method)(tokens, *arguments)

    async def score(
        self, tokens: GroupTokens, task: str, inputs: Any, reference: Any, want_texts: bool, blind: Sequence[str]
    ) -> tuple[list[Verdict], list[str]]:
        values = [float(index % 2) for index in range(len(tokens.finish))] + [0.0] * len(blind)
        return [Verdict(value, Reason.CORRECT if value else Reason.WRONG) for value in values], []

    async def pull(self, manifest: WeightManifest) -> PullAck:
        self._version = max(self._version, manifest.version)
        return PullAck("scripted", manifest.version, manifest.digest, 0.0, manifest.nbytes)

    async def health(self) -> GeneratorHealth:
        return GeneratorHealth("scripted", os.getpid(), True, self._version, 1, self._groups, 0, self._groups, 0, 0.0, 0.0)

    async def scorer_health(self) -> tuple[int, bool]:
        return os.getpid(), False

    async def stop(self) -> None:
        """Its process ends with the benchmark."""


class Spawner:
    """Handles of scripted members: the product's own, on shared actors."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors

    def generator(self, index: int, incarnation: int) -> RayGenerator:
        return SharedGenerator(f"generator-{index}", self._actors[index % len(self._actors)])

    def scorer(self, index: int, incarnation: int) -> RayScorer:
        return SharedScorer(f"reward-{index}", self._actors[index % len(self._actors)])


class SharedGenerator(RayGenerator):
    def kill(self) -> None:
        """The actor serves others."""


class SharedScorer(RayScorer):
    async def ready(self, timeout_s: float) -> bool:
        self.pid, leaving = await await_ref(self._actor.scorer_health.remote(), timeout_s, f"{self.name} getting ready")
        return leaving

    def kill(self) -> None:
        """The actor serves others."""


class ScriptedLearner:
    """Trains in no time and publishes nothing but a version."""

    async def grpo_step(self, groups: Sequence[Any], algo: Any) -> dict[str, float]:
        return {"train/loss": 0.0, "train/tokens": float(len(groups) * SAMPLES * SCRIPTED_TOKENS)}

    async def publish(self, version: int, probe_ids: Sequence[int], **_broadcast: Any) -> WeightManifest:
        return WeightManifest(version, (TensorSlot("w", "float32", (1,), 0, 0, 4),), (), "scripted")


@dataclass
class ScriptedPool:
    """What a TrainingRun needs of the actor pool."""

    fleet: RolloutFleet
    learner: ScriptedLearner


class TimeUp(Exception):
    """The measurement is over."""


async def conduct(generators: int, options: argparse.Namespace, root: Path) -> dict[str, float]:
    """Figures of one fleet size."""
    groups_per_step = max(1, generators * options.groups // 4)  # S = 3: B = 4 P slots, ``options.groups`` for every generator
    overrides = [f"grpo.groups_per_step={groups_per_step}", f"grpo.samples_per_group={SAMPLES}", "grpo.off_policy_steps=3"]
    fixed = [
        "pool.learners=1",
        "grpo.steps=1000000",
        "grpo.checkpoint_every=1000000",
        "grpo.sample_every=1000000",
        "grpo.window_fraction=1.0",
    ]
    config, _ = load(["experiment=starter", f"run.root={root}", f"run.name=fleet-{generators}", *overrides, *fixed])
    directory = RunDirectory.open(config.run.path, Resume.never, 2)
    data = load_data(config)
    tokenizer = ChatTokenizer.load(prepare_policy(config, directory, data))
    actors = [ray.remote(ScriptedActor).options(max_concurrency=100_000).remote(seed, options.seconds) for seed in range(options.actors)]
    fleet = RolloutFleet(Spawner(actors), generators, max(1, generators // 8), FleetTiming())
    tracker = Tracker(directory.path, TrackingConfig(wandb=WandbMode.off), {})
    pool: Any = ScriptedPool(fleet, ScriptedLearner())
    marks: list[tuple[float, float, int]] = []
    driver = psutil.Process()

    def mark(run: TrainingRun) -> None:
        times = driver.cpu_times()
        marks.append((time.perf_counter(), times.user + times.system, state.recorder.samples))
        if marks[-1][0] - began > options.warmup + options.measure:
            raise TimeUp

    quiet = Display.create(Console(quiet=True))
    run = TrainingRun(config, directory, pool, tokenizer, data, ProgrammaticTeacher(), tracker, quiet, on_step=mark)
    run.probe_ids = (1, 2)
    run.state.stage = Stage.grpo
    source = PromptSource(run.grpo_examples, tokenizer, config.grpo.curriculum, Sampling(SAMPLES, SCRIPTED_TOKENS), 0)
    try:
        await fleet.start("scripted", 0)
        state = GrpoState(run, source)
        began = time.perf_counter()
        with contextlib.suppress(TimeUp):
            await run_until_done(learn(run, state), submit=submit(run, state), fleet=fleet.supervise())
    finally:
        await fleet.close()
        for actor in actors:
            ray.kill(actor)
        tracker.finish()
        directory.close()
    window = [entry for entry in marks if entry[0] - began >= options.warmup]
    wall, cpu, samples = (last - first for first, last in zip(window[0], window[-1], strict=True))
    mean_seconds = options.seconds * float(np.exp(0.125))  # of the lognormal
    return {
        "offered": generators * options.groups * SAMPLES / mean_seconds,
        "achieved": samples / wall,
        "driver_cpu": cpu / wall,
        "driver_ms_per_trajectory": 1e3 * cpu / samples,
        "driver_rss_mb": driver.memory_info().rss / 2**20,
        "age_max": float(state.recorder.age_max),
        "age_bound": float(state.buffer.max_age),
        "ledger_error": float(state.ledger.error),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", type=int, nargs="+", default=list(GENERATORS))
    parser.add_argument("--groups", type=int, default=4, help="groups a generator holds at a time")
    parser.add_argument("--seconds", type=float, default=1.0, help="median duration of a group")
    parser.add_argument("--actors", type=int, default=1, help="processes that the scripted members share")
    parser.add_argument("--warmup", type=float, default=4.0, help="seconds before the measurement")
    parser.add_argument("--measure", type=float, default=10.0, help="seconds of the measurement")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    results: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="chemr-") as root:
        ray.init(
            address="local",
            num_cpus=options.actors,
            include_dashboard=False,
            object_store_memory=256 << 20,
            _temp_dir=root,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            for generators in options.generators:
                results[generators] = asyncio.run(conduct(generators, options, Path(root) / "runs"))
        finally:
            ray.shutdown()
    table = Table(title=f"driver alone: groups of {SAMPLES}, {options.groups} groups per generator, {options.seconds:g} s per group")
    columns = ("offered", "achieved", "driver cpu", "ms/trajectory", "driver MiB", "age max/bound", "ledger error")
    for column in ("generators", *columns):
        table.add_column(column, justify="right")
    for generators, row in results.items():
        table.add_row(
            str(generators),
            f"{row['offered']:,.0f}",
            f"{row['achieved']:,.0f}",
            f"{row['driver_cpu']:.2f}",
            f"{row['driver_ms_per_trajectory']:.2f}",
            f"{row['driver_rss_mb']:,.0f}",
            f"{row['age_max']:.0f}/{row['age_bound']:.0f}",
            f"{row['ledger_error']:.0f}",
        )
    Console(width=110).print(table)
    figures: dict[str, Any] = {f"trajectories_per_s_{generators}": row["achieved"] for generators, row in results.items()}
    for smaller, larger in itertools.pairwise(results):
        figures[f"growth_{smaller}_to_{larger}"] = results[larger]["achieved"] / results[smaller]["achieved"]
    if 256 in results:
        figures["tokens_per_s_256"] = results[256]["achieved"] * TOKENS
        print(f"at {TOKENS} tokens a trajectory, 256 generators: {figures['tokens_per_s_256']:,.0f} tokens/s through one driver")
    if options.json is not None:
        options.json.write_text(json.dumps(figures | {"by_generators": {str(key): row for key, row in results.items()}}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
