"""Size and seed of the starter data."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_SUPPORTED = 12  # heavy atoms; the building blocks of larger reactions would take minutes to combine


@dataclass
class StarterConfig:
    """How much starter data to build.

    Attributes:
        max_heavy_atoms: of any molecule in a row (5 to 12); the product of a reaction may have one more.
        train_per_task: at most this many training rows of each task; fewer where the molecules do not give more.
        validation_per_task: likewise, validation rows.
        test_per_task: likewise, held-out rows. A mean over 64 prompts is known to ±7 points, over 192 to ±4.
        size_decay: a row whose molecules are one heavy atom larger is this times as likely to be taken (1 = take sizes as they come).
        seed: of the draw. It does not touch the split: a molecule is in the same split whatever the seed.
    """

    max_heavy_atoms: int = 8
    train_per_task: int = 2500
    validation_per_task: int = 32
    test_per_task: int = 192
    size_decay: float = 0.5
    seed: int = 0

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and what is allowed."""
        if not 5 <= self.max_heavy_atoms <= LARGEST_SUPPORTED:
            raise ValueError(f"data.starter.max_heavy_atoms={self.max_heavy_atoms} must be between 5 and {LARGEST_SUPPORTED}")
        for name in ("train_per_task", "validation_per_task", "test_per_task"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.starter.{name}={getattr(self, name)} must be at least 1")
        if not 0.1 <= self.size_decay <= 1.0:
            raise ValueError(f"data.starter.size_decay={self.size_decay} must be between 0.1 and 1.0 (1: sizes as they come)")
