"""Which published data a run trains on and is tested with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class PublishedConfig:
    """What is taken from the folder ``data.dir``.

    Attributes:
        sources: training sources (docs/data.md), decontaminated against all suites; empty = all of them.
        suites: whose test rows the run is evaluated on; of a task that is in two of them, the first one's.
        train_per_task: at most this many training rows of each task; 0 = all.
        validation_per_task: rows of each task set aside from training; rows that share a molecule with one of them are left out.
        test_per_task: at most this many test rows of each task, in file order; 0 = all.
        seed: of the draw.
    """

    sources: list[str] = field(default_factory=list)
    suites: list[str] = field(default_factory=lambda: ["chemllmbench", "tomg"])
    train_per_task: int = 0
    validation_per_task: int = 32
    test_per_task: int = 64
    seed: int = 0

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and what is allowed."""
        for name in ("train_per_task", "test_per_task"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.published.{name}={getattr(self, name)} is negative; use 0 for all rows")
        if self.validation_per_task < 1:
            raise ValueError(f"data.published.validation_per_task={self.validation_per_task} must be at least 1")
        if not self.suites:
            raise ValueError("data.published.suites is empty; name at least one suite to be tested on")
