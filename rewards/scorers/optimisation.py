"""MolOpt: change a computed property by the size asked for while staying close to the input.

Without a size, any carbon, nitro group or lost atom at any place answers every question of its direction (REWARDS §3.3). So rows say how
far the property is to move. TOMG-Bench's own test does not: there the best of such rules is the yardstick, and equalling it earns half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from rdkit import Chem

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.fields import choice_field, optional_size, optional_text, text_field
from rewards.grading import graded
from rewards.molecule import Molecule, answer_molecule, reference_molecule
from rewards.plausibility import DRUG_ELEMENTS, require_plausible
from rewards.property_change import DIRECTIONS, OPTIMISED, Optimised
from rewards.registry import scorer
from rewards.similarity import closeness, count_tanimoto, expected_similarity
from rewards.substance import same_substance
from rewards.verdict import Reason, Verdict

MAX_SIZE_DIFFERENCE = 3  # heavy atoms that the change may add or remove beyond what the reference does
MAX_OPEN_SIZE_CHANGE = 6  # the same where there is no reference: a ring more or less
FULL_OVER_RULE = 2.0
"""How many times the best one-atom rule's change per atom earns everything where no size is asked for; equalling it earns 1 over this."""
_RULE_ATOMS = (6, 7, 8, 9, 16, 17, 35, 53)  # C N O F S Cl Br I


@scorer("molopt_logp")
def score_logp(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Crippen logP changed by ``inputs["by"]``, within 0.1; see :func:`_score_change`."""
    return _score_change("molopt_logp", answer, inputs, reference)


@scorer("molopt_mr")
def score_mr(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Crippen molar refractivity changed by ``inputs["by"]`` cm³/mol, within 0.75; see :func:`_score_change`."""
    return _score_change("molopt_mr", answer, inputs, reference)


@scorer("molopt_qed")
def score_qed(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """QED changed by ``inputs["by"]``, within 0.01; see :func:`_score_change`."""
    return _score_change("molopt_qed", answer, inputs, reference)


def _score_change(task: str, answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """``closeness`` times the agreement of the change, from ``inputs["smiles"]`` in ``inputs["direction"]``, with the size asked for.

    The size is ``inputs["by"]``; a row with a reference and without it asks for the reference's own change. See
    :meth:`rewards.property_change.Optimised.agreement`. Guards: one component; not the input itself in any form; same total charge;
    plausible, elements C H N O F P S Cl Br I; at most 3 heavy atoms more added or removed than by the reference.
    ``reference["answer"]`` is a valid minimal change and scores 1; so does any change of its size that stays about as close to the input.
    Without it the yardstick is ``expected_similarity``, and at most 6 heavy atoms are added or removed. A row that asks for no size and
    has no reference is an open question: see :func:`_best_rule`.
    """
    wanted = OPTIMISED[task]
    source = reference_molecule(text_field(inputs, "smiles"))
    direction = choice_field(inputs, "direction", DIRECTIONS)
    by = optional_size(inputs, "by")
    example_text = optional_text(reference, "answer")
    example = None if example_text is None else reference_molecule(example_text)
    if by is not None and by < wanted.margin:
        raise BadReferenceError(f"field 'by' asks for {by:g}; a change of the {wanted.name} counts from {wanted.margin:g} on")
    if example_text is not None:
        by = _size_of_row(wanted, _own_change(task, text_field(inputs, "smiles"), example_text, direction), direction, by)
    molecule = answer_molecule(answer)
    if len(molecule.components) != 1:
        raise AnswerRejectedError(Reason.FRAGMENTS)
    if same_substance(molecule, source):
        raise AnswerRejectedError(Reason.COPIED_INPUT)
    if sum(molecule.formal_charges) != sum(source.formal_charges):
        raise AnswerRejectedError(Reason.UNREASONABLE)
    require_plausible(molecule, like=(source,) if example is None else (source, example), elements=DRUG_ELEMENTS)
    size_limit = MAX_OPEN_SIZE_CHANGE if example is None else abs(example.heavy_atoms - source.heavy_atoms) + MAX_SIZE_DIFFERENCE
    if abs(molecule.heavy_atoms - source.heavy_atoms) > size_limit:
        return Verdict(0.0, Reason.WRONG)
    change = wanted.moved(source, molecule, direction)
    if by is not None:
        agreement = wanted.agreement(change, by)
    elif change >= wanted.margin:
        rule = _best_rule(task, text_field(inputs, "smiles"), direction)
        agreement = min(1.0, change / _changed_atoms(source, molecule) / rule / FULL_OVER_RULE)
    else:
        agreement = 0.0
    if agreement == 0.0:
        return Verdict(0.0, Reason.WRONG, {"change": change})
    similarity = count_tanimoto(molecule, source)
    yardstick = expected_similarity(source) if example is None else count_tanimoto(example, source)
    parts = {"change": change, "agreement": agreement, "similarity": similarity, "yardstick": yardstick}
    return graded(agreement * closeness(similarity, yardstick), parts)


@lru_cache(maxsize=4096)
def _own_change(task: str, smiles: str, example: str, direction: str) -> float:
    """What a row's reference moves the property by. Cached, as :func:`_best_rule`."""
    return OPTIMISED[task].moved(reference_molecule(smiles), reference_molecule(example), direction)


def _size_of_row(wanted: Optimised, moved: float, direction: str, by: float | None) -> float:
    """The size that a row with a reference asks for. Raises BadReferenceError where the reference is no answer to the question."""
    if moved < wanted.margin:
        raise BadReferenceError(
            f"field 'answer' changes the {wanted.name} by {moved:+.3g} in the direction asked ({direction}); "
            f"expected at least {wanted.margin:g}"
        )
    if by is not None and wanted.agreement(moved, by) < 1.0:
        raise BadReferenceError(
            f"field 'by' asks for {by:g}, but field 'answer' changes the {wanted.name} by {moved:.3g}; "
            f"expected the two within {wanted.tolerance_of(by):.2g} of each other"
        )
    return moved if by is None else by


def _changed_atoms(source: Molecule, molecule: Molecule) -> int:
    """Heavy atoms that came or went, by element, whichever are more; an exchange is one, and so is a change of bonds alone."""
    before, after = source.heavy_elements, molecule.heavy_elements
    changes = [after.get(element, 0) - before.get(element, 0) for element in before.keys() | after.keys()]
    return max(1, sum(change for change in changes if change > 0), -sum(change for change in changes if change < 0))


@lru_cache(maxsize=4096)
def _best_rule(task: str, smiles: str, direction: str) -> float:
    """The largest change per atom of a small set of rules that know nothing of the molecule; at least the margin.

    An atom of C, N, O, F, S, Cl, Br or I on the first or the last atom that carries hydrogen (only C on a heteroatom), and the first or
    last atom of one neighbour taken off. Cached: all samples of a group share it (QED takes 1 ms a rule).
    """
    wanted, source = OPTIMISED[task], reference_molecule(smiles)
    return max([wanted.margin, *(wanted.moved(source, molecule, direction) for molecule in _one_atom_rules(source.mol))])


def _one_atom_rules(mol: Chem.Mol) -> Iterator[Molecule]:
    plain = Chem.RWMol(mol)
    Chem.RemoveStereochemistry(plain)
    for atom in plain.GetAtoms():
        if atom.GetAtomicNum() == 6 and not atom.GetFormalCharge():  # written in brackets or not, it has the hydrogens that it needs
            atom.SetNumExplicitHs(0)
            atom.SetNoImplicit(False)
    open_atoms = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    ends = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetDegree() == 1 and not atom.GetFormalCharge()]
    for at in {*open_atoms[:1], *open_atoms[-1:]}:
        for number in _RULE_ATOMS if mol.GetAtomWithIdx(at).GetAtomicNum() == 6 else _RULE_ATOMS[:1]:
            editable = Chem.RWMol(plain)
            editable.AddBond(at, editable.AddAtom(Chem.Atom(number)), Chem.BondType.SINGLE)
            anchor = editable.GetAtomWithIdx(at)
            anchor.SetNumExplicitHs(max(0, anchor.GetNumExplicitHs() - 1))
            yield from _sound(editable)
    for at in {*ends[:1], *ends[-1:]}:
        editable = Chem.RWMol(plain)
        editable.RemoveAtom(at)
        yield from _sound(editable)


def _sound(editable: Chem.RWMol) -> Iterator[Molecule]:
    if editable.GetNumAtoms() and Chem.SanitizeMol(editable, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
        yield Molecule(editable.GetMol())
