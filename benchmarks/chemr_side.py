"""Our side of the comparison with TRL: the product's own GRPO loops, pool, engine, reward processes and learner, on given prompts.

Run by vs_trl.py; prints one JSON object as the last line. Only what the comparison prescribes is replaced: prompts come in file order
instead of from the curriculum, and the reward is the toy reward, scored in the same isolated processes as a chemical one.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

from actors.pool import ActorPool
from actors.pool_config import PoolConfig
from actors.reward_worker import RewardWorker
from actors.trajectory import GroupRequest, GroupTokens, Sampling
from benchmarks.toy_scorer import TASK
from chemr.config import ChemrConfig, Stage, load, pool_config
from chemr.curriculum.outcome import Notice, Outcome
from chemr.curriculum.task_curriculum import TaskCurriculum
from chemr.data.task_data import TaskData
from chemr.display import Display
from chemr.run_directory import Resume, RunDirectory
from chemr.stages.grpo import learn, submit
from chemr.stages.grpo_state import GrpoState
from chemr.supervision import run_until_done
from chemr.teachers import ProgrammaticTeacher
from chemr.tokenization import ChatTokenizer
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.tracker import Tracker
from chemr.training_run import TrainingRun
from rewards.job import ScoreJob
from rewards.verdict import Verdict

ALONE_GROUPS = 96  # groups generated, and trained on, with the rest of the pool idle


class ToyRewardWorker(RewardWorker):
    """Scores token ids, as TRL's side does, through the killable scoring processes."""

    plugins = ("benchmarks.toy_scorer",)

    def score(
        self,
        tokens: GroupTokens,
        task: str,
        inputs: Mapping[str, Any],
        reference: Mapping[str, Any],
        want_texts: bool,
        blind: Sequence[str],
    ) -> tuple[list[Verdict], list[str]]:
        texts = [f"<answer>{' '.join(map(str, ids.tolist()))}</answer>" for ids in tokens.completion_ids]
        return self._pool.score([ScoreJob(task, text, {}, {}) for text in texts]), []


class ToyPool(ActorPool):
    reward_worker = ToyRewardWorker


class FilePrompts:
    """Prompts in file order, over and over; stands in for chemr.prompt_source.PromptSource."""

    def __init__(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int, curriculum: TaskCurriculum) -> None:
        self.prompts, self.sampling, self.seed, self.curriculum, self.drawn = prompts, sampling, seed, curriculum, 0

    def draw(self) -> str:
        self.drawn += 1
        return str((self.drawn - 1) % len(self.prompts))

    def request(self, submission: str) -> GroupRequest:
        prompt = self.prompts[int(submission.rpartition("#")[0])]
        return GroupRequest(submission, TASK, tuple(prompt), {}, {}, self.sampling, self.seed)

    def learn(self, outcomes: Iterable[Outcome], version: int) -> list[Notice]:
        for outcome in outcomes:
            age = version - outcome.oldest_version
            self.curriculum.update(outcome.task, success=outcome.success, abs_advantage=outcome.abs_advantage, age=age)
        return []

    def metrics(self) -> dict[str, float]:
        return self.curriculum.metrics()

    def state_dict(self) -> dict[str, Any]:
        return {}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--samples-per-step", type=int, default=128)
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--length", choices=("natural", "fixed"), default="natural")
    parser.add_argument("--warmup-steps", type=int, default=2)
    parser.add_argument("--timed-steps", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--learners", type=int, default=1)
    parser.add_argument("--off-policy-steps", type=int, default=3, help="less leaves the engine's batch short")
    parser.add_argument("--window-fraction", type=float, default=1.0)
    return parser.parse_args(argv)


def read_prompts(path: Path, tokenizer: ChatTokenizer) -> list[list[int]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        row["prompt_ids"] if "prompt_ids" in row else tokenizer.encode_prompt([{"role": "user", "content": row["prompt"]}]) for row in rows
    ]


def model_without_end(model: Path, target: Path) -> Path:
    """A copy of the model folder that ends at the padding token, which no policy writes, so that every completion runs to the limit."""
    shutil.copytree(model, target)
    config = json.loads((target / "config.json").read_text())
    for name in ("config.json", "generation_config.json"):
        content = json.loads((target / name).read_text()) if (target / name).is_file() else {}
        (target / name).write_text(json.dumps(content | {"eos_token_id": config["pad_token_id"]}))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (target / name).is_file():
            content = json.loads((target / name).read_text())
            (target / name).write_text(json.dumps(content | {"eos_token": content.get("pad_token")}))
    return target


def configuration(options: argparse.Namespace, root: Path) -> ChemrConfig:
    longest = options.max_new_tokens
    config, _ = load(
        [
            "experiment=starter",
            f"run.root={root}",
            f"run.seed={options.seed}",
            f"grpo.steps={options.warmup_steps + options.timed_steps}",
            f"grpo.groups_per_step={options.samples_per_step // options.group_size}",
            f"grpo.samples_per_group={options.group_size}",
            f"grpo.off_policy_steps={options.off_policy_steps}",
            f"grpo.window_fraction={options.window_fraction}",
            f"grpo.max_new_tokens={longest}",
            "grpo.checkpoint_every=1000000",
            "grpo.sample_every=1000000",
            f"grpo.optim.lr={options.lr}",
            "grpo.optim.schedule=constant",
            "grpo.optim.warmup_steps=0",
            f"pool.learners={options.learners}",
            f"pool.generators={options.generators}",
            f"generator.max_model_len={max(256, longest + 128)}",
            f"policy.scratch.max_position_embeddings={max(512, longest + 128)}",
        ]
    )
    return config


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of processes and their descendants, in core-seconds."""
    total = 0.0
    for pid in pids:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


async def measure(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    config = configuration(options, root)
    model = model_without_end(options.model, root / "model") if options.length == "fixed" else options.model
    tokenizer = ChatTokenizer.load(model)
    prompts = read_prompts(options.prompts, tokenizer)
    directory = RunDirectory.open(root / "run", Resume.never, 2)
    tracker = Tracker(directory.path, TrackingConfig(wandb=WandbMode.off), {})
    pool_settings: PoolConfig = pool_config(config, model, directory.path)
    pool = ToyPool(pool_settings)
    marks: list[tuple[float, float]] = []  # (clock, core-seconds of everything of ours) at the end of each step

    def mark(run: TrainingRun) -> None:
        marks.append((time.perf_counter(), cpu_seconds([psutil.Process().pid])))

    quiet = Display.create(console=None)
    run = TrainingRun(config, directory, pool, tokenizer, TaskData([], [], []), ProgrammaticTeacher(), tracker, quiet, on_step=mark)
    run.probe_ids = tuple(prompts[0])
    try:
        await pool.start(model)
        await run.begin_stage(Stage.grpo, config.grpo.optim, config.grpo.steps, config.grpo.learner_threads)
        sampling = Sampling(config.grpo.samples_per_group, config.grpo.max_new_tokens, config.grpo.algo.temperature)
        source = FilePrompts(prompts, sampling, options.seed, TaskCurriculum([TASK], config.grpo.curriculum, options.seed))
        state = GrpoState(run, source)
        await run_until_done(learn(run, state), submit=submit(run, state), fleet=pool.fleet.supervise())
        state.buffer.close()
        alone = await measure_alone(run, source)
    finally:
        await pool.close()
        tracker.finish()
        directory.close()
    return report(options, config, run, state, marks, prompts) | alone


async def measure_alone(run: TrainingRun, source: FilePrompts) -> dict[str, float]:
    """Core-seconds per sample of generation (with the learner idle), then of training (with the generators idle)."""
    pids = run.pool.pids()
    generators = [pid for name, pid in pids.items() if name.startswith("generator-") and "/" not in name]
    learners = [pid for name, pid in pids.items() if name.startswith("learner-")]
    requests = [replace(source.request(f"{index % len(source.prompts)}#alone-{index}"), seed=1) for index in range(ALONE_GROUPS)]
    before = cpu_seconds(generators)
    groups = await asyncio.gather(*(run.fleet.run_group(request) for request in requests))
    generation = cpu_seconds(generators) - before
    from chemr.graded_group import grade

    graded = [group for group in (grade(one, run.config.grpo.algo) for one in groups) if not group.untrainable]
    per_step = run.config.grpo.groups_per_step
    steps = [graded[start : start + per_step] for start in range(0, len(graded) - per_step + 1, per_step)]
    before = cpu_seconds(learners)
    for step in steps:
        await run.learners.grpo_step([group.for_training() for group in step], run.config.grpo.algo)
    training = cpu_seconds(learners) - before
    size = run.config.grpo.samples_per_group
    return {
        "generation_core_seconds_per_sample": generation / (len(groups) * size),
        "training_core_seconds_per_sample": training / (len(steps) * per_step * size),
    }


def report(
    options: argparse.Namespace,
    config: ChemrConfig,
    run: TrainingRun,
    state: GrpoState,
    marks: list[tuple[float, float]],
    prompts: list[list[int]],
) -> dict[str, Any]:
    window = marks[options.warmup_steps - 1 :]
    seconds = [after[0] - before[0] for before, after in pairwise(window)]
    records = [json.loads(line) for line in (run.directory.path / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "train/samples" in record][options.warmup_steps :]
    trained = sum(int(record["train/samples"]) for record in steps)
    window_s = window[-1][0] - window[0][0]
    return {
        "side": "chemr",
        "window_s": window_s,
        "trained_samples": trained,
        "generated_samples": trained,  # the slots are full at both ends of the window
        "samples_per_s": trained / window_s,
        "step_seconds": seconds,
        "core_seconds_per_sample": (window[-1][1] - window[0][1]) / trained,
        "completion_tokens_mean": statistics.fmean(record["rollout/length"] for record in steps if "rollout/length" in record),
        "completion_tokens_max": max(record["rollout/length_max"] for record in steps if "rollout/length_max" in record),
        "padded_share": 1.0 - statistics.fmean(record["train/packing_efficiency"] for record in steps),
        "prompt_tokens_mean": statistics.fmean(len(prompt) for prompt in prompts),
        "reward_mean": statistics.fmean(record["reward/mean"] for record in steps if "reward/mean" in record),
        "age_max": state.recorder.age_max,
        "age_bound": state.buffer.max_age,
        "overlap_efficiency": statistics.fmean(record["async/overlap_efficiency"] for record in steps),
        "pull_seconds": mean_phases(records),
        "settings": {
            "generators": config.pool.generators,
            "learners": config.pool.learners,
            "gradient_dtype": str(config.learner.gradient_dtype),
            "generator_dtype": str(config.generator.dtype),
            "off_policy_steps": config.grpo.off_policy_steps,
            "window_fraction": config.grpo.window_fraction,
            "keep_cache": config.generator.keep_cache,
        },
    }


def mean_phases(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean seconds of each phase of a weight update, by name."""
    names = sorted({name for record in records for name in record if name.startswith("weights/pull/")})
    return {name.rpartition("/")[2]: statistics.fmean(record[name] for record in records if name in record) for name in names}


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    with tempfile.TemporaryDirectory(prefix="chemr-bench-") as root:
        print(json.dumps(asyncio.run(measure(options, Path(root)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
