"""What each filter reads in single texts, so that a change of its reading is seen."""

from __future__ import annotations

import pytest

from chemr.data.example import Example
from chemr.mining.filters.claims import claim_reasons, claims_job, claims_of
from chemr.mining.filters.claims_scorer import NEEDED_ATOMS, check_claims
from chemr.mining.filters.form import betrayal_reasons, follow, normalised_title
from chemr.mining.filters.language import language_reasons
from chemr.mining.filters.repetition import repetition_reasons
from chemr.mining.protocol_file import Protocol, ProtocolStep
from chemr.mining.trace_text import FoundStep
from rewards.grounding import CLAIM_SMARTS
from rewards.verdict import Reason, Verdict

PROTOCOL = Protocol(
    "smiles2formula",
    (ProtocolStep("Count carbon atoms", also_called=("Carbons",)), ProtocolStep("Count hydrogen atoms"), ProtocolStep("Formula")),
)


def followed(*titles: str, claim: str = "6") -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    found = follow([FoundStep(n, title, claim) for n, title in enumerate(titles, start=1)], PROTOCOL, 82.0, 1)
    return found.places, found.reasons


def test_titles_may_be_worded_a_little_differently() -> None:
    assert followed("Counting the carbon atoms", "Count hydrogens atom", "The formula") == ((0, 1, 2), ())
    assert followed("Carbons", "Count hydrogen atoms", "Formula") == ((0, 1, 2), ()), "another name of the step counts"


def test_a_similar_title_does_not_stand_in_for_a_missing_step() -> None:
    places, reasons = followed("Count carbon atoms", "Formula")
    assert reasons == ("missing_step",) and places == (0, 2)
    assert "missing_step" in followed("Count carbon atoms", "Count carbon atoms", "Formula")[1], "one step twice is not two steps"


def test_order_emptiness_and_additions_are_reasons_of_their_own() -> None:
    assert followed("Count hydrogen atoms", "Count carbon atoms", "Formula")[1] == ("step_order",)
    assert followed("Count carbon atoms", "Count hydrogen atoms", "Formula", claim=" … ")[1] == ("empty_step",)
    assert followed("Count carbon atoms", "Check", "Count hydrogen atoms", "Formula")[1] == ()
    assert followed("Plan", "Count carbon atoms", "Check", "Count hydrogen atoms", "Formula")[1] == ("extra_steps",)


def test_titles_are_compared_by_their_words_that_matter() -> None:
    assert normalised_title("The Number of Rings:") == normalised_title("number rings") == "number ring"
    assert normalised_title("the") == "the", "a title of nothing but small words stays one"


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("It contains an ester and a nitro group.", ("ester", "nitro")),
        ("No ester is present.", ()),
        ("An ester, amide or ketone is absent.", ()),
        ("It has no ester but an amide is there.", ("amide",)),
        ("If it were an ester, it would smell.", ()),
        ("Is there an ester?\nYes.", ()),
        ("1. **Ester or acid**: it has a hydroxyl.", ("hydroxyl",)),
        ("It is an ester and nothing more.", ("ester",)),
        ("Nothing here is an ester.", ()),
        ("Esters are made from alcohols.", ()),
        ("2-hydroxypropane is read as C3", ()),
        ("A tetrahedral intermediate with an alcohol forms.", ()),
    ],
)
def test_only_what_is_plainly_said_of_the_molecule_is_a_claim_of_a_group(text: str, groups: tuple[str, ...]) -> None:
    assert claims_of(text).groups == groups


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("The molecular formula is C6H6.", ("C6H6",)),
        ("formula: C₂H₆O", ("C₂H₆O",)),
        ("So its molecular formula = **$C_{6}H_{6}$**.", ("C6H6",)),
        ("The formula of a methyl group is CH3.", ()),
        ("The general formula is CnH2n+2.", ()),
        ("The formula is not C6H6.", ()),
        ("Leaves: H2O", ()),
    ],
)
def test_only_the_formula_of_a_whole_molecule_is_a_claim(text: str, formulas: tuple[str, ...]) -> None:
    assert claims_of(text).formulas == formulas


@pytest.mark.parametrize(
    ("text", "rings"),
    [
        ("It has two rings.", (2,)),
        ("There are 3 rings in total.", (3,)),
        ("The number of rings is 0.", (0,)),
        ("There are no rings.", (0,)),
        ("It contains two aromatic rings.", ()),
        ("The two rings share a bond.", ()),
        ("It has one ring system.", ()),
        ("Two rings of six atoms are fused.", ()),
        ("Opening the ring gives a chain.", ()),
    ],
)
def test_only_a_number_of_all_rings_is_a_claim(text: str, rings: tuple[int, ...]) -> None:
    assert claims_of(text).rings == rings


def row(task: str, inputs: dict, answer: str) -> Example:
    return Example(f"t/{task}", task, inputs, {"answer": answer}, 0.5, "tests", "Apache-2.0")


def false_claims(example: Example, answer: str, thinking: str) -> list[str]:
    job = claims_job(f"<think>{thinking}</think><answer>{answer}</answer>", thinking, example)
    return [] if job is None else sorted(name for name in check_claims(answer, job.inputs, {}).parts if ":" in name)


def test_a_claim_is_false_when_no_molecule_of_row_or_answer_bears_it_out() -> None:
    forward = row("forward", {"reactants": "CC(=O)O.CCO"}, "CCOC(C)=O")
    assert false_claims(forward, "CCOC(C)=O", "The acid has a carboxyl, the product is an ester. Its molecular formula is C4H8O2.") == []
    assert false_claims(forward, "CCOC(C)=O", "The product is an amide. It has two rings. The molecular formula is C9H9.") == [
        "false_formula:C9H9",
        "false_group:amide",
        "false_rings:2",
    ]


def test_what_cannot_be_known_is_not_held_against_a_trace() -> None:
    named = row("iupac2formula", {"iupac": "ethanol"}, "C2H6O")
    assert false_claims(named, "C2H6O", "It is an ether and has a hydroxyl. It has two rings.") == [], "no molecule to compare with"
    assert false_claims(named, "C2H6O", "It is an ester. It has a nitro group.") == ["false_group:ester", "false_group:nitro"], "its atoms"
    assert false_claims(named, "C2H6O", "The molecular formula is C3H8O.") == ["false_formula:C3H8O"]
    assert false_claims(row("smiles2formula", {"smiles": "C[NH3+]"}, "CH6N+"), "CH6N+", "The molecular formula is CH6N.") == [], (
        "a charge left out"
    )


def test_claims_that_could_not_be_checked_are_not_taken_for_true() -> None:
    assert claim_reasons(Verdict(None, Reason.TIMEOUT)) == ["claims_unchecked: timeout"]
    assert claim_reasons(Verdict(0.0, Reason.WRONG, {"false_group:ester": 1.0, "claims": 1.0})) == ["false_group: ester"]


def test_every_group_that_can_be_claimed_has_its_atoms() -> None:
    assert {*NEEDED_ATOMS, "halo"} == set(CLAIM_SMARTS)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("The ring of α-D-glucose is counted and the β carbon is found.", []),
        ("CC(=O)Oc1ccccc1C(=O)O", []),
        ("C6H6", []),
        ("We use the Büchi and Grubbs–Höveyda notes on de novo synthesis, et al.", []),
        ("这个分子含有一个苯环", ["other_script"]),
        ("The molecule 含有一个苯环和一个羟基 as we can see from the SMILES string.", ["other_script"]),
        ("Wir zählen die Atome, und das Molekül ist mit einer Gruppe verbunden.", ["other_language"]),
        ("The formula is right. La molécule contient des atomes et les groupes sont dans la chaîne. We are done.", ["other_language"]),
    ],
)
def test_languages(text: str, reasons: list[str]) -> None:
    assert language_reasons(text, 0.05) == reasons


def test_repeating_units_of_a_molecule_at_hand_are_no_repetition() -> None:
    chain = "NCC(=O)" * 60
    text = f"1. **Atoms**: the peptide {chain} is a chain.\n" + ", ".join(["CH2"] * 50)
    assert repetition_reasons(text, 0.35, [chain]) == []
    assert repetition_reasons(text, 0.35, []) == ["endless_token"], "of nobody's molecule it is"


def test_loops_are_found_wherever_they_stand() -> None:
    loop = "the carbon is bound to the next one and "
    assert "loop" in repetition_reasons("First we count. " + loop * 6 + "Then it ends. " * 1, 0.35)
    assert "repeated_lines" in repetition_reasons("\n".join(f"{n}. check the ring again" for n in range(1, 6)), 0.35)
    assert repetition_reasons("C1 is sp3. C2 is sp3. C3 is sp3. C4 is sp2. C5 is sp2.", 0.35) == []


@pytest.mark.parametrize(
    ("text", "betrays"),
    [
        ("This matches the given answer.", True),
        ("The answer was given as CCO.", True),
        ("We were told the result.", True),
        ("The molecule is given by its SMILES, and the answer follows.", False),
        ("The given molecule has a ring; so the answer is C6H6.", False),
    ],
)
def test_a_trace_that_knew_the_answer_says_so(text: str, betrays: bool) -> None:
    assert bool(betrayal_reasons(text)) == betrays
