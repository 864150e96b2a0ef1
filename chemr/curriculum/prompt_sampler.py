"""The prompt sampler: which prompt of the task that the curriculum drew.

The task is always drawn first, and of a yes/no task the class whose turn it is; only then it is decided whether a prompt that was asked
before takes the place of the deck's next one. So task weights and equal shares of classes hold whatever the sampling.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from chemr.class_balance import BalancedCursor
from chemr.curriculum.config import CurriculumConfig, PromptSampling
from chemr.curriculum.outcome import REPLAYED, Notice, Outcome
from chemr.curriculum.pass_rates import PassRates
from chemr.curriculum.replay import ReplayBuffer
from chemr.data.example import Example


class PromptSampler:
    """Draws prompts and learns from their groups; checkpointable."""

    def __init__(self, by_task: Mapping[str, Sequence[Example]], config: CurriculumConfig, seed: int) -> None:
        self._by_task = by_task
        self._seed = seed
        self._cursor = BalancedCursor(by_task, seed)
        sampling = config.prompts.sampling
        self._replay = ReplayBuffer(config.prompts) if sampling is PromptSampling.replay else None
        self._pass_rates = PassRates(config.prompts, config.age_decay) if sampling is PromptSampling.gaussian else None
        self._remembers = sampling is not PromptSampling.uniform
        rows = (row for rows in by_task.values() for row in rows) if self._remembers else ()
        self._decks = {row.uid: self._cursor.deck_of(row) for row in rows}
        self._draws = 0  # seeds the next draw

    def draw(self, task: str) -> str:
        """The uid of the task's next example, with :data:`REPLAYED` behind it if it was drawn for what came of it before."""
        deck = self._cursor.next_deck(task)
        again = self._known_prompt(task, deck) if self._remembers else None
        if again is not None:
            return again + REPLAYED
        return self._by_task[task][self._cursor.deal(deck)].uid

    def observe(self, outcome: Outcome, age: int) -> list[Notice]:
        """A group came back, whose oldest token is ``age`` versions old. Returns what a person should know."""
        deck = self._decks.get(outcome.prompt)
        if deck is None:  # nothing is remembered
            return []
        if self._pass_rates is not None:
            self._pass_rates.observe(deck, outcome.prompt, outcome.success, age)
        if self._replay is not None and outcome.trivial is not None:
            return self._replay.observe(outcome.task, deck, outcome.prompt, trivial=outcome.trivial, replayed=outcome.replayed)
        return []

    def metrics(self) -> dict[str, float]:
        remembered = self._replay or self._pass_rates
        return {} if remembered is None else remembered.metrics()

    @property
    def cursor(self) -> BalancedCursor:
        return self._cursor

    def state_dict(self) -> dict[str, Any]:
        """Without the cursor, which older checkpoints keep in a place of its own."""
        state: dict[str, Any] = {"draws": self._draws}
        if self._replay is not None:
            state["replay"] = self._replay.state_dict()
        if self._pass_rates is not None:
            state["pass_rates"] = self._pass_rates.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What a checkpoint made with another sampling lacks begins as in a new run."""
        self._draws = int(state.get("draws", 0))
        if self._replay is not None and "replay" in state:
            self._replay.load_state_dict(state["replay"], self._decks)
        if self._pass_rates is not None and "pass_rates" in state:
            self._pass_rates.load_state_dict(state["pass_rates"], self._decks)

    def _known_prompt(self, task: str, deck: str) -> str | None:
        generator = random.Random(f"prompt-sampler/{self._seed}/{self._draws}")
        self._draws += 1
        if self._replay is not None:
            return self._replay.take(task, deck, generator)
        assert self._pass_rates is not None
        return self._pass_rates.draw(deck, self._cursor.rows(deck), generator)
