"""The library of policies that do not do the task, each with the most that it may earn.

A policy is a pure function of a row and a random generator. Those with ``may_earn`` are told the right answer and spoil it: their ceiling
is what a near miss of that kind is worth. All others are told nothing, and their ceiling is what a question-blind policy earns on the same
rows plus an allowance.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chemr.data.example import Example
from chemr.data.sources.molecules import parsed
from chemr.redteam import disguises
from rewards.functional_groups import GROUP_SMARTS, count_group

Answer = Callable[[Example, random.Random], str | None]
"""A row's answer, None where the policy has none for it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """``may_earn``: the ceiling of its mean reward where it was told the right answer; None: the allowance above the blind policies."""

    name: str
    answer: Answer
    may_earn: float | None = None


QUESTION_FIELDS = ("smiles", "reactants", "product")
ALLOWANCE = 0.15
WIDE_ALLOWANCE = 0.25
WIDE = frozenset({"molopt_logp", "molopt_mr", "molopt_qed", "mol2text"})
"""A computed property moves with almost any edit, and captions share their facts (acid, human metabolite): some of it comes for nothing."""
_ABSURD: Mapping[str, Sequence[str]] = {
    "hydroxyl": ("NO", "OO", "SO", "C(O)(O)O", "C=CO"),
    "amine": ("NN", "ON", "C(O)N", "C=CN"),
    "nitro": ("N[N+](=O)[O-]", "O[N+](=O)[O-]", "C([N+](=O)[O-])[N+](=O)[O-]"),
    "halo": ("NCl", "OF", "SBr", "I(F)F", "C(O)Cl"),
    "thiol": ("SS", "NS", "C(O)S"),
    "nitrile": ("NC#N", "OC#N", "SC#N", "C#CC#N"),
    "aldehyde": ("OC=O", "SC=O", "C(=O)C=O"),
    "carboxyl": ("NC(=O)O", "OC(=O)O", "SC(=O)O"),
    "ketone": ("C(=O)C(=O)C(=O)C", "C1CC1=O"),
    "ester": ("OC(=O)OC", "OC(=O)C"),
    "amide": ("NC(=O)NO", "ONC(=O)C", "NNC(C)=O"),
    "benzene_ring": ("Nc1ccccc1", "Oc1ccccc1", "Sc1ccccc1", "C=C=Cc1ccccc1"),
    "sulfide": ("SSC", "NSC", "OSC"),
    "disulfide": ("SSS", "SSSC"),
    "sulfoxide": ("NS(C)=O", "OS(C)=O"),
    "sulfone": ("NS(C)(=O)=O", "OS(C)(=O)=O"),
    "anhydride": ("NC(=O)OC(C)=O", "C(=O)OC(=O)O"),
    "borane": ("OB", "NB", "B(B)B"),
}
_PLAIN: Mapping[str, str] = {
    **{"hydroxyl": "O", "amine": "N", "nitro": "[N+](=O)[O-]", "halo": "Cl", "thiol": "S", "nitrile": "C#N", "aldehyde": "C=O"},
    **{"carboxyl": "C(=O)O", "ketone": "C(C)=O", "ester": "C(=O)OC", "amide": "C(N)=O", "benzene_ring": "c1ccccc1", "sulfide": "SC"},
    **{"disulfide": "SSC", "sulfoxide": "S(C)=O", "sulfone": "S(C)(=O)=O", "anhydride": "C(=O)OC(C)=O", "borane": "B"},
}


def policies_for(task: str) -> list[Policy]:
    """The policies of a task, in the order of the table; of a task of somebody's own those that need no chemistry."""
    return [policy for tasks, members in _LIBRARY for policy in members if not tasks or task.startswith(tasks)]


def allowance(task: str) -> float:
    """What a policy may earn above the question-blind ones."""
    return WIDE_ALLOWANCE if task in WIDE else ALLOWANCE


def asked_molecule(row: Example) -> str | None:
    """The molecule that the question shows; of several (reactants) the largest."""
    found = next((row.inputs[name] for name in QUESTION_FIELDS if isinstance(row.inputs.get(name), str)), None)
    return max(found.split("."), key=len) if found else None


def _gold(row: Example) -> str | None:
    answer = row.reference.get("answer")
    return answer if isinstance(answer, str) and answer else None


def _of_question(change: disguises.Disguise) -> Answer:
    def answer(row: Example, rng: random.Random) -> str | None:
        molecule = asked_molecule(row)
        return None if molecule is None else change(molecule, rng)

    return answer


def _of_gold(change: disguises.Disguise, shown: str = "") -> Answer:
    """The right answer, changed; only where the question's molecule has one of the marks ``shown``: nobody knows what is not shown."""

    def answer(row: Example, rng: random.Random) -> str | None:
        gold = _gold(row)
        if gold is None or (shown and not set(shown) & set(asked_molecule(row) or "")):
            return None
        return change(gold, rng)

    return answer


# -- formulas and names


def _written_atom_by_atom(row: Example, rng: random.Random) -> str | None:
    smiles = row.inputs.get("smiles") or row.reference.get("smiles")
    return disguises.atom_by_atom(smiles) if smiles else None


def _one_number_off(text: str, rng: random.Random) -> str | None:
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return None
    chosen = rng.choice(numbers)
    return f"{text[: chosen.start()]}{int(chosen[0]) + rng.choice((1, 2))}{text[chosen.end() :]}"


def _without_hydrogen(text: str, rng: random.Random) -> str | None:
    bare = re.sub(r"H(?![a-z])\d*", "", text)
    return None if bare in ("", text) else bare


def _centres_inverted(text: str, rng: random.Random) -> str | None:
    swapped = re.sub(
        r"(?<=\d)[RS](?=[,)\]a-z-])|(?<=[(,\[])[RSEZ](?=[,)\]])",
        lambda mark: {"R": "S", "S": "R", "E": "Z", "Z": "E"}[mark[0]],
        re.sub(r"(?<=\d)[EZ](?=[,)\]])", lambda mark: {"E": "Z", "Z": "E"}[mark[0]], text),
    )
    return None if swapped == text else swapped


def _stereo_dropped(text: str, rng: random.Random) -> str | None:
    bare = re.sub(r"^-", "", re.sub(r"\((?:\d*[a-zA-Z']?[RSEZ],?)+\)-?", "", text))
    return None if bare in ("", text) else bare


def _digits_changed(text: str, rng: random.Random) -> str | None:
    changed = re.sub(r"\d", lambda digit: str((int(digit[0]) + rng.randint(1, 8)) % 9 + 1), text)
    return None if changed == text else changed


# -- open generation


def _heteroatoms_in_a_row(row: Example, rng: random.Random) -> str | None:
    counts = row.inputs.get("counts", {})
    if row.task != "molcustom_atomnum":
        return None
    hetero = "".join(symbol * counts.get(symbol, 0) for symbol in ("N", "O", "S", "P", "B"))
    return f"{hetero}{'C' * counts.get('C', 0)}" if len(hetero) > 1 else None


def _groups_on_heteroatoms(row: Example, rng: random.Random) -> str | None:
    if row.task != "molcustom_functionalgroup":
        return None
    return (
        "".join(f"N({_PLAIN[name]})" for name, number in sorted(row.inputs["counts"].items()) for _ in range(number) if name in _PLAIN)
        or None
    )


def _absurd_addition(row: Example, rng: random.Random) -> str | None:
    molecule, group = asked_molecule(row), row.inputs.get("add")
    pieces = _ABSURD.get(str(group), ())
    return disguises.attached(molecule, rng.choice(pieces), rng) if molecule and pieces else None


def _group_broken(row: Example, rng: random.Random) -> str | None:
    """One atom or bond of the group changed, and not into the group that is to be put in: with one atom for another that may be right."""
    molecule, group, wanted = asked_molecule(row), str(row.inputs.get("remove")), row.inputs.get("add")
    if molecule is None or group not in GROUP_SMARTS:
        return None
    left = disguises.broken(molecule, rng, GROUP_SMARTS[group])
    return None if left is None or (wanted and _occurrences(left, wanted) > _occurrences(molecule, wanted)) else left


def _occurrences(smiles: str, group: str) -> int:
    mol = parsed(smiles)
    return 0 if mol is None else count_group(mol, group)


def _broken_and_put_elsewhere(row: Example, rng: random.Random) -> str | None:
    left, group = _group_broken(row, rng), str(row.inputs.get("add"))
    return disguises.attached(left, _PLAIN[group], rng) if left and group in _PLAIN else None


def _a_long_chain(row: Example, rng: random.Random) -> str | None:
    molecule = asked_molecule(row)
    return disguises.attached(molecule, "C" * 12, rng) if molecule else None


def _in_front(text: str) -> Answer:
    def answer(row: Example, rng: random.Random) -> str | None:
        molecule = asked_molecule(row)
        return None if molecule is None else text + molecule

    return answer


def _at_the_end(text: str) -> Answer:
    def answer(row: Example, rng: random.Random) -> str | None:
        molecule = asked_molecule(row)
        return None if molecule is None else molecule + text

    return answer


# -- reactions


def _all_reactants(row: Example, rng: random.Random) -> str | None:
    reactants = row.inputs.get("reactants")
    return reactants if isinstance(reactants, str) else None


def _largest_reactant(row: Example, rng: random.Random) -> str | None:
    return asked_molecule(row)


# -- choices


def _candidate(place: int) -> Answer:
    def answer(row: Example, rng: random.Random) -> str | None:
        candidates = row.inputs.get("candidates")
        return candidates[place] if candidates else None

    return answer


def _any_candidate(row: Example, rng: random.Random) -> str | None:
    candidates = row.inputs.get("candidates")
    return rng.choice(candidates) if candidates else None


def _number_one(row: Example, rng: random.Random) -> str | None:
    return "1" if row.inputs.get("candidates") else None


def _every_candidate(row: Example, rng: random.Random) -> str | None:
    candidates = row.inputs.get("candidates")
    return ".".join(candidates) if candidates else None


# -- captions


def _denied(text: str, rng: random.Random) -> str | None:
    denied = re.sub(r"\b(is|has|are)\b", r"\1 not", text)
    return None if denied == text else denied


def _words_shuffled(text: str, rng: random.Random) -> str | None:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words) if len(words) > 3 else None


def _facts_corrupted(text: str, rng: random.Random) -> str | None:
    """All digits changed, and half of the long words spelt backwards."""
    digits = _digits_changed(text, rng) or text
    words = [word[::-1] if len(word) > 6 and rng.random() < 0.5 else word for word in digits.split()]
    return " ".join(words)


def _style_only(row: Example, rng: random.Random) -> str | None:
    return (
        "The molecule is an organic compound that is a member of a class of compounds in which a hydrogen at a position is substituted by "
        "a group. It has a role as a metabolite. It derives from a hydride and is a conjugate acid of an anion."
    )


# -- any task


def errors(number: int) -> Answer:
    """The right answer with ``number`` characters replaced at random by others that it has: honest noise, for comparison."""

    def answer(row: Example, rng: random.Random) -> str | None:
        gold = _gold(row)
        if gold is None or len(gold) <= number:
            return None
        letters = list(gold)
        for place in rng.sample(range(len(letters)), number):
            letters[place] = rng.choice([letter for letter in {*gold} if letter != letters[place]] or ["C"])
        return "".join(letters)

    return answer


def _empty(row: Example, rng: random.Random) -> str | None:
    return "-"


def _question_back(row: Example, rng: random.Random) -> str | None:
    text = next((value for value in row.inputs.values() if isinstance(value, str)), None)
    return text


def _spoilt(may_earn: float) -> tuple[Policy, ...]:
    """Right molecules with one thing wrong."""
    return (
        Policy("right answer, mirrored", _of_gold(disguises.mirrored), may_earn),
        Policy("right answer, a carbon labelled", _of_gold(disguises.labelled), may_earn),
        Policy("right answer, one atom exchanged", _of_gold(disguises.broken), may_earn),
        Policy("right answer and a methyl", _of_gold(disguises.grown), may_earn),
        Policy("right answer cut in two", _of_gold(disguises.in_two_halves), may_earn),
    )


_WRITTEN_ANEW = [
    Policy("question in another order", _of_question(disguises.other_order)),
    Policy("question as a tautomer", _of_question(disguises.tautomer)),
    Policy("question with other charges", _of_question(disguises.charge_form)),
    Policy("question mirrored", _of_question(disguises.mirrored)),
    Policy("question without stereo", _of_question(disguises.without_stereo)),
    Policy("question with a label", _of_question(disguises.labelled)),
    Policy("question cut in two", _of_question(disguises.in_two_halves)),
    Policy("one atom exchanged anywhere", _of_question(disguises.broken)),
    Policy("a methyl anywhere", _of_question(disguises.grown)),
]
_TEXT_EDITS = [
    *(Policy(f"{text} in front", _in_front(text)) for text in ("C", "O", "N", "F", "Cl", "O=[N+]([O-])")),
    *(Policy(f"{text} at the end", _at_the_end(text)) for text in ("C", "O", "Cl", ".C")),
]

_LIBRARY: tuple[tuple[tuple[str, ...], tuple[Policy, ...]], ...] = (
    ((), (Policy("a dash", _empty), Policy("question handed back", _question_back))),
    (
        ("smiles2formula", "iupac2formula"),
        (
            Policy("atom by atom", _written_atom_by_atom),
            Policy("right answer, one number off", _of_gold(_one_number_off), 0.3),
            Policy("right answer without hydrogen", _of_gold(_without_hydrogen), 0.3),
        ),
    ),
    (
        ("smiles2iupac",),
        (
            Policy("right answer, centres inverted", _of_gold(_centres_inverted, "@/"), 0.2),
            Policy("right answer without stereo", _of_gold(_stereo_dropped, "@/"), 0.4),
            Policy("right answer, other digits", _of_gold(_digits_changed), 0.25),
        ),
    ),
    (("iupac2smiles",), _spoilt(0.3)),
    (("text2mol",), _spoilt(0.4)),
    (
        ("molcustom_",),
        (
            Policy("heteroatoms in a row", _heteroatoms_in_a_row),
            Policy("groups on a chain of nitrogen", _groups_on_heteroatoms),
        ),
    ),
    (("molcustom_atomnum",), (Policy("right answer and a methyl", _of_gold(disguises.grown), 0.4),)),
    (
        ("moledit_",),
        (
            Policy("group where it falls off", _absurd_addition),
            Policy("group broken by one atom", _group_broken),
            Policy("group broken, new one elsewhere", _broken_and_put_elsewhere),
        ),
    ),
    (("moledit_", "molopt_"), (*_WRITTEN_ANEW, *_TEXT_EDITS, Policy("a long chain", _a_long_chain))),
    (
        ("forward",),
        (
            Policy("largest reactant", _largest_reactant),
            Policy("all reactants", _all_reactants),
            *_WRITTEN_ANEW,
            *_TEXT_EDITS,
            *_spoilt(0.2),
        ),
    ),
    (("retro",), (*_WRITTEN_ANEW, *_TEXT_EDITS, *_spoilt(0.5))),
    (
        ("reactant_selection", "ligand_selection", "solvent_selection"),
        (
            Policy("last candidate", _candidate(-1)),
            Policy("any candidate", _any_candidate),
            Policy("number one", _number_one),
            Policy("every candidate", _every_candidate),
        ),
    ),
    (
        ("mol2text",),
        (
            Policy("style without facts", _style_only),
            Policy("right answer, denied", _of_gold(_denied), 0.25),
            Policy("right answer, other digits", _of_gold(_digits_changed), 0.5),
            Policy("right answer, words shuffled", _of_gold(_words_shuffled), 0.25),
            Policy("right answer, facts corrupted", _of_gold(_facts_corrupted), 0.25),
        ),
    ),
)
