"""Where GRPO's prompts come from: the curriculum picks the task, the cursor the example of that task (yes/no tasks: classes in turn).

The ledger names every submission (``<example uid>#<n>``) and remembers what is in flight; a request is a pure function of that name, so
a resumed run asks the prompts its checkpoint waits for again, under the same names and so with the same sampling seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.trajectory import GroupRequest, Sampling
from chemr.class_balance import BalancedCursor
from chemr.curriculum import CurriculumConfig, TaskCurriculum
from chemr.data.example import Example
from chemr.evaluation import prompt_request
from chemr.tokenization import ChatTokenizer


class PromptSource:
    """An endless, checkpointable stream of training prompts."""

    def __init__(
        self, examples: Sequence[Example], tokenizer: ChatTokenizer, config: CurriculumConfig, sampling: Sampling, seed: int
    ) -> None:
        self._by_task: dict[str, list[Example]] = {}
        for example in examples:
            self._by_task.setdefault(example.task, []).append(example)
        self._by_uid = {example.uid: example for example in examples}
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._seed = seed
        self._cursor = BalancedCursor(self._by_task, seed)
        self.curriculum = TaskCurriculum(tuple(self._by_task), config, seed)

    def draw(self) -> str:
        """The uid of the next example to ask."""
        task = self.curriculum.draw()
        return self._by_task[task][self._cursor.draw(task)].uid

    def request(self, submission: str) -> GroupRequest:
        """The rollout request of a submission named by the ledger.

        Raises:
            KeyError: its example is not in the data: the checkpoint belongs to other data.
        """
        example_uid = submission.rpartition("#")[0]
        if example_uid not in self._by_uid:
            raise KeyError(f"the checkpoint waits for prompt {example_uid!r}, which the data does not hold; restore data.* as it was")
        return prompt_request(self._by_uid[example_uid], self._tokenizer, submission, self._sampling, self._seed)

    def state_dict(self) -> dict[str, Any]:
        return {"curriculum": self.curriculum.state_dict(), "cursor": self._cursor.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError when the checkpoint was made with other tasks."""
        self.curriculum.load_state_dict(state["curriculum"])
        self._cursor.load_state_dict(state["cursor"])
