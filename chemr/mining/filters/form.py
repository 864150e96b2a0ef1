"""Does the trace have its protocol's steps, say something of its own, have a sensible length, and hide that it was shown the answer?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from chemr.mining.protocol_file import Protocol, ProtocolStep
from chemr.mining.questions import FORM_CLAIMS, FORM_TITLES
from chemr.mining.trace_text import FoundStep

MISSING_STEP, STEP_ORDER, EMPTY_STEP, EXTRA_STEPS = "missing_step", "step_order", "empty_step", "extra_steps"
TOO_SHORT, TOO_LONG = "too_short", "too_long"
BETRAYS_ANSWER = "betrays_answer"
ECHOES_FORM = "echoes_form"

_ECHO_AT = 85.0  # rapidfuzz ratio of whole titles: "Title of the nextstep" is at 97, "Name of the ester" at 65
_ECHOED_START = "title of"

_FILLER = frozenset(("the", "a", "an", "of", "and", "to", "in", "for", "step"))
_BETRAYALS = re.compile(
    r"\b(?:(?:given|provided|supplied|known|gold|reference|expected|target|shown|stated)\s+(?:correct\s+|right\s+|final\s+)?answer\b"
    r"|answer\s+(?:is|was|that\s+is|that\s+was|has\s+been|which\s+is|which\s+was)?\s*(?:already\s+)?(?:given|provided|supplied|shown|told)\b"
    r"|(?:i|we)\s+(?:was|were|am|are|have\s+been)\s+(?:given|told|shown)\b"
    r"|for\s+(?:my|your)\s+eyes\b|without\s+(?:revealing|hinting)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Followed:
    """How a trace follows its protocol: for each found step, the protocol's step it is (0-based), or None."""

    places: tuple[int | None, ...]
    reasons: tuple[str, ...]


def normalised_title(title: str) -> str:
    """Words that matter, folded, plural s taken off."""
    words = re.sub(r"[^\w\s]|_", " ", title.casefold()).split()
    kept = [word for word in words if word not in _FILLER] or words
    return " ".join(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in kept)


def follow(found: Sequence[FoundStep], protocol: Protocol, similarity: float, extra_steps: int) -> Followed:
    """Assigns found steps to the protocol's, most alike first, each at most once.

    Reasons: a step is missing or says nothing; those that are there stand in another order; more steps than allowed belong to none.

    Args:
        similarity: in 0..100, from which a title is that of a step, or of one of its other names.
    """
    pairs = sorted(
        (
            (-score, abs(place - index), index, place)
            for index, one in enumerate(found)
            for place, step in enumerate(protocol.steps)
            if (score := _likeness(one.title, step)) >= similarity
        )
    )
    places: list[int | None] = [None] * len(found)
    taken: set[int] = set()
    for _, _, index, place in pairs:
        if places[index] is None and place not in taken:
            places[index] = place
            taken.add(place)
    reasons: list[str] = []
    if len(taken) < len(protocol.steps):
        reasons.append(MISSING_STEP)
    order = [place for place in places if place is not None]
    if order != sorted(order):
        reasons.append(STEP_ORDER)
    if any(
        place is not None and not any(map(str.isalnum, one.claim)) and not _is_symbolic(one.claim)
        for one, place in zip(found, places, strict=True)
    ):
        reasons.append(EMPTY_STEP)
    if places.count(None) > extra_steps:
        reasons.append(EXTRA_STEPS)
    return Followed(tuple(places), tuple(reasons))


def _likeness(title: str, step: ProtocolStep) -> float:
    mine = normalised_title(title)
    return max(fuzz.ratio(mine, normalised_title(name)) for name in (step.title, *step.also_called))


def _is_symbolic(claim: str) -> bool:
    """A claim of signs only, such as a list of bonds (``-=-``)."""
    return any(sign in claim for sign in "-=#:")


def echoes_form(step: FoundStep) -> bool:
    """Whether a step says what the form's example says in place of chemistry: the title, or how the claim begins."""
    title = step.title.casefold()
    if title.startswith(_ECHOED_START) or any(fuzz.ratio(title, example.casefold()) >= _ECHO_AT for example in FORM_TITLES):
        return True
    return step.claim.casefold().lstrip("*_\"'([< \n").startswith(FORM_CLAIMS)


def echo_reasons(found: Sequence[FoundStep]) -> list[str]:
    """``echoes_form`` when any step repeats the example of the form that its teacher was asked to write in."""
    return [ECHOES_FORM] if any(map(echoes_form, found)) else []


def length_reasons(thinking: str, min_chars: int, max_chars: int) -> list[str]:
    """``too_short`` or ``too_long``, of the reasoning in characters."""
    if len(thinking) < min_chars:
        return [TOO_SHORT]
    return [TOO_LONG] if len(thinking) > max_chars else []


def betrayal_reasons(thinking: str) -> list[str]:
    """``betrays_answer`` when the text says that its author knew the answer: nothing a student could learn from."""
    return [BETRAYS_ANSWER] if _BETRAYALS.search(" ".join(thinking.split())) else []  # runs of blanks would take square time
