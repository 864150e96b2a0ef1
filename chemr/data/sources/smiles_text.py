"""What can be told of a SMILES by its text alone: cheap enough for every row, and without RDKit."""

from __future__ import annotations

import re

_HEAVY_ATOM = re.compile(r"\[(?!\d*H[+-]?\d*(?::\d+)?\])[^\]]+\]|Br|Cl|[BCNOPSFIbcnops]")
_CHARACTERS = re.compile(r"[A-Za-z0-9@+\-\[\]()\\/%=#$.~:*]+")

HARDEST_HEAVY_ATOMS = 60


def heavy_atoms(smiles: str) -> int:
    """Number of heavy atoms that the text writes down."""
    return len(_HEAVY_ATOM.findall(smiles))


def difficulty(smiles: str) -> float:
    """0..1 by size: heavy atoms of the molecules to be handled, 1 from HARDEST_HEAVY_ATOMS on."""
    return min(1.0, heavy_atoms(smiles) / HARDEST_HEAVY_ATOMS)


def looks_like_smiles(text: str) -> bool:
    """Whether the characters are those of SMILES; says nothing of its chemistry."""
    return _CHARACTERS.fullmatch(text) is not None
