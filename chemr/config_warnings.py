"""What a configuration asks for and will not get, or will regret: said by name at every start, and refused by none.

Refused is what cannot run (:mod:`chemr.config_checks`); a run directory of an earlier version may hold what is only said here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chemr.config import ChemrConfig, Stage
from chemr.curriculum.config import PromptSampling, Weighting
from learner.config import Aggregation, Correction

PRETRAINED_LR = 1e-4  # above it a pretrained model forgets in a few steps; published runs use 1e-5 for SFT and 1e-6 for GRPO
PRETRAINED_LORA_LR = 1e-3  # adapters start at 0 and want about ten times as much


@dataclass(frozen=True, slots=True)
class Inert:
    """Fields that do nothing where ``when`` holds."""

    fields: tuple[str, ...]
    when: Callable[[ChemrConfig], bool]
    because: str


def ratio_is_one(config: ChemrConfig) -> bool:
    """Whether the importance ratio new/old is 1 at every token: the first update of a step takes its own log-probs for *old*
    (:mod:`learner.grpo_update`), unless bypass puts the behaviour policy there."""
    return config.grpo.algo.updates_per_step == 1 and config.grpo.algo.correction is not Correction.bypass


def warnings(config: ChemrConfig) -> list[str]:
    """Lines for people; each names the field, its value, and what to do."""
    return [*_inert(config), *_hot(config)]


def _inert(config: ChemrConfig) -> Iterator[str]:
    default = ChemrConfig()
    for rule in INERT:
        if not rule.when(config):
            continue
        for name in rule.fields:
            value = _get(config, name)
            if value != _get(default, name):
                yield f"{name}={value} has no effect: {rule.because}"


def _hot(config: ChemrConfig) -> Iterator[str]:
    if config.policy.path is None:
        return
    limit, of = (PRETRAINED_LORA_LR, "adapters of a") if config.learner.lora_rank else (PRETRAINED_LR, "a")
    for stage in config.stages:
        lr = getattr(config, stage).optim.lr
        if lr > limit:
            yield (
                f"{stage}.optim.lr={lr:g} is high for {of} pretrained model (policy.path={config.policy.path}): above {limit:g} it soon "
                f"forgets what it knows; usual are {limit / 10:g} for supervised stages and {limit / 100:g} for grpo"
            )


def _get(config: ChemrConfig, name: str) -> object:
    return functools.reduce(getattr, name.split("."), config)


def _with_grpo(holds: Callable[[ChemrConfig], bool]) -> Callable[[ChemrConfig], bool]:
    return lambda config: Stage.grpo in config.stages and holds(config)


INERT = (
    Inert(
        tuple(f"grpo.algo.{name}" for name in ("loss", "dual_clip", "clip_low", "clip_high")),
        _with_grpo(ratio_is_one),
        "with grpo.algo.updates_per_step=1 the importance ratio is 1 at every token, where all losses have one gradient and no clip acts; "
        "set updates_per_step=2 or more, or grpo.algo.correction=bypass",
    ),
    Inert(
        ("grpo.algo.tis_cap",),
        _with_grpo(lambda config: config.grpo.algo.correction is not Correction.tis),
        "it is of grpo.algo.correction=tis",
    ),
    Inert(
        ("grpo.algo.icepop_low", "grpo.algo.icepop_high"),
        _with_grpo(lambda config: config.grpo.algo.correction is not Correction.icepop),
        "it is of grpo.algo.correction=icepop",
    ),
    Inert(
        ("grpo.algo.geometric_low", "grpo.algo.geometric_high"),
        _with_grpo(lambda config: config.grpo.algo.correction is not Correction.geometric),
        "it is of grpo.algo.correction=geometric",
    ),
    Inert(
        ("grpo.algo.constant_length",),
        _with_grpo(lambda config: config.grpo.algo.aggregation is not Aggregation.constant),
        "it is of grpo.algo.aggregation=constant",
    ),
    Inert(
        ("grpo.harvest.threshold", "grpo.harvest.per_prompt", "grpo.harvest.per_task"),
        _with_grpo(lambda config: config.grpo.harvest.share == 0.0),
        "grpo.harvest.share=0 keeps nothing",
    ),
    Inert(
        ("grpo.curriculum.alpha",),
        _with_grpo(lambda config: config.grpo.curriculum.weighting is not Weighting.difficulty),
        "it is of grpo.curriculum.weighting=difficulty",
    ),
    Inert(
        ("grpo.curriculum.temperature",),
        _with_grpo(lambda config: config.grpo.curriculum.weighting is not Weighting.advantage),
        "it is of grpo.curriculum.weighting=advantage",
    ),
    Inert(
        ("grpo.curriculum.prompts.epsilon",),
        _with_grpo(lambda config: config.grpo.curriculum.prompts.sampling is PromptSampling.uniform),
        "grpo.curriculum.prompts.sampling=uniform asks no prompt again",
    ),
    Inert(
        ("grpo.curriculum.prompts.buffer", "grpo.curriculum.prompts.rate"),
        _with_grpo(lambda config: config.grpo.curriculum.prompts.sampling is not PromptSampling.replay),
        "it is of grpo.curriculum.prompts.sampling=replay",
    ),
    Inert(
        ("grpo.curriculum.prompts.target", "grpo.curriculum.prompts.width", "grpo.curriculum.prompts.pass_rate_step"),
        _with_grpo(lambda config: config.grpo.curriculum.prompts.sampling is not PromptSampling.gaussian),
        "it is of grpo.curriculum.prompts.sampling=gaussian",
    ),
    Inert(
        ("distill.traces_per_task",),
        lambda config: Stage.distill in config.stages and config.distill.traces is not None,
        "distill.traces takes the teacher's place",
    ),
    Inert(
        ("learner.lora_alpha", "learner.lora_targets"),
        lambda config: config.learner.lora_rank == 0,
        "learner.lora_rank=0 trains all weights, without adapters",
    ),
    Inert(("tracking.prometheus_address",), lambda config: config.tracking.prometheus_port is None, "tracking.prometheus_port is null"),
    Inert(
        ("control.token_env", "control.tls_certificate", "control.tls_client_ca", "control.plaintext"),
        lambda config: not config.control.enabled,
        "control.enabled=false serves nothing",
    ),
    Inert(
        ("data.published.train_per_task", "data.published.validation_per_task", "data.published.test_per_task", "data.published.sources"),
        lambda config: config.data.kind == "starter",
        "data.kind=starter reads no published files; set data.kind=published",
    ),
    Inert(("generator.gpu_memory_utilization",), lambda config: config.generator.device == "cpu", "generator.device=cpu has no GPU memory"),
)
