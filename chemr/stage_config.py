"""Settings of the three stages. Ranges and relations are checked in :mod:`chemr.config_checks`; :mod:`chemr.config` puts them together."""

from __future__ import annotations

from dataclasses import dataclass, field

from chemr.curriculum.config import CurriculumConfig
from chemr.harvest_config import HarvestConfig
from chemr.reward_shaping import ShapingConfig
from learner.config import GrpoConfig, OptimConfig


@dataclass
class SftStageConfig:
    """A supervised stage.

    Attributes:
        steps: optimiser steps.
        documents_per_step: packed documents per optimiser step, over all ranks.
        optim: optimiser and schedule; the schedule spans ``steps``.
        learner_threads: CPU threads of each learner rank in this stage; null = learner.threads.
        eval_every: steps between validation evaluations during the stage; 0 = none.
        checkpoint_every: steps between checkpoints; one is always written at the end.
    """

    steps: int = 600
    documents_per_step: int = 64
    optim: OptimConfig = field(default_factory=OptimConfig)
    learner_threads: int | None = None
    eval_every: int = 200
    checkpoint_every: int = 200


@dataclass
class DistillStageConfig(SftStageConfig):
    """Distillation: traces that the reward workers accept are trained on.

    Attributes:
        traces_per_task: training rows of each task for which the programmatic teacher is asked.
        verify_at: the reward from which a trace counts as verified.
        traces: a file of traces to train on instead of asking the teacher: ``sft.jsonl`` of ``chemr protocols`` (docs/mining.md) or the
            harvest of an earlier run (docs/self-distillation.md).
    """

    traces_per_task: int = 1500
    verify_at: float = 0.9
    traces: str | None = None


@dataclass
class GrpoStageConfig:
    """Asynchronous multi-task GRPO.

    Attributes:
        steps: optimiser batches.
        groups_per_step: P, groups consumed per step.
        samples_per_group: G, answers per prompt.
        off_policy_steps: S, target off-policy steps; 0 is synchronous training.
        window_fraction: f, share of the slots among which groups may be taken out of order.
        max_new_tokens: length cap of an answer.
        max_barren_groups: so many groups that teach nothing (all samples alike), without a step between them, end the run; null = 200 for
            each of ``groups_per_step``, at least 2,000; 0 = never.
        optim: optimiser and schedule.
        algo: objective, advantage and off-policy correction.
        shaping: what a reward is made of, per task (chemr/reward_shaping.py).
        harvest: right answers of the model itself that are kept for a next supervised stage (chemr/harvest_config.py).
        curriculum: which task the next prompt comes from, and which prompt of it (docs/curriculum.md).
        learner_threads: CPU threads of each learner rank in this stage; null = learner.threads.
        eval_every: steps between validation evaluations; 0 = none.
        checkpoint_every: steps between checkpoints.
        sample_every: steps between trajectories kept in ``trajectories/``.
        mismatch_warn, mismatch_stop: mean difference of the engine's and the learner's log-probs, in nats a token, above which the first
            step warns or ends the run (chemr/engine_agreement.py).
        formless_stop: share of answers without <answer>…</answer> above which a pretrained policy is not trained: its validation prompts
            are asked once before the first step (chemr/stages/answer_form.py); 1 = they are not asked.
    """

    steps: int = 200
    groups_per_step: int = 16
    samples_per_group: int = 8
    off_policy_steps: int = 1
    window_fraction: float = 0.25
    max_new_tokens: int = 96
    max_barren_groups: int | None = None
    optim: OptimConfig = field(default_factory=OptimConfig)
    algo: GrpoConfig = field(default_factory=GrpoConfig)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    harvest: HarvestConfig = field(default_factory=HarvestConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    learner_threads: int | None = None
    eval_every: int = 0
    checkpoint_every: int = 50
    sample_every: int = 10
    mismatch_warn: float = 0.02
    mismatch_stop: float = 0.1
    formless_stop: float = 0.9
