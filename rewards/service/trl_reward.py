"""The reward service as a reward function of TRL.

    from rewards.service.client import RewardClient
    from rewards.service.trl_reward import trl_reward

    trainer = GRPOTrainer(model, reward_funcs=trl_reward(RewardClient("rewards:50051")), train_dataset=rows, ...)

``rows`` have the columns ``task``, ``inputs`` and ``reference`` beside ``prompt``; the latter two best as JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rewards.job import ScoreJob
from rewards.service.client import RewardClient
from rewards.service.row_fields import fields_from_column

Completion = str | Sequence[Mapping[str, Any]]
"""Plain text, or the messages of a conversational data set."""


class TrlReward(Protocol):
    """What TRL calls: every column of the data set is a keyword, one entry per completion."""

    __name__: str

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]: ...


def trl_reward(client: RewardClient, timeout_s: float | None = None) -> TrlReward:
    """A function for ``reward_funcs``. A sample whose worth is not known gets ``None``, which TRL 1.16 takes out of its group.

    The function raises RewardServiceError when the service cannot be reached in time, and ValueError for rows without the columns it needs.
    """

    def chemr_reward(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        missing = [name for name in ("task", "inputs", "reference") if name not in columns]
        if missing:
            raise ValueError(f"the data set needs the column(s) {', '.join(missing)}; it has: {', '.join(sorted(columns))}")
        rows = zip(columns["task"], completions, columns["inputs"], columns["reference"], strict=True)
        jobs = [
            ScoreJob(task, _text(completion), fields_from_column("inputs", inputs), fields_from_column("reference", reference))
            for task, completion, inputs, reference in rows
        ]
        return [verdict.value for verdict in client.score(jobs, timeout_s)]

    return chemr_reward


def _text(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion if message.get("role") == "assistant")
