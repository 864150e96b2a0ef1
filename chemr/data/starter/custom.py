"""MolCustom: counts taken from real molecules, so that every question has an answer. Any other molecule with these counts is right too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from chemr.data.starter.compounds import Compound
from chemr.data.starter.drafts import Draft
from chemr.data.starter.splits import unit_hash
from rewards.functional_groups import group_counts
from rewards.molecule import Molecule
from rewards.properties import bond_counts

MAX_GROUPS = 3  # different groups in one question
MAX_ANSWERS_PER_QUESTION = 24  # hundreds of molecules have one hydroxyl and nothing else


def custom_drafts(compounds: Iterable[Compound]) -> Iterator[Draft]:
    """Rows of molcustom_atomnum, molcustom_bondnum and molcustom_functionalgroup."""
    by_question: dict[str, list[Draft]] = {}
    for compound in compounds:
        for draft in _drafts(compound):
            by_question.setdefault(draft.question, []).append(draft)
    for question, drafts in by_question.items():
        shuffled = sorted(drafts, key=lambda draft: unit_hash(question, draft.answer))
        split = shuffled[0].split  # a question is asked in the split of one of its molecules, drawn at random, and with those only
        yield from [draft for draft in shuffled if draft.split is split][:MAX_ANSWERS_PER_QUESTION]


def _drafts(compound: Compound) -> Iterator[Draft]:
    view = Molecule(compound.mol)

    def draft(task: str, counts: Mapping[str, int]) -> Draft:
        return Draft(task, {"counts": dict(sorted(counts.items()))}, compound.smiles, compound.size, compound.split, "counted")

    yield draft("molcustom_atomnum", compound.atoms)
    bonds = {kind: count for kind, count in bond_counts(view).items() if count}
    for number in range(1, len(bonds) + 1):  # every choice of kinds: the kinds that are not named are free
        for kinds in combinations(bonds, number):
            yield draft("molcustom_bondnum", {kind: bonds[kind] for kind in kinds})
    groups = {name: count for name, count in group_counts(view).items() if count}
    if 0 < len(groups) <= MAX_GROUPS:
        yield draft("molcustom_functionalgroup", groups)
