"""Jobs of the child: what the published code asks RDKit about a prediction.

The default ring finder stays on here, as in the published code; only a deadline protects from what it may cost.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rdkit import Chem, DataStructs, RDLogger
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]

_MORGAN_COUNTS = rdFingerprintGenerator.GetMorganGenerator(radius=2)


def prepare() -> None:
    """Loads what the other jobs load when first called."""
    design("CO", "CCO")


def parsed(text: str) -> Chem.Mol | None:
    """``MolFromSmiles`` as it stands: blanks end the SMILES, and the empty text is a molecule without atoms."""
    try:
        return Chem.MolFromSmiles(text)
    except Exception:  # noqa: BLE001 - the published code catches everything here too (lone surrogates, for one)
        return None


def canonical(text: str) -> dict[str, Any] | None:
    """Canonical SMILES with (``smiles``) and without (``flat``) stereo marks; ``None`` when the text is no SMILES."""
    mol = parsed(text)
    if mol is None:
        return None
    return {"smiles": Chem.MolToSmiles(mol), "flat": Chem.MolToSmiles(mol, isomericSmiles=False)}


def design(gold: str, text: str) -> dict[str, Any]:
    """One row of MolT5's evaluation.

    Keys: ``translated`` (no exception in mol_translation_metrics), ``exact``, ``distance``; ``canonical`` and ``gold`` (for FCD); and,
    for valid text, ``maccs``, ``rdk``, ``morgan``.
    """
    from rapidfuzz.distance import Levenshtein

    mol, gold_mol = parsed(text), parsed(gold)
    facts: dict[str, Any] = {"distance": int(Levenshtein.distance(text, gold)), "translated": False, "exact": False}
    facts["canonical"] = None if mol is None else Chem.MolToSmiles(mol)
    facts["gold"] = None if gold_mol is None else Chem.MolToSmiles(gold_mol)
    if mol is None or gold_mol is None:
        return facts
    # Two empty InChI strings are equal here, as they are there.
    facts |= {"translated": True, "exact": Chem.MolToInchi(mol) == Chem.MolToInchi(gold_mol)}
    tanimoto = DataStructs.TanimotoSimilarity
    facts["maccs"] = float(tanimoto(rdMolDescriptors.GetMACCSKeysFingerprint(gold_mol), rdMolDescriptors.GetMACCSKeysFingerprint(mol)))
    facts["rdk"] = float(tanimoto(Chem.RDKFingerprint(gold_mol), Chem.RDKFingerprint(mol)))
    facts["morgan"] = float(tanimoto(_morgan_counts(gold_mol), _morgan_counts(mol)))
    return facts


def _morgan_counts(mol: Chem.Mol) -> Any:
    return _MORGAN_COUNTS.GetSparseCountFingerprint(mol)


@lru_cache(maxsize=4096)
def gold_mol(text: str) -> Chem.Mol:
    """The molecule of a test row. Raises ValueError when the row's own SMILES is none."""
    mol = parsed(text)
    if mol is None:
        raise ValueError(f"the test row's own SMILES {text[:200]!r} is not valid")
    return mol
