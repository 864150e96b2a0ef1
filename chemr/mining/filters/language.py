"""Is the text in English? By script, by letters with accents, and by function words; silent where there is too little to go by."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping

OTHER_SCRIPT, OTHER_LANGUAGE = "other_script", "other_language"

MIN_FOREIGN_LETTERS = 6
MIN_FUNCTION_WORDS = 4
ACCENTED_SHARE = 0.03
SENTENCE_FOREIGN_SHARE = 0.3  # of the letters of one sentence


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Only words that English texts about chemistry do not hold: no "die", "an", "so", "de" (novo), "et" (al.), "in", "no", "me".
FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    "German": _listed(
        """der das und ist ein eine einen einer eines nicht mit auf für von dem des sich wird sind auch als bei aus nach durch oder zum
        zur wir es sie wenn dann aber werden wurde haben enthält zwei drei kein keine diese dieser dieses daher somit also
        jedoch zwischen"""
    ),
    "French": _listed(
        """le les une est dans des du que qui sont avec cette ce ces par nous aux au il elle pas pour deux trois ou donc contient mais
        leur sur sans comme entre aussi ainsi plusieurs c'est n'est qu'il l'atome d'un d'une"""
    ),
    "Spanish": _listed(
        """el los las una que del en un con se por este esta tiene dos tres como son su sus es y o pero para cada hay ya muy también
        entre porque donde cuando esto lo contiene está"""
    ),
    "Italian": _listed(
        """il gli che è una un del della dei delle nel nella con sono ha due tre questo questa si lo ma anche perché quando dove alla
        dal dalla di da e contiene ogni quindi più"""
    ),
    "Portuguese": _listed(
        """os as um uma não com dos das em que é são este esta tem dois três como mas ao pelo pela para também entre cada está então"""
    ),
    "Dutch": _listed(
        """het een van niet met voor zijn wordt deze dat ook bij heeft twee drie uit naar maar dus worden geen tussen omdat bevat"""
    ),
}
# Letters of the chemist: no words of these are function words of the language that a short text is judged by.
_AMBIGUOUS = frozenset(("as", "o", "e", "y", "un", "con", "van", "bij", "es", "sole", "en", "da", "di", "si", "ou", "que", "com", "as"))
ENGLISH = _listed(
    """the of and is a to in that it with as for has are this from by an be at on which one two so we its there not have or no can
    these into between each both all only must will would was if than then because since while after before also where"""
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_PIECES = re.compile(r"[.;!?\n。！？]+")


def language_reasons(text: str, foreign_share: float) -> list[str]:
    """``other_script`` or ``other_language`` when a text, or a sentence of it, is not in English.

    Args:
        foreign_share: of the letters in words, from which other scripts than the Latin one make a text foreign.
    """
    if _foreign_letters(text, foreign_share):
        return [OTHER_SCRIPT]
    words = list(_words(text))
    if _accented(words) or _foreign_words(words):
        return [OTHER_LANGUAGE]
    for piece in _PIECES.split(text):  # one sentence among English ones
        if _foreign_letters(piece, max(foreign_share, SENTENCE_FOREIGN_SHARE)):
            return [OTHER_SCRIPT]
        words = list(_words(piece))
        if _accented(words) or _foreign_words(words):
            return [OTHER_LANGUAGE]
    return []


def _words(text: str) -> Iterator[str]:
    """Words of prose, folded; not what stands in a SMILES, a formula or a name with digits."""
    for token in text.split():
        bare = token.strip(".,;:!?()[]{}*_`\"'«»“”„-–—")
        if _WORD.fullmatch(bare) and (len(bare) == 1 or bare[1:].islower()):
            yield bare.casefold().replace("’", "'")


def _foreign_letters(text: str, share: float) -> bool:
    """Letters of other scripts. Single Greek letters (α, Δ) are notation; a Greek word is not."""
    if text.isascii():
        return False
    foreign = latin = 0
    for run in re.findall(r"[^\W\d_]+", text):
        scripts = Counter(_script(letter) for letter in run)
        if scripts["other"] or scripts["greek"] > 2:
            foreign += scripts["other"] + scripts["greek"]
        elif scripts["latin"] == len(run) and len(run) > 1 and run[1:].islower():
            latin += len(run)
    return foreign >= MIN_FOREIGN_LETTERS and foreign / (foreign + latin) >= share


def _script(letter: str) -> str:
    if letter.isascii():
        return "latin"
    name = unicodedata.name(letter, "")
    return "latin" if name.startswith("LATIN") or "MODIFIER" in name else "greek" if name.startswith("GREEK") else "other"


def _accented(words: list[str]) -> bool:
    """Many letters with accents: Polish, Czech, Turkish, Vietnamese, …, whose function words are not listed here."""
    letters = "".join(words)
    if letters.isascii():
        return False
    accented = sum(not letter.isascii() and _script(letter) == "latin" for letter in letters)
    return accented >= MIN_FOREIGN_LETTERS and accented >= ACCENTED_SHARE * len(letters)


def _foreign_words(words: list[str]) -> bool:
    counts = Counter(words)
    english = sum(counts[word] for word in ENGLISH & counts.keys())
    for listed in FUNCTION_WORDS.values():
        found = listed & counts.keys()
        hits = sum(counts[word] for word in found)
        enough = hits >= MIN_FUNCTION_WORDS and len(found) >= 3 and len(found - _AMBIGUOUS) >= 2
        if enough and hits > english - sum(counts[word] for word in found & ENGLISH):
            return True
    return False
