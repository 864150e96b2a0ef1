"""Molecule captioning (MolT5 evaluation/text_translation_metrics.py)."""

from __future__ import annotations

from pathlib import Path

from rewards.benchmark.child import JobFailure
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.figures import Figure
from rewards.benchmark.request import Evaluation

WORDNET_FILES = tuple(f"{kind}.{part}" for kind in ("index", "data") for part in ("noun", "verb", "adj", "adv")) + tuple(
    f"{part}.exc" for part in ("noun", "verb", "adj", "adv")
)

REGEX_TOKENIZER = r"regex \w+|[^\w\s], lower case, at most 512 tokens"
SCIBERT_TOKENIZER = "SciBERT wordpieces, at most 512 tokens"

_CORPUS_DEADLINE_S = 600.0
_CLS = "[CLS] "


def captions(evaluation: Evaluation) -> list[Figure]:
    """Corpus BLEU-2 and BLEU-4 (no smoothing) and mean METEOR over tokens; mean ROUGE-1, -2, -L F with rouge-score's own tokenizer.

    BLEU and METEOR compare with published figures only when SciBERT's vocabulary is given; ``details["tokenizer"]`` says which was used.
    """
    settings = evaluation.settings
    vocabulary = _vocabulary(settings.scibert_dir)
    evaluation.details["tokenizer"] = SCIBERT_TOKENIZER if vocabulary else REGEX_TOKENIZER
    if not vocabulary:
        evaluation.notes.append("bleu2, bleu4, meteor: regex tokenizer, not comparable with published figures; give SciBERT's vocabulary")
    missing = _missing_wordnet(settings.wordnet_dir)
    wordnet = None if missing else settings.wordnet_dir
    if missing:
        evaluation.notes.append(f"meteor: left out, {missing}")

    evaluation.child.prepare("text_jobs.prepare", {"vocabulary": vocabulary, "wordnet": wordnet})
    facts = evaluation.facts(
        "text_jobs.caption",
        lambda row, text: {"gold": row.gold(), "text": text.removeprefix(_CLS), "vocabulary": vocabulary, "wordnet": wordnet},
    )
    golds = evaluation.gold_facts("text_jobs.tokens", lambda row: {"text": row.gold(), "vocabulary": vocabulary})
    bleu: list[list[float | None]] = []
    for sample in facts:
        tokens = [[] if fact is None else fact["tokens"] for fact in sample]
        value = evaluation.child.run("text_jobs.corpus_bleu", {"golds": golds, "texts": tokens, "orders": [2, 4]}, _CORPUS_DEADLINE_S)
        if isinstance(value, JobFailure):
            evaluation.notes.append(f"bleu2, bleu4: {value.reason}, {value.note}")
            value = [None, None]
        bleu.append(value)
    figures = [Figure("bleu2", tuple(two for two, _ in bleu)), Figure("bleu4", tuple(four for _, four in bleu))]
    for name in ("rouge1", "rouge2", "rougeL") + (() if missing else ("meteor",)):
        means = tuple(sum(0.0 if fact is None else fact[name] for fact in sample) / len(sample) for sample in facts)
        figures.append(Figure(name, means))
    return figures


def _vocabulary(folder: str | None) -> str | None:
    if folder is None:
        return None
    path = Path(folder) / "vocab.txt"
    if not path.is_file():
        raise BenchmarkInputError(f"the folder for SciBERT's vocabulary, {folder}, has no vocab.txt")
    return str(path)


def _missing_wordnet(folder: str | None) -> str | None:
    """What keeps METEOR from being computed, or ``None``."""
    if folder is None:
        return "no folder with WordNet 3.0 was given (Debian: apt-get install wordnet-base, then /usr/share/wordnet)"
    absent = [name for name in WORDNET_FILES if not (Path(folder) / name).is_file()]
    return f"the WordNet folder {folder} lacks {', '.join(absent)}" if absent else None
