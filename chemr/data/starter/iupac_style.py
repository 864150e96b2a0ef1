"""IUPAC names as people write them.

The identifier table spells prefixes the way a naming program does (``2,4-bis(bromanyl)-1-chloranyl-benzene``, ``ethanoic acid``), in lower
case and with stereo descriptors. One name per molecule in one everyday style (``2,4-dibromo-1-chlorobenzene``, ``acetic acid``) is what a
small model can learn and a reader expects. Structures in this data are flat, so descriptors go.

The transformation only respells and reorders what is there; names it is not sure about are given up (``None``).
"""

from __future__ import annotations

import re

MAX_NAME_CHARS = 32

_STEREO = re.compile(r"\(\d*[a-z]?[rsez](?:,\d*[a-z]?[rsez])*\)-?")
_PLAIN = re.compile(r"[a-z0-9,\-() ]+")
_UNSURE = re.compile(r"radical|lambda|ylium|deuter|\bcis-|\btrans-|\b[dl]-|carbononitridic|hypochlor|nitrous|hydrogen ")

_SUBSTITUENTS = {
    "fluoranyl": "fluoro",
    "chloranyl": "chloro",
    "bromanyl": "bromo",
    "iodanyl": "iodo",
    "oxidanyl": "hydroxy",
    "azanyl": "amino",
    "oxidanylidene": "oxo",
    "azanylidene": "imino",
}
_MULTIPLIERS = {"bis": "di", "tris": "tri", "tetrakis": "tetra", "pentakis": "penta", "hexakis": "hexa"}
_ANY_SUBSTITUENT = "|".join(sorted(_SUBSTITUENTS, key=len, reverse=True))
_MULTIPLIED = re.compile(rf"({'|'.join(_MULTIPLIERS)})\(({_ANY_SUBSTITUENT})\)")
_SINGLE = re.compile(rf"(?<!di)({_ANY_SUBSTITUENT})")  # diazanyl is hydrazinyl, dioxidanyl hydroperoxy

# "methanoic" holds "ethanoic", hence (?<!m).
_RETAINED = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"methanoic acid", "formic acid"),
        (r"(?<!m)ethanoic acid", "acetic acid"),
        (r"methanoate", "formate"),
        (r"(?<!m)ethanoate", "acetate"),
        (r"methanamide\b", "formamide"),
        (r"(?<!m)ethanamide\b", "acetamide"),
        (r"(?<!m)ethanenitrile\b", "acetonitrile"),
        (r"(?<!m)ethanoyl", "acetyl"),
        (r"methanoyl", "formyl"),
    )
)
_NEEDLESS_HYPHEN = re.compile(r"(?<=[a-z]{2})(?<!\btert)(?<!\bsec)-(?=[a-z]{2})")

_EVERYDAY_WORD = re.compile(
    "(?:methyl|meth|ethyl|eth|propyl|prop|butyl|but|pent|hex|hept|oct|cyclo|tert|ane|an|ene|en|yne|yn|yl|a|e|di|tri|tetra|"
    "formic|form|acetic|acet|oic|acid|oate|al|one|ol|thiol|amine|amide|imine|nitrile|"
    "fluoro|chloro|bromo|iodo|hydroxy|amino|oxo|oxy|methoxy|ethoxy|nitro|sulfanyl|"
    "benzene|benz|phenol|phenyl|aniline|toluene|pyridine|furan|thiophene|N)+"
)

_LOCANTS = r"(?:\d+[a-z]?|n)(?:,(?:\d+[a-z]?|n))*"
_PREFIX = (
    "acetyl|amino|bromo|butyl|chloro|cyano|dimethylamino|ethenyl|ethoxy|ethyl|ethynyl|fluoro|formyl|hydroxy|imino|iodo|"
    "methoxy|methyl|methylamino|methylidene|methylsulfanyl|nitro|nitroso|oxo|propyl|sulfanyl"
)
_PREFIX_TERM = re.compile(rf"({_LOCANTS})-(di|tri|tetra|penta|hexa)?({_PREFIX})-")


def conventional_name(listed: str) -> str | None:
    """The everyday spelling of a name from the table, or ``None`` when it is not safely respelt or is longer than MAX_NAME_CHARS."""
    name = _STEREO.sub("", listed.strip().lower())
    if not name or not _PLAIN.fullmatch(name) or _UNSURE.search(name):
        return None
    name = _MULTIPLIED.sub(lambda match: _MULTIPLIERS[match[1]] + _SUBSTITUENTS[match[2]], name)
    name = _SINGLE.sub(lambda match: _SUBSTITUENTS[match[1] or match[2]], name)
    for pattern, text in _RETAINED:
        name = pattern.sub(text, name)
    name = _capitals(_NEEDLESS_HYPHEN.sub("", _prefixes_in_order(name)))
    return name if len(name) <= MAX_NAME_CHARS else None


def is_everyday(name: str) -> bool:
    """Whether a name is made of common morphemes only, so that there is something to learn from the other names."""
    return all(_EVERYDAY_WORD.fullmatch(word) for word in re.findall("[A-Za-z]+", name))


def _prefixes_in_order(name: str) -> str:
    """Simple prefixes in alphabetical order, multipliers apart: respelling turns ``oxidanyl`` (o) into ``hydroxy`` (h)."""
    terms: list[tuple[str, str]] = []
    at = 0
    while match := _PREFIX_TERM.match(name, at):
        terms.append((match[3], match[0]))
        at = match.end()
    return "".join(text for _, text in sorted(terms)) + name[at:]


def _capitals(name: str) -> str:
    """Indicated hydrogen (``1H-``) and element locants (``N-``, ``N,N-``, ``O-``) in capitals."""
    name = re.sub(r"(?<![a-z])(\d+)h(?=[-,)])", r"\1H", name)
    name = re.sub(r"(?<![a-z])n(\d*)(?=[-,])", r"N\1", name)
    return re.sub(r"(?<![a-z])([os])(?=-[a-z(])", lambda match: match[1].upper(), name)
