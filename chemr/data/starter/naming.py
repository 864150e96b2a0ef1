"""Name prediction: a molecule as SMILES, formula and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rdkit.Chem import rdMolDescriptors

from chemr.data.starter.compounds import Compound
from chemr.data.starter.drafts import Draft


def name_drafts(compounds: Iterable[Compound]) -> Iterator[Draft]:
    """SMILES ↔ name and both to the formula (Hill order). Names only where they name one molecule of the table."""
    for compound in compounds:
        split, size = compound.split, compound.size
        formula = rdMolDescriptors.CalcMolFormula(compound.mol)
        yield Draft("smiles2formula", {"smiles": compound.smiles}, formula, size, split, "formula computed")
        if compound.name is None:
            continue
        yield Draft("iupac2formula", {"iupac": compound.name}, formula, size, split, "name respelt, formula computed")
        yield Draft("iupac2smiles", {"iupac": compound.name}, compound.smiles, size, split, "name respelt")
        yield Draft("smiles2iupac", {"smiles": compound.smiles}, compound.name, size, split, "name respelt")
