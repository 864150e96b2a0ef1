"""The four ways in which TOMG-Bench's two repositories read an output before they score it.

``raw``
    the CSV as pandas reads it;
``corrected``
    the same through ``correct.py`` of the first repository, written as CSV and read again;
``s2_corrected``
    ``evaluate.py --correct`` of the successor, S2-TOMG-Bench;
``s2_json``
    the successor on a JSON file: the text as it is.

``None`` stands for pandas' NaN, which both count as invalid. pandas would drop a line of blanks only from a one-column CSV and shift all
later answers by one row; here the rows stay aligned and the blank one is missing. So they do where a carriage return in a corrected answer,
which pandas writes without quotes, would break its line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

MISSING_WORDS = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""What ``pandas.read_csv`` takes for missing (its ``STR_NA_VALUES``), quoted or not."""

_UNREADABLE = "None"


def cell(text: str) -> str | None:
    """A cell of a one-column CSV after pandas."""
    return None if text in MISSING_WORDS or not text.strip() else text


def corrected(text: str) -> str | None:
    """Reading ``corrected``."""
    read = cell(text)
    return None if read is None else cell(_correct_first(read))


def s2_corrected(text: str) -> str | None:
    """Reading ``s2_corrected``. What it extracts is not read by pandas again, so an empty molecule gets through."""
    read = cell(text)
    return None if read is None else _correct_second(read)


def s2_json(text: str) -> str:
    """Reading ``s2_json``."""
    return text


READINGS: Mapping[str, Callable[[str], str | None]] = {
    "raw": cell,
    "corrected": corrected,
    "s2_corrected": s2_corrected,
    "s2_json": s2_json,
}


def _braced(text: str) -> str | None:
    """The first ``{...}``, not greedy, with doubled quotes made single. Linear, unlike the regular expression it stands for."""
    start = text.find("{")
    end = text.find("}", start) if start >= 0 else -1
    return text[start : end + 1].replace('""', '"') if end >= 0 else None


def _after_arrows(text: str) -> str:
    """The part after the last ``=>``, and of that the part after the last ``->`` (which is also RDKit's dative bond)."""
    for arrow in ("=>", "->"):
        if arrow in text:
            text = text.split(arrow)[-1].strip()
    return text


def _after_first_colon(braced: str) -> str:
    """Raises IndexError when there is no colon."""
    return braced.split(":")[1].strip().strip("}").strip().strip('"').strip()


def _plain(text: str) -> str:
    text = _after_arrows(text.replace("\n", " ").strip())
    return text[1:-1] if len(text) >= 2 and text[0] == "[" and text[-1] == "]" else text


def _correct_first(text: str) -> str:
    braced = _braced(text)
    if braced is None:
        return _plain(text)
    try:
        molecule = json.loads(braced)["molecule"]
        if isinstance(molecule, str):
            return _after_arrows(molecule)
        if isinstance(molecule, list) and "=>" not in molecule and "->" not in molecule:
            return str(molecule)  # passes through the original unnoticed and becomes text in the CSV
    except (ValueError, KeyError, RecursionError):
        pass
    try:
        return _after_arrows(_after_first_colon(braced))
    except IndexError:
        return _UNREADABLE


def _correct_second(text: str) -> str:
    braced = _braced(text)
    if braced is None:
        return _plain(text)
    try:
        molecule = json.loads(braced).get("molecule", braced)
    except (ValueError, RecursionError):
        try:
            molecule = _after_first_colon(braced)
        except IndexError:
            return _UNREADABLE
    return _after_arrows(molecule).strip() if isinstance(molecule, str) else _UNREADABLE
