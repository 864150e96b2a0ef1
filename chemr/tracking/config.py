"""What of a run is recorded where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WandbMode(StrEnum):
    """How records reach Weights & Biases. ``metrics.jsonl`` is written in every mode."""

    auto = "auto"  # online with an API key, offline without one
    offline = "offline"  # files under the run directory, for `wandb sync`
    online = "online"  # as auto, but warns when there is no key
    off = "off"


@dataclass
class TrackingConfig:
    """Where records go besides ``metrics.jsonl``.

    Attributes:
        wandb: see :class:`WandbMode`.
        project: W&B project.
        run_name: W&B display name; null = the name of the run directory.
        group: W&B group, to see the seeds of one experiment together.
        prometheus_port: the driver serves the newest values there for Prometheus (docs/operations.md); null = not.
        prometheus_address: of the interface it listens on; in a pod, ``0.0.0.0``.
    """

    wandb: WandbMode = WandbMode.auto
    project: str = "chemr"
    run_name: str | None = None
    group: str | None = None
    prometheus_port: int | None = None
    prometheus_address: str = "127.0.0.1"

    def validate(self) -> None:
        """Raises ValueError naming the field, the value and the remedy."""
        if self.prometheus_port is not None and not 0 <= self.prometheus_port <= 65535:
            raise ValueError(f"tracking.prometheus_port={self.prometheus_port} is no port: give 1 to 65535, 0 for any, or null for none")
        if not self.project.strip() or set(self.project) & set("/\\#?%:"):
            raise ValueError(f"tracking.project={self.project!r} is not a W&B project name: it must be non-empty and without / \\ # ? % :")
