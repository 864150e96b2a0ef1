"""Which of the policy's own answers are kept as traces for a next supervised stage (chemr/harvest.py)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class HarvestConfig:
    """Harvest of GRPO's rollouts into ``harvest/grpo.jsonl`` of the run directory (docs/self-distillation.md).

    Attributes:
        share: of the groups whose texts come back to the driver and may be kept, drawn by the seed; 0 = no harvest.
        threshold: verdict value from which an answer counts as right.
        per_prompt: traces kept of one example, at most.
        per_task: traces kept of one task, at most.
    """

    share: float = 0.0
    threshold: float = 1.0
    per_prompt: int = 1
    per_task: int = 1000

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and what is allowed."""
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"grpo.harvest.share={self.share} is outside [0, 1]; 0 keeps nothing, 1 looks at every group")
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"grpo.harvest.threshold={self.threshold} is outside (0, 1]: it is the verdict value of a right answer")
        for name in ("per_prompt", "per_task"):
            if getattr(self, name) < 1:
                raise ValueError(f"grpo.harvest.{name}={getattr(self, name)} must be at least 1; grpo.harvest.share=0 keeps nothing")
