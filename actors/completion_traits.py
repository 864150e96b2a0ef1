"""What a reward worker notices about a completion besides its worth, as plain numbers among the parts of its verdict.

They are taken where text and token ids are at hand anyway, so that neither has to travel to the driver. Only what is asked for is
computed; by default that is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rewards.answer import in_full_form
from rewards.verdict import Verdict

FORMAT = "completion/format"
"""1 for ``<think>…</think><answer>…</answer>`` and nothing else, else 0 (:func:`rewards.answer.in_full_form`)."""
REPETITION = "completion/repetition"
"""The share of repeated n-grams (:func:`repeated_share`)."""


@dataclass(frozen=True, slots=True)
class CompletionTraits:
    """Which traits are wanted. ``repetition_ngram``: tokens of an n-gram; 0 = repetition is not wanted."""

    format: bool = False
    repetition_ngram: int = 0

    def added_to(self, verdict: Verdict, text: str, token_ids: Sequence[int]) -> Verdict:
        """The verdict on the completion, with its traits among the parts; value and reason stay as they are."""
        traits: dict[str, float] = {}
        if self.format:
            traits[FORMAT] = float(in_full_form(text))
        if self.repetition_ngram:
            traits[REPETITION] = repeated_share(token_ids, self.repetition_ngram)
        return replace(verdict, parts={**verdict.parts, **traits}) if traits else verdict


def repeated_share(token_ids: Sequence[int], n: int) -> float:
    """1 − distinct n-grams / n-grams, in [0, 1): 0 when no n-gram occurs twice, or when there is none."""
    total = len(token_ids) - n + 1
    if total < 1:
        return 0.0
    distinct = len(set(zip(*(token_ids[start:] for start in range(n)), strict=False)))  # the longer slices end with the shortest
    return 1.0 - distinct / total
