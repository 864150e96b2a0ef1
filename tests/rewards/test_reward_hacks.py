"""The hacks that reinforcement learning finds on the benchmarks' own rules (REWARDS §3.3); each test is named after the hack it stops."""

from __future__ import annotations

import random

import pytest
from rdkit import Chem

from rewards.functional_groups import GROUP_NAMES, GROUP_SMARTS
from rewards.molecule import answer_molecule
from rewards.scoring import score_answer
from rewards.similarity import count_tanimoto
from rewards.verdict import Reason

FRAGMENT_WITH_GROUP = {
    "hydroxyl": "CO",
    "benzene ring": "c1ccccc1",
    "amide": "CC(N)=O",
    "carboxyl": "CC(=O)O",
    "nitro": "C[N+](=O)[O-]",
    "amine": "CN",
    "halo": "CF",
    "aldehyde": "CC=O",
    "thiol": "CS",
    "nitrile": "CC#N",
}


def edit(answer, source="CCCC", group="hydroxyl", reference="CCCCO", task="moledit_add", **more):
    return score_answer(task, answer, {"smiles": source, "add": group, **more}, {"answer": reference})


def opt(answer, source="CCCO", direction="increase", reference="CCCCO", task="molopt_logp"):
    return score_answer(task, answer, {"smiles": source, "direction": direction}, {"answer": reference})


def atoms(answer, counts, example):
    return score_answer("molcustom_atomnum", answer, {"counts": counts}, {"answer": example})


# -- MolEdit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "fragment"), FRAGMENT_WITH_GROUP.items())
def test_moledit_add_by_a_dot_fragment_earns_nothing(group, fragment):
    verdict = edit(
        f"CCCCCC.{fragment}", source="CCCCCC", group=group, reference=f"CCCCCC{fragment}" if fragment[0] == "C" else "CCCCCCc1ccccc1"
    )
    assert (verdict.value, verdict.reason) == (0.0, Reason.FRAGMENTS), f"input + .{fragment} is not an edit"


def test_moledit_on_a_salt_may_keep_its_fragments_but_not_gain_one():
    inputs = {"source": "CCCC[NH3+].[Cl-]", "reference": "OCCCC[NH3+].[Cl-]"}
    assert edit("OCCCC[NH3+].[Cl-]", **inputs).value == 1.0
    assert edit("CCCC[NH3+].[Cl-].O", **inputs).value == 0.0


@pytest.mark.parametrize("answer", ["CCCC", "C(C)CC", "C1CCC1", "CCC", "CCCCOO", "OCCCCO", "CC(C)(C)CCCCCCCCCCCCCCCCCCO"])
def test_moledit_add_without_the_right_edit_earns_nothing(answer):
    assert edit(answer).value == 0.0


def test_moledit_copy_of_the_input_in_another_spelling_is_a_copy():
    assert edit("C(CC)C").reason is Reason.COPIED_INPUT


def test_moledit_by_protonation_or_stereo_marks_is_a_copy():
    verdict = edit("CCCC(=O)O", source="CCCC(=O)[O-]", group="hydroxyl", reference="OCCCC(=O)[O-]")
    assert verdict.reason is Reason.COPIED_INPUT, "putting a proton on a carboxylate is no added hydroxyl"
    assert edit("C[C@H](O)CC", source="CC(O)CC", reference="CC(O)CCO").reason is Reason.COPIED_INPUT


@pytest.mark.parametrize("answer", ["[13CH3]CCCO", "CCCC[18OH]", "[2H]CCCCO", "[CH2]CCCO", "CCC[C]O", "CCCC[OH2+]", "[CH2-]CCCO"])
def test_moledit_with_isotopes_radicals_or_charges_is_unreasonable(answer):
    assert edit(answer).reason is Reason.UNREASONABLE, f"{answer} is no honest edit of butane"


def test_moledit_by_any_molecule_that_has_the_counts_earns_nothing():
    verdict = edit("CO", source="CC(C)c1ccc(C#N)cc1", reference="CC(CO)c1ccc(C#N)cc1")
    assert verdict.value == 0.0, f"methanol has one hydroxyl, but is no edit of the input: {verdict}"


def test_moledit_add_by_exchanging_another_group_is_not_an_addition():
    assert edit("CCCCO", source="CCCCN", reference="OCCCCN").value == 0.0
    assert score_answer("moledit_del", "CCCCN", {"smiles": "CCCCO", "remove": "hydroxyl"}, {"answer": "CCCC"}).value == 0.0


def test_moledit_pays_every_minimal_edit_wherever_it_sits():
    for answer in ("OCCCC", "CC(O)CC", "CCC(O)C"):
        assert edit(answer).value == 1.0, f"{answer} is as good an edit as the reference"


def test_moledit_del_and_sub_pay_the_edit_only():
    assert score_answer("moledit_del", "CCCC", {"smiles": "CCCCO", "remove": "hydroxyl"}, {"answer": "CCCC"}).value == 1.0
    swap = {"smiles": "CCCCO", "remove": "hydroxyl", "add": "halo"}
    assert score_answer("moledit_sub", "CCCCBr", swap, {"answer": "CCCCCl"}).value == 1.0, "any halogen is a halogen"
    assert score_answer("moledit_sub", "OCCCCCl", swap, {"answer": "CCCCCl"}).value == 0.0, "the hydroxyl is still there"


@pytest.mark.parametrize(
    ("group", "source", "answer", "honest"),
    [
        ("benzene ring", "CCCCc1ccccc1", "CCCCC1=CC=CC1", "CCCC"),
        ("benzene ring", "CCCCCc1ccccc1", "CCCCCC1CCCC1", "CCCCC"),
        ("amide", "CCCCC(=O)NCCC", "CCCCCNCCC", "CCCCCCC"),
        ("nitro", "CCCc1ccc([N+](=O)[O-])cc1", "CCCc1ccc(N=O)cc1", "CCCc1ccccc1"),
        ("nitro", "CCCc1ccc([N+](=O)[O-])cc1", "CCCc1ccc(N)cc1", "CCCc1ccccc1"),
        ("nitrile", "CCCCCCC#N", "CCCCCCC", "CCCCCC"),
        ("nitrile", "CCCc1ccc(C#N)cc1", "CCCc1ccc(C)cc1", "CCCc1ccccc1"),
        ("carboxyl", "CCCCCCC(=O)O", "CCCCCCC=O", "CCCCCC"),
        ("ester", "CCCCC(=O)OCCC", "CCCCCOCCC", "CCCCCCC"),
        ("sulfone", "CCCCS(=O)(=O)CCC", "CCCCS(=O)CCC", "CCCCCCC"),
    ],
)
def test_moledit_del_takes_the_groups_own_atoms_or_earns_nothing(group, source, answer, honest):
    row = {"smiles": source, "remove": group}
    for reference in ({"answer": honest}, {}):
        assert score_answer("moledit_del", answer, row, reference).value == 0.0, f"{answer} has the {group} broken, not removed"
    assert score_answer("moledit_del", honest, row, {"answer": honest}).value == 1.0


@pytest.mark.parametrize(
    ("removed", "added", "source", "broken", "moved", "honest"),
    [
        ("hydroxyl", "halo", "CCC(O)CCc1ccccc1", "CCC(OC)CCc1ccc(Cl)cc1", "CCCCCc1ccc(Cl)cc1", "CCC(Cl)CCc1ccccc1"),
        ("nitrile", "hydroxyl", "CCC(C#N)CCc1ccccc1", "CCC(C)CCc1ccc(O)cc1", "CCCCCc1ccc(O)cc1", "CCC(O)CCc1ccccc1"),
        ("nitro", "thiol", "Cc1ccc([N+](=O)[O-])cc1CC", "Cc1ccc(N=O)cc1CCS", "Cc1ccccc1CCS", "Cc1ccc(S)cc1CC"),
        ("carboxyl", "nitrile", "CCC(C(=O)O)CCc1ccccc1", "CCC(C=O)CCc1ccc(C#N)cc1", "CCCCCc1ccc(C#N)cc1", "CCC(C#N)CCc1ccccc1"),
        ("amine", "carboxyl", "CCC(N)CCc1ccccc1", "CCC(N(C)C)CCc1ccc(C(=O)O)cc1", "CCCCCc1ccc(C(=O)O)cc1", "CCC(C(=O)O)CCc1ccccc1"),
    ],
)
def test_moledit_sub_puts_the_new_group_where_the_old_one_was(removed, added, source, broken, moved, honest):
    row = {"smiles": source, "remove": removed, "add": added}
    for reference in ({"answer": honest}, {}):
        full = score_answer("moledit_sub", honest, row, reference).value
        assert full >= 0.9, f"{honest}: {full}"
        assert score_answer("moledit_sub", broken, row, reference).value == 0.0, f"{broken}: the {removed} is broken, not exchanged"
        assert score_answer("moledit_sub", moved, row, reference).value <= 0.3, f"{moved}: the {added} is elsewhere"


def test_moledit_add_with_something_else_keeps_little():
    assert edit("OCCCCC").value <= 0.3, "a hydroxyl and a methyl"
    assert score_answer("moledit_add", "OC(C)CCCN", {"smiles": "CCCCCN", "add": "hydroxyl"}, {"answer": "OCCCCCN"}).value > 0.95


@pytest.mark.parametrize(
    ("group", "answer"),
    [
        *(("hydroxyl", answer) for answer in ("CCCCN(C)O", "CCCC(O)NC", "CCC(=CO)NC", "CCCC(O)(O)NC")),
        ("nitro", "CCCCN(C)[N+](=O)[O-]"),
        ("amine", "CCCCN(C)N"),
        ("amine", "CCCC(N)NC"),
        ("thiol", "CCCC(S)NC"),
        ("halo", "CCCCN(C)Cl"),
    ],
)
def test_moledit_add_where_the_group_falls_off_is_unreasonable(group, answer):
    verdict = score_answer("moledit_add", answer, {"smiles": "CCCCNC", "add": group}, {})
    assert verdict.reason is Reason.UNREASONABLE, verdict


@pytest.mark.parametrize(
    "answer",
    [
        "N=NN=NN=N",
        "CSOSOSC",
        "PPPPPP",
        "C=C=C=C=C",
        "C1#CC1",
        "C1=CC1",
        "OCC(O)C(O)C(O)C(O)CO",
        "CN=NN",
        "B(B)B",
        "OC=CO",
        "C1=C=CCC1",
        "NSCCC",
        "C[SH](C)CC",
        "CN=NC(C)[SH]=N",
        "C=CC(C)[SH]=C",
        "CCP(C)(C)=C",
        "C=BNC",
        "CCC=C=O",
        "CS(C)(C)(C)(C)C",
    ],
)
def test_absurd_molecules_fill_no_counts(answer):
    assert atoms(answer, answer_molecule(answer).heavy_elements, None).reason is Reason.UNREASONABLE


def test_ordinary_groups_stay_plausible():
    for answer in (
        *(
            "CN=[N+]=[N-]",
            "CC=NO",
            "C=C=C",
            "CC(O)C(O)C",
            "OCC(O)CO",
            "N#CN",
            "Oc1ccccc1",
            "NC(N)=O",
            "OCC(F)(F)F",
            "OCCN1CCOCC1",
            "NC(=N)N",
        ),
        *("OP(=O)(O)O", "COP(=S)(OC)OC", "CB(O)O", "c1nnn[nH]1", "C1CO1", "CC(=O)NCCO", "CS(=O)(=O)NC", "O=C1CCC(=O)N1"),
    ):
        assert atoms(answer, answer_molecule(answer).heavy_elements, None).value == 1.0, answer


# -- MolOpt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [".O", ".C", ".CCCCCCCC"])
def test_molopt_by_a_dot_fragment_earns_nothing(tail):
    for task in ("molopt_logp", "molopt_mr"):
        for direction, reference in (("increase", "CCCCO"), ("decrease", "CCO")):
            assert opt("CCCO" + tail, direction=direction, reference=reference, task=task).reason is Reason.FRAGMENTS


@pytest.mark.parametrize("constant", ["C", "CC", "CCCCCCCCCCCCCCCCCCCC", "c1ccccc1", "OO", "FC(F)(F)C(F)(F)F"])
def test_molopt_constant_answers_earn_nothing(constant):
    for direction, reference in (("increase", "CC(N)C(=O)NCC"), ("decrease", "NC(CO)C(=O)NC")):
        verdict = opt(constant, source="CC(N)C(=O)NC", direction=direction, reference=reference)
        assert verdict.value == 0.0, f"{constant} is not the input with another logP: {verdict}"


def test_molopt_same_molecule_in_another_atom_order_earns_nothing():
    source = Chem.MolFromSmiles("CC(N)C(=O)NCc1ccc(O)cc1")
    rng = random.Random(7)
    for _ in range(30):
        spelling = Chem.MolToRandomSmilesVect(source, 1, randomSeed=rng.randrange(1 << 30))[0]
        for direction, reference in (("increase", "CC(N)C(=O)NCc1ccccc1"), ("decrease", "NCC(N)C(=O)NCc1ccc(O)cc1")):
            verdict = opt(spelling, source="CC(N)C(=O)NCc1ccc(O)cc1", direction=direction, reference=reference)
            assert verdict.reason is Reason.COPIED_INPUT, "rounding noise of the atom order is no optimisation"


def test_molopt_float_noise_and_tiny_steps_stay_below_the_margin():
    assert opt("CCC(C)CO", source="CC(C)CCO", reference="CC(C)CCCO").value == 0.0, "an isomer with the same logP is no gain"


@pytest.mark.parametrize(
    "answer",
    [
        "[13CH3]CCCO",
        "[2H]CCCCO",
        "CCCC[O-]",
        "CCCC[OH2+]",
        "[CH2]CCCO",
        "C[CH-]C[OH+]C",
        "C[Si](C)(C)CCCO",
        "[SeH]CCCO",
        "C[N+](C)(C)CC[O-]",
    ],
)
def test_molopt_with_isotopes_charges_radicals_or_odd_elements_is_unreasonable(answer):
    assert opt(answer).reason is Reason.UNREASONABLE


def test_molopt_pays_no_more_for_long_chains():
    honest, greedy = opt("CCCCO"), opt("C" * 30 + "O")
    assert honest.value == 1.0
    assert greedy.value == 0.0, f"thirty carbons raise logP without bound, but leave the input behind: {greedy}"


def test_molopt_against_the_asked_direction_earns_nothing():
    assert opt("CCCCO", direction="decrease", reference="CCO").value == 0.0
    assert opt("CCO", direction="decrease", reference="CCO").value == 1.0


# -- MolCustom ---------------------------------------------------------------------------------------------------------


def test_molcustom_dot_soup_earns_nothing():
    assert atoms("C.C.C.O", {"C": 3, "O": 1}, "CCCO").reason is Reason.FRAGMENTS
    assert score_answer("molcustom_functionalgroup", "CO.CN", {"counts": {"hydroxyl": 1, "amine": 1}}, {"answer": "NCCO"}).value == 0.0


@pytest.mark.parametrize(
    ("answer", "counts", "example"),
    [
        ("COOO", {"C": 1, "O": 3}, "OC(O)O"),
        ("OOC", {"C": 1, "O": 2}, "OC=O"),
        ("CNNN", {"C": 1, "N": 3}, "NC(N)=N"),
        ("CSSS", {"C": 1, "S": 3}, "SC(S)S"),
        ("[C][C][O]", {"C": 2, "O": 1}, "CCO"),
        ("[C]", {"C": 1}, "C"),
        ("[CH2]C", {"C": 2}, "CC"),
        ("[13CH3]C", {"C": 2}, "CC"),
        ("C[CH2+]", {"C": 2}, "CC"),
        ("C[NH3+]", {"C": 1, "N": 1}, "CN"),
        ("[CH2-][OH2+]", {"C": 1, "O": 1}, "CO"),
        ("COF", {"C": 1, "O": 1, "F": 1}, "OCF"),
        ("CN(O)O", {"C": 1, "N": 1, "O": 2}, "C[N+](=O)[O-]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_molcustom_by_peroxides_nitrogen_chains_radicals_isotopes_or_charges_is_unreasonable(answer, counts, example):
    verdict = atoms(answer, counts, example)
    assert verdict.value == 0.0, f"{answer} fills the counts but no chemist would write it: {verdict}"


def test_molcustom_allows_what_the_rows_own_molecule_has():
    assert atoms("OO", {"O": 2}, "OO").value == 1.0, "a question about hydrogen peroxide may be answered with it"
    assert atoms("C[N+](=O)[O-]", {"C": 1, "N": 1, "O": 2}, "COON").value == 1.0, "a nitro group is not a pair of loose charges"


def test_molcustom_extra_elements_and_missing_atoms_are_wrong():
    for answer in ("CCOF", "CC", "CCCO", "CC[Si]"):
        assert atoms(answer, {"C": 2, "O": 1}, "CCO").value < 0.3


def test_molcustom_groups_that_were_not_asked_for_must_be_absent():
    inputs, reference = {"counts": {"hydroxyl": 1}}, {"answer": "CCO"}
    assert score_answer("molcustom_functionalgroup", "CCCCO", inputs, reference).value == 1.0
    assert score_answer("molcustom_functionalgroup", "NCCO", inputs, reference).value == 0.0
    assert score_answer("molcustom_functionalgroup", "CC(=O)O", inputs, reference).value == 0.0, "a carboxyl was not asked for"


# -- reactions, selection, names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["CCOC(C)=O.CCO", "CCOC(C)=O.O.O.O", "CO.CCOC(C)=O.CN", "CCOC(C)=O.CCOC(C)=O"])
def test_forward_list_of_candidates_joined_by_dots_earns_nothing(answer):
    verdict = score_answer("forward", answer, {"reactants": "CC(=O)O.CCO"}, {"answer": "CCOC(C)=O"})
    assert verdict.value == 0.0, f"naming several products is guessing: {verdict}"


@pytest.mark.parametrize("answer", ["CCO", "OCC", "CC(=O)O", "C(C)O"])
def test_forward_reactant_handed_back_earns_nothing(answer):
    verdict = score_answer("forward", answer, {"reactants": "CC(=O)O.CCO"}, {"answer": "CCOC(C)=O"})
    assert verdict.reason is Reason.COPIED_INPUT


@pytest.mark.parametrize("answer", ["CCOC(C)=O", "C(C)OC(C)=O.CCO", "CC(=O)O.CCO.CCOC(C)=O", "CC(=O)O.[13CH3]COC(C)=O"])
def test_retro_product_among_the_reactants_earns_nothing(answer):
    verdict = score_answer("retro", answer, {"product": "CCOC(C)=O"}, {"answer": "CC(=O)O.CCO"})
    assert verdict.reason is Reason.COPIED_INPUT, "also in another spelling or with a label"


def test_retro_shotgun_of_common_reactants_earns_little():
    inputs, reference = {"product": "CCOC(C)=O"}, {"answer": "CC(=O)O.CCO"}
    assert score_answer("retro", "CCO.CC(=O)O", inputs, reference).value == 1.0, "order does not matter"
    assert score_answer("retro", "CCO.CO.CN.CC(=O)O.C", inputs, reference).value <= 0.2
    assert score_answer("retro", "CCO.CO.CN.CC(=O)O.C.N", inputs, reference).reason is Reason.FRAGMENTS
    assert score_answer("retro", "CCO.CCO", inputs, reference).value < 0.2, "repeating a right reactant is not two right ones"


@pytest.mark.parametrize("answer", ["I", "B", "C", "N", "O", "CC", "CCO.CO", "C.CCO"])
def test_s14_selection_option_letters_and_unlisted_molecules_are_no_choice(answer):
    verdict = score_answer("reactant_selection", answer, {"candidates": ["CO", "CCO", "CCCO"]}, {"answer": "CCO"})
    assert verdict.reason is Reason.NOT_A_CHOICE


def test_selection_of_the_first_candidate_pays_only_when_it_is_right():
    inputs = {"candidates": ["CO", "CCO", "CCCO"]}
    assert score_answer("reactant_selection", "CO", inputs, {"answer": "CCO"}).reason is Reason.WRONG
    assert score_answer("reactant_selection", "OCC", inputs, {"answer": "CCO"}).value == 1.0, "any spelling of a candidate counts"


def test_flat_gold_accepts_stereo_but_no_isotopes():
    reference = {"answer": "CC(F)Cl"}
    assert score_answer("iupac2smiles", "C[C@H](F)Cl", {}, reference).value == 1.0
    assert score_answer("iupac2smiles", "[13CH3]C(F)Cl", {}, reference).value < 1.0
    assert score_answer("text2mol", "[13CH3]C(F)Cl", {}, reference).value < 1.0


def test_stereo_gold_wants_its_stereo():
    reference = {"answer": "C[C@H](F)Cl"}
    for task in ("iupac2smiles", "text2mol"):
        assert score_answer(task, "C[C@H](F)Cl", {}, reference).value == 1.0
        assert score_answer(task, "C[C@@H](F)Cl", {}, reference).value <= 0.4
        assert score_answer(task, "CC(F)Cl", {}, reference).value <= 0.4


def test_empty_inchi_never_equals_an_empty_inchi():
    for answer in ("*", "C~C", "[*]C"):
        assert score_answer("text2mol", answer, {}, {"answer": "CCO"}).value == 0.0


def test_smiles2iupac_spelling_is_free_where_the_rules_leave_it_free():
    reference = {"answer": "2-methylpropan-2-ol; ethane"}
    for name in ("2-methylpropan-2-ol;ethane", "2\u2011Methylpropan-2-ol; ethane", "2-METHYLPROPAN\u22122-ol; ethane"):
        assert score_answer("smiles2iupac", name, {}, reference).value == 1.0
    near = score_answer("smiles2iupac", "2-methylbutan-2-ol; ethane", {}, reference).value
    far = score_answer("smiles2iupac", "benzene", {}, reference).value
    assert 0.0 < near <= 0.2
    assert far == 0.0


def test_bit_fingerprint_collisions_do_not_count_as_likeness():
    long, longer = answer_molecule("C" * 12), answer_molecule("C" * 20)
    assert count_tanimoto(long, longer) < 0.7, "bit fingerprints call these two identical"
    assert score_answer("iupac2smiles", "C" * 20, {}, {"answer": "C" * 12}).value < 0.3


def test_formula_by_copying_smiles_or_by_a_constant_earns_little():
    reference = {"answer": "C8H10N4O2"}
    assert score_answer("smiles2formula", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", {}, reference).value == 0.0
    assert score_answer("smiles2formula", "C6H12O", {}, reference).value <= 0.1
    assert score_answer("smiles2formula", "C8H10N4O", {}, reference).value <= 0.3


# -- group definitions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("c1ccc2ccccc2c1", {}),
        ("Cc1ccccc1", {"benzene_ring": 1}),
        ("CC(=O)O", {"hydroxyl": 1, "carboxyl": 1}),
        ("CC(=O)OC(C)=O", {"anhydride": 1, "ester": 2}),
        ("CSSC", {"sulfide": 1, "disulfide": 1}),
        ("CSC", {"sulfide": 1}),
        ("CC(N)=O", {"amide": 1}),
        ("CCN", {"amine": 1}),
        ("CS(C)(=O)=O", {"sulfone": 1}),
        ("CS(C)=O", {"sulfoxide": 1}),
        ("CC=O", {"aldehyde": 1}),
        ("CC(C)=O", {"ketone": 1}),
        ("C[N+](=O)[O-]", {"nitro": 1}),
        ("CC#N", {"nitrile": 1}),
        ("CS", {"thiol": 1}),
        ("ClCBr", {"halo": 2}),
    ],
)
def test_functional_groups_are_counted_as_tomg_bench_counts_them(smiles, expected):
    from rewards.functional_groups import group_counts

    counts = group_counts(answer_molecule(smiles))
    assert {name: n for name, n in counts.items() if n} == expected
    assert tuple(counts) == GROUP_NAMES == tuple(GROUP_SMARTS)
