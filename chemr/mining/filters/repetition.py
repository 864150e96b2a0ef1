"""Does the text repeat itself? Loops of words, repeated n-grams, repeated lines, endless characters.

What repeats by nature does not count: SMILES with repeating units that the question or the answer holds, and plain lists of atoms.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

LOOP, REPEATED_LINES, REPEATED_NGRAMS, ENDLESS_TOKEN = "loop", "repeated_lines", "repeated_ngrams", "endless_token"

NGRAM = 6
MIN_NGRAMS = 40
MAX_PERIOD = 60  # words of a loop
MIN_LAPS = 4
MIN_LOOP_WORDS = 24
MIN_SHORT_LOOP_WORDS = 40  # for periods of one and two words, as in "carbon, carbon, carbon"
MAX_LINE_REPEATS = 3
MIN_LINE_WORDS = 3
LONG_TOKEN_CHARS = 240
COMPRESSION = 8.0  # a text that shrinks more than this repeats itself

_MAX_WORDS = 12_000
_LIST_NUMBER = re.compile(r"^\s*(?:step\s+)?\d{1,4}[.):]\s*", re.IGNORECASE)
_NATURAL = re.compile(r"[a-z]{3,}")


def repetition_reasons(text: str, repeated_share: float, given: Sequence[str] = ()) -> list[str]:
    """What repeats.

    Args:
        repeated_share: share of word 6-grams that occurred before, from which a text repeats itself.
        given: texts of the question and the answer; tokens out of them may be as they are.
    """
    reasons: list[str] = []
    lines = [_LIST_NUMBER.sub("", line).strip().casefold() for line in text.split("\n")]
    words = " ".join(lines).split()[:_MAX_WORDS]
    if _has_loop(words):
        reasons.append(LOOP)
    counts = Counter(line for line in lines if len(line.split()) >= MIN_LINE_WORDS)
    if any(count > MAX_LINE_REPEATS for count in counts.values()):
        reasons.append(REPEATED_LINES)
    # Numbers and symbols are part of an n-gram, so that "C1 is …, C2 is …" does not repeat; n-grams of symbols alone do not count.
    runs = (tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1))
    ngrams = [run for run in runs if any(_NATURAL.search(word) for word in run)]
    if len(ngrams) >= MIN_NGRAMS and 1.0 - len(set(ngrams)) / len(ngrams) >= repeated_share:
        reasons.append(REPEATED_NGRAMS)
    if any(_is_endless(token, given) for token in text.split()):
        reasons.append(ENDLESS_TOKEN)
    return reasons


def _has_loop(words: Sequence[str]) -> bool:
    """Whether some stretch repeats with a period of at most 60 words: four times or more, and not only symbols."""
    for period in range(1, min(MAX_PERIOD, len(words) // 2) + 1):
        needed = max(MIN_LAPS * period, MIN_SHORT_LOOP_WORDS if period <= 2 else MIN_LOOP_WORDS)
        run = period  # words of the stretch so far
        for index in range(period, len(words)):
            run = run + 1 if words[index] == words[index - period] else period
            if run >= needed and any(_NATURAL.search(word) for word in words[index - period + 1 : index + 1]):
                return True
    return False


def _is_endless(token: str, given: Sequence[str]) -> bool:
    if len(token) < LONG_TOKEN_CHARS:
        return False
    bare = token.strip(".,;:*`'\"()")
    if any(bare in text for text in given):
        return False
    data = token.encode("utf-8", errors="replace")
    return len(data) / len(zlib.compress(data, 6)) >= COMPRESSION
