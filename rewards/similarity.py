"""How alike two molecules are, and how close an edit stays to its input.

Morgan *counts* are compared: bits cannot tell a chain of 12 carbons from one of 20 (REWARDS §3.3).
"""

from __future__ import annotations

from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from rewards.molecule import Molecule

_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2)

FULL_CLOSENESS = 0.8
NO_CLOSENESS = 0.3
CHANGED_ATOMS = 8.0
"""What a one-site edit changes of a Morgan count fingerprint, in heavy atoms: on a molecule of n it leaves a similarity near n/(n + 8)."""


def count_tanimoto(left: Molecule, right: Molecule) -> float:
    """Tanimoto of the Morgan count fingerprints (radius 2), in [0, 1]."""
    return float(DataStructs.TanimotoSimilarity(_MORGAN.GetSparseCountFingerprint(left.mol), _MORGAN.GetSparseCountFingerprint(right.mol)))


def maccs_tanimoto(left: Molecule, right: Molecule) -> float:
    """Tanimoto of the MACCS keys, in [0, 1]. Slow (1 ms): call it last."""
    keys = rdMolDescriptors.GetMACCSKeysFingerprint
    return float(DataStructs.TanimotoSimilarity(keys(left.mol), keys(right.mol)))


def closeness(similarity: float, yardstick: float) -> float:
    """How minimal an edit is, in [0, 1].

    ``similarity`` is answer to input, ``yardstick`` reference edit to input: on a molecule of six atoms the best edit has a similarity of
    0.4, on one of thirty 0.8, so only their ratio means something. A ratio of 0.8 or more gives 1, of 0.3 or less 0, linear between.
    """
    if yardstick <= 0.0:
        return 1.0
    return min(1.0, max(0.0, (similarity / yardstick - NO_CLOSENESS) / (FULL_CLOSENESS - NO_CLOSENESS)))


def expected_similarity(source: Molecule) -> float:
    """The yardstick of :func:`closeness` for an open question, which has no reference edit: n/(n + 8), n = heavy atoms of the input.

    0.43 for 6 atoms, 0.76 for 25, 0.88 for 60.
    """
    return source.heavy_atoms / (source.heavy_atoms + CHANGED_ATOMS)
