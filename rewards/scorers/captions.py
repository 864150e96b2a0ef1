"""A description from its molecule."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rewards.caption_facts import Facts, agreement, denies_the_same, read_facts
from rewards.errors import BadReferenceError
from rewards.fields import text_field
from rewards.grading import graded
from rewards.registry import scorer
from rewards.text_similarity import bleu2, meteor_stem, repetition, rouge_l, tokens, words
from rewards.verdict import Verdict

FLOOR, FULL = 0.15, 0.95
"""Agreements of facts that earn nothing and all. The first is more than another molecule's caption has, the second what an honest
paraphrase has, whose choice of words is its own."""
NEAR_MISS = 0.9
STYLE = 0.1
"""Share of the value that follows from the similarity of the texts; the rest follows from the facts alone."""
DENIED = 0.2
"""Share of its value that a caption keeps which denies more, less or other things than the gold."""
MIN_LENGTH_RATIO, MAX_LENGTH_RATIO = 0.5, 2.0


@scorer("mol2text")
def score_caption(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the gold's words in their order; else 0.9 · (F − floor)/(full − floor) · (0.9 + 0.1 · S) · penalties. Never an accuracy.

    F is the agreement of the facts (:mod:`rewards.caption_facts`), S = mean(BLEU-2, ROUGE-L, exact/stem METEOR). Penalties: length outside
    half to twice the gold's, in proportion; four-word phrases that the answer repeats more than the gold does; other denials than the
    gold's. Words that look like SMILES count for nothing. Reads ``reference["answer"]``.
    """
    every_gold_token, gold, meant = _gold(text_field(reference, "answer"))
    if tokens(answer) == every_gold_token:
        return graded(1.0)
    found = words(answer)
    if not found:
        return graded(0.0)
    terms = {"bleu2": bleu2(found, gold), "rouge_l": rouge_l(found, gold), "meteor": meteor_stem(found, gold)}
    similarity = sum(terms.values()) / len(terms)
    said = read_facts(answer)
    agreed = agreement(said, meant)
    ratio = len(found) / len(gold)
    length = min(1.0, ratio / MIN_LENGTH_RATIO, MAX_LENGTH_RATIO / ratio)
    repeated = 1.0 - max(0.0, repetition(found) - repetition(gold))
    denied = 1.0 if denies_the_same(said, meant) else DENIED
    known = min(1.0, max(0.0, (agreed["facts"] - FLOOR) / (FULL - FLOOR)))
    value = NEAR_MISS * known * (1.0 - STYLE + STYLE * similarity) * length * repeated * denied
    return graded(value, {**terms, **agreed, "length": length, "unrepeated": repeated, "denied": denied})


@lru_cache(maxsize=4096)
def _gold(text: str) -> tuple[list[str], list[str], Facts]:
    gold = words(text)
    if not gold:
        raise BadReferenceError(f"the row's caption {text[:200]!r} has no words")
    return tokens(text), gold, read_facts(text)
