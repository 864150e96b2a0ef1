"""MolEdit: add, remove or exchange one functional group of a molecule.

The benchmark counts groups and nothing else, so ``input + ".fragment"`` wins always and any molecule that happens to have the counts wins
too (REWARDS §3.3). Here the value is ``closeness`` to the input, measured against the row's own edit, once the count rule and all guards
hold: 1 for every edit that is about as minimal as the reference, 0 for another molecule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rewards.edit_site import own_atoms_gone, same_site
from rewards.errors import AnswerRejectedError
from rewards.fields import optional_text, text_field
from rewards.functional_groups import group_counts, group_name
from rewards.grading import graded
from rewards.molecule import Molecule, answer_molecule, reference_molecule
from rewards.plausibility import require_plausible
from rewards.registry import scorer
from rewards.similarity import closeness, count_tanimoto, expected_similarity
from rewards.substance import drawn_like, same_structure, same_substance
from rewards.verdict import Reason, Verdict

MAX_HEAVY_ATOM_CHANGE = 15
MAX_SIZE_DIFFERENCE = 4  # heavy atoms more or less than the reference edit changes
MAX_OTHER_GROUP_CHANGE = 2
ELSEWHERE = 0.3
"""Share of its value that an edit keeps which is more, or elsewhere, than the group asked for."""


@scorer("moledit_add")
def score_add(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Exactly one ``inputs["add"]`` more than in ``inputs["smiles"]``; see :func:`_score_edit`."""
    return _score_edit(answer, inputs, reference, {group_name(text_field(inputs, "add")): 1})


@scorer("moledit_del")
def score_del(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Exactly one ``inputs["remove"]`` less than in ``inputs["smiles"]``; see :func:`_score_edit`."""
    return _score_edit(answer, inputs, reference, {group_name(text_field(inputs, "remove")): -1})


@scorer("moledit_sub")
def score_sub(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Exactly one ``inputs["remove"]`` less and one ``inputs["add"]`` more than in ``inputs["smiles"]``; see :func:`_score_edit`."""
    rule = {group_name(text_field(inputs, "remove")): -1, group_name(text_field(inputs, "add")): 1}
    return _score_edit(answer, inputs, reference, rule)


def _score_edit(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any], rule: Mapping[str, int]) -> Verdict:
    """``closeness`` if the counts change by ``rule``, else 0.

    Guards, in order: not the input itself in any form; as many fragments as the input; plausible; at most 15 heavy atoms
    more or less, and at most 4 from what the reference changes; an addition adds and a deletion takes away heavy atoms, so that exchanging
    the group for another one is neither; no group outside the rule changes by more than 2; the own atoms of a removed group are gone. An
    addition or exchange that does more, or puts the new group elsewhere than the old one was, keeps 0.3 of its value, unless the reference
    does so too. ``reference["answer"]`` is a valid minimal edit and scores 1; a row without it is an open question, measured against
    ``expected_similarity`` and the first size limit only.
    """
    source = reference_molecule(text_field(inputs, "smiles"))
    example_text = optional_text(reference, "answer")
    example = None if example_text is None else reference_molecule(example_text)
    molecule = answer_molecule(answer)
    if same_substance(molecule, source):
        raise AnswerRejectedError(Reason.COPIED_INPUT)
    molecule = example if example is not None and same_structure(molecule, example) else drawn_like(molecule, source)
    if len(molecule.components) != len(source.components):
        raise AnswerRejectedError(Reason.FRAGMENTS)
    require_plausible(molecule, like=(source,) if example is None else (source, example))
    growth = molecule.heavy_atoms - source.heavy_atoms
    beyond_example = 0 if example is None else abs(molecule.heavy_atoms - example.heavy_atoms)
    if abs(growth) > MAX_HEAVY_ATOM_CHANGE or beyond_example > MAX_SIZE_DIFFERENCE:
        return Verdict(0.0, Reason.WRONG)
    if len(rule) == 1 and growth * sum(rule.values()) <= 0:
        return Verdict(0.0, Reason.WRONG)
    before, after = group_counts(source), group_counts(molecule)
    for group, count in after.items():
        change = count - before[group]
        if change != rule[group] if group in rule else abs(change) > MAX_OTHER_GROUP_CHANGE:
            return Verdict(0.0, Reason.WRONG)
    similarity = count_tanimoto(molecule, source)
    yardstick = expected_similarity(source) if example is None else count_tanimoto(example, source)
    value = closeness(similarity, yardstick)
    removed, added = (next((group for group, change in rule.items() if change == sign), None) for sign in (-1, 1))

    def kept(check: Callable[[Molecule], bool]) -> bool:
        """Where the reference itself does not (a ketone's carbon stays in its chain, a linker is taken out), nobody has to do better."""
        return check(molecule) or (example is not None and not check(example))

    if removed is not None and not kept(lambda edited: own_atoms_gone(source, edited, removed, added)):
        return Verdict(0.0, Reason.WRONG, {"similarity": similarity, "yardstick": yardstick})
    in_place = added is None or kept(lambda edited: same_site(source, edited, removed, added))
    return graded(value if in_place else ELSEWHERE * value, {"similarity": similarity, "yardstick": yardstick, "in_place": float(in_place)})
