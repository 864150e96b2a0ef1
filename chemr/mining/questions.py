"""What a teacher is asked.

The student's wording (:mod:`chemr.prompts`) is terse, because its model is small; a teacher is told in full sentences what is asked and in
which form the answer is scored. The gold answer is shown only where it is said so, and then the teacher is told not to betray it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from chemr.data.example import Example
from chemr.mining.teacher import ChatRequest, ChatSampling
from chemr.prompts import render_prompt

if TYPE_CHECKING:
    from chemr.mining.protocol_file import Protocol, SharedHint

MINE, MINE_SHOWN, SYNTHESISE = "mine", "mine_shown", "synthesise"  # purposes

_SMILES = "The answer is one SMILES string and nothing else."
_YES_NO = "The answer is the single word Yes or No."
_CHOICE = "The answer is the SMILES of one of the numbered candidates, copied exactly, without its number."
_EDIT = "Change nothing else. " + _SMILES
_OPTIMISE = "Change the molecule as little as possible: replace, add or remove one small group. " + _SMILES

EXPLANATIONS: Mapping[str, str] = {
    "smiles2formula": "Give the molecular formula of the molecule in Hill order (C, H, then the other elements), e.g. C2H6O.",
    "iupac2formula": "Give the molecular formula of the named compound in Hill order (C, H, then the other elements), e.g. C2H6O.",
    "iupac2smiles": "Give the structure of the named compound. " + _SMILES,
    "smiles2iupac": "Give the systematic IUPAC name of the molecule. The answer is the name and nothing else.",
    "molcustom_atomnum": "Propose one connected molecule with exactly these numbers of heavy atoms and no other elements but hydrogen. "
    + _SMILES,
    "molcustom_bondnum": "Propose one connected molecule with exactly these numbers of bonds between heavy atoms. " + _SMILES,
    "molcustom_functionalgroup": "Propose one connected molecule with exactly these functional groups and no others. " + _SMILES,
    "moledit_add": "Put the functional group on the molecule in place of one hydrogen. " + _EDIT,
    "moledit_del": "Take the functional group off the molecule. " + _EDIT,
    "moledit_sub": "Exchange one functional group of the molecule for another. " + _EDIT,
    "molopt_logp": "Change the molecule so that its octanol-water partition coefficient (logP, Crippen) moves by the size asked for. "
    + _OPTIMISE,
    "molopt_mr": "Change the molecule so that its molar refractivity (cm3/mol, Crippen) moves by the size asked for. " + _OPTIMISE,
    "molopt_qed": "Change the molecule so that its drug-likeness (QED) moves by the size asked for. " + _OPTIMISE,
    "forward": "Predict the main product of the reaction of these reactants and reagents. " + _SMILES,
    "retro": "Propose the reactants of one step that makes this product. The answer is their SMILES, joined by '.', and nothing else.",
    "reactant_selection": "Choose the reactant. " + _CHOICE,
    "ligand_selection": "Choose the ligand. " + _CHOICE,
    "solvent_selection": "Choose the solvent. " + _CHOICE,
    "text2mol": "Give the structure of the molecule that is described. " + _SMILES,
    "mol2text": "Describe the molecule in a few sentences of an encyclopaedia, beginning with 'The molecule is'. The answer is that text.",
    "property_bace": _YES_NO,
    "property_bbbp": _YES_NO,
    "property_hiv": _YES_NO,
    "property_tox21": _YES_NO,
    "property_clintox": _YES_NO,
    "yield_bh": _YES_NO,
    "yield_suzuki": _YES_NO,
}

# What stands in the form for a title and for a claim; a small model copies it (chemr.mining.filters.form reads that as an echo).
FORM_TITLES = ("Title of the step", "Title of the next step")
FORM_CLAIMS = ("what this step finds", "what it finds")
SYSTEM = (
    "You are an expert chemist. You solve a problem step by step, in English, and write only what is true of the molecules at hand. "
    "You write in exactly this form:\n"
    "<think>\n"
    + "".join(f"{number}. **{title}**: {claim}\n" for number, (title, claim) in enumerate(zip(FORM_TITLES, FORM_CLAIMS, strict=True), 1))
    + "</think>\n"
    "<answer>the answer alone</answer>\n"
    "A title is one to six words and says what kind of step it is, in words that fit every problem of this kind. "
    "Nothing follows the closing answer tag."
)
_OPEN = "Solve it in a few numbered steps, each of which makes the next one easier."
_SHOWN = (
    "For your eyes only: the right answer is {answer}\nWrite the steps by which a chemist who does not know the answer would find it, and "
    "end with exactly this answer. Never say or hint that you were given it."
)
_ALONG = (
    "Follow this protocol. Write exactly these steps, with these numbers and titles, and in each what it finds for this problem:\n{steps}"
)


def explanation(task: str) -> str:
    """Raises ValueError for a task that teachers cannot be asked about."""
    if task not in EXPLANATIONS:
        raise ValueError(f"no explanation for teachers of task {task!r}; tasks that have one: {', '.join(EXPLANATIONS)}")
    return EXPLANATIONS[task]


def mining_messages(example: Example, *, shown: bool) -> tuple[dict[str, str], ...]:
    """The conversation that asks for a free trace; ``shown``: with the gold answer."""
    return _conversation(example, _OPEN, shown=shown)


def synthesis_messages(example: Example, protocol: Protocol, hints: Mapping[str, SharedHint], *, shown: bool) -> tuple[dict[str, str], ...]:
    """The conversation that asks for a trace along a protocol."""
    lines = [f"{number}. **{step.title}**: {step.hint(hints)}" for number, step in enumerate(protocol.steps, start=1)]
    return _conversation(example, _ALONG.format(steps="\n".join(lines)), shown=shown)


def without_system(messages: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
    """The same in one message, for models whose chat template has no system role."""
    return ({"role": "user", "content": "\n\n".join(message["content"] for message in messages)},)


def _conversation(example: Example, instruction: str, *, shown: bool) -> tuple[dict[str, str], ...]:
    parts = [render_prompt(example), explanation(example.task), instruction]
    if shown:
        parts.append(_SHOWN.format(answer=example.reference["answer"]))
    return {"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n\n".join(parts)}


def _formed(messages: tuple[dict[str, str], ...], system_role: bool) -> tuple[dict[str, str], ...]:
    return messages if system_role else without_system(messages)


def mining_requests(examples: Sequence[Example], samples: int, sampling: ChatSampling, *, system_role: bool = True) -> list[ChatRequest]:
    """``samples`` free traces of every example without its gold answer, then as many with it."""
    return [
        ChatRequest(_formed(mining_messages(example, shown=shown), system_role), sampling, sample, example, MINE_SHOWN if shown else MINE)
        for shown in (False, True)
        for example in examples
        for sample in range(samples)
    ]


def synthesis_requests(
    examples: Sequence[Example],
    protocols: Mapping[str, Protocol],
    hints: Mapping[str, SharedHint],
    samples: int,
    sampling: ChatSampling,
    *,
    shown: bool,
    system_role: bool = True,
) -> list[ChatRequest]:
    """``samples`` traces along its task's protocol for every example whose task has one."""
    return [
        ChatRequest(_formed(messages, system_role), sampling, sample, example, SYNTHESISE)
        for example in examples
        if example.task in protocols
        for messages in [synthesis_messages(example, protocols[example.task], hints, shown=shown)]
        for sample in range(samples)
    ]
