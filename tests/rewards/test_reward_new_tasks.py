"""Yes/no questions, selection by rank, captions, open questions without a gold: what each pays, and the hacks of REWARDS §3.3 on them."""

from __future__ import annotations

import pytest

from rewards.errors import BadReferenceError
from rewards.scoring import score_answer
from rewards.text_similarity import bleu2, looks_like_smiles, meteor_stem, repetition, rouge_l, words
from rewards.verdict import Reason

YES_NO = [f"property_{name}" for name in ("bace", "bbbp", "hiv", "tox21", "clintox")] + ["yield_bh", "yield_suzuki"]

CAPTION = (
    "The molecule is a monocarboxylic acid amide that is the amide of 4-aminobenzoic acid with an ethylenediamine. It has a role as an "
    "anti-arrhythmia drug and a sodium channel blocker. It derives from a benzamide and is a conjugate base of a procainamide(1+)."
)


# -- yes or no ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", YES_NO)
def test_exactly_one_of_the_two_words_counts(task):
    for gold, other in (("Yes", "No"), ("No", "Yes")):
        assert score_answer(task, gold, {"smiles": "CCO"}, {"answer": gold}).value == 1.0
        verdict = score_answer(task, other, {"smiles": "CCO"}, {"answer": gold})
        assert (verdict.value, verdict.reason) == (0.0, Reason.WRONG)


@pytest.mark.parametrize(
    "hedge",
    [
        *(
            "Yes..",
            ".Yes",
            "Yes!",
            "Yes No",
            "No, Yes",
            "Yes/No",
            "Yes\nNo",
            "Yes ",
            "**Yes**",
            "Y",
            "True",
            "1",
            "nan",
            "Ｙes",
            "Yes\u200b",
        ),
        *("Yes or maybe No", "No Yes", "\\boxed{Yes}", "The answer is Yes", "CCO", "\ud800Yes", "Υes"),
    ],
)
def test_a_hedge_is_no_answer_to_a_yes_no_question(hedge):
    for gold in ("Yes", "No"):
        verdict = score_answer("property_hiv", hedge, {"smiles": "CCO"}, {"answer": gold})
        assert (verdict.value, verdict.reason) == (0.0, Reason.NOT_A_CHOICE), f"{hedge!r} was read as {gold}"


@pytest.mark.parametrize("word", ["yes", "YES", "Yes.", "yes."])
def test_case_and_a_full_stop_are_free(word):
    assert [score_answer("property_hiv", word, {}, {"answer": gold}).value for gold in ("Yes", "No")] == [1.0, 0.0]


def test_the_constant_answer_earns_the_majority_class_and_no_more():
    golds = ["No"] * 80 + ["Yes"] * 20
    assert sum(score_answer("yield_bh", "No", {}, {"answer": gold}).value for gold in golds) == 80.0
    assert sum(score_answer("yield_bh", "Yes", {}, {"answer": gold}).value for gold in golds) == 20.0


def test_a_row_with_another_label_is_broken():
    for label in ("yes", "1", 1, True, None):
        with pytest.raises(BadReferenceError):
            score_answer("property_bbbp", "Yes", {}, {"answer": label})


# -- selection ---------------------------------------------------------------------------------------------------------

SOLVENTS = {"candidates": ["CO", "CC#N", "C1CCOC1"]}
SOLVENT_RANK = {"answer": "CC#N", "ranked": ["CC#N", "C1CCOC1", "CO"]}


SELECTIONS = ["solvent_selection", "reactant_selection", "ligand_selection"]


@pytest.mark.parametrize("task", SELECTIONS)
def test_another_candidate_earns_what_it_is_better_here_than_everywhere_else(task):
    ranked = [f"P({'C' * n})({'C' * n}){'C' * n}" for n in range(1, 6)]
    inputs = {"candidates": ranked[::-1]}
    reference = {"answer": ranked[0], "ranked": ranked, "prior": [0.5, 0.5, 0.5, 0.9, 0.5]}  # of the candidates, the last ranked first
    values = [score_answer(task, smiles, inputs, reference).value for smiles in ranked]
    assert values == [1.0, 0.0, 0.0, 0.0, 0.0], "standing 0.75 of a candidate that stands at 0.9 everywhere is nothing"
    reference["prior"] = [0.0, 0.5, 0.4, 0.25, 1.0]
    values = [score_answer(task, smiles, inputs, reference).value for smiles in ranked]
    assert values == pytest.approx([1.0, 0.3 * (0.75 - 0.25) / 0.75, 0.3 * (0.5 - 0.4) / 0.6, 0.0, 0.0])


@pytest.mark.parametrize("task", SELECTIONS)
def test_without_a_prior_only_the_best_one_counts(task):
    assert [score_answer(task, smiles, SOLVENTS, SOLVENT_RANK).value for smiles in SOLVENT_RANK["ranked"]] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("prior", [[0.5], [0.5, 0.5, 1.5], [0.5, 0.5, float("nan")], [0.5, 0.5, True], [0.5, 0.5, "0.5"], "0.5", 0.5])
def test_a_prior_that_does_not_fit_is_a_broken_row(prior):
    with pytest.raises(BadReferenceError, match="prior"):
        score_answer("ligand_selection", "CO", SOLVENTS, {**SOLVENT_RANK, "prior": prior})


@pytest.mark.parametrize("task", SELECTIONS)
def test_without_a_ranking_only_the_answer_counts(task):
    assert score_answer(task, "N#CC", SOLVENTS, {"answer": "CC#N"}).value == 1.0, "any spelling of a candidate counts"
    assert score_answer(task, "CO", SOLVENTS, {"answer": "CC#N"}).reason is Reason.WRONG
    assert score_answer(task, "CCO", SOLVENTS, {"answer": "CC#N"}).reason is Reason.NOT_A_CHOICE


@pytest.mark.parametrize("answer", ["2", "2.", "2 CC#N", "2: N#CC", "MeCN", "acetonitrile", "CC#N"])
def test_a_candidate_is_named_by_its_number_its_abbreviation_or_any_spelling(answer):
    assert score_answer("solvent_selection", answer, SOLVENTS, SOLVENT_RANK).value == 1.0


def test_a_candidate_in_another_tautomer_is_the_candidate():
    inputs, reference = {"candidates": ["Cc1cc[nH]n1", "CO"]}, {"answer": "Cc1cc[nH]n1"}
    assert score_answer("reactant_selection", "Cc1ccn[nH]1", inputs, reference).value == 1.0


@pytest.mark.parametrize(
    "answer", ["CO.CC#N", "CO,CC#N", "CC#N CO", "1", "2 CO", "1 CC#N", "0", "4", "-1", "2 3", "I", "B", "[13CH3]C#N", "*", "CC#N.CC#N"]
)
def test_a_selection_of_several_or_of_something_else_earns_nothing(answer):
    for task in ("solvent_selection", "ligand_selection"):
        assert score_answer(task, answer, SOLVENTS, SOLVENT_RANK).value == 0.0


def test_candidates_of_several_ions_and_with_iron_can_be_chosen():
    salt, ferrocene = "Cc1ccc2c(cnn2C2CCCCO2)c1[B-](F)(F)F.[K+]", "C1=C[C@H]2[Fe][C@@H]1[C]2P(c1ccccc1)c1ccccc1"
    inputs = {"candidates": [salt, ferrocene, "CO"]}
    for gold in (salt, ferrocene):
        assert score_answer("reactant_selection", gold, inputs, {"answer": gold, "ranked": [gold, "CO"]}).value == 1.0


def test_rankings_that_contradict_the_row_are_broken_rows():
    for ranked in (["CO", "CC#N"], ["CC#N", "CCO"], []):
        with pytest.raises(BadReferenceError):
            score_answer("solvent_selection", "CO", SOLVENTS, {"answer": "CC#N", "ranked": ranked})


# -- captions ----------------------------------------------------------------------------------------------------------


def caption(answer: str) -> float:
    value = score_answer("mol2text", answer, {"smiles": "CCO"}, {"answer": CAPTION}).value
    assert value is not None
    return value


def test_the_gold_caption_earns_one_in_any_spacing_and_case_and_no_other_text_does():
    assert caption(CAPTION) == caption(CAPTION.upper()) == caption(CAPTION.replace(" ", "\n")) == 1.0
    near = caption(CAPTION.replace("sodium", "potassium"))
    assert 0.6 < near <= 0.9, "one wrong word is nearly right, and never as good as right"


@pytest.mark.parametrize(
    "hack",
    [
        "The molecule is a member of the class of compounds. It has a role as a metabolite. It is a conjugate base of an acid.",
        "The molecule is a natural product found in plants with data available.",
        "the the the the the the the the the the the the the the the the the the the the the the the the the the the the the",
        "The molecule is a",
        "amide",
        "CCN(CC)CCNC(=O)c1ccc(N)cc1",
        "a is it and of the. role as an has. It the molecule that with from derives drug channel base",
        "......................................................................",
        "\u200b",
    ],
)
def test_generic_repeated_and_scrambled_captions_earn_next_to_nothing(hack):
    assert caption(hack) <= 0.1, f"{hack!r} says nothing about the molecule, yet earns {caption(hack):.2f}"


def test_saying_it_twice_or_padding_it_costs():
    assert caption(CAPTION + " " + CAPTION) < 0.5
    assert caption(CAPTION + " It is a molecule." * 40) < 0.2
    assert caption(CAPTION[: len(CAPTION) // 4]) < 0.3


@pytest.mark.parametrize(
    "paraphrase",
    [
        "This is the amide formed from 4-aminobenzoic acid and an ethylenediamine, so it is a monocarboxylic acid amide. It is a sodium "
        "channel blocker used as an anti-arrhythmia drug. Its parent is benzamide, and it is a conjugate base of procainamide(1+).",
        "A monocarboxylic acid amide, obtained from 4-aminobenzoic acid and ethylenediamine; anti-arrhythmia drug; sodium channel blocker; "
        "derived from benzamide; conjugate base of procainamide(1+).",
    ],
)
def test_a_caption_that_says_the_same_in_other_words_earns_most(paraphrase):
    assert caption(paraphrase) > 0.6


@pytest.mark.parametrize(
    "wrong",
    [
        CAPTION.replace("is a", "is not a"),
        CAPTION.replace("is a", "is never a", 1),
        CAPTION.replace("It has a role", "It has no role"),
        "".join(str((int(char) + 3) % 10) if char.isdigit() else char for char in CAPTION)
        .replace("amide", "imide")
        .replace("sodium", "iron"),
        "The molecule is a dicarboxylic acid dianion that is the dianion of 2-oxoglutaric acid with a lysine. It has a role as a plant "
        "metabolite and a calcium channel agonist. It derives from a glutarate and is a conjugate base of a 2-oxoglutarate(1-).",
    ],
)
def test_a_caption_in_the_right_style_with_wrong_or_denied_facts_earns_little(wrong):
    assert caption(wrong) <= 0.25


def test_smiles_in_a_caption_count_for_nothing():
    assert caption(CAPTION + " CCN(CC)CCNC(=O)c1ccc(N)cc1") == pytest.approx(0.9, abs=1e-3), "neither a help nor right"
    assert looks_like_smiles("CC(=O)Oc1ccccc1") and looks_like_smiles("C[C@H](N)C(=O)O") and looks_like_smiles("CCCCCCCO")
    for name in (
        "(2R)-2-hydroxypropanoic",
        "(1->4)-beta-D-glucosyl",
        "CoA(4-)",
        "N-acetyl",
        "NADPH",
        "(+)-",
        "C-5",
        "CHEBI",
        "(R)-",
        "1,2",
    ):
        assert not looks_like_smiles(name), f"{name} is no SMILES"


def test_the_text_similarities_are_one_for_equal_and_zero_for_disjoint_texts():
    left, right = words("a b c d e f"), words("u v w x y z")
    for measure in (bleu2, rouge_l):
        assert measure(left, left) == pytest.approx(1.0)
        assert measure(left, right) == measure([], left) == measure(left, []) == 0.0
    assert meteor_stem(words("inhibitors"), words("inhibitor")) == meteor_stem(["x"], ["x"]) > 0.0
    assert rouge_l(words("a x b y c"), words("a b c")) == pytest.approx(2 * 3 / 8)
    assert repetition(words("a b c d " * 5)) > 0.7 > 0.0 == repetition(words("a b c d e f"))


# -- open questions, which have no gold --------------------------------------------------------------------------------

DRUG = "CC(C)Cc1ccc(cc1)C(C)C(=O)NCc1ccccn1"


@pytest.mark.parametrize(
    ("task", "inputs", "honest"),
    [
        ("moledit_add", {"smiles": DRUG, "add": "hydroxyl"}, "CC(C)Cc1ccc(cc1)C(CO)C(=O)NCc1ccccn1"),
        ("moledit_del", {"smiles": DRUG, "remove": "amide"}, "CC(C)Cc1ccc(cc1)C(C)Cc1ccccn1"),
        ("moledit_sub", {"smiles": DRUG + "O", "remove": "hydroxyl", "add": "nitrile"}, DRUG + "C#N"),
        ("molopt_logp", {"smiles": DRUG, "direction": "increase", "by": 0.4}, "CC(C)Cc1ccc(cc1)C(CC)C(=O)NCc1ccccn1"),
        ("molopt_mr", {"smiles": DRUG, "direction": "decrease", "by": 5}, "CC(C)Cc1ccc(cc1)CC(=O)NCc1ccccn1"),
        ("molopt_qed", {"smiles": DRUG, "direction": "decrease", "by": 0.08}, "CC(C)Cc1ccc(cc1)C(C)C(=O)N(C)Cc1ccccn1"),
    ],
)
def test_an_open_question_pays_a_small_change_of_the_input_and_no_hack(task, inputs, honest):
    if task == "moledit_sub":
        inputs, honest = inputs | {"smiles": "Oc1ccc(cc1)C(C)C(=O)NCc1ccccn1"}, "N#Cc1ccc(cc1)C(C)C(=O)NCc1ccccn1"
    source = inputs["smiles"]
    verdict = score_answer(task, honest, inputs, {})
    assert verdict.value == 1.0, f"{honest} is an honest edit of {source}: {verdict}"
    if task.startswith("molopt"):
        inputs = {name: value for name, value in inputs.items() if name != "by"}
        assert 0.1 < score_answer(task, honest, inputs, {}).value < 0.6, "without a size, one atom more or less is what any rule does"
    for hack in (
        source,
        source + ".O",
        source + ".CO",
        source + ".C",
        "C",
        "CCO",
        "CCCCCCCCCCCCCCCCCCCCO",
        "[13CH3]" + source[1:],
        "O=C=O",
    ):
        assert score_answer(task, hack, inputs, {}).value == 0.0, f"{hack} is a hack of {task}"


def test_molopt_margin_and_identity_hold_for_qed():
    inputs = {"smiles": DRUG, "direction": "increase"}
    spelling = "n1ccccc1CNC(=O)C(C)c1ccc(cc1)CC(C)C"
    assert score_answer("molopt_qed", spelling, inputs, {}).reason is Reason.COPIED_INPUT, "rounding noise of the atom order is no gain"
    assert score_answer("molopt_qed", "[2H]" + DRUG, inputs, {}).value == 0.0
    assert score_answer("molopt_qed", "C" * 300, inputs, {}).value == 0.0


def test_molcustom_without_an_example_allows_the_elements_it_asks_for_and_nothing_odd_besides():
    assert score_answer("molcustom_atomnum", "CC[Te]CC", {"counts": {"C": 4, "Te": 1}}, {}).value == 1.0
    assert score_answer("molcustom_atomnum", "COOC", {"counts": {"C": 2, "O": 2}}, {}).value == 0.0, "a peroxide was not asked for"
    assert score_answer("molcustom_bondnum", "CCCC", {"counts": {"single": 3}}, {}).value == 1.0
    assert score_answer("molcustom_functionalgroup", "CCO", {"counts": {"hydroxyl": 1}}, {}).value == 1.0


# -- golds that guards must not refuse -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gold",
    [
        pytest.param("[Na+].[Cl-]", id="ions"),
        pytest.param("[2H]C([2H])([2H])O", id="isotopes"),
        pytest.param("[18F]C1C(O)OC(CO)C(O)C1O", id="radiotracer"),
        pytest.param("[CH3][Hg]Cl", id="organometallic"),
        pytest.param("[Cl-].[Cl-].[Pt+2].N.N", id="complex"),
        pytest.param(".".join(["N"] * 14 + ["O"] * 2 + ["[Cl-]"] * 6 + ["[Ru+2]"] * 3), id="ruthenium-red"),
        pytest.param("[O][N]=O", id="radical"),
        pytest.param("C[N+](C)(C)CC(=O)[O-].O", id="hydrate-of-a-zwitterion"),
    ],
)
def test_ions_isotopes_metals_and_salts_can_be_the_right_answer(gold):
    for task in ("iupac2smiles", "text2mol"):
        assert score_answer(task, gold, {}, {"answer": gold}).value == 1.0
    assert score_answer("forward", gold, {"reactants": "CCCC"}, {"answer": gold}).value == 1.0


def test_a_name_of_nineteen_hundred_characters_can_be_right():
    name = "(2S)-2-" + "[[(2R)-2-amino-3-methylbutanoyl]amino]" * 48
    assert score_answer("smiles2iupac", name, {"smiles": "C"}, {"answer": name}).value == 1.0
