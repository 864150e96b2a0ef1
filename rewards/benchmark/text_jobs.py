"""Jobs of the child: tokens, BLEU, METEOR and ROUGE, by the libraries that the published code uses."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

MAX_TOKENS = 512
_SPECIAL = frozenset({"[PAD]", "[CLS]", "[SEP]"})


def prepare(vocabulary: str | None, wordnet: str | None) -> None:
    """Loads the libraries and tables, and raises what is wrong with them, before the first prediction."""
    caption("a molecule", "an acid", vocabulary, wordnet)
    corpus_bleu([["a"]], [["a"]], [1])


def tokens(text: str, vocabulary: str | None) -> list[str]:
    """At most 512 wordpieces of a BERT vocabulary file, or of the regular expression that stands in for it."""
    if vocabulary is None:
        return re.findall(r"\w+|[^\w\s]", text.lower())[:MAX_TOKENS]
    pieces = _wordpieces(vocabulary).encode(text, add_special_tokens=False).tokens[:MAX_TOKENS]
    return [piece for piece in pieces if piece not in _SPECIAL]


def caption(gold: str, text: str, vocabulary: str | None, wordnet: str | None) -> dict[str, Any]:
    """``tokens`` of the text, F of ROUGE-1, -2 and -L and, with a WordNet folder, ``meteor``."""
    scores = _rouge().score(text, gold)
    facts = {"tokens": tokens(text, vocabulary)} | {name: float(score.fmeasure) for name, score in scores.items()}
    if wordnet is not None:
        from nltk.translate.meteor_score import meteor_score

        facts["meteor"] = float(meteor_score([tokens(gold, vocabulary)], facts["tokens"], wordnet=_wordnet(wordnet)))
    return facts


def corpus_bleu(golds: list[list[str]], texts: list[list[str]], orders: list[int]) -> list[float]:
    """nltk's corpus BLEU with uniform weights up to each order, one reference a row, no smoothing."""
    from nltk.translate import bleu_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of n-grams without any match, which are then worth next to nothing
        references = [[gold] for gold in golds]
        return [float(bleu_score.corpus_bleu(references, texts, weights=(1 / order,) * order)) for order in orders]


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"])


@lru_cache(maxsize=1)
def _wordnet(folder: str) -> Any:
    from rewards.benchmark.wordnet import WordNet

    return WordNet(folder)


@lru_cache(maxsize=1)
def _wordpieces(vocabulary: str) -> Any:
    from tokenizers import BertWordPieceTokenizer

    return BertWordPieceTokenizer(vocabulary, lowercase=True)
