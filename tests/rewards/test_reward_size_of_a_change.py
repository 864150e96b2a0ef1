"""MolOpt pays for the size of the change that is asked for; a row that contradicts itself says in which field."""

from __future__ import annotations

import math

import pytest

from rewards.errors import BadReferenceError
from rewards.molecule import reference_molecule
from rewards.property_change import NOTHING, OPTIMISED
from rewards.scoring import score_answer
from rewards.verdict import Reason
from tests.rewards.text_rules import RULES

AMINE = {"smiles": "CCCCCN", "direction": "increase"}
TO_CHLORIDE = 1.2801  # logP of CCCCCCl over that of CCCCCN
DRUG = "CC(C)Cc1ccc(cc1)C(C)C(=O)NCc1ccccn1"


def logp(answer, reference="CCCCCCl", **more):
    return score_answer("molopt_logp", answer, AMINE | more, {} if reference is None else {"answer": reference})


def test_the_reference_and_other_edits_of_its_size_earn_all_and_smaller_and_larger_ones_nothing():
    for by in (1.3, 1.2, None):
        more = {} if by is None else {"by": by}
        assert logp("CCCCCCl", **more).value == 1.0
        assert logp("ClCCCCC", **more).value == 1.0, "another spelling"
        assert 0.5 < logp("CCCCCC", **more).value < 1.0 or by == 1.2, "a methyl moves it by 1.45: nearly"
        for answer in ("CCCCCCN", "CCCCC(F)N", "CCCCCO", "CCCCCNC"):
            assert logp(answer, **more).value == 0.0, f"{answer} moves logP by another size: {logp(answer, **more)}"


def test_every_place_for_an_edit_of_the_size_asked_for_is_right():
    for reference in ({"answer": "CCc1ccccc1C"}, {}):
        for answer in ("CCc1cccc(C)c1", "CCc1ccc(C)cc1"):
            inputs = {"smiles": "CCc1ccccc1", "direction": "increase", "by": 0.3}
            assert score_answer("molopt_logp", answer, inputs, reference).value > 0.98


def test_credit_falls_evenly_with_what_the_change_is_off_by():
    wanted = OPTIMISED["molopt_logp"]
    assert [wanted.agreement(1.0 + off, 1.0) for off in (0.0, 0.1, -0.1)] == [1.0, 1.0, 1.0]
    half = 0.1 * (1 + NOTHING) / 2
    assert wanted.agreement(1.0 + half, 1.0) == pytest.approx(0.5, abs=1e-4) == wanted.agreement(1.0 - half, 1.0)
    assert wanted.agreement(1.0 + wanted.reach, 1.0) == pytest.approx(0.0, abs=1e-4)
    assert wanted.agreement(0.099, 0.1) == wanted.agreement(-1.0, 1.0) == wanted.agreement(5.0, 1.0) == 0.0


@pytest.mark.parametrize("task", OPTIMISED)
def test_rounding_takes_nothing_from_a_reference(task):
    wanted = OPTIMISED[task]
    for step in range(4000):
        change = wanted.margin * (1 + step / 40)
        by = wanted.asked(change)
        assert by is not None and by > 0 and wanted.agreement(change, by) == 1.0, f"{change} is asked for as {by}"
    assert wanted.asked(0.99 * wanted.margin) is wanted.asked(-1.0) is None


def test_a_row_without_a_reference_is_judged_by_the_size_it_asks_for():
    assert logp("CCCCCCl", None, by=1.3).value == 1.0
    assert logp("CCCCCCN", None, by=1.3).value == 0.0 < logp("CCCCCCN", None, by=0.4).value


@pytest.mark.parametrize("by", [0, -0.5, math.nan, math.inf, 10**400, "0.5", True, [1.3]])
def test_a_size_that_is_no_positive_number_is_the_rows_fault(by):
    for reference in ("CCCCCCl", None):
        with pytest.raises(BadReferenceError, match=r"'by' should be a positive finite number, found"):
            logp("CCCCCCl", reference, by=by)


def test_a_row_that_contradicts_itself_names_the_field_what_was_found_and_expected():
    with pytest.raises(BadReferenceError, match=r"'by' asks for 0\.6, but field 'answer' changes the logP by 1\.28; .*within 0\.1"):
        logp("CCCCCCl", by=0.6)
    with pytest.raises(BadReferenceError, match=r"'by' asks for 0\.05; a change of the logP counts from 0\.1 on"):
        logp("CCCCCCl", None, by=0.05)
    with pytest.raises(
        BadReferenceError, match=r"'answer' changes the logP by -1\.28 in the direction asked \(decrease\); .*at least 0\.1"
    ):
        logp("CCCCCCl", direction="decrease", by=1.3)
    with pytest.raises(BadReferenceError, match=r"'answer' changes the logP by \+0\.0336"):
        logp("CCCCCCl", "CCCCCO")


# -- open questions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "direction"), [(task, direction) for task in OPTIMISED for direction in ("increase", "decrease")])
def test_without_a_size_the_best_rule_earns_half(task, direction):
    earned = {}
    for name, rule in RULES.items():
        verdict = score_answer(task, rule(DRUG), {"smiles": DRUG, "direction": direction}, {})
        earned[name] = verdict.value
    assert max(earned.values()) <= 0.55, max(earned.items(), key=lambda item: item[1])


@pytest.mark.parametrize(
    ("source", "direction", "known", "rule"),
    [
        ("CCCCCCO", "increase", "CCCCCCBr", "CCCCCCOC"),
        ("NCCc1ccccc1", "increase", "ClCCc1ccccc1", "CNCCc1ccccc1"),
        ("CCCCCCBr", "decrease", "CCCCCCO", "OCCCCCCBr"),
    ],
)
def test_without_a_size_the_right_exchange_earns_more_than_any_one_atom_anywhere(source, direction, known, rule):
    inputs = {"smiles": source, "direction": direction}
    better, plain = (score_answer("molopt_logp", answer, inputs, {}).value for answer in (known, rule))
    assert better > 0.58 > 0.51 > plain > 0.1


def test_without_a_size_a_larger_fragment_earns_no_more_than_its_atoms():
    inputs = {"smiles": DRUG, "direction": "increase"}
    one = score_answer("molopt_logp", DRUG.replace("cccn1", "cc(C)cn1"), inputs, {}).value
    ring = score_answer("molopt_logp", DRUG.replace("cccn1", "cc(c2ccccc2)cn1"), inputs, {}).value
    assert 0.0 < ring <= one < 0.5


@pytest.mark.parametrize(
    "source", ["O", "C", "[Na+].[Cl-]", "FC(F)(F)F", "C[N+](C)(C)C", "CC[C@H](O)C(=O)[O-]", "[H][H]", "c1cc[nH]c1", "P"]
)
def test_without_a_size_any_molecule_can_be_asked_about(source):
    for task in OPTIMISED:
        for direction in ("increase", "decrease"):
            verdict = score_answer(task, "CCCO", {"smiles": source, "direction": direction}, {})
            assert verdict.reason is not Reason.BAD_REFERENCE and verdict.value is not None and math.isfinite(verdict.value)


def test_the_numbers_of_this_file_are_rdkits():
    wanted = OPTIMISED["molopt_logp"]
    source, chloride = reference_molecule("CCCCCN"), reference_molecule("CCCCCCl")
    assert wanted.moved(source, chloride, "increase") == pytest.approx(TO_CHLORIDE, abs=1e-3)
