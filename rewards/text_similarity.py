"""How alike two texts are: smoothed BLEU-2, ROUGE-L and an exact/stem METEOR, for rewards.

These are reward terms, not benchmark figures: sentence level, a plain tokenizer, no WordNet. Published figures come from
``rewards.benchmark``. Every function is linear in one text times small constants of the other; 2,000 characters take under a millisecond.

Sources: BLEU, Papineni et al., ACL 2002, with add-one smoothing of precisions that would be 0 (Lin and Och, COLING 2004); ROUGE-L, Lin,
2004; METEOR's F-mean and fragmentation penalty, Banerjee and Lavie, 2005; LCS by bit vectors, Hyyrö, 2004.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from itertools import pairwise

MIN_SMILES_CHARS = 5

_TOKEN = re.compile(r"\w+|[^\w\s]")  # linear: no alternative can match what the other one does
_SMILES_TEXT = frozenset("BCNOPSFIHbcnopslr0123456789@+-[]()\\/%=#$.~:*")
_TWO_LETTERS = ("Cl", "Br", "Si", "Se", "Na", "se")
_SMILES_MARKS = frozenset("=#()[]@/\\123456789")
_SUFFIXES = ("ations", "ation", "ings", "edly", "ing", "ies", "ied", "ous", "ed", "es", "ly", "ic", "al", "s", "e")


def tokens(text: str) -> list[str]:
    """Lower-cased NFKC tokens: runs of letters and digits, and single marks."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def words(text: str) -> list[str]:
    """:func:`tokens` of the text without what looks like SMILES."""
    return tokens(" ".join(word for word in unicodedata.normalize("NFKC", text).split() if not looks_like_smiles(word)))


def looks_like_smiles(word: str) -> bool:
    """Whether a word is SMILES rather than chemistry in words: ``CC(=O)O`` is, ``2-hydroxypropanoic``, ``(R)-`` and ``C6H12O6`` are not."""
    bare = word.strip(".,;:")
    if len(bare) < MIN_SMILES_CHARS or ("H" in bare and "[" not in bare):
        return False
    for symbol in _TWO_LETTERS:
        bare = bare.replace(symbol, "C")
    letters = sum(char.isalpha() for char in bare)
    plain_chain = letters == len(bare) and set(bare) <= set("CNOSc")
    return (
        _SMILES_TEXT.issuperset(bare) and letters >= 3 and (plain_chain or (letters * 3 > len(bare) and not _SMILES_MARKS.isdisjoint(bare)))
    )


def bleu2(answer: Sequence[str], gold: Sequence[str]) -> float:
    """Sentence BLEU of uni- and bigrams with brevity penalty; a bigram precision of 0 is smoothed. 0 without a common word."""
    if not answer or not gold:
        return 0.0
    common = (Counter(answer) & Counter(gold)).total()
    if not common:
        return 0.0
    pairs, gold_pairs = Counter(pairwise(answer)), Counter(pairwise(gold))
    unigram = common / len(answer)
    bigram = ((pairs & gold_pairs).total() or 0.1) / max(1, pairs.total()) if len(answer) > 1 and len(gold) > 1 else unigram
    brevity = min(1.0, math.exp(1.0 - len(gold) / len(answer)))
    return brevity * math.sqrt(unigram * min(1.0, bigram))


def rouge_l(answer: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of the longest common subsequence of words."""
    if not answer or not gold:
        return 0.0
    places: dict[str, int] = defaultdict(int)
    for at, word in enumerate(gold):
        places[word] |= 1 << at
    every = (1 << len(gold)) - 1
    row = every
    for word in answer:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & every
    common = len(gold) - row.bit_count()
    return 2.0 * common / (len(answer) + len(gold))


def meteor_stem(answer: Sequence[str], gold: Sequence[str]) -> float:
    """METEOR with exact and stem matches only (no synonyms): ``10·P·R/(R + 9·P) · (1 − 0.5·(chunks/matches)³)``."""
    if not answer or not gold:
        return 0.0
    matched: list[int] = [-1] * len(answer)
    taken = [False] * len(gold)
    for form in (list, _stems):
        free: dict[str, deque[int]] = defaultdict(deque)
        for at, word in enumerate(form(gold)):
            if not taken[at]:
                free[word].append(at)
        for at, word in enumerate(form(answer)):
            if matched[at] < 0 and free.get(word):
                matched[at] = free[word].popleft()
                taken[matched[at]] = True
    matches = sum(place >= 0 for place in matched)
    if not matches:
        return 0.0
    chunks = sum(place >= 0 and (at == 0 or matched[at - 1] < 0 or place != matched[at - 1] + 1) for at, place in enumerate(matched))
    precision, recall = matches / len(answer), matches / len(gold)
    return 10.0 * precision * recall / (recall + 9.0 * precision) * (1.0 - 0.5 * (chunks / matches) ** 3)


def repetition(text: Sequence[str], size: int = 4) -> float:
    """The share of n-grams that occurred before in the same text, in [0, 1)."""
    grams = len(text) - size + 1
    return 1.0 - len({tuple(text[at : at + size]) for at in range(grams)}) / grams if grams > 0 else 0.0


def _stems(text: Sequence[str]) -> list[str]:
    return [_stem(word) for word in text]


def _stem(word: str) -> str:
    """The word without one common English ending, if at least four letters remain."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)]
    return word
