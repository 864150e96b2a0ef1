"""What a caption says of its molecule, apart from how it says it: classes, roles, groups, locants, stereo words, and denials.

n-grams cannot tell "is" from "is not", nor one compound from another in the same style. Words that any caption has weigh nothing here,
words of many captions a little, and the rest, among them every number, in full. Pure Python, linear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STYLE = _words(
    """the a an is it of and has as role that from by which at in derives with to obtained been having having are resulting used consisting
    arising where was its for on or be this these those their there one other found isolated consists containing contains contain carries
    carrying bearing bears attached linked bound located lying present being also such both any can may into via molecule compound structure
    respectively formed formal derived thereof functional functionally related parent member class group groups position positions
    substituent substituents described known shows show exhibits acts act serves function functions when whose while derive"""
)
_COMMON = _words(
    """acid metabolite conjugate base derivative agent plant human organic major species ph deprotonation protonation condensation
    replaced substituted hydrogen carboxy amino hydroxy methyl ester salt anion cation chain inhibitor drug mouse fatty coli escherichia
    saccharomyces cerevisiae fungal bacterial marine"""
)
_DENIALS = _words("not no non never without lacks lacking lack neither nor none isn cannot absent except unlike instead")
_COMMON_WEIGHT = 0.3
NUMBERS = 0.6


def facts(words: Sequence[str]) -> Counter[str]:
    """Words that say something, with how often they occur; marks say nothing. ``words`` are lower-case tokens."""
    return Counter(word for word in words if word[0].isalnum() and word not in _STYLE and word not in _DENIALS)


def agreement(answer: Sequence[str], gold: Sequence[str]) -> float:
    """Weighted F1 of the facts, in [0, 1]; 1 if neither has any. Numbers (locants, configurations such as ``2r``) are facts of their own
    weight: without a right one 0.4 of it is left."""
    said, meant = facts(answer), facts(gold)
    numbers = [Counter({word: count for word, count in found.items() if word[0].isdigit()}) for found in (said, meant)]
    return _f1(said, meant) * (1.0 - NUMBERS + NUMBERS * _f1(*numbers))


def _f1(said: Counter[str], meant: Counter[str]) -> float:
    total = _weight(said) + _weight(meant)
    return 2.0 * _weight(said & meant) / total if total else 1.0


def denials(words: Sequence[str]) -> int:
    """How often something is denied."""
    return sum(word in _DENIALS for word in words)


def _weight(found: Counter[str]) -> float:
    return sum(count * (_COMMON_WEIGHT if word in _COMMON else 1.0) for word, count in found.items())
