"""Equal shares for the answers of questions of choice: yes or no, and which reagent of a table is the best.

Four in five of the yes/no tests' answers are "No", and one phosphine is the best of three ligand rows in ten; with rows drawn as they
come, a policy that always says the same earns well and GRPO's groups have nothing to learn from (REWARDS §1.2). So the rows of such a task
are dealt from one deck a class, and every run of as many draws as there are classes takes each class once, in an order that is a function
of the seed alone.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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


def balanced_class(example: Example) -> str | None:
    """The class that a row is balanced by, None for rows that are drawn as they come.

    Of a task with fixed answers the answer. Of a selection from a reagent table (``inputs["reaction"]``) the best candidate among these
    candidates: the same few candidates come with every row there. Other selections have candidates of their own in every row.

    Raises:
        ValueError: the answer is none of the task's classes.
    """
    if "reaction" in example.inputs and "candidates" in example.inputs:
        return f"{example.reference['answer']} of {','.join(sorted(example.inputs['candidates']))}"
    return answer_class(example)


def classes_in_turn(rows: Iterable[Example], seed: int) -> list[Example]:
    """The rows in an order of the seed, one of each class after the other: the first n hold every class alike."""
    turns: Counter[str | None] = Counter()
    dealt: list[tuple[int, Example]] = []
    for row in sorted(rows, key=lambda row: draw(seed, row.uid)):
        label = balanced_class(row)
        dealt.append((turns[label], row))
        turns[label] += 1
    return [row for _, row in sorted(dealt, key=lambda item: item[0])]  # rows of one turn stay in the order drawn


def draw(seed: int, uid: str) -> bytes:
    """A row's place in the draw, a function of seed and uid alone."""
    return hashlib.blake2b(f"{seed}|{uid}".encode(), digest_size=8).digest()


class BalancedCursor:
    """Walks the rows of every task; of questions of choice the classes in turn. Its state is one integer a deck."""

    def __init__(self, by_task: Mapping[str, Sequence[Example]], seed: int) -> None:
        self._seed = seed
        self._classes: dict[str, tuple[str, ...]] = {}
        self._decks: dict[str, list[int]] = {}
        for task, rows in by_task.items():
            labels = [balanced_class(row) for row in rows]
            for index, label in enumerate(labels):
                self._decks.setdefault(_deck(task, label), []).append(index)
            if classes := {label for label in labels if label is not None}:
                self._classes[task] = tuple(sorted(classes))
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
        return _deck(row.task, balanced_class(row))

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


def _deck(task: str, label: str | None) -> str:
    return task if label is None else f"{task}/{label}"


def _turn(task: str) -> str:
    return f"{task}/turn"
