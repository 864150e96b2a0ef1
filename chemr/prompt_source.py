"""Where GRPO's prompts come from: the curriculum picks the task, the prompt sampler the example of that task (yes/no tasks: classes in
turn). What comes of them is told to both.

The ledger names every submission (``<example uid>#<n>``) and remembers what is in flight; a request is a pure function of that name, so
a resumed run asks the prompts its checkpoint waits for again, under the same names and so with the same sampling seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.trajectory import GroupRequest, Sampling
from chemr.curriculum.config import CurriculumConfig
from chemr.curriculum.outcome import Notice, Outcome, prompt_of
from chemr.curriculum.prompt_sampler import PromptSampler
from chemr.curriculum.task_curriculum import TaskCurriculum
from chemr.data.example import Example
from chemr.evaluation import prompt_request
from chemr.tokenization import ChatTokenizer
from rewards.blind import BlindPolicies


class PromptSource:
    """An endless, checkpointable stream of training prompts."""

    def __init__(
        self, examples: Sequence[Example], tokenizer: ChatTokenizer, config: CurriculumConfig, sampling: Sampling, seed: int
    ) -> None:
        by_task: dict[str, list[Example]] = {}
        for example in examples:
            by_task.setdefault(example.task, []).append(example)
        self._by_uid = {example.uid: example for example in examples}
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._seed = seed
        self._prompts = PromptSampler(by_task, config, seed)
        self.curriculum = TaskCurriculum(tuple(by_task), config, seed)
        self._blind = BlindPolicies.fitted(examples)

    def draw(self) -> str:
        """The uid of the next example to ask; one that is asked for what came of it before is marked (``outcome.REPLAYED``)."""
        return self._prompts.draw(self.curriculum.draw())

    def request(self, submission: str) -> GroupRequest:
        """The rollout request of a submission named by the ledger, question-blind answers to its row beside it.

        Raises:
            KeyError: its example is not in the data: the checkpoint belongs to other data.
        """
        example_uid = prompt_of(submission)
        if example_uid not in self._by_uid:
            raise KeyError(f"the checkpoint waits for prompt {example_uid!r}, which the data does not hold; restore data.* as it was")
        example = self._by_uid[example_uid]
        request = prompt_request(example, self._tokenizer, submission, self._sampling, self._seed)
        return replace(request, blind=self._blind.answers(example.task, example.inputs))

    def learn(self, outcomes: Iterable[Outcome], version: int) -> list[Notice]:
        """What came of prompts, in submission order; ``version`` is the learner's. Returns what a person should know."""
        notices: list[Notice] = []
        for outcome in outcomes:
            age = version - outcome.oldest_version
            notices += self.curriculum.update(outcome.task, success=outcome.success, abs_advantage=outcome.abs_advantage, age=age)
            notices += self._prompts.observe(outcome, age)
        return notices

    def metrics(self) -> dict[str, float]:
        return self.curriculum.metrics() | self._prompts.metrics()

    def state_dict(self) -> dict[str, Any]:
        return {
            "curriculum": self.curriculum.state_dict(),
            "cursor": self._prompts.cursor.state_dict(),
            "prompts": self._prompts.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError when the checkpoint was made with other tasks."""
        self.curriculum.load_state_dict(state["curriculum"])
        self._prompts.cursor.load_state_dict(state["cursor"])
        self._prompts.load_state_dict(state.get("prompts", {}))
