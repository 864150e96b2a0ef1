"""Rows of questions of choice are drawn in equal shares, by a cursor that a checkpoint can stop and start."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from chemr.class_balance import BalancedCursor, answer_class, balanced_class, classes_in_turn
from chemr.curriculum import PromptCursor
from chemr.data.example import Example
from chemr.data.selection_prior import selection_priors, with_prior


def row(task: str, number: int, answer: str) -> Example:
    return Example(f"test/{task}/{number}", task, {"smiles": "CCO"}, {"answer": answer}, 0.0, "test", "MIT")


def skewed() -> dict[str, list[Example]]:
    return {
        "property_hiv": [row("property_hiv", n, "Yes" if n % 20 == 0 else "No") for n in range(100)],
        "smiles2formula": [row("smiles2formula", n, "C2H6O") for n in range(7)],
    }


def test_every_pair_of_draws_has_one_answer_of_each_class() -> None:
    rows = skewed()
    cursor = BalancedCursor(rows, seed=3)
    drawn = [rows["property_hiv"][cursor.draw("property_hiv")].reference["answer"] for _ in range(200)]
    assert Counter(drawn) == {"Yes": 100, "No": 100}, "a class of 5 % must be drawn half of the time"
    assert all(set(drawn[n : n + 2]) == {"Yes", "No"} for n in range(0, 200, 2)), "a pair of draws holds one class twice"
    assert drawn[0::2].count("Yes") not in (0, 100), "the order within the pairs must not be one that can be learnt"


def test_every_row_of_a_class_is_asked_before_any_is_asked_again() -> None:
    rows = skewed()
    cursor = BalancedCursor(rows, seed=3)
    drawn = Counter(cursor.draw("property_hiv") for _ in range(190))
    assert set(drawn.values()) == {1, 19}, "95 negatives once, 5 positives 19 times"
    assert len(drawn) == 100, "a row was left out"


def test_other_tasks_are_dealt_as_before() -> None:
    rows = skewed()
    cursor = BalancedCursor(rows, seed=3)
    plain = PromptCursor({"smiles2formula": 7}, seed=3)
    assert [cursor.draw("smiles2formula") for _ in range(20)] == [plain.draw("smiles2formula") for _ in range(20)], "old runs cannot go on"
    assert cursor.state_dict()["smiles2formula"] == 20, "the name of a deck in old checkpoints changed"


def test_a_task_with_one_class_only_is_drawn_as_it_is() -> None:
    cursor = BalancedCursor({"yield_bh": [row("yield_bh", n, "No") for n in range(3)]}, seed=0)
    assert sorted(cursor.draw("yield_bh") for _ in range(3)) == [0, 1, 2]


def test_a_restored_cursor_goes_on_where_the_other_stopped() -> None:
    original = BalancedCursor(skewed(), seed=8)
    for _ in range(33):
        original.draw("property_hiv")
    state = json.loads(json.dumps(original.state_dict()))
    expected = [original.draw("property_hiv") for _ in range(40)]
    restored = BalancedCursor(skewed(), seed=8)
    restored.load_state_dict(state)
    assert [restored.draw("property_hiv") for _ in range(40)] == expected, "a resumed run asks other rows than the uninterrupted one"


def test_the_seed_decides_the_order() -> None:
    orders = [[BalancedCursor(skewed(), seed).draw("property_hiv") for _ in range(1)] for seed in range(12)]
    assert len({tuple(order) for order in orders}) > 1, "all seeds draw alike"


def test_an_answer_that_is_no_class_is_named() -> None:
    with pytest.raises(ValueError, match=r"test/property_hiv/0.*'maybe'.*Yes, No"):
        answer_class(row("property_hiv", 0, "maybe"))


def test_a_task_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="property_hiv"):
        BalancedCursor({"property_hiv": []}, seed=0)


def ligands(best: str, number: int) -> Example:
    candidates = ["CP(C)C", "CCP(CC)CC", "c1ccccc1P"]
    ranked = [best, *(each for each in candidates if each != best)]
    inputs = {"reaction": f"reactant {'C' * number}Br", "candidates": candidates[number % 3 :] + candidates[: number % 3]}
    return Example(f"t/ligand/{best}/{number}", "ligand_selection", inputs, {"answer": best, "ranked": ranked}, 0.0, "test", "MIT")


def skewed_ligands() -> list[Example]:
    return [ligands("CP(C)C", n) for n in range(1, 91)] + [ligands("CCP(CC)CC", n) for n in range(1, 10)] + [ligands("c1ccccc1P", 1)]


def test_a_favourite_of_a_reagent_table_is_the_right_answer_no_more_often_than_the_others() -> None:
    rows = skewed_ligands()
    cursor = BalancedCursor({"ligand_selection": rows}, seed=5)
    drawn = Counter(rows[cursor.draw("ligand_selection")].reference["answer"] for _ in range(300))
    assert set(drawn.values()) == {100}, drawn
    first = classes_in_turn(rows, seed=2)[:3]
    assert {row.reference["answer"] for row in first} == set(drawn), "the first three hold each answer once"


def test_selections_with_candidates_of_their_own_are_drawn_as_they_come() -> None:
    row = Example("s/1", "reactant_selection", {"product": "CCO", "candidates": ["CO", "CC"]}, {"answer": "CO"}, 0.0, "test", "MIT")
    assert balanced_class(row) is None


def test_the_prior_of_a_candidate_counts_each_right_answer_alike() -> None:
    priors = selection_priors(skewed_ligands())
    row = with_prior(ligands("CP(C)C", 1), priors)
    by_candidate = dict(zip(row.inputs["candidates"], row.reference["prior"], strict=True))
    # The best of one ranking in three; second in the others, or the last of one: (1 + 0.5 + 0.5)/3, (0.5 + 1 + 0)/3, (0 + 0 + 1)/3.
    assert by_candidate == pytest.approx({"CP(C)C": 0.6667, "CCP(CC)CC": 0.5, "c1ccccc1P": 0.3333}, abs=1e-4)


def test_rows_with_candidates_that_training_never_had_stay_as_they_are() -> None:
    priors = selection_priors(skewed_ligands())
    other = Example(
        "o", "ligand_selection", {"reaction": "x", "candidates": ["P", "N"]}, {"answer": "P", "ranked": ["P", "N"]}, 0.0, "t", "MIT"
    )
    assert with_prior(other, priors) is other
