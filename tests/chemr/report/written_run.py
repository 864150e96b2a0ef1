"""A small run directory, written by what writes real ones: the tracker, the trajectory log and the summary's layout."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.graded_group import grade
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.tracker import Tracker
from chemr.trajectory_log import GROUPS_PER_SAMPLE, TrajectoryLog
from learner.config import GrpoConfig
from rewards.verdict import Reason, Verdict

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
TASKS = {
    "forward": ({"reactants": "CCO.CC(=O)O"}, "CCOC(C)=O", "CCOC(C)=O", "CCCC(C)=O"),
    "moledit_add": ({"smiles": "c1ccccc1", "add": "hydroxyl"}, "Oc1ccccc1", "Oc1ccccc1", "Nc1ccccc1"),
    "smiles2formula": ({"smiles": "CO"}, "CH4O", "CH4O", "CO"),
}


def interval(mean: float) -> list[float]:
    return [mean - 0.05, mean + 0.05]


def summary(name: str, shift: float) -> dict[str, Any]:
    means = {"foundation": 0.2 + shift, "grpo": 0.6 + shift}
    stages = {}
    for stage, mean in means.items():
        score = {"prompts": 64, "mean": mean, "interval95": interval(mean), "solved": mean / 2, "greedy": mean + 0.1}
        stages[stage] = {
            "mean_reward": mean,
            "interval95": interval(mean),
            "greedy_mean_reward": mean + 0.1,
            "tasks": dict.fromkeys(TASKS, score),
        }
    stages["grpo"] |= {"age_max": 1, "age_bound": 2, "ledger": {"submitted": 60, "trained": 40, "dropped": {"zero_variance": 20}}}
    gains = {"gain": {"grpo": 0.4}, "gain_interval95": {"grpo": [0.35, 0.45]}}
    return {"run": name, "seed": 0, "wall_s": 75.0, "stages": list(means), **stages, **gains}


def step_metrics(step: int, shift: float) -> dict[str, float | str]:
    metrics: dict[str, float | str] = {
        "stage": "grpo",
        "train/loss": 1.0 / step,
        "reward/mean": 0.3 + shift + 0.005 * step,
        "time/step_s": 1.0,
        "time/train": 0.5,
        "time/wait_rollouts": 0.25,
        "time/unaccounted": 0.25,
        "async/idle_learner": 0.4,
        "async/idle_generators": 0.1,
        "async/age_mean": 0.5,
        "weights/version_lag": 3.0 if step == 30 else 1.0,
    }
    for task in TASKS:
        metrics[f"reward/{task}/mean"] = 0.3 + shift + 0.1 * math.sin(step)
        metrics[f"reward/{task}/reason/correct"] = 0.25
        metrics[f"reward/{task}/reason/wrong"] = 0.75
        metrics[f"curriculum/weight/{task}"] = 1 / len(TASKS)
    return metrics


def scored(uid: str, task: str, texts: Sequence[str], verdicts: Sequence[Verdict], version: int) -> ScoredGroup:
    inputs, reference, _, _ = TASKS[task]
    request = GroupRequest(uid, task, (1, 2), inputs, {"answer": reference}, Sampling(len(texts), 8), 0)
    meta = GroupMeta(uid, "generator-0", tuple(len(text) for text in texts), 2, version, version + 1, 0, (), 0.1)
    return ScoredGroup(request, meta, list(verdicts), tokens_ref=None, texts=list(texts))


def write_trajectories(folder: Path, steps: Sequence[int]) -> None:
    tokenizer: Any = SimpleNamespace(decode=lambda ids: f"a question with {HOSTILE}")
    log = TrajectoryLog(folder, tokenizer, every=1)
    for number, step in enumerate(steps):
        for turn in range(GROUPS_PER_SAMPLE):
            task = list(TASKS)[(number * GROUPS_PER_SAMPLE + turn) % len(TASKS)]
            _, _, right, wrong = TASKS[task]
            texts = [
                f"<think>**1.** it is {task}</think><answer>{right}</answer>",
                f"<think>{HOSTILE}</think><answer>{wrong}</answer>",
                HOSTILE,
            ]
            verdicts = [Verdict(1.0, Reason.CORRECT, {"tanimoto": 1.0}), Verdict(0.25, Reason.PARTIAL), Verdict(0.0, Reason.NO_ANSWER)]
            uid = f"starter/{task}/{step}#{turn}"
            assert log.claim(uid)
            log.add(grade(scored(uid, task, texts, verdicts, step), GrpoConfig()))
        log.finish_step(step)


def write_run(folder: Path, name: str = "mine", *, shift: float = 0.0, steps: int = 60, finished: bool = True) -> Path:
    """A run of two stages, of which GRPO begins at step 10; returns its directory."""
    for part in ("trajectories", "model"):
        (folder / part).mkdir(parents=True)
    config = {"run": {"name": name, "seed": 0}, "stages": ["foundation", "grpo"], "grpo": {"optim": {"lr": 1e-3 + shift}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps({"python": "3.11.7", "packages": {"rdkit": "2026.9.1"}}), encoding="utf-8")
    if finished:
        (folder / "summary.json").write_text(json.dumps(summary(name, shift)), encoding="utf-8")
    with Tracker(folder, TrackingConfig(wandb=WandbMode.off), {}) as tracker:
        for step in range(1, 10):
            tracker.log(step, {"stage": "foundation", "train/loss": 3.0 - 0.1 * step})
        tracker.log(9, {"stage": "foundation", "eval/test/mean": 0.2 + shift, "eval/test/forward": 0.2})
        for step in range(10, steps + 1):
            tracker.log(step, step_metrics(step, shift))
        tracker.log(
            steps,
            {
                "stage": "grpo",
                "checkpoint/failed": 1.0,
                "async/dropped/straggler": 2.0,
                "alert/ess_low": 1.0,
                "train/entropy": float("nan"),
            },
        )
    write_trajectories(folder / "trajectories", range(10, steps + 1, 10))
    return folder
