"""As much of WordNet 3.0 as METEOR asks for: the words that share a synset with a word.

nltk's reader wants files that Debian's ``wordnet-base`` does not have (``lexnames``, ``index.sense``) and a download folder of its own.
File formats: wndb(5WN) and morphy(7WN).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PARTS = ("noun", "verb", "adj", "adv")

# Ending and what may stand in its place, once. nltk's order and its extra ("ves", "f"), as the published figures were made with nltk.
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
        *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
    ),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}


@dataclass(frozen=True, slots=True)
class Lemma:
    text: str

    def name(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Synset:
    words: tuple[str, ...]

    def lemmas(self) -> list[Lemma]:
        return [Lemma(word) for word in self.words]


class WordNet:
    """The ``wordnet`` argument of ``nltk.translate.meteor_score``: ``synsets(word) -> [.lemmas() -> [.name()]]``."""

    def __init__(self, folder: str | Path) -> None:
        """Reads the indices and synsets of ``folder`` (a second or two). Raises OSError when a file is missing."""
        base = Path(folder)
        self._offsets = {part: _index(base / f"index.{part}") for part in _PARTS}
        self._synsets = {part: _data(base / f"data.{part}") for part in _PARTS}
        self._exceptions = {part: _exceptions(base / f"{part}.exc") for part in _PARTS}

    def synsets(self, word: str) -> list[Synset]:
        """The synsets of a word and of its base forms, in all parts of speech."""
        word = word.lower()
        return [self._synsets[part][offset] for part in _PARTS for form in self._forms(word, part) for offset in self._offsets[part][form]]

    def _forms(self, word: str, part: str) -> list[str]:
        if word in self._exceptions[part]:
            forms = self._exceptions[part][word]
        else:
            forms = [word[: -len(old)] + new for old, new in _ENDINGS[part] if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *forms]) if form in self._offsets[part]]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(" ")]


def _index(path: Path) -> dict[str, list[str]]:
    """lemma pos synset_count pointer_count [pointer…] sense_count tagsense_count offset…"""
    offsets = {}
    for line in _lines(path):
        fields = line.split()
        offsets[fields[0]] = fields[-int(fields[2]) :]
    return offsets


def _data(path: Path) -> dict[str, Synset]:
    """offset lex_filenum ss_type word_count(hex) word lex_id [word lex_id…] …"""
    synsets = {}
    for line in _lines(path):
        fields = line.split(" ", 4 + 2 * int(line.split(" ", 4)[3], 16))
        words = fields[4:-1:2]
        synsets[fields[0]] = Synset(tuple(word.partition("(")[0] for word in words))
    return synsets


def _exceptions(path: Path) -> dict[str, list[str]]:
    terms = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {first: rest for first, *rest in terms}
