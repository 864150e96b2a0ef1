"""A shuffled deck of each task's prompts."""

from __future__ import annotations

import random
from collections.abc import Mapping


class PromptCursor:
    """Walks each task's prompts in a seeded order, reshuffled every pass; its state is one integer per task."""

    def __init__(self, sizes: Mapping[str, int], seed: int) -> None:
        empty = [task for task, size in sizes.items() if size < 1]
        if empty:
            raise ValueError(f"tasks without training prompts: {empty}; drop them from `tasks` or provide data")
        self._sizes = dict(sizes)
        self._seed = seed
        self._drawn = dict.fromkeys(sizes, 0)
        self._decks: dict[str, tuple[int, list[int]]] = {}

    def draw(self, task: str) -> int:
        """Index of the task's next prompt."""
        lap, position = divmod(self._drawn[task], self._sizes[task])
        self._drawn[task] += 1
        if self._decks.get(task, (-1, []))[0] != lap:
            deck = list(range(self._sizes[task]))
            random.Random(f"prompts/{self._seed}/{task}/{lap}").shuffle(deck)
            self._decks[task] = (lap, deck)
        return self._decks[task][1][position]

    def state_dict(self) -> dict[str, int]:
        return dict(self._drawn)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._drawn = {task: int(state.get(task, 0)) for task in self._sizes}
