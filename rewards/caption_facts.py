"""What a caption says of its molecule, apart from how it says it: facts, what belongs to what, exact details, and denials.

n-grams cannot tell "is" from "is not" nor one compound from another in the same style, and a bag of words cannot tell "a conjugate base of
X" from "a conjugate acid of X", "2-chloro-4-hydroxy" from "4-chloro-2-hydroxy", or a sentence from its own words shuffled. So three things
are compared: the words that say something; which of them stand side by side; and, kind by kind, exact details with what they belong to.
All of it is blind to words of style and to the order of sentences, clauses and lists. Pure Python, linear.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rewards.text_similarity import looks_like_smiles


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What any caption has weighs nothing, what many have a little. Written without the endings that _stem takes off.
_STYLE = _words(
    """the a an is it of and has as role that from by which at in deriv with to obtain been hav have are result used use aris where was were
    its for on or be this these those their there one other found isolat consist contain carry carri bear attach link bound locat ly lie
    lying present being also such both any can may into via molecule compound structure respectively form formal formally thereof functional
    functionally relat parent member class group position substituent describ known show exhibit act serve function when whose while who but
    obtainable made up belong give given giv so between then they itself work substance chemical had plus well each whereas join compos
    specifi kind type correspond featur possess replac substitut convert undergone linkage residue c"""
)
_COMMON = _words(
    """acid metabolite conjugate base agent plant human organic major species ph deproton proton condens hydrogen carboxy amino hydroxy
    methyl ester salt anion cation chain inhibit drug mouse fatty coli escherichia saccharomyc cerevisiae fungal bacterial marine"""
)
_COMMON_WEIGHT = 0.3
_SAME = {
    **{"inhibitor": "inhibit", "inhibition": "inhibit", "activator": "activat", "activation": "activat", "inducer": "induc"},
    **{"chlorine": "chloro", "bromine": "bromo", "fluorine": "fluoro", "iodine": "iodo", "hydroxyl": "hydroxy", "carboxyl": "carboxy"},
}
_DENIALS = _words("not no non never without lacks lacking lack neither nor none isn cannot absent except unlike instead")

_CONFIGURATIONS = _words("r s e z d l alpha beta gamma cis trans rac meso")
_SELECTS = ("config", "enantiomer", "isomer", "stereo")  # what follows an R or L that stands alone; "vitamin d" is none
_NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MULTIPLIERS = ("mono", "di", "tri", "tetra", "penta", "hexa", "hepta", "octa", "nona", "deca")
_PREFIXES = {"tris": "3", "bis": "2"} | {word: str(number) for number, word in enumerate(_MULTIPLIERS, start=1)}
_COUNTS = _PREFIXES | {word: str(number) for number, word in enumerate(_NUMERALS[1:], start=2)}  # "one of the hydrogens" counts nothing
_UNCOUNTED = ("disease", "disorder", "differ", "direct", "distinct", "display", "discover", "divi", "diet", "diverse", "trial", "monit")
_ACTIONS = _words("agonist antagonist inhibit activat induc deproton proton reduc oxid hydrat dehydrat")
_COUNTERPARTS = _words("enantiomer tautomer epimer diastereomer stereoisomer")  # before "of"
_CONJUGATES = _words("acid base")  # after "conjugate"
_ORIGINS = _words("derive deriv parent")
_ROLE_BEGINS, _ROLE_ENDS = _words("role act serve used function"), _words("is derive deriv that which contain known")
_CLAUSE_BEGINS = _words("and or that which who where whereas while but")

_PART = re.compile(r"\(\d*[+-]\)|\w+'*|[^\w\s]")  # linear: no alternative can match what another one does
_POSSESSIVE = re.compile(r"(?<=[a-z]{3})'s?(?![a-z'])")
_PLAIN = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-") | dict.fromkeys("\u2019\u2032", "'"))
_ENDINGS = ("ations", "ation", "ating", "ated", "ings", "ing", "ies", "ed", "s")

_NUMBER, _STEREO, _COUNT, _ACTION, _RELATION = _ALWAYS = ("numbers", "stereo", "counts", "actions", "relations")
_ORIGIN, _GROUP = _IF_BOTH = ("origins", "groups")  # what can be said in ways that are not read here
KINDS = _ALWAYS + _IF_BOTH
_FACT, _FILLER, _DENIAL, _MARK = "fact", "filler", "denial", "mark"

KIND_WEIGHT = 0.6
"""What a kind of details takes away when two thirds of it are wrong; of what is less wrong, in proportion."""
_ALL_WRONG = 2.0 / 3.0
_OWNER_CHARS = 6
_OWNED = 0.75  # of a kind: the details with what they belong to; the rest: the details alone
LINK_WEIGHT = 0.8
"""What the links take away when none is found; nothing when three quarters are, since a paraphrase builds its own sentences."""
_ENOUGH_LINKS = 0.75
_GIVEN_LINKS = 1.0  # count as found, so that a single link does not decide


@dataclass(slots=True)
class Details:
    """Exact details of one kind: alone, with what they belong to first of all (``owned``), and with all they may belong to."""

    alone: set[str] = field(default_factory=set)
    owned: set[tuple[str, str]] = field(default_factory=set)
    possible: set[tuple[str, str]] = field(default_factory=set)

    def add(self, detail: str, owners: Sequence[str]) -> None:
        """``owners``: what it may belong to, the likeliest first; ``hydroxy`` and ``hydroxybenzo`` are one owner."""
        own = [owner if " " in owner else owner[:_OWNER_CHARS] for owner in owners] or [""]
        self.alone.add(detail)
        self.owned.add((detail, own[0]))
        self.possible.update((detail, owner) for owner in own)

    def right(self, other: Details) -> int:
        """How many of the owned details ``other`` has too. What may belong to several there belongs to none that has another of its own."""
        taken = {owner for _, owner in other.owned}
        return sum(pair in other.owned or (pair in other.possible and pair[1] not in taken) for pair in self.owned)


@dataclass(slots=True)
class Facts:
    """What a text says. ``links`` are words side by side in a clause, ``near`` those with at most one between them in a sentence."""

    words: Counter[str] = field(default_factory=Counter)
    links: Counter[tuple[str, str]] = field(default_factory=Counter)
    near: set[tuple[str, str]] = field(default_factory=set)
    details: dict[str, Details] = field(default_factory=lambda: {kind: Details() for kind in KINDS})
    roles: set[str] = field(default_factory=set)
    denials: int = 0
    denied: Details = field(default_factory=Details)


@dataclass(slots=True)
class _Word:
    """What stands between blanks: its parts (kind, text), its head, which is the last part that says something, and the mark behind it."""

    parts: list[tuple[str, str]]
    head: str
    stop: str


def read_facts(text: str) -> Facts:
    """The facts of a text. Words that look like SMILES say nothing."""
    found = Facts()
    for sentence in _sentences(text):
        for word in sentence:
            found.words.update(part if kind == _FACT else f"{kind} {part}" for kind, part in word.parts if kind == _FACT or kind in KINDS)
        _add_links(found, sentence)
        _add_details(found, sentence)
    return found


def agreement(answer: Facts, gold: Facts) -> dict[str, float]:
    """``facts`` in [0, 1], the product of the other entries.

    ``words``: weighted F1. ``links``: F1 of the links, each of which has to be near in the other text. ``numbers`` (locants, charges),
    ``stereo``, ``counts`` (two, di), ``actions`` (agonist, deprotonation), ``relations`` (conjugate acid of, enantiomer of): F1 of details
    and owners. Where both texts have any, ``origins`` (derives from) and ``groups`` (the carboxy group of) too, and for ``roles`` the share
    of what the answer calls a role that the gold does.
    """
    parts = {"words": _f1(answer.words, gold.words)}
    found = sum(n for pair, n in gold.links.items() if pair in answer.near) + sum(
        n for pair, n in answer.links.items() if pair in gold.near
    )
    linked = (found + _GIVEN_LINKS) / (gold.links.total() + answer.links.total() + _GIVEN_LINKS)
    parts["links"] = 1.0 - LINK_WEIGHT * max(0.0, 1.0 - linked / _ENOUGH_LINKS)
    for kind in KINDS:
        said, meant = answer.details[kind], gold.details[kind]
        told = (said.alone and meant.alone) if kind in _IF_BOTH else (said.alone or meant.alone)
        parts[kind] = 1.0 - KIND_WEIGHT * min(1.0, _wrong_share(said, meant) / _ALL_WRONG) if told else 1.0
    parts["roles"] = 1.0 - KIND_WEIGHT * len(answer.roles - gold.roles) / len(answer.roles) if answer.roles and gold.roles else 1.0
    value = 1.0
    for part in parts.values():
        value *= part
    return {"facts": value, **parts}


def denies_the_same(answer: Facts, gold: Facts) -> bool:
    """Whether both deny as often, and the same things."""
    if answer.denials != gold.denials:
        return False
    return answer.denied.owned <= gold.denied.possible and gold.denied.owned <= answer.denied.possible


def _wrong_share(said: Details, meant: Details) -> float:
    alone = 2.0 * len(said.alone & meant.alone) / (len(said.alone) + len(meant.alone))
    owned = (said.right(meant) + meant.right(said)) / (len(said.owned) + len(meant.owned))
    return 1.0 - (1.0 - _OWNED) * alone - _OWNED * owned


def _f1(said: Counter[str], meant: Counter[str]) -> float:
    total = _weight(said) + _weight(meant)
    return 2.0 * _weight(said & meant) / total if total else 1.0


def _weight(found: Counter[str]) -> float:
    return sum(count * (_COMMON_WEIGHT if word in _COMMON else 1.0) for word, count in found.items())


# -- from text to words ----------------------------------------------------------------------------------------------------------------


def _sentences(text: str) -> Iterator[list[_Word]]:
    sentence: list[_Word] = []
    raw = unicodedata.normalize("NFKC", text).split()
    for at, shown in enumerate(raw):
        token = _POSSESSIVE.sub("", shown.translate(_PLAIN).casefold())
        bare = token.rstrip(".;:,")
        mark = token[len(bare) :]
        parts: list[tuple[str, str]] = []
        if not looks_like_smiles(shown):
            pieces = _PART.findall(bare)
            in_name = len(pieces) > 1 or (at + 1 < len(raw) and raw[at + 1].casefold().startswith(_SELECTS))
            parts = [part for piece in pieces for part in _parts(piece, in_name)]
        sentence.append(_Word(parts, next((part for kind, part in reversed(parts) if kind == _FACT), ""), mark))
        if mark.strip(","):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _parts(piece: str, in_name: bool) -> Iterator[tuple[str, str]]:
    """Kind and text of what a token says: mostly one thing; ``dihydroxy`` is a count and a fact."""
    if piece in ("(+)", "(-)"):
        yield _STEREO, piece
    elif any(char.isdigit() for char in piece):
        letters = piece.lstrip("0123456789").rstrip("'")
        stereo = letters != piece and (letters[-1:] in ("r", "s", "e", "z") or letters in ("alpha", "beta"))
        yield _STEREO if stereo else _NUMBER, piece.removeprefix("c")  # C5 is position 5
    elif not piece[0].isalnum():
        yield _MARK, piece
    elif piece in _DENIALS:
        yield _DENIAL, piece
    elif piece.rstrip("'") in _CONFIGURATIONS and (in_name or len(piece) > 1):
        yield _STEREO, piece
    elif piece in _COUNTS:
        yield _COUNT, _COUNTS[piece]
    else:
        prefix = next((one for one in _PREFIXES if piece.startswith(one) and len(piece) - len(one) >= 3), "")
        if prefix and not piece.startswith(_UNCOUNTED):
            yield _COUNT, _COUNTS[prefix]
            piece = piece.removeprefix(prefix)
        stem = _stem(piece)
        yield _FACT if _STYLE.isdisjoint((piece, stem, stem.removesuffix("e"))) else _FILLER, stem


def _stem(word: str) -> str:
    """The word without an English ending, if four letters remain; the endings of chemistry (-ic, -al, -ate) stay."""
    word = word.removesuffix("s") if word.endswith(("rs", "ns")) else word
    if word in _SAME or word.endswith("ss"):
        return _SAME.get(word, word)
    if word.endswith(("sses", "xes", "ches")):
        return word[:-2]
    return next((word[: -len(ending)] for ending in _ENDINGS if word.endswith(ending) and len(word) - len(ending) >= 4), word)


# -- from words to facts ---------------------------------------------------------------------------------------------------------------


def _add_links(found: Facts, sentence: list[_Word]) -> None:
    heads: list[str] = []
    in_clause = False
    for word in sentence:
        in_clause = in_clause and not any(part in _CLAUSE_BEGINS for kind, part in word.parts if kind == _FILLER)
        if word.head:
            if in_clause:
                found.links[_pair(heads[-1], word.head)] += 1
            heads.append(word.head)
            in_clause = True
        in_clause = in_clause and not word.stop
    found.near.update(_pair(*two) for two in pairwise(heads))
    found.near.update(_pair(*two) for two in zip(heads, heads[2:], strict=False))


def _pair(left: str, right: str) -> tuple[str, str]:
    return (left, right) if left <= right else (right, left)


def _add_details(found: Facts, sentence: list[_Word]) -> None:
    """A locant, stereo word or count belongs to the rest of its name; one that stands alone, and a denial, to the heads around it; a
    relation to the phrase that follows, or to the one before when nothing follows in its clause."""
    heads = [word.head for word in sentence if word.head]
    phrases, begun = _phrases(sentence)
    is_role = False
    before = 0  # heads in front of this word
    following = [{part for _, part in word.parts} for word in sentence[1:]] + [set()]
    for word, after, phrase in zip(sentence, following, begun, strict=True):
        behind, ahead = heads[max(0, before - 2) : before][::-1], heads[before + bool(word.head) : before + bool(word.head) + 2]
        former = max(0, phrase - bool(word.head) - 1)
        former_phrase, later_phrases = phrases[former : former + 1] if phrase > bool(word.head) else [], phrases[phrase : phrase + 2]
        objects = former_phrase + later_phrases[:1] if word.stop or not later_phrases else later_phrases
        is_position = all(kind in (_NUMBER, _MARK, _FILLER) for kind, _ in word.parts)  # "at position 4", "at C-4"
        texts = {part for _, part in word.parts}
        is_role = not texts & _ROLE_ENDS if is_role else bool(texts & _ROLE_BEGINS)
        for at, (kind, part) in enumerate(word.parts):
            rest = [text for one, text in (*word.parts[at + 1 : at + 8], *word.parts[max(0, at - 8) : at][::-1]) if one == _FACT][:1]
            if kind in (_NUMBER, _STEREO, _COUNT):
                found.details[kind].add(part, rest or (behind + ahead if is_position else ahead + behind))
            elif kind == _DENIAL:
                found.denials += 1
                found.denied.add("", rest or ahead)
            elif kind == _FILLER and part in _ORIGINS:
                found.details[_ORIGIN].add("", objects)
            elif kind == _FILLER and part == "group" and "of" in after and behind:
                found.details[_GROUP].add(behind[0], later_phrases[:1])
            elif kind == _FACT and ((part in _COUNTERPARTS and "of" in after) or (part in _CONJUGATES and behind[:1] == ["conjugate"])):
                found.details[_RELATION].add(part, objects)
            elif kind == _FACT and part in _ACTIONS:
                found.details[_ACTION].add(part, ())
            if kind == _FACT and is_role:
                found.roles.add(part)
        before += bool(word.head)


def _phrases(sentence: list[_Word]) -> tuple[list[str], list[int]]:
    """The texts between words of style and marks, and for each word how many of them have begun, its own included."""
    phrases: list[list[str]] = []
    begun: list[int] = []
    is_open = False
    for word in sentence:
        says = [part for kind, part in word.parts if kind not in (_FILLER, _MARK)]
        if says:
            if not is_open:
                phrases.append([])
            phrases[-1] += says
        is_open = bool(says) and not word.stop
        begun.append(len(phrases))
    return [" ".join(phrase) for phrase in phrases], begun
