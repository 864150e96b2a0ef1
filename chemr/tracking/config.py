"""What of a run is recorded where, and what a person is told of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from importlib.util import find_spec


class WandbMode(StrEnum):
    """How records reach Weights & Biases. ``metrics.jsonl`` is written in every mode."""

    auto = "auto"  # online with an API key, offline without one
    offline = "offline"  # files under the run directory, for `wandb sync`
    online = "online"  # as auto, but warns when there is no key
    off = "off"


class ArtifactMode(StrEnum):
    """What W&B gets of a folder."""

    off = "off"
    reference = "reference"  # where it lies, names and checksums of its files: the files are read once, none is sent
    upload = "upload"  # the files


@dataclass
class ArtifactsConfig:
    """Artifacts in W&B.

    Attributes:
        data: a description of the rows (counts, SHA-256), as the input of the run; the rows themselves are not sent.
        model: the exported model.
        checkpoints: every checkpoint. Those that run.keep_checkpoints removes leave a reference that leads nowhere.
    """

    data: bool = True
    model: ArtifactMode = ArtifactMode.off
    checkpoints: ArtifactMode = ArtifactMode.off


@dataclass
class AlertThresholds:
    """When a person is told of a GRPO stage that goes wrong (chemr/tracking/alerts.py). null leaves an alert out.

    Attributes:
        window: steps over which a level is a mean, so that one bad step tells nobody.
        reward_drop: the mean reward is below this share of its best level ...
        reward_floor: ... which was at least this.
        entropy: train/entropy is below it, nats a token.
        ess: train/ess is below it, as a share of the samples.
        mismatch_kl: train/mismatch_kl is above it, nats a token.
        age_at_bound: samples were as old as they may be in all steps of the window.
        reason_rise: the share of a reason why answers are worth nothing rose by this from one window to the next, within a task.
        hollow_rise: a task's held-out mean reward rose by this since the stage began, and hardly more answers repeat their reference.
    """

    window: int = 20
    reward_drop: float | None = 0.5
    reward_floor: float = 0.1
    entropy: float | None = 0.02
    ess: float | None = 0.5
    mismatch_kl: float | None = 0.02
    age_at_bound: bool = True
    reason_rise: float | None = 0.25
    hollow_rise: float | None = 0.15

    def validate(self) -> None:
        """Raises ValueError naming the field, the value and the remedy."""
        if self.window < 1:
            raise ValueError(f"tracking.alerts.window={self.window} must be 1 step or more")
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and not (math.isfinite(value) and value > 0):
                raise ValueError(f"tracking.alerts.{one.name}={value} must be above 0; null leaves the alert out")
        for name in ("reward_drop", "ess", "reason_rise", "hollow_rise"):
            value = getattr(self, name)
            if value is not None and value >= 1:
                raise ValueError(f"tracking.alerts.{name}={value} is a share: it must be below 1")


@dataclass
class TrackingConfig:
    """Where records go besides ``metrics.jsonl`` (docs/tracking.md).

    Attributes:
        wandb: see :class:`WandbMode`.
        tensorboard: event files in ``tensorboard/`` of the run directory; needs the extra ``chemr[tensorboard]``.
        trackio: records in trackio's database ($TRACKIO_DIR); needs the extra ``chemr[trackio]``.
        project: W&B and trackio project.
        run_name: the name shown there; null = the name of the run directory.
        group: W&B and trackio group, to see the seeds of one experiment together.
        job_type, tags: of the W&B run.
        samples_per_step, samples_per_run: at most so many completions in W&B's table and TensorBoard's text, of each sampled step
            (grpo.sample_every) and in all; 0 = none.
        artifacts: what W&B gets of data, model and checkpoints.
        alerts: when a person is told.
        queue: records that may wait for one sink; more are dropped and counted (``tracking/dropped/<sink>``).
        prometheus_port: the driver serves the newest values there for Prometheus (docs/operations.md); null = not.
        prometheus_address: of the interface it listens on; in a pod, ``0.0.0.0``.
    """

    wandb: WandbMode = WandbMode.auto
    tensorboard: bool = False
    trackio: bool = False
    project: str = "chemr"
    run_name: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: list[str] = field(default_factory=list)
    samples_per_step: int = 16
    samples_per_run: int = 2_000
    artifacts: ArtifactsConfig = field(default_factory=ArtifactsConfig)
    alerts: AlertThresholds = field(default_factory=AlertThresholds)
    queue: int = 4_096
    prometheus_port: int | None = None
    prometheus_address: str = "127.0.0.1"

    def validate(self) -> None:
        """Raises ValueError naming the field, the value and the remedy."""
        if self.prometheus_port is not None and not 0 <= self.prometheus_port <= 65535:
            raise ValueError(f"tracking.prometheus_port={self.prometheus_port} is no port: give 1 to 65535, 0 for any, or null for none")
        if not self.project.strip() or set(self.project) & set("/\\#?%:"):
            raise ValueError(f"tracking.project={self.project!r} is not a W&B project name: it must be non-empty and without / \\ # ? % :")
        for tag in self.tags:
            if not 1 <= len(tag) <= 64:
                raise ValueError(f"tracking.tags: {tag!r} has {len(tag)} characters; W&B takes tags of 1 to 64")
        if self.queue < 1:
            raise ValueError(f"tracking.queue={self.queue}: at least 1 record must be able to wait")
        for name in ("samples_per_step", "samples_per_run"):
            if getattr(self, name) < 0:
                raise ValueError(f"tracking.{name}={getattr(self, name)} must be 0 (none) or more")
        self.alerts.validate()

    def missing(self) -> Iterator[str]:
        """What is asked for here and not installed beside this interpreter, as messages for people."""
        for wanted, field_name, package, extra in (
            (self.tensorboard, "tensorboard", "tensorboardX", "tensorboard"),
            (self.trackio, "trackio", "trackio", "trackio"),
        ):
            if wanted and find_spec(package) is None:
                remedy = f"pip install 'chemr[{extra}]', or set tracking.{field_name}=false"
                yield f"tracking.{field_name}=true, but {package} is not installed: {remedy}"
