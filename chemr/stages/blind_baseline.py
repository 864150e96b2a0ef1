"""What question-blind answers earn on the rows that are asked: a reward says something only above that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN
from rewards.job import ScoreJob

if TYPE_CHECKING:
    from actors.fleet import RolloutFleet
    from actors.trajectory import GroupRequest
    from rewards.blind import BlindPolicies


class BlindBaseline:
    """Question-blind policies, scored by the reward workers, each row once."""

    def __init__(self, fleet: RolloutFleet, policies: BlindPolicies) -> None:
        self._fleet = fleet
        self._policies = policies
        self._known: dict[str, dict[str, float]] = {}

    async def values(self, request: GroupRequest, prompt: str) -> Mapping[str, float]:
        """Policy -> its reward in [0, 1] on the row of this request; a policy whose reward is not known is left out.

        ``prompt`` names the row, which may be asked under many names. Raises what scoring texts raises.
        """
        if prompt not in self._known:
            answers = self._policies.answers(request.task, request.inputs)
            jobs = [
                ScoreJob(request.task, ANSWER_OPEN + text + ANSWER_CLOSE, request.inputs, request.reference) for text in answers.values()
            ]
            verdicts = await self._fleet.score_texts(jobs)
            self._known[prompt] = {name: one.value for name, one in zip(answers, verdicts, strict=True) if one.value is not None}
        return self._known[prompt]
