"""A run's folder written by the simulation itself, so that what calibration should find is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from chemr.config import load
from chemr.planning.calibration import Calibration, setup_for
from chemr.planning.run_records import read_config
from chemr.planning.scenario import Setup
from chemr.planning.simulated_engine import SimulatedEngine
from chemr.planning.simulation import simulate
from chemr.planning.throughput import EngineSpeed
from chemr.planning.workload import Workload

PACE_SEEN = 1.2  # what an engine sees of its steps beside other processes, over what they take; calibration has to take it back


def configuration(folder: Path, *overrides: str) -> None:
    """``config.yaml`` of a starter run with a GRPO stage of 16 groups of 8."""
    _, resolved = load(["experiment=starter", "stages=[grpo]", *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(resolved, encoding="utf-8")


def record(folder: Path, setup: Setup, steps: int, seed: int) -> None:
    """``metrics.jsonl`` of a simulated stage, under the names of chemr/stages/grpo_metrics.py. Lengths are drawn again."""
    found = simulate(setup, steps, seed)
    work, rng = setup.workload, np.random.default_rng(seed + 1)
    groups, samples = work.groups_per_step, work.samples_per_group
    trained = dropped = graded = 0.0
    lines = []
    for number, step in enumerate(found.by_step, start=1):
        drawn = work.lengths.draw(max(1, step.graded), samples, rng)
        zero_variance = round(step.graded * work.trivial)
        trained, dropped, graded = trained + groups, dropped + zero_variance, graded + step.graded
        tokens = groups * samples * work.lengths.capped_mean
        values = {
            "step": number,
            "stage": "grpo",
            "time/step_s": step.seconds,
            "time/train": found.train_s / step.seconds,
            "time/wait_rollouts": found.wait_s / step.seconds,
            "time/unaccounted": setup.overhead_s / step.seconds,
            "async/age_mean": found.age_mean,
            "async/age_max": float(found.age_max),
            "async/queue": graded - trained - dropped,
            "async/ledger/trained": trained,
            "async/ledger/dropped": dropped,
            "async/dropped/zero_variance": float(zero_variance),
            "train/seconds": found.train_s,
            "train/cpu_s": setup.learner.train_s,
            "engine/pace/step_s": setup.engine.constant_s * PACE_SEEN,
            "engine/pace/sample_s": setup.engine.sample_s * PACE_SEEN,
            "engine/pace/prompt_token_s": setup.engine.prefill_s * PACE_SEEN,
            "engine/pace/end_s": setup.engine.end_s * PACE_SEEN,
            "train/forward_share": 0.4 * setup.learner.computing_s / setup.learner.train_s,
            "train/backward_share": 0.6 * setup.learner.computing_s / setup.learner.train_s,
            "train/tokens": tokens,
            "train/samples": float(groups * samples),
            "train/rows": tokens - groups * samples + groups * work.prompt_tokens,
            "reward/seconds": work.reward_s,
        }
        if step.graded:
            values |= {
                "rollout/length": float(drawn.mean()),
                "rollout/length_max": float(drawn.max()),
                "rollout/truncated": float((drawn >= work.lengths.cap).mean()),
                "rollout/seconds": step.rollout_s,
                "rollout/turnaround_s": step.turnaround_s,
            }
        lines.append(json.dumps(values))
        still = setup.engine.update_s
        weights = {
            "weights/pull_s": setup.engine.pull_s,
            "weights/pull/pause_s": 0.0,
            "weights/pull/load_s": still,
            "weights/pull/probe_s": 0.0,
        }
        lines.append(json.dumps({"step": number, "stage": "grpo", "weights/publish_s": setup.learner.publish_s} | weights))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def changed(calibration: Calibration, folder: Path, *overrides: str) -> Setup:
    """The set-up that a calibration gives a changed configuration."""
    return setup_for(calibration, read_config(folder / "config.yaml", overrides))


def evaluate(folder: Path, speed: EngineSpeed, work: Workload, prompts: int = 896, concurrency: int = 64) -> None:
    """``summary.json`` of an evaluation on one engine: ``prompts`` groups of 4, then of 1, ``concurrency`` groups at a time."""
    engine = SimulatedEngine(0, speed, work.prompt_tokens, 0.0, True)
    rng = np.random.default_rng(9)
    waiting = [group for samples in (4, 1) for group in work.lengths.draw(prompts, samples, rng).tolist()]
    left = {}
    tokens, now, number = sum(map(sum, waiting)), 0.0, 0
    while waiting or left:
        while waiting and len(left) < concurrency:
            group = waiting.pop(0)
            left[number] = len(group)
            engine.start_group(number, 0, group)
            number += 1
        until = engine.next_event()
        assert until is not None
        now += until
        engine.advance(now)
        for ended, _ in engine.end_of_samples():
            left[ended] -= 1
            if not left[ended]:
                del left[ended]
    grpo = {"tasks": {"forward": {"prompts": prompts}}, "generated_tokens": tokens, "seconds": now}
    (folder / "summary.json").write_text(json.dumps({"grpo": grpo}), encoding="utf-8")
