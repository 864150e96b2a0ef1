"""Which split a molecule belongs to.

A molecule's split is a hash of its heavy-atom composition (``C4 N1 O2``), a coarser key than its formula: butane, isobutane and butene go
together, so a held-out question is about a composition that training has never seen, in any task. The hash knows neither seed nor
configuration. A row is kept only if **all** its molecules (in the question, the candidates and the answer) are in one split, so no
molecule can be in two. Questions that name no molecule (MolCustom) are asked in one split only as well, see ``custom``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

from rdkit import Chem

from chemr.data.starter.molecules import heavy_counts

# Of six thousand salts the one that leaves enough reactions, of similar kinds, in every split: their three molecules must meet in one.
# Chosen once, on numbers of rows alone; changing it reshuffles all splits and makes scores incomparable.
_SALT = "5990"
_VALIDATION_SHARE = 0.12
_TEST_SHARE = 0.20


class Split(StrEnum):
    train = "train"
    validation = "validation"
    test = "test"


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the texts of ``parts``."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@lru_cache(maxsize=16384)
def _split_of_composition(key: str) -> Split:
    value = unit_hash(_SALT, key)
    if value < _TEST_SHARE:
        return Split.test
    return Split.validation if value < _TEST_SHARE + _VALIDATION_SHARE else Split.train


def split_of(mol: Chem.Mol) -> Split:
    """The split of one molecule (a single component)."""
    return split_of_counts(heavy_counts(mol))


def split_of_counts(counts: Mapping[str, int]) -> Split:
    """The split of all molecules with these heavy atoms."""
    return _split_of_composition(" ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()) if count))


def common_split(mols: Iterable[Chem.Mol]) -> Split | None:
    """The split that all ``mols`` are in, or ``None`` when they are in several."""
    splits = {split_of(mol) for mol in mols}
    return splits.pop() if len(splits) == 1 else None
