"""IUPAC names as text: what is compared, and what may be shown to a name reader. Pure Python."""

from __future__ import annotations

import unicodedata

from rewards.errors import AnswerRejectedError
from rewards.verdict import Reason

MAX_NAME_CHARS = 2_100  # glycans, peptides and nucleotides of the test sets have names of up to 2,002 characters
MAX_READ_CHARS = 1_000  # no longer name is shown to a reader

MAX_COPIES = 100  # of one group by multipliers inside of each other: no molecule within the limits of answers has more

_PLAIN_MARKS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-") | dict.fromkeys("\u2032\u2018\u2019\u00b4`", "'"))
_GREEK = {"\u03b1": "alpha", "\u03b2": "beta", "\u03b3": "gamma", "\u03b4": "delta", "\u03b5": "epsilon", "\u03ba": "kappa"}
_GREEK_WORDS = str.maketrans(_GREEK | {"\u03bb": "lambda", "\u03bc": "mu", "\u03be": "xi", "\u03c8": "psi", "\u03c9": "omega"})
# Marks of italics and of raised digits: 5~S~, 1~{H}, *N*, _N_, $N^{2}$, 1<i>H</i>. They mean nothing, and OPSIN reads few of them.
_MARKUP = ("~", "_", "$", "^", "\\mathrm", "\\textit", "<i>", "</i>", "<em>", "</em>", "<sup>", "</sup>", "<sub>", "</sub>")
_DIGITS, _LOCANTS, _DESCRIPTOR = frozenset("0123456789"), frozenset("0123456789,"), frozenset("0123456789,.(){}")
_SIMPLE = ("di", "tri", "tetra", "penta", "hexa", "hepta", "octa", "nona", "deca", "undeca", "dodeca")
_MULTIPLIERS = {
    **{word: number for number, word in enumerate(_SIMPLE, start=2)},
    **{f"{word}kis": number for number, word in enumerate(_SIMPLE[2:], start=4)},
    **{"bis": 2, "tris": 3},
}


def normalised(name: str) -> str:
    """The form in which names are compared: :func:`plain` without case, without blank after ``;`` or ``,``, Greek letters in words."""
    return plain(name).casefold().translate(_GREEK_WORDS).replace("; ", ";").replace(", ", ",").strip()


def plain(name: str) -> str:
    """NFKC with one kind of dash and of prime, no markup, no final stop; case is kept, since ``1H`` and ``(E)`` tell a reader something.

    ``1(H)-indole`` and ``1{H}-indole`` are ``1H-indole``, ``[3.3.1.1^(3,7)]`` is ``[3.3.1.13,7]``, as OPSIN and older files have it.
    """
    text = unicodedata.normalize("NFKC", name.translate(_PLAIN_MARKS)).translate(_PLAIN_MARKS).replace("$l", "\u03bb")  # PubChem's lambda
    for mark in _MARKUP:
        text = text.replace(mark, "")
    text = _without_italics(text)
    pieces: list[str] = []
    descriptor = 0  # where the last [3.3.1.1(3,7)] ends
    at = 0
    while at < len(text):
        char = text[at]
        if char == "[":
            end = text.find("]", at)
            descriptor = end if set(text[at + 1 : end]) <= _DESCRIPTOR else descriptor
        inside = ""
        if char == "{" or (char == "(" and at and text[at - 1] in _DIGITS):
            end = text.find("}" if char == "{" else ")", at, at + 12)
            inside = text[at + 1 : end] if end > 0 else ""
        locants = bool(inside) and set(inside) <= _LOCANTS and (char == "{" or at < descriptor)
        if inside == "H" or locants or (char == "{" and len(inside) == 1):
            pieces.append(inside)
            at = end + 1
        else:
            pieces.append(char)
            at += 1
    return "".join(pieces).strip().removesuffix(".")


def _without_italics(text: str) -> str:
    """Without the asterisks of ``*N*`` and ``(2*S*)``; those of ``(R*,R*)`` say that a configuration is relative and stay."""
    kept: list[str] = []
    is_open = False
    for at, char in enumerate(text):
        if char != "*":
            kept.append(char)
        elif is_open or text[at - 1 : at] not in tuple("RSrs"):
            is_open = not is_open
        else:
            kept.append(char)
    return "".join(kept)


def copies(name: str) -> int:
    """How often the innermost group of a name stands in its molecule: ``tris(bis(methyl)amino)`` is 6."""
    most, stack = 1, [1]
    for at, char in enumerate(name):
        if char in "([{":
            before = name[max(0, at - 12) : at].rstrip("-").casefold()
            factor = max((number for word, number in _MULTIPLIERS.items() if before.endswith(word)), default=1)
            stack.append(min(stack[-1] * factor, MAX_COPIES + 1))
            most = max(most, stack[-1])
        elif char in ")]}" and len(stack) > 1:
            stack.pop()
    return most


def require_name(answer: str) -> None:
    """Raises AnswerRejectedError: TOO_LONG, or BAD_CHARACTERS for control characters, line breaks (T10) and lone surrogates."""
    if len(answer) > MAX_NAME_CHARS:
        raise AnswerRejectedError(Reason.TOO_LONG)
    if not answer.isprintable():
        raise AnswerRejectedError(Reason.BAD_CHARACTERS)


def readable(answer: str) -> str | None:
    """The one line that a name reader gets for an answer, ``;`` with a blank as OPSIN wants it; None for what must not reach it."""
    try:
        require_name(answer)
    except AnswerRejectedError:
        return None
    line = plain(answer).replace("; ", ";").replace(";", "; ").strip()
    return line if line and line.isprintable() and len(line) <= MAX_READ_CHARS and copies(line) <= MAX_COPIES else None
