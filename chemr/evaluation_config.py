"""What a held-out evaluation asks (apart from :mod:`chemr.evaluation`, which needs the actors to answer)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class EvalConfig:
    """What an evaluation asks.

    Attributes:
        suite: of ``chemr eval``: ``starter``, or one of the published suites (docs/benchmarks.md).
        tasks: of ``chemr eval`` on a published suite; empty = all tasks of the suite.
        samples: answers per prompt at temperature 1.
        greedy: also answer once greedily.
        max_new_tokens: length cap of an answer, in tokens.
        test_prompts_per_task: held-out prompts per task after every stage; 0 = all there are.
        validation_prompts_per_task: prompts per task of the evaluations during a stage.
        concurrency: groups in flight at once.
        seed: of the sampling.
    """

    suite: str = "starter"
    tasks: list[str] = field(default_factory=list)
    samples: int = 4
    greedy: bool = True
    max_new_tokens: int = 96
    test_prompts_per_task: int = 0
    validation_prompts_per_task: int = 8
    concurrency: int = 64
    seed: int = 20_000

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        for name in ("samples", "max_new_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"eval.{name}={getattr(self, name)} must be at least 1")
        for name in ("test_prompts_per_task", "validation_prompts_per_task"):
            if getattr(self, name) < 0:
                raise ValueError(f"eval.{name}={getattr(self, name)} is negative; use 0 for all prompts")
