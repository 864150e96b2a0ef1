"""Equal shares for the answers of yes/no questions.

Four in five of these tests' answers are "No"; with rows drawn as they come, a policy that always says "No" earns 0.8 and GRPO's groups
have nothing to learn from (REWARDS §1.2). So the rows of such a task are dealt from one deck a class, and every run of as many draws as
there are classes takes each class once, in an order that is a function of the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from chemr.curriculum.prompt_cursor import PromptCursor
from chemr.data.example import Example
from chemr.tasks import TASKS


def answer_class(example: Example) -> str | None:
    """The class of a row of a task with fixed answers, None for all others.

    Raises:
        ValueError: the answer is none of the task's classes.
    """
    spec = TASKS.get(example.task)
    if spec is None or not spec.classes:
        return None
    answer = example.reference["answer"]
    if answer not in spec.classes:
        raise ValueError(
            f"example {example.uid}: the answer {answer!r} is none of the classes of {example.task}: {', '.join(spec.classes)}"
        )
    return str(answer)


class BalancedCursor:
    """Walks the rows of every task; of yes/no tasks the classes in turn. Its state is one integer a deck."""

    def __init__(self, by_task: Mapping[str, Sequence[Example]], seed: int) -> None:
        self._seed = seed
        self._classes: dict[str, tuple[str, ...]] = {}
        self._decks: dict[str, list[int]] = {}
        for task, rows in by_task.items():
            for index, row in enumerate(rows):
                label = answer_class(row)
                self._decks.setdefault(task if label is None else _deck(task, label), []).append(index)
                if label is not None and label not in self._classes.get(task, ()):
                    self._classes[task] = tuple(sorted((*self._classes.get(task, ()), label)))
            if not rows:
                self._decks[task] = []  # the cursor names it in its complaint
        self._cursor = PromptCursor({deck: len(rows) for deck, rows in self._decks.items()}, seed)
        self._drawn = dict.fromkeys(self._classes, 0)

    def draw(self, task: str) -> int:
        """Index of the task's next row."""
        return self.deal(self.next_deck(task))

    def next_deck(self, task: str) -> str:
        """The deck whose turn it is: the task's only one, or the one of the class that is next."""
        return _deck(task, self._next_class(task)) if task in self._classes else task

    def deal(self, deck: str) -> int:
        """Index, among the rows of its task, of the deck's next row."""
        return self._decks[deck][self._cursor.draw(deck)]

    def rows(self, deck: str) -> int:
        """How many rows a deck has."""
        return len(self._decks[deck])

    def deck_of(self, row: Example) -> str:
        """The deck that holds the row."""
        label = answer_class(row)
        return row.task if label is None else _deck(row.task, label)

    def state_dict(self) -> dict[str, int]:
        return self._cursor.state_dict() | {_turn(task): drawn for task, drawn in self._drawn.items()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._cursor.load_state_dict(state)
        self._drawn = {task: int(state.get(_turn(task), 0)) for task in self._classes}

    def _next_class(self, task: str) -> str:
        turn, position = divmod(self._drawn[task], len(self._classes[task]))
        self._drawn[task] += 1
        order = list(self._classes[task])
        random.Random(f"classes/{self._seed}/{task}/{turn}").shuffle(order)
        return order[position]


def _deck(task: str, label: str) -> str:
    return f"{task}/{label}"


def _turn(task: str) -> str:
    return f"{task}/turn"
