"""One substance in many forms earns what it should, and is a copy in every form."""

from __future__ import annotations

import time

import pytest

from rewards.iupac_name import plain
from rewards.molecule import answer_molecule
from rewards.scoring import score_answer
from rewards.substance import same_essence, same_structure, same_substance
from rewards.verdict import Reason

FORMS = [
    ("N=C(N)c1ccccc1", "[H]/N=C(/N)c1ccccc1"),
    ("[H]/N=C(\\CC)C", "[H]/N=C(/CC)C"),
    ("Cc1ccn[nH]1", "Cc1cc[nH]n1"),
    ("c1nc[nH]n1", "c1n[nH]cn1"),
    ("O=c1cc[nH]cc1", "Oc1ccncc1"),
    ("CC(=N)O", "CC(N)=O"),
    ("CS(C)=O", "C[S+](C)[O-]"),
    ("CP(C)(C)=O", "C[P+](C)(C)[O-]"),
    ("NCC(=O)O", "[NH3+]CC(=O)[O-]"),
    ("C[NH3+].[Cl-]", "CN.Cl"),
    ("C[N-][N+]#N", "CN=[N+]=[N-]"),
    ("C[C@H](O)[C@H](F)Cl", "C[C@H](O)C(F)Cl"),
    ("C/C=C/C(/F)=C/C", "C/C=C/C(F)=CC"),
    ("C1CC2CCC1C2", "C1CC2CC1CC2"),
]
OTHERS = [
    ("CC(=O)[O-]", "CC(=O)O"),
    ("C[C@@H](O)[C@H](F)Cl", "C[C@H](O)C(F)Cl"),
    ("CC(O)[C@H](F)Cl", "C[C@H](O)C(F)Cl"),
    ("CC(O)C(F)Cl", "C[C@H](O)C(F)Cl"),
    ("C/C=C\\C(F)=CC", "C/C=C/C(F)=CC"),
    ("[13CH3]CO", "CCO"),
    ("CCO", "[13CH3]CO"),
    ("C[13CH2]O", "[13CH3]CO"),
    ("CC(C)=O", "CC(O)=C"),
    ("CCO.O", "CCO"),
    ("[NH4+]", "N"),
]


@pytest.mark.parametrize(("answer", "gold"), FORMS)
def test_forms_of_a_gold_are_the_gold(answer, gold):
    assert same_structure(answer_molecule(answer), answer_molecule(gold))
    assert score_answer("iupac2smiles", answer, {}, {"answer": gold}).value == 1.0
    assert score_answer("retro", answer, {"product": "CCCCCCCCC"}, {"answer": gold}).value == 1.0


@pytest.mark.parametrize(("answer", "gold"), OTHERS)
def test_another_charge_mark_isotope_or_component_is_another_structure(answer, gold):
    assert not same_structure(answer_molecule(answer), answer_molecule(gold))
    assert score_answer("iupac2smiles", answer, {}, {"answer": gold}).value < 0.5


TIPS = "[Si](C(C)C)(C(C)C)C(C)C"


@pytest.mark.parametrize("group", [TIPS, "C(C)(C)C", "C" + "C(F)(F)" * 9 + "F", "C(C(C)(C)C)(C(C)(C)C)C(C)(C)C"])
def test_symmetric_groups_do_not_make_comparing_centres_a_search(group):
    chain = "".join(f"[C@H](O{group})" for _ in range(4))
    gold, inverted, more = (answer_molecule(chain + end) for end in ("[C@H](F)Cl", "[C@@H](F)Cl", "[C@H](F)[C@H](Cl)Br"))
    open_end = answer_molecule(chain + "C(F)Cl")
    started = time.process_time()
    assert same_structure(gold, open_end) and same_structure(inverted, open_end)
    assert not same_structure(inverted, gold) and not same_structure(open_end, gold) and not same_structure(more, gold)
    assert time.process_time() - started < 1.0, "each takes some milliseconds"


def test_marks_of_equal_atoms_are_tried_in_each_way():
    gold = answer_molecule("C[C@H](F)CCC(F)C")  # either end may be the one with the mark
    forms = ["C[C@H](F)CC[C@H](F)C", "C[C@H](F)CC[C@@H](F)C", "C[C@@H](F)CC[C@@H](F)C", "C[C@@H](F)CC[C@H](F)C"]
    assert [same_structure(answer_molecule(form), gold) for form in forms] == [True, True, True, False]


@pytest.mark.parametrize(
    ("form", "molecule"),
    [
        *((answer, gold) for answer, gold in FORMS),
        ("CC(O)=C", "CC(C)=O"),
        ("CC(=O)[O-]", "CC(=O)O"),
        ("N1=CCC(=O)C=C1", "O=c1cc[nH]cc1"),
        ("C[S+]([O-])c1ccccc1", "CS(=O)c1ccccc1"),
    ],
)
def test_a_molecule_in_another_form_is_a_copy(form, molecule):
    assert same_substance(answer_molecule(form), answer_molecule(molecule))


@pytest.mark.parametrize(("left", "right"), [("CCO", "COC"), ("CC(C)=O", "CCC=O"), ("Cc1ccccn1", "Cc1cccnc1"), ("CCO", "CCS")])
def test_isomers_are_no_copies(left, right):
    assert not same_substance(answer_molecule(left), answer_molecule(right))


def test_optimising_a_molecule_by_writing_it_anew_is_a_copy():
    for source, form in (("CS(=O)c1ccccc1CCO", "C[S+]([O-])c1ccccc1CCO"), ("CC(=O)NCCc1ccccc1", "CC(O)=NCCc1ccccc1")):
        for task in ("molopt_logp", "molopt_mr", "molopt_qed"):
            for direction in ("increase", "decrease"):
                verdict = score_answer(task, form, {"smiles": source, "direction": direction}, {})
                assert verdict.reason is Reason.COPIED_INPUT, (task, form, verdict)


def test_a_product_with_or_without_its_salt_and_by_products_is_right_and_a_list_is_not():
    row = {"reactants": "CC(=O)Cl.NCCc1ccncc1"}
    gold = {"answer": "CC(=O)NCCc1ccncc1"}
    for answer in ("CC(=O)NCCc1ccncc1.Cl", "CC(=O)NCCc1cc[nH+]cc1.[Cl-]", "CC(O)=NCCc1ccncc1"):
        assert score_answer("forward", answer, row, gold).value == 1.0, answer
    assert score_answer("forward", "CC(=O)NCCc1ccncc1", row, {"answer": "CC(=O)NCCc1ccncc1.Cl"}).value == 1.0
    for answer in ("CC(=O)NCCc1ccncc1.CCO", "CC(=O)NCCc1ccncc1.O.O.O", "CC(=O)NCCc1ccncc1.CC(=O)NCCc1ccncc1", "Cl", "O.Cl"):
        assert score_answer("forward", answer, row, gold).value == 0.0, answer
    assert not same_essence(answer_molecule("Cl"), answer_molecule("O"))


def test_a_reactant_in_another_form_or_with_a_methyl_earns_nothing():
    row, gold = {"reactants": "CC(=O)Cl.NCCc1ccncc1"}, {"answer": "CC(=O)NCCc1ccncc1"}
    assert score_answer("forward", "[NH3+]CCc1ccncc1", row, gold).reason is Reason.COPIED_INPUT
    assert score_answer("forward", "CC(O)=C", {"reactants": "CC(C)=O.NO"}, {"answer": "CC(C)=NO"}).reason is Reason.COPIED_INPUT
    methylated = score_answer("forward", "CNCCc1ccncc1", row, gold).value
    assert methylated < 0.06 < score_answer("forward", "CCC(=O)NCCc1ccncc1", row, gold).value, "the second is nearly the product"


SERINE = {"smiles": "OC[C@H](N)C(=O)O"}


@pytest.mark.parametrize(
    ("read", "value"),
    [
        ("OC[C@H](N)C(=O)O", 0.8),
        ("[O-]C(=O)[C@@H]([NH3+])CO", 0.8),
        ("OCC(N)C(=O)O", 0.4),
        ("OC[C@@H](N)C(=O)O", 0.2),
        ("O[13CH2][C@H](N)C(=O)O", 0.2),
        ("NCC(O)C(=O)O", 0.2),
        ("NCC(=O)O", 0.0),
    ],
)
def test_a_name_is_worth_what_it_says_of_stereo_and_isotopes(read, value):
    verdict = score_answer("smiles2iupac", "some name of it", SERINE | {"_opsin": read}, {"answer": "(2S)-2-amino-3-hydroxypropanoic acid"})
    assert verdict.value == pytest.approx(value), verdict


def test_a_flat_question_asks_a_name_for_no_stereo_and_takes_any_tautomer():
    reference = {"answer": "another name"}
    assert score_answer("smiles2iupac", "x", {"smiles": "CC(N)C(=O)O", "_opsin": "C[C@H](N)C(=O)O"}, reference).value == 0.8
    assert score_answer("smiles2iupac", "4-pyridone", {"smiles": "Oc1ccncc1", "_opsin": "N1=CCC(C=C1)=O"}, reference).value == 0.8


@pytest.mark.parametrize(
    ("name", "gold"),
    [
        ("1H-indole.", "1H-indole"),
        ("1(H)-indole", "1H-indole"),
        ("1{H}-indole", "1H-indole"),
        ("1~{H}-indole", "1H-indole"),
        ("(5~S~)-5-methyloctan-1-ol", "(5S)-5-methyloctan-1-ol"),
        ("tricyclo[3.3.1.1^(3,7)]decane", "tricyclo[3.3.1.1^{3,7}]decane"),
        ("tricyclo[3.3.1.1(3,7)]decane", "tricyclo[3.3.1.13,7]decane"),
        ("ethoxy-1\u03bb5-phosphane", "ethoxy-1$l^{5}-phosphane"),
        ("*N*-methyl-x", "N-methyl-x"),
        ("N<sup>2</sup>-methyl-<i>D</i>-x", "N2-methyl-D-x"),
    ],
)
def test_markup_and_a_full_stop_are_no_part_of_a_name(name, gold):
    assert score_answer("smiles2iupac", name, {}, {"answer": gold}).value == 1.0


def test_brackets_of_a_name_that_mean_something_stay():
    for name in (
        "pyridin-4(1H)-one",
        "2-{4-[(2-hydroxyethyl)amino]phenyl}ethanol",
        "(2R,3S)-butane-2,3-diol",
        "[1(21),8-dienyl]x",
        "(R*,S*)-2,3-diol",
    ):
        assert plain(name) == name
