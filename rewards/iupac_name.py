"""IUPAC names as text: what is compared, and what may be shown to a name reader. Pure Python."""

from __future__ import annotations

import unicodedata

from rewards.errors import AnswerRejectedError
from rewards.verdict import Reason

MAX_NAME_CHARS = 2_100  # glycans, peptides and nucleotides of the test sets have names of up to 2,002 characters
MAX_READ_CHARS = 1_000  # no longer name is shown to a reader

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))


def normalised(name: str) -> str:
    """The form in which names are compared: NFKC, one kind of dash, no case, no blank after ``;`` or ``,``."""
    return plain(name).casefold().replace("; ", ";").replace(", ", ",").strip()


def plain(name: str) -> str:
    """NFKC with one kind of dash; case is kept, because ``1H`` and ``(E)`` mean something to a reader."""
    return unicodedata.normalize("NFKC", name).translate(_DASHES)


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
    return line if line and line.isprintable() and len(line) <= MAX_READ_CHARS else None
