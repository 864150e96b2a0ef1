"""The molecules and names of the starter: PubChem identifiers that the package ``chemicals`` ships.

Of that package only the two files of the identifier table are read, as files: importing it would pull in SciPy, and its property tables
are not ours to use.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemr.data.starter.iupac_style import conventional_name, is_everyday
from chemr.data.starter.molecules import flat, heavy_counts, is_common, is_ordinary, parse
from chemr.data.starter.splits import Split, split_of_counts

SOURCE = "PubChem identifiers in the PyPI package chemicals"
LICENCE = "MIT"

_TABLES = ("chemical identifiers pubchem small.tsv", "chemical identifiers pubchem large.tsv")
_FORMULA, _SMILES, _NAME = 2, 4, 7  # columns: cid, cas, formula, weight, smiles, inchi, inchikey, iupac name, other names…
_ATOM_LETTERS = frozenset("CNOSFBIcnos")  # each heavy atom of an ordinary molecule has exactly one of these in its SMILES


class MissingTableError(RuntimeError):
    """The identifier table is not installed."""


@dataclass(frozen=True, slots=True)
class Compound:
    """A molecule of the table. ``name`` is ``None`` when it has no short everyday IUPAC name, or shares it."""

    smiles: str  # canonical, flat
    mol: Chem.Mol
    atoms: Mapping[str, int]  # heavy atoms per element
    split: Split
    name: str | None

    @property
    def size(self) -> int:
        """Heavy atoms."""
        return self.mol.GetNumAtoms()


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
    """All common molecules of 2 to ``max_heavy_atoms`` heavy atoms, each once, in the order of the table.

    Entries that differ in stereo only are one molecule. A row whose formula is not the formula of its SMILES is left out.
    """
    found: dict[str, Compound] = {}
    names: dict[str, str] = {}
    for smiles, formula, listed_name in _entries():
        mol = _small_molecule(smiles, max_heavy_atoms)
        if mol is None or rdMolDescriptors.CalcMolFormula(mol) != formula:
            continue
        identity = flat(mol)
        if identity not in found:
            plain = parse(identity)
            atoms = heavy_counts(plain)
            found[identity] = Compound(identity, plain, atoms, split_of_counts(atoms), None)
        name = conventional_name(listed_name) if identity not in names else None
        if name is not None and is_everyday(name):
            names[identity] = name
    uses = Counter(names.values())
    return [replace(compound, name=names[key]) if uses[names.get(key, "")] == 1 else compound for key, compound in found.items()]


def table_smiles() -> Iterator[str]:
    """The SMILES of every row, as it stands in the table."""
    return (smiles for smiles, _, _ in _entries())


def _entries() -> Iterator[tuple[str, str, str]]:
    """(SMILES, formula, name) of every row."""
    for path in table_paths():
        with path.open(encoding="utf-8") as table:
            for line in table:
                fields = line.rstrip("\n").split("\t", maxsplit=_NAME + 1)
                yield fields[_SMILES], fields[_FORMULA], fields[_NAME]


def _small_molecule(smiles: str, max_heavy_atoms: int) -> Chem.Mol | None:
    if "." in smiles or "[H]" in smiles or sum(letter in _ATOM_LETTERS for letter in smiles) > max_heavy_atoms:
        return None  # most of the table leaves here, before RDKit reads it
    mol = Chem.MolFromSmiles(smiles)
    return mol if mol is not None and 2 <= mol.GetNumAtoms() <= max_heavy_atoms and is_ordinary(mol) and is_common(mol) else None
