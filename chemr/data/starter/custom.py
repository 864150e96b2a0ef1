"""MolCustom: counts taken from real molecules, so that every question has an answer. Any other molecule with these counts is right too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from rdkit import Chem

from chemr.data.starter.compounds import Compound
from chemr.data.starter.drafts import Draft
from chemr.data.starter.molecules import flat, parse
from chemr.data.starter.splits import Split, unit_hash
from rewards.functional_groups import group_counts
from rewards.molecule import Molecule
from rewards.properties import bond_counts

MAX_GROUPS = 3  # different groups in one question
MAX_ANSWERS_PER_QUESTION = 24  # hundreds of molecules have one hydroxyl and nothing else


def custom_drafts(compounds: Sequence[Compound], edits: Iterable[Draft]) -> Iterator[Draft]:
    """Rows of molcustom_atomnum, molcustom_bondnum and molcustom_functionalgroup.

    The answers of ``edits`` are molecules too: small real molecules show too few combinations of functional groups.
    """
    by_question: dict[str, list[Draft]] = {}
    listed = {compound.smiles for compound in compounds}
    made = {flat(mol): (mol, draft.split) for draft in edits for mol in (parse(draft.answer),)}
    proposals = [draft for compound in compounds for draft in _drafts(compound)]
    proposals += [draft for smiles, (mol, split) in made.items() if smiles not in listed for draft in _group_drafts(smiles, mol, split)]
    for draft in proposals:
        by_question.setdefault(draft.question, []).append(draft)
    for question, drafts in by_question.items():
        shuffled = sorted(drafts, key=lambda draft: unit_hash(question, draft.answer))
        split = shuffled[0].split  # a question is asked in the split of one of its molecules, drawn at random, and with those only
        yield from [draft for draft in shuffled if draft.split is split][:MAX_ANSWERS_PER_QUESTION]


def _drafts(compound: Compound) -> Iterator[Draft]:
    yield _draft("molcustom_atomnum", compound.atoms, compound.smiles, compound.mol, compound.split)
    bonds = {kind: count for kind, count in bond_counts(Molecule(compound.mol)).items() if count}
    for number in range(1, len(bonds) + 1):  # every choice of kinds: the kinds that are not named are free
        for kinds in combinations(bonds, number):
            counts = {kind: bonds[kind] for kind in kinds}
            yield _draft("molcustom_bondnum", counts, compound.smiles, compound.mol, compound.split)
    yield from _group_drafts(compound.smiles, compound.mol, compound.split)


def _group_drafts(smiles: str, mol: Chem.Mol, split: Split) -> Iterator[Draft]:
    groups = {name: count for name, count in group_counts(Molecule(mol)).items() if count}
    if 0 < len(groups) <= MAX_GROUPS:
        yield _draft("molcustom_functionalgroup", groups, smiles, mol, split)


def _draft(task: str, counts: Mapping[str, int], smiles: str, mol: Chem.Mol, split: Split) -> Draft:
    return Draft(task, {"counts": dict(sorted(counts.items()))}, smiles, mol.GetNumAtoms(), split, "counted")
