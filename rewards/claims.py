"""What functional groups a chain of thought claims to see. Pure Python, one pass over the words, no regular expression."""

from __future__ import annotations

from collections.abc import Mapping

_SPELLINGS: Mapping[str, str] = {
    "benzene_ring": "benzene phenyl",
    "hydroxyl": "hydroxyl hydroxy alcohol phenol",
    "anhydride": "anhydride",
    "aldehyde": "aldehyde",
    "ketone": "ketone",
    "carboxyl": "carboxyl carboxylic carboxylate",
    "ester": "ester lactone",
    "amide": "amide lactam",
    "amine": "amine amino",
    "nitro": "nitro",
    "halo": "halo halogen halide fluoro chloro bromo iodo fluorine chlorine bromine iodine",
    "nitrile": "nitrile cyano",
    "thiol": "thiol mercapto",
    "sulfide": "sulfide thioether",
    "disulfide": "disulfide",
    "sulfoxide": "sulfoxide sulfinyl",
    "sulfone": "sulfone sulfonyl",
    "borane": "borane boron boronic",
}
_GROUP_OF_WORD = {word: group for group, words in _SPELLINGS.items() for word in words.split()}
_GROUP_OF_WORD |= {f"{word}s": group for word, group in _GROUP_OF_WORD.items()}

_DENIALS = frozenset(
    ("no", "not", "without", "lacks", "lacking", "absent", "never", "neither", "nor", "none", "zero", "isn't", "doesn't", "cannot", "avoid")
)
_MARKS = str.maketrans(dict.fromkeys('*_`"()[]{}:,!?-/', " "))
_SENTENCE_ENDS = str.maketrans(dict.fromkeys(".;\n", "\n"))


def claimed_groups(thinking: str) -> tuple[str, ...]:
    """The groups (names of ``rewards.functional_groups``) that some sentence mentions without a denial before them, sorted.

    Mentions are a set: naming a group ten times is one claim. Names of compounds count only as whole words (``hydroxy``, not
    ``2-hydroxypropane``).
    """
    claims: set[str] = set()
    for sentence in thinking.casefold().translate(_SENTENCE_ENDS).split("\n"):
        for word in sentence.translate(_MARKS).split():
            if word in _DENIALS:
                break  # the rest of this sentence is denied, or too hard to tell
            if word in _GROUP_OF_WORD:
                claims.add(_GROUP_OF_WORD[word])
    return tuple(sorted(claims))
