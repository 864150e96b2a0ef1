"""Prompts by their own pass rate: most often those that are solved about as often as one wishes.

A prompt that was asked before is drawn with weight exp(−(p − target)²/2σ²), p its running success. At p near 0 or 1 a group is nearly
always trivial; near 1/2 its rewards differ most. While a deck holds prompts that were never asked, only a share ε of its draws goes to
known ones, and the others go on through the deck.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from chemr.curriculum.config import PromptsConfig
from chemr.curriculum.estimates import step_size

TRIES = 64  # of drawing by rejection, which needs no sum over the deck; then the sum is made


class PassRates:
    """Success estimates of single prompts, and draws by them. Decks are tasks, or the classes of yes/no tasks."""

    def __init__(self, config: PromptsConfig, age_decay: float) -> None:
        self._config = config
        self._age_decay = age_decay
        self._seen: dict[str, list[str]] = {}  # deck -> prompts, in the order in which they first came back
        self._rates: dict[str, tuple[float, int]] = {}  # prompt -> success and over how many groups

    def draw(self, deck: str, rows: int, generator: random.Random) -> str | None:
        """One of the deck's known prompts by weight, or None: go on through the deck, which has ``rows`` prompts."""
        seen = self._seen.get(deck, [])
        if not seen or (len(seen) < rows and generator.random() >= self._config.epsilon):
            return None
        for _ in range(TRIES):
            prompt = seen[generator.randrange(len(seen))]
            if generator.random() < math.exp(self._exponent(prompt)):
                return prompt
        exponents = [self._exponent(prompt) for prompt in seen]
        largest = max(exponents)  # far from the target all weights could round to 0
        return generator.choices(seen, [math.exp(exponent - largest) for exponent in exponents])[0]

    def observe(self, deck: str, prompt: str, success: float, age: int) -> None:
        """A group of the prompt came back."""
        if prompt not in self._rates:
            self._seen.setdefault(deck, []).append(prompt)
        rate, groups = self._rates.get(prompt, (0.0, 0))
        step = step_size(groups, self._config.pass_rate_step, self._age_decay, age) if groups else 1.0
        self._rates[prompt] = (rate + step * (success - rate), groups + 1)

    def metrics(self) -> dict[str, float]:
        return {"curriculum/prompts/seen": float(len(self._rates))}

    def state_dict(self) -> dict[str, Any]:
        return {deck: [[prompt, *self._rates[prompt]] for prompt in prompts] for deck, prompts in self._seen.items()}

    def load_state_dict(self, state: Mapping[str, Any], decks: Mapping[str, str]) -> None:
        """Takes over what is about prompts in ``decks`` (prompt -> deck)."""
        self._seen, self._rates = {}, {}
        for deck, entries in state.items():
            for prompt, rate, groups in entries:
                if decks.get(prompt) == deck:
                    self._seen.setdefault(deck, []).append(prompt)
                    self._rates[prompt] = (float(rate), int(groups))

    def _exponent(self, prompt: str) -> float:
        distance = (self._rates[prompt][0] - self._config.target) / self._config.width
        return -0.5 * distance * distance
