"""The molecules and names of the starter: PubChem identifiers that the package ``chemicals`` ships.

Of that package only the two files of the identifier table are read, as files: importing it would pull in SciPy, and its property tables
are not ours to use.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemr.data.starter.iupac_style import conventional_name
from chemr.data.starter.molecules import flat, is_ordinary

SOURCE = "PubChem identifiers in the PyPI package chemicals"
LICENCE = "MIT"

_TABLES = ("chemical identifiers pubchem small.tsv", "chemical identifiers pubchem large.tsv")
_FORMULA, _SMILES, _NAME = 2, 4, 7  # columns: cid, cas, formula, weight, smiles, inchi, inchikey, iupac name, other names…
_MAX_SMILES_CHARS = 60


class MissingTableError(RuntimeError):
    """The identifier table is not installed."""


@dataclass(frozen=True, slots=True)
class Compound:
    """A molecule of the table. ``name`` is ``None`` when it has no short everyday IUPAC name, or shares it with another molecule."""

    smiles: str  # canonical, flat
    mol: Chem.Mol
    size: int  # heavy atoms
    name: str | None


def table_paths() -> tuple[Path, ...]:
    """Where the identifier table lies.

    Raises:
        MissingTableError: the package is not installed, or ships no such files.
    """
    spec = importlib.util.find_spec("chemicals")  # finds without importing
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise MissingTableError("the starter data needs the identifier table of the package 'chemicals': pip install 'chemicals>=1.5'")
    paths = tuple(Path(folders[0]) / "Identifiers" / name for name in _TABLES)
    for path in paths:
        if not path.is_file():
            raise MissingTableError(f"the installed package 'chemicals' has no {path.name!r} at {path.parent}; install chemicals==1.5.2")
    return paths


def read_compounds(max_heavy_atoms: int) -> list[Compound]:
    """All ordinary molecules of 2 to ``max_heavy_atoms`` heavy atoms, each once, in the order of the table.

    Entries that differ in stereo only are one molecule. A row whose formula is not the formula of its SMILES is left out.
    """
    found: dict[str, Compound] = {}
    for smiles, formula, listed_name in _entries():
        mol = _small_molecule(smiles, max_heavy_atoms)
        if mol is None or rdMolDescriptors.CalcMolFormula(mol) != formula:
            continue
        identity = flat(mol)
        known = found.get(identity)
        if known is not None and known.name is not None:
            continue
        name = conventional_name(listed_name)
        if known is None or name is not None:
            plain = known.mol if known is not None else Chem.MolFromSmiles(identity)
            found[identity] = Compound(identity, plain, plain.GetNumAtoms(), name)
    shared = {name for name, count in Counter(c.name for c in found.values()).items() if count > 1}
    return [Compound(c.smiles, c.mol, c.size, None) if c.name in shared else c for c in found.values()]


def _entries() -> Iterator[tuple[str, str, str]]:
    """(SMILES, formula, name) of every row."""
    for path in table_paths():
        with path.open(encoding="utf-8") as table:
            for line in table:
                fields = line.rstrip("\n").split("\t", maxsplit=_NAME + 1)
                yield fields[_SMILES], fields[_FORMULA], fields[_NAME]


def _small_molecule(smiles: str, max_heavy_atoms: int) -> Chem.Mol | None:
    if "." in smiles or "[H]" in smiles or len(smiles) > _MAX_SMILES_CHARS or sum(map(str.isalpha, smiles)) > 2 * max_heavy_atoms + 6:
        return None
    mol = Chem.MolFromSmiles(smiles)
    return mol if mol is not None and 2 <= mol.GetNumAtoms() <= max_heavy_atoms and is_ordinary(mol) else None
