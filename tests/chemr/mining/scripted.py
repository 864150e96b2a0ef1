"""Test equipment: a teacher that writes what a script says and counts what it is asked, and traces with planted errors.

Clean traces are built from the starter's rows and from larger molecules of everyday chemistry. Each mixes the programmatic teacher's steps
with English prose about groups, formulas and rings that is true by construction, denials and conditions included. A planted error changes
one thing in a clean trace.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemr.data.example import Example
from chemr.mining.errors import TeacherStopped
from chemr.mining.protocol_file import Protocol, ProtocolStep
from chemr.mining.teacher import ChatReply, ChatRequest
from chemr.prompts import completion_with_trace
from chemr.protocols.steps import read_steps
from chemr.protocols.teacher import PROTOCOLS, write_trace
from rewards.grounding import CLAIM_SMARTS

GROUP_WORDS = {
    "benzene_ring": ("benzene ring", "phenyl group"),
    "hydroxyl": ("hydroxyl group", "alcohol"),
    "anhydride": ("anhydride",),
    "aldehyde": ("aldehyde",),
    "ketone": ("ketone",),
    "carboxyl": ("carboxylic acid", "carboxyl group"),
    "ester": ("ester",),
    "amide": ("amide",),
    "amine": ("amine", "amino group"),
    "nitro": ("nitro group",),
    "halo": ("halogen", "halide"),
    "nitrile": ("nitrile", "cyano group"),
    "thiol": ("thiol",),
    "sulfide": ("sulfide", "thioether"),
    "disulfide": ("disulfide",),
    "sulfoxide": ("sulfoxide",),
    "sulfone": ("sulfone",),
    "borane": ("boron atom",),
}
_PATTERNS = {name: Chem.MolFromSmarts(smarts) for name, smarts in CLAIM_SMARTS.items()}
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

LARGE = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CCCCCCCCCCCCCCCC(=O)O",
    "OCCOCCOCCOCCOCCOCCOCCOCCO",
    "NCC(=O)NCC(=O)NCC(=O)NCC(=O)NCC(=O)NCC(=O)O",
    "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCC",
    "CC12CCC3C(CCc4cc(O)ccc34)C1CCC2O",
    "CN1CCC23C4C1CC5=C2C(=C(C=C5)O)OC3C(C=C4)O",
    "c1ccc2cc3ccccc3cc2c1",
    "CC(C)(C)c1cc(cc(c1O)C(C)(C)C)CCC(=O)OCC(COC(=O)CCc1cc(c(O)c(c1)C(C)(C)C)C(C)(C)C)(COC(=O)CCc1cc(c(O)c(c1)C(C)(C)C)C(C)(C)C)COC(=O)"
    "CCc1cc(c(O)c(c1)C(C)(C)C)C(C)(C)C",
    "CC1=C(C(CCC1)(C)C)C=CC(=CC=CC(=CC(=O)O)C)C",
    "O=C(O)CCCCCCCCCCC(=O)O",
    "C1CCC2(CC1)OCCO2",
    "CS(=O)(=O)c1ccc(cc1)C1=C(C(=O)OC1)c1ccccc1",
    "Clc1ccc(cc1)C(c1ccc(Cl)cc1)C(Cl)(Cl)Cl",
    "OB(O)c1ccc(F)cc1",
    "CSCCC(N)C(=O)O",
    "OC(=O)C(N)CSSCC(N)C(=O)O",
    "N#Cc1ccc(cc1)[N+](=O)[O-]",
    "FC(F)(F)C(F)(F)C(F)(F)C(F)(F)C(F)(F)C(F)(F)C(F)(F)C(=O)O",
    "CCCCC(CC)COC(=O)c1ccccc1C(=O)OCC(CC)CCCC",
    "O=C1OC(=O)c2ccccc12",
    "CC(=O)Nc1ccc(O)cc1",
    "CN(C)CCCN1c2ccccc2Sc2ccccc12",
    "C[N+](C)(C)CCO",
    "O=Cc1ccc(O)c(OC)c1",
    "CC(=O)C1CCC2C1(CCC3C2CCC4=CC(=O)CCC34C)C",
)


def molecule_rows() -> list[Example]:
    """Formula questions about the larger molecules."""
    rows = []
    for number, smiles in enumerate(LARGE):
        mol = Chem.MolFromSmiles(smiles)
        formula = rdMolDescriptors.CalcMolFormula(mol)
        inputs, reference = {"smiles": smiles}, {"answer": formula}
        rows.append(Example(f"test/large/{number}", "smiles2formula", inputs, reference, 0.9, "chemr tests", "Apache-2.0"))
    return rows


def protocol_of(task: str) -> Protocol:
    """The programmatic protocol of a task, as a mined one."""
    return Protocol(task, tuple(ProtocolStep(title, f"the {title.lower()}") for title in PROTOCOLS[task].titles))


def subject(example: Example) -> Chem.Mol | None:
    """The molecule that prose can be about: the question's, or else the answer's."""
    for text in (example.inputs.get("smiles"), example.inputs.get("product"), example.reference.get("answer")):
        mol = Chem.MolFromSmiles(text) if isinstance(text, str) and "." not in text and " " not in text else None
        if mol is not None and mol.GetNumAtoms():
            return mol
    return None


def mentioned_molecules(example: Example) -> list[Chem.Mol]:
    """Every molecule of the row, so that a planted claim is false of all of them."""
    texts = [example.inputs.get(name) for name in ("smiles", "reactants", "product", "given")]
    texts += [*example.inputs.get("candidates", []), example.reference.get("answer")]
    parts = [part for text in texts if isinstance(text, str) and " " not in text for part in (text, *text.split("."))]
    found = [Chem.MolFromSmiles(part, sanitize=True) for part in dict.fromkeys(parts)]
    return [mol for mol in found if mol is not None and mol.GetNumAtoms()]


def groups_of(mols: Sequence[Chem.Mol]) -> set[str]:
    return {name for name, pattern in _PATTERNS.items() if any(mol.HasSubstructMatch(pattern) for mol in mols)}


GROUP_PROSE = (
    "The molecule contains a {word}.",
    "There is at least one {word} in it, which we keep in mind.",
    "I can see that the {word} sits at the end of the SMILES.",
)
DENIALS = (
    "No {word} is present.",
    "A {word} is absent.",
    "It has no {word}, {second} or similar group.",
    "A {word}: none.",
    "If it were a {word}, the formula would be another one.",
    "Unlike a {word}, it keeps its hydrogens.",
    "There is neither a {word} nor a {second}.",
    "Is there a {word}? There is not.",
    "The {word} is not part of the structure.",
    "A {word} might be expected from the name, which is misleading.",
    "Such rings are often made from a {word}.",
    "The molecule does not contain any {word}.",
    "Each {word} would count as one group.",
    "Adding a {word} lowers the partition coefficient, for instance.",
    "For comparison, a {word} such as the one in textbooks has another formula.",
    "The {word} was ruled out above.",
    "Had there been a {word}, whether or not next to a {second}, the name would say so.",
    "Nothing here is a {word}.",
    "A {word}? The SMILES shows none.",
    "The name of a {word} ends differently.",
)
FORMULA_PROSE = (
    "The molecular formula is {formula}.",
    "formula: {formula}",
    "The formula of the molecule is {formula}.",
    "So the molecular formula of this compound is **{formula}**.",
    "The general formula of an alkane is CnH2n+2.",
    "The formula of a methyl group is CH3.",
    "In total, the molecular formula = {formula}, as counted.",
    "The degree of unsaturation follows from the formula: (2C+2+N-H)/2.",
    "The formula is correct, as a second count shows.",
    "The empirical formula is CH2, if only the chain is counted.",
    "I write the formula in Hill order: carbon, hydrogen, then the rest.",
    "The condensed formula of the side chain is C3H7.",
)
RING_PROSE = (
    "It has {rings}.",
    "The number of rings is {count}.",
    "Ring count: {count}",
    "One ring bond is closed by each pair of digits.",
    "These two rings, if there are two, may share atoms.",
    "It has one ring system or more.",
    "A six-membered ring has six atoms.",
    "It has one ring carbon that carries a substituent.",
    "Each ring closure adds one ring to the chain, so two rings need two pairs of digits.",
    "The two rings, where there are two, need not share a bond.",
    "It contains 2 ring substituents or fewer.",
    "An aromatic ring counts as one ring and three double bonds.",
)
CHAIN_PROSE = ("There are no rings.", "It has no ring, so the chain is open.", "The number of rings is 0.", "An acyclic chain.")
DIALECTS = (
    "{n}. **{t}**: {c}",
    "{n}. **{t}:** {c}",
    "**{n}. {t}**: {c}",
    "### Step {n}: {t}\n{c}",
    "**Step {n}: {t}**\n{c}",
)


def true_prose(example: Example, draw: random.Random) -> list[str]:
    """English sentences about the row's molecule that are true, or say nothing that could be false."""
    mol = subject(example)
    lines = ["We read the question first and keep the order of the atoms.", "The longest chain and all rings are found before the rest."]
    if mol is None:
        return lines
    here = sorted(groups_of([mol]))
    for name in draw.sample(here, min(2, len(here))):
        lines.append(draw.choice(GROUP_PROSE).format(word=draw.choice(GROUP_WORDS[name])))
    absent = sorted(set(GROUP_WORDS) - groups_of(mentioned_molecules(example)))
    if absent:
        word, second = (draw.choice(GROUP_WORDS[draw.choice(absent)]) for _ in range(2))
        lines.append(draw.choice(DENIALS).format(word=word, second=second))
    lines.append(draw.choice(FORMULA_PROSE).format(formula=rdMolDescriptors.CalcMolFormula(mol)))
    count = mol.GetRingInfo().NumRings()
    rings = f"{NUMBER_WORDS[count] if count < len(NUMBER_WORDS) else count} ring{'s' * (count > 1)}"
    lines.append(draw.choice(RING_PROSE).format(rings=rings, count=count) if count else draw.choice(CHAIN_PROSE))
    if max(Counter(atom.GetSymbol() for atom in mol.GetAtoms()).values()) > 12:
        lines.append("The chain goes " + ", ".join(["CH2"] * 14) + " and then ends.")
        lines.append("Atom by atom: " + " ".join(f"C{number} carries two hydrogens," for number in range(1, 8)))
        lines.append("\n".join(f"- C{number}: sp3 carbon, two hydrogens" for number in range(1, 24)))
    return lines


def clean_completion(example: Example, draw: random.Random) -> str:
    """A true trace: sometimes as terse as the programmatic teacher's, mostly with prose in its steps."""
    steps = [(step.title, step.claim) for step in read_steps(write_trace(example))]
    if draw.random() < 0.8:
        prose = true_prose(example, draw)
        draw.shuffle(prose)
        for place, (title, claim) in enumerate(steps):
            share = prose[place :: len(steps)]
            steps[place] = (title, "\n".join([claim, *share]) if draw.random() < 0.5 else " ".join([*share, f"So: {claim}"]))
    dialect = draw.choice(DIALECTS)
    trace = "\n".join(dialect.format(n=number, t=title, c=claim) for number, (title, claim) in enumerate(steps, start=1))
    if draw.random() < 0.3:
        trace = "Let us work through this step by step.\n" + trace
    return completion_with_trace(trace, example.reference["answer"])


@dataclass(frozen=True)
class Case:
    """A completion, the row it is about, and the filter that must speak against it ("" for a clean one)."""

    example: Example
    completion: str
    planted: str


class ScriptedTeacher:
    """Answers by a function of the request and counts requests by key; stops, when told to, after so many answers."""

    def __init__(self, write: Callable[[ChatRequest], str], model: str = "scripted", stop_after: int | None = None) -> None:
        self._write = write
        self._model = model
        self.stop_after = stop_after
        self.asked: Counter[str] = Counter()

    @property
    def model(self) -> str:
        return self._model

    async def answer(self, request: ChatRequest) -> ChatReply:
        if self.stop_after is not None and self.asked.total() >= self.stop_after:
            raise TeacherStopped("the script says stop")
        self.asked[request.key(self._model)] += 1
        return ChatReply(self._write(request), prompt_tokens=100, completion_tokens=50, model=self._model)

    async def close(self) -> None:
        pass
