"""What a person types, as a question of a task: checked, with the wording that training uses."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rdkit.Chem import rdMolDescriptors

from chemr.data.example import Example
from chemr.playground.errors import QuestionError
from chemr.playground.names import Names
from chemr.prompts import prompted_tasks
from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.formula import ELEMENTS
from rewards.functional_groups import GROUP_NAMES, group_name
from rewards.molecule import Molecule, answer_molecule
from rewards.properties import BOND_KINDS
from rewards.property_change import DIRECTIONS, OPTIMISED
from rewards.verdict import Reason

MAX_TEXT_CHARS = 4_000


class Kind(StrEnum):
    """What the text of a question is."""

    molecule = "molecule"  # SMILES, or a name that is turned into SMILES
    name = "name"
    counts = "counts"
    reaction = "reaction"
    text = "text"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a task is asked.

    Attributes:
        field: where the text goes in the row's inputs.
        label, example: for people.
        settings: further fields: name -> the values that it may have; empty for any text, a number or SMILES.
    """

    field: str
    kind: Kind
    label: str
    example: str
    settings: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


_MOLECULE, _NAME = "Molecule (SMILES or name)", "Systematic name"
_CHANGE: Mapping[str, tuple[str, ...]] = {"direction": DIRECTIONS, "by": ()}
_PROPERTY = Asked("smiles", Kind.molecule, _MOLECULE, "CC(=O)Oc1ccccc1C(=O)O")
_ROLES = Asked("reaction", Kind.text, "Reaction, components by role", "reactant A: …, reactant B: …, base C: …", {"candidates": ()})
_YIELD = Asked("reaction", Kind.reaction, "Reaction (SMILES)", "CCO.CC(=O)O>>CCOC(C)=O")

ASKED: Mapping[str, Asked] = {
    "smiles2formula": Asked("smiles", Kind.molecule, _MOLECULE, "CC(=O)OCC"),
    "iupac2formula": Asked("iupac", Kind.name, _NAME, "2-methylbutanoic acid"),
    "iupac2smiles": Asked("iupac", Kind.name, _NAME, "3-methoxybutan-1-ol"),
    "smiles2iupac": Asked("smiles", Kind.molecule, _MOLECULE, "CCC(C)O"),
    "molcustom_atomnum": Asked("counts", Kind.counts, "Heavy atoms", "C=4 O=1"),
    "molcustom_bondnum": Asked("counts", Kind.counts, "Bonds", "single=4 double=1"),
    "molcustom_functionalgroup": Asked("counts", Kind.counts, "Groups", "amine=1 thiol=1"),
    "moledit_add": Asked("smiles", Kind.molecule, _MOLECULE, "CCCC", {"add": GROUP_NAMES}),
    "moledit_del": Asked("smiles", Kind.molecule, _MOLECULE, "CCCCO", {"remove": GROUP_NAMES}),
    "moledit_sub": Asked("smiles", Kind.molecule, _MOLECULE, "CCCCBr", {"remove": GROUP_NAMES, "add": GROUP_NAMES}),
    "molopt_logp": Asked("smiles", Kind.molecule, _MOLECULE, "CCCO", _CHANGE),
    "molopt_mr": Asked("smiles", Kind.molecule, _MOLECULE, "CCCO", _CHANGE),
    "molopt_qed": Asked("smiles", Kind.molecule, _MOLECULE, "CCCO", _CHANGE),
    "forward": Asked("reactants", Kind.molecule, "Reactants (SMILES, joined by dots)", "CCO.CC(=O)Cl"),
    "retro": Asked("product", Kind.molecule, "Product (SMILES or name)", "CCOC(C)=O"),
    "reactant_selection": Asked("product", Kind.molecule, "Product (SMILES or name)", "CCOC(C)=O", {"given": (), "candidates": ()}),
    "ligand_selection": _ROLES,
    "solvent_selection": _ROLES,
    "text2mol": Asked("caption", Kind.text, "Description", "a chain of 4 carbons, amine at 1"),
    "mol2text": _PROPERTY,
    "property_bace": _PROPERTY,
    "property_bbbp": _PROPERTY,
    "property_hiv": _PROPERTY,
    "property_tox21": _PROPERTY,
    "property_clintox": _PROPERTY,
    "yield_bh": _YIELD,
    "yield_suzuki": _YIELD,
}


@dataclass(frozen=True, slots=True)
class Question:
    """A row to ask. Its reference is what RDKit or OPSIN knows of the right answer; empty where only nature or a chemist does.

    Attributes:
        molecules: SMILES that the question is about, for claims and drawings.
        notes: what a person should know, e.g. what a name was read as.
    """

    example: Example
    molecules: tuple[str, ...]
    notes: tuple[str, ...]


def question(task: str, text: str, settings: Mapping[str, str], names: Names) -> Question:
    """The question that a person typed.

    Raises:
        QuestionError: no such task, no such molecule, a setting that is missing or unknown.
    """
    asked = ASKED.get(task)
    if asked is None:
        raise QuestionError(f"there is no task {task!r}; tasks: {', '.join(prompted_tasks())}")
    text = text.strip()
    if not text:
        raise QuestionError(f"{task} asks for: {asked.label}, e.g. {asked.example}")
    if len(text) > MAX_TEXT_CHARS or not text.isprintable():
        raise QuestionError(f"the text should be one printable line of at most {MAX_TEXT_CHARS:,} characters")
    inputs: dict[str, Any] = {}
    notes: list[str] = []
    reference: dict[str, Any] = {}
    match asked.kind:
        case Kind.molecule:
            inputs[asked.field], found = _molecule(text, names)
            notes += found
            molecules = [inputs[asked.field]]
        case Kind.name:
            inputs[asked.field], molecules = text, _named(text, names, notes)
        case Kind.counts:
            inputs[asked.field], molecules = _counts(task, text), []
        case Kind.reaction:
            inputs[asked.field], molecules = text, _reaction(text)
        case Kind.text:
            inputs[asked.field], molecules = text, []
    inputs |= _settings(task, asked, settings, molecules)
    if molecules and task in ("smiles2formula", "iupac2formula"):
        reference["answer"] = rdMolDescriptors.CalcMolFormula(_read(molecules[0]).mol)
    elif molecules and task == "iupac2smiles":
        reference["answer"] = molecules[0]
    row = Example(f"chat/{task}", task, inputs, reference, 0.0, "a person", "")
    return Question(row, tuple(molecules), tuple(notes))


def _molecule(text: str, names: Names) -> tuple[str, list[str]]:
    """(SMILES, notes) of a SMILES or a name."""
    try:
        _read(text)
        return text, []
    except QuestionError as no_smiles:
        if not any(char.islower() for char in text) or _looks_like_smiles(text):
            raise
        if names.why_not:
            raise QuestionError(f"{no_smiles}; if it is a name: {names.why_not}") from None
        found = names.smiles(text)
        if found is None:
            raise QuestionError(f"{_short(text)} is neither SMILES that RDKit reads nor a name that OPSIN reads") from None
        return _read(found).canonical, [f"{text} is {_read(found).canonical}, as OPSIN reads it"]


def _named(text: str, names: Names, notes: list[str]) -> list[str]:
    """The molecule of a name, where names can be read; a note where they cannot."""
    if names.why_not:
        notes.append(f"{names.why_not}; so the answer is not scored")
        return []
    found = names.smiles(text)
    if found is None:
        raise QuestionError(f"{_short(text)} is no systematic name that OPSIN reads; this task takes a name, not SMILES")
    return [_read(found).canonical]


def _read(text: str) -> Molecule:
    """Raises QuestionError."""
    try:
        return answer_molecule(text)
    except AnswerRejectedError as error:
        raise QuestionError(f"{_short(text)} is no molecule: {_WHY[error.reason]}") from None


_WHY: Mapping[Reason, str] = {
    Reason.TOO_LONG: "it is longer than any SMILES that is read here",
    Reason.BAD_CHARACTERS: "it has characters that SMILES does not have",
    Reason.INVALID_MOLECULE: "RDKit does not read it as SMILES (brackets, ring numbers or valences do not fit)",
    Reason.GUARDED_MOLECULE: "it is larger or of another shape than what is read here (wildcards, hundreds of atoms)",
}


def _looks_like_smiles(text: str) -> bool:
    return bool(re.search(r"[=#@\\/]|\[[A-Z]|\(=", text))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _reaction(text: str) -> list[str]:
    sides = text.split(">")
    if len(sides) != 3 or not sides[0] or not sides[2]:
        raise QuestionError(f"{_short(text)} is no reaction: reactants>>products or reactants>agents>products was expected")
    for side in sides:
        if side:
            _read(side)
    return [side for side in sides if side]


_PAIR = re.compile(r"([A-Za-z][A-Za-z_ ]*?)\s*[=:]?\s*(\d{1,3})")


def _counts(task: str, text: str) -> dict[str, int]:
    """``C=4 O=1``, ``C4 O1``, ``benzene ring = 1, amine = 2``."""
    counts: dict[str, int] = {}
    rest = _PAIR.sub("", text).strip(" ,;")
    pairs = [(match[1].strip(), int(match[2])) for match in _PAIR.finditer(text)]
    if rest or not pairs:
        raise QuestionError(f"{_short(text)}: counts were expected, e.g. {ASKED[task].example}")
    for name, count in pairs:
        known, kinds = _known_count(task, name)
        if not known:
            raise QuestionError(f"{task} does not count {name!r}; it counts {kinds}")
        if not 1 <= count <= 100:
            raise QuestionError(f"{name}={count}: a number from 1 to 100 was expected")
        counts[known] = count
    return counts


def _known_count(task: str, name: str) -> tuple[str, str]:
    """(the name as rows have it, or nothing; what is counted)."""
    if task == "molcustom_atomnum":
        return (name if name in ELEMENTS - {"H"} else "", "elements other than hydrogen, by symbol")
    if task == "molcustom_bondnum":
        return (name if name in BOND_KINDS else "", ", ".join(BOND_KINDS))
    try:
        return group_name(name), ""
    except BadReferenceError:
        return "", ", ".join(GROUP_NAMES)


def _settings(task: str, asked: Asked, given: Mapping[str, str], molecules: list[str]) -> dict[str, Any]:
    """The further fields of the row; SMILES among them are put to ``molecules``. Raises QuestionError."""
    for name in given:
        if name not in asked.settings:
            raise QuestionError(f"{task} has no setting {name!r}; it has {', '.join(asked.settings) or 'none'}")
    found: dict[str, Any] = {}
    for name, choices in asked.settings.items():
        value = given.get(name, "").strip()
        if not value:
            raise QuestionError(f"{task} needs {name}={setting_form(task, name)}")
        if choices:
            key = value.lower().replace(" ", "_")
            if key not in choices:
                raise QuestionError(f"{name}={value}: {setting_form(task, name)} was expected")
            found[name] = key
        elif name == "by":
            found[name] = _size(task, value)
        elif name == "candidates":
            found[name] = [part.strip() for part in value.split(",") if part.strip()]
            molecules += [_checked(part) for part in found[name]]
        else:
            found[name] = _checked(value)
            molecules.append(value)
    return found


def setting_form(task: str, name: str) -> str:
    """What a setting may be, for people."""
    if ASKED[task].settings[name]:
        return f"one of {', '.join(ASKED[task].settings[name])}"
    if name == "by":
        return f"a number from {OPTIMISED[task].margin:g} on{', in ' + OPTIMISED[task].unit if OPTIMISED[task].unit else ''}"
    return "SMILES, joined by commas"


def _size(task: str, value: str) -> float:
    """How far a property is to move. Raises QuestionError."""
    try:
        size = float(value)
    except ValueError:
        size = math.nan
    if not OPTIMISED[task].margin <= size < math.inf:
        raise QuestionError(f"by={_short(value)}: {setting_form(task, 'by')} was expected")
    return size


def _checked(text: str) -> str:
    _read(text)
    return text


def score_meaning(task: str) -> str:
    """What a score of the playground says; empty for tasks whose right answer is not known here."""
    return next((meaning for prefix, meaning in _MEANING.items() if task.startswith(prefix)), "")


_MEANING: Mapping[str, str] = {
    "smiles2formula": "against the formula that RDKit computes",
    "iupac2formula": "against the formula of the molecule that OPSIN reads in the name",
    "iupac2smiles": "against the molecule that OPSIN reads in the name",
    "smiles2iupac": "whether OPSIN reads the name as the molecule",
    "molcustom": "by the counts that were asked for",
    "moledit": "by the groups that changed and by closeness to the molecule; no reference is needed",
    "molopt": "by how near the property's change is to the size asked for and by closeness to the molecule; no reference is needed",
}
