"""Test equipment: at least 200 planted cases of each kind of error, and at least 200 clean ones, from real rows; all by one seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemr.data.example import Example
from chemr.mining.trace_text import answer_of, found_steps, thinking_of
from chemr.prompts import completion_with_trace
from rewards.formula import parse_formula
from tests.chemr.mining.scripted import GROUP_WORDS, NUMBER_WORDS, Case, clean_completion, groups_of, mentioned_molecules, subject

CASES = 220  # of each kind

Plant = Callable[[Example, str, random.Random, Sequence[Example]], str | None]
"""(row, its clean completion, randomness, all rows) -> the completion with one error, or None where this row cannot have it."""


@dataclass(frozen=True)
class Kind:
    """An error, the reasons that may be given for it, and the filters it may rightly alarm besides."""

    name: str
    reasons: frozenset[str]
    plant: Plant
    also: frozenset[str] = frozenset()


def rewritten(completion: str, steps: Sequence[tuple[str, str]], answer: str | None = None) -> str:
    trace = "\n".join(f"{number}. **{title}**: {claim}" for number, (title, claim) in enumerate(steps, start=1))
    return completion_with_trace(trace or "Well.", answer_of(completion) if answer is None else answer)


def steps_of(completion: str) -> list[tuple[str, str]]:
    return [(step.title, step.claim) for step in found_steps(thinking_of(completion))]


def with_sentence(completion: str, sentence: str, draw: random.Random) -> str:
    """The sentence at the beginning, in the middle or at the end of some step's claim."""
    steps = steps_of(completion)
    place = draw.randrange(len(steps))
    title, claim = steps[place]
    lines = claim.split("\n")
    lines.insert(draw.randrange(len(lines) + 1), sentence)
    steps[place] = (title, "\n".join(lines))
    return rewritten(completion, steps)


def wrong_answer(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    answer = example.reference["answer"]
    broken = draw.choice(["", answer + " or something else", "C1CC(", "I do not know"])
    wrong = broken
    if example.task.endswith("formula") and draw.random() < 0.8:
        formula = parse_formula(answer)
        wrong = "".join(f"{element}{count + (element == 'H') * 2 or ''}" for element, count in formula.atoms.items())
        wrong = wrong if wrong != answer and "H" in formula.atoms else broken
    elif example.task.startswith(("moledit", "molopt")) and draw.random() < 0.8:
        wrong = example.inputs["smiles"]  # nothing was edited
    elif example.task in ("iupac2smiles", "text2mol", "forward", "molcustom_atomnum") and draw.random() < 0.8:
        others = [row.reference["answer"] for row in rows if row.task == example.task and composition(row) != composition(example)]
        wrong = draw.choice(others) if others else broken
    if not wrong:
        return completion.replace(f"<answer>{answer}</answer>", "<answer></answer>")
    return rewritten(completion, steps_of(completion), wrong)


def composition(row: Example) -> str:
    mol = Chem.MolFromSmiles(row.reference["answer"])
    return str(rdMolDescriptors.CalcMolFormula(mol)) if mol is not None else ""


def missing_step(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    steps = steps_of(completion)
    place = draw.randrange(len(steps))
    if draw.random() < 0.5:
        del steps[place]
    else:  # something else in its place
        steps[place] = (draw.choice(["Conclusion", "Final check", "Restate the question", "Remarks"]), "This is what was asked for.")
    if draw.random() < 0.3:
        steps.append(("Summary", "The answer follows from the above."))
    return rewritten(completion, steps)


def empty_step(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    steps = steps_of(completion)
    place = draw.randrange(len(steps))
    steps[place] = (steps[place][0], draw.choice(["", "...", "?", "…"]))
    return rewritten(completion, steps)


def wrong_order(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    steps = steps_of(completion)
    if len(steps) < 2:
        return None
    first, second = sorted(draw.sample(range(len(steps)), 2))
    steps[first], steps[second] = steps[second], steps[first]
    return rewritten(completion, steps)


def false_group(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    mols = mentioned_molecules(example)
    absent = sorted(set(GROUP_WORDS) - groups_of(mols))
    if not mols:  # of a name in and a formula out, only what its atoms rule out can be known
        atoms = parse_formula(example.reference["answer"]).atoms if example.task == "iupac2formula" else {"B": 1, "S": 1, "N": 1}
        absent = [group for group, element in (("borane", "B"), ("thiol", "S"), ("nitro", "N"), ("amide", "N")) if element not in atoms]
    if not absent:
        return None
    word = draw.choice(GROUP_WORDS[draw.choice(absent)])
    sentence = draw.choice(
        [
            f"The molecule contains a {word}.",
            f"We see a {word} at the end of the chain.",
            f"It is a {word}, as its SMILES shows.",
            f"A {word} is attached to the first carbon.",
            f"Its {word} gives it away.",
            f"The {word} stays as it is.",
            f"This leaves the {word} in place; nothing else changes.",
            f"Groups found: {word}.",
            f"There is one {word} in the structure.",
            f"Looking closer, the atom next to it belongs to a {word}.",
            f"Reading from the left, a {word} comes first and the rest of the chain follows.",
            f"The carbonyl carbon is part of the {word} ({word}).",
            f"- {word}: present",
            f"So we keep the ring, the chain and the {word} in mind.",
            f"Clearly a {word} and nothing more.",
        ]
    )
    return with_sentence(completion, sentence, draw)


def false_formula(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    mol = subject(example)
    text = rdMolDescriptors.CalcMolFormula(mol) if mol is not None else example.reference["answer"] if "formula" in example.task else None
    if text is None:
        return None
    atoms = dict(parse_formula(text).atoms)
    element = draw.choice(sorted(atoms))
    atoms[element] += draw.choice([1, 2, 3]) + (17 if element == "H" else 7)
    wrong = "".join(f"{name}{count if count > 1 else ''}" for name, count in atoms.items())
    sentence = draw.choice(
        [
            f"The molecular formula is {wrong}.",
            f"formula: {wrong}",
            f"The formula of the molecule is {wrong}.",
            f"Molecular formula: {wrong}",
            f"So the molecular formula of this compound is **{wrong}**.",
            f"The formula is {wrong}, by counting.",
            f"Adding up, we get the molecular formula {wrong}.",
            f"The molecular formula of the molecule is therefore {wrong}",
            f"- Molecular formula: **{wrong}**",
            f"Hence its formula is {wrong}.",
            f"Its molecular formula = ${wrong}$.",
        ]
    )
    return with_sentence(completion, sentence, draw)


def false_rings(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    mols = mentioned_molecules(example)
    if not mols:
        return None
    counts = {count for mol in mols for count in (mol.GetRingInfo().NumRings(), mol.GetNumBonds() - mol.GetNumAtoms() + 1)}
    wrong = draw.choice([count for count in range(0, 10) if count not in counts])
    word = NUMBER_WORDS[wrong]
    plural = "" if wrong == 1 else "s"
    sentences = [
        f"It has {word} ring{plural}.",
        f"The number of rings is {wrong}.",
        f"Ring count: {wrong}",
        f"The molecule contains {wrong} ring{plural}.",
    ]
    sentences += [
        f"Number of rings: **{wrong}**",
        f"- {word} ring{plural} in total",
        f"This compound has exactly {word} ring{plural}, as drawn.",
    ]
    sentences += ["There are no rings.", "The molecule has no rings."] if wrong == 0 else [f"There are {word} ring{plural} in total."]
    return with_sentence(completion, draw.choice(sentences), draw)


FOREIGN = {
    "German": [
        "Das Molekül enthält einen Ring und eine Gruppe, die mit dem Kohlenstoff verbunden ist.",
        "Wir zählen zuerst die Atome und dann die Bindungen, weil das einfacher ist.",
        "Die Summenformel wird aus den Atomen bestimmt, nicht aus dem Namen.",
    ],
    "French": [
        "La molécule contient un cycle et les atomes sont comptés avec soin dans cette chaîne.",
        "Nous comptons les atomes de carbone et nous cherchons le groupe qui est le plus long.",
        "On trouve donc une chaîne avec des groupes qui sont liés par une liaison double.",
    ],
    "Spanish": [
        "La molécula contiene un anillo y los átomos se cuentan con cuidado en esta cadena.",
        "Contamos los átomos de carbono y buscamos el grupo que tiene una cadena más larga.",
        "Por lo tanto, el compuesto tiene una fórmula que se obtiene de los átomos.",
    ],
    "Italian": [
        "La molecola contiene un anello e gli atomi sono contati con cura nella catena.",
        "Contiamo gli atomi di carbonio e cerchiamo il gruppo che è legato alla catena.",
        "La formula della molecola si ottiene dagli atomi che sono nella catena e nel gruppo.",
    ],
    "Portuguese": [
        "A molécula contém um anel e os átomos são contados com cuidado em uma cadeia.",
        "Contamos os átomos de carbono e o grupo que não tem uma ligação dupla com os outros.",
    ],
    "Dutch": [
        "Het molecuul heeft een ring en wij tellen eerst de atomen van het koolstofskelet voor de formule.",
        "De formule wordt niet uit de naam maar uit het aantal atomen van een molecuul bepaald.",
    ],
    "Polish": [
        "Cząsteczka zawiera pierścień i liczymy najpierw atomy węgla, a następnie wiązania wewnątrz łańcucha.",
    ],
    "Chinese": [
        "这个分子含有一个环和一个官能团,我们先数碳原子。",
        "首先找到最长的碳链,然后确定取代基的位置。",
    ],
    "Russian": [
        "Молекула содержит кольцо, и мы сначала считаем атомы углерода.",
        "Сначала найдём самую длинную цепь и все группы.",
    ],
    "Japanese": [
        "この分子には環が一つあり、まず炭素原子を数えます。",
    ],
    "Korean": [
        "이 분자는 고리를 하나 가지고 있으며 먼저 탄소 원자를 셉니다.",
    ],
    "Greek": [
        "Το μόριο περιέχει έναν δακτύλιο και μετράμε πρώτα τα άτομα του άνθρακα.",
    ],
}


def other_language(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    sentences = FOREIGN[draw.choice(sorted(FOREIGN))]
    if draw.random() < 0.5 or len(sentences) < len(steps_of(completion)):
        return with_sentence(completion, draw.choice(sentences), draw)
    said = draw.sample(sentences, len(steps_of(completion)))  # each once: the same sentence in every step would be a repetition too
    bare = [(title, claim.split("\n")[0].split(". So: ")[-1]) for title, claim in steps_of(completion)]
    return rewritten(completion, [(title, f"{sentence} {claim}") for sentence, (title, claim) in zip(said, bare, strict=True)])


def endless(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    unit = draw.choice(
        [
            "We count the atoms of the chain again.",
            "wait, let me check this once more,",
            "the carbon is bound to the next carbon and",
            "and so on",
            "Now the ring is looked at, then the chain, then the groups at its end, and after that the ring is looked at again from there.",
            "Let me recount:",
            "However, this cannot be right because the count is off by one, so we start from the beginning.",
            "again",
        ]
    )
    laps = draw.randrange(6, 40) if len(unit.split()) > 3 else draw.randrange(45, 120)
    how = draw.randrange(4)
    if how == 0:
        text = " ".join([unit] * laps)
    elif how == 1:
        text = "\n".join([unit] * laps) if len(unit.split()) >= 3 else "\n".join([f"{unit} and {unit} and"] * laps)
    elif how == 2:
        text = "\n".join(f"{number}) {unit}" for number in range(20, 20 + max(laps, 24)))
    else:
        text = draw.choice(["C(=O)N", "CC", "c1ccccc1", "=C=C", "ha", "-", "OCC"]) * draw.randrange(260, 400)
    steps = steps_of(completion)
    place = draw.randrange(len(steps))
    steps[place] = (steps[place][0], f"{steps[place][1]}\n{text}")
    return rewritten(completion, steps)


_LONG_WORDS = (
    *("carbon", "atom", "bond", "chain", "ring", "name", "count", "first", "second", "number", "group", "part", "molecule", "end", "side"),
    *("position", "order", "place", "line", "sum"),
)


def wrong_length(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    if draw.random() < 0.3:
        return completion_with_trace(draw.choice(["Easy.", "C", "1. yes", "ok", "-"]), answer_of(completion))
    sentences = []
    for _ in range(draw.randrange(170, 260)):
        words = draw.choices(_LONG_WORDS, k=9)
        sentences.append(f"Here the {words[0]} and the {words[1]} go with a {' '.join(words[2:])} of it.")
    return with_sentence(completion, " ".join(sentences), draw)


def betrayal(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    sentence = draw.choice(
        [
            "This agrees with the given answer.",
            "The correct answer is already given, so we only explain it.",
            "As the provided answer shows, it is right.",
            "We were told that this is the result.",
            "I was given the result beforehand.",
            "The answer provided confirms this.",
            "Comparing with the reference answer, we are done.",
            "The expected answer has the same number of atoms.",
            "Since the answer was given as above, the steps lead to it.",
            "This matches the known correct answer.",
        ]
    )
    return with_sentence(completion, sentence, draw)


ECHOED_TITLES = [
    *("Title of the step", "Title of the next step", "Title of the nextstep", "Title of the previousstep", "Title of the last step"),
    *("title of the Step", "Title of the next", "Title of this step", "The title of the step"),
]
ECHOED_CLAIMS = [
    *("What this step finds", "what it finds", "What this step finds.", "What it finds, in words that fit this problem"),
    *("What it finds. No continuation.", "(What this step finds)", "*What it finds* in detail"),
]


def echo(example: Example, completion: str, draw: random.Random, rows: Sequence[Example]) -> str | None:
    """As SmolLM2-135M-Instruct did it: the form's own title or claim in a step, in a step more, or nearly so."""
    steps = steps_of(completion)
    title = draw.choice(ECHOED_TITLES)
    claim = draw.choice(ECHOED_CLAIMS)
    place = draw.randrange(len(steps))
    match draw.randrange(3):
        case 0:  # the claim of a step of the protocol
            steps[place] = (steps[place][0], f"{claim} {draw.choice(['', steps[place][1]])}")
        case 1:  # a step more, with an example's title
            steps.insert(place, (title, draw.choice([claim, "The carbon atoms are counted."])))
        case _:  # all titles
            steps = [(title, text) for _, text in steps]
    return rewritten(completion, steps)


KINDS = (
    Kind("wrong answer", frozenset(("answer",)), wrong_answer),
    Kind("missing step", frozenset(("missing_step",)), missing_step, frozenset(("too_short",))),
    Kind("empty step", frozenset(("empty_step",)), empty_step, frozenset(("too_short",))),
    Kind("wrong order", frozenset(("step_order",)), wrong_order),
    Kind("false functional-group claim", frozenset(("false_group",)), false_group),
    Kind("false formula claim", frozenset(("false_formula",)), false_formula),
    Kind("false ring count", frozenset(("false_rings",)), false_rings),
    Kind("length", frozenset(("too_short", "too_long")), wrong_length, frozenset(("missing_step", "extra_steps"))),
    Kind(
        "endless repetition", frozenset(("loop", "repeated_lines", "repeated_ngrams", "endless_token")), endless, frozenset(("too_long",))
    ),
    Kind("other language", frozenset(("other_script", "other_language")), other_language),
    Kind("betrays the answer", frozenset(("betrays_answer",)), betrayal),
    Kind("echoes the form", frozenset(("echoes_form",)), echo, frozenset(("missing_step", "extra_steps", "too_short", "repeated_ngrams"))),
)


def cases(rows: Sequence[Example], seed: int = 0) -> Iterator[Case]:
    """``CASES`` clean cases and as many of every kind, each from another draw of rows."""
    draw = random.Random(f"planted/{seed}")
    for number in range(2 * CASES):
        example = rows[number % len(rows)]
        yield Case(example, clean_completion(example, draw), "")
    for kind in KINDS:
        made = 0
        order = list(rows)
        draw.shuffle(order)
        number = 0
        while made < CASES:
            example = order[number % len(order)]
            number += 1
            planted = kind.plant(example, clean_completion(example, draw), draw, rows)
            if planted is not None:
                made += 1
                yield Case(example, planted, kind.name)
