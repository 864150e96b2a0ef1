"""MolOpt's rows ask for a size that no one-line rule knows: starter, OpenMolIns, and TOMG-Bench's test, which asks for none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from rdkit import Chem

from chemr.data.example import Example
from chemr.data.row_checks import fault
from chemr.data.sources.suites import default_data_dir, training_rows
from chemr.data.sources.suites import test_rows as rows_of_test
from chemr.data.starter.compounds import read_compounds
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.drafts import choose
from chemr.data.starter.optimisation import optimisation_drafts
from chemr.data.starter.splits import Split, unit_hash
from rewards.molecule import Molecule, reference_molecule
from rewards.property_change import OPTIMISED
from rewards.scoring import score_answer
from tests.rewards.text_rules import RULES

ROWS = 100
MOST_OF_A_RULE = 0.25
MOST_OF_A_RULE_WITHOUT_A_SIZE = 0.3

needs_data = pytest.mark.skipif(not (default_data_dir() / "tomg_bench").is_dir(), reason="the published data (CHEMR_DATA) are not here")


def worth(row: Example, answer: str) -> float:
    value = score_answer(row.task, answer, row.inputs, row.reference).value
    assert value is not None
    return value


def means(rows: Sequence[Example]) -> dict[str, float]:
    """What each rule earns on average."""
    totals = Counter({name: sum(worth(row, rule(row.inputs["smiles"])) for row in rows) for name, rule in RULES.items()})
    found = {name: total / len(rows) for name, total in totals.most_common()}
    print(f"\n{rows[0].task}, {len(rows)} rows: " + ", ".join(f"{name} {mean:.3f}" for name, mean in islice(found.items(), 4)))
    return found


def some(rows: Iterator[Example] | Sequence[Example], task: str, number: int = ROWS) -> list[Example]:
    """An even draw that depends on the rows alone."""
    return sorted((row for row in rows if row.task == task), key=lambda row: unit_hash("rules", row.uid))[:number]


@pytest.fixture(scope="module")
def starter() -> list[Example]:
    config = StarterConfig(train_per_task=2 * ROWS, validation_per_task=8, test_per_task=16)
    compounds = sorted(read_compounds(config.max_heavy_atoms), key=lambda one: unit_hash("rules", one.smiles) ** (2.0**one.size))
    drafts = list(optimisation_drafts(compounds[: -2 * ROWS - 1 : -1], config))
    return [row for task in ("molopt_logp", "molopt_mr") for row in choose((d for d in drafts if d.task == task), config)[Split.train]]


@pytest.fixture(scope="module")
def openmolins() -> list[Example]:
    return [row for row in training_rows("openmolins", default_data_dir()) if row.task in OPTIMISED]


@pytest.mark.parametrize("task", ["molopt_logp", "molopt_mr"])
def test_no_rule_knows_what_the_starter_asks_for(task: str, starter: list[Example]) -> None:
    rows = some(starter, task)
    assert len(rows) >= ROWS * 0.9
    found = means(rows)
    assert all(mean <= MOST_OF_A_RULE for mean in found.values()), found
    sizes = Counter((row.inputs["direction"], row.inputs["by"]) for row in rows)
    assert max(sizes.values()) <= 0.2 * len(rows), f"one question stands for all: {sizes.most_common(3)}"


@pytest.mark.parametrize("task", ["molopt_logp", "molopt_mr"])
def test_the_size_that_the_starter_asks_for_is_that_of_its_reference(task: str, starter: list[Example]) -> None:
    wanted = OPTIMISED[task]
    for row in some(starter, task):
        source, answer = reference_molecule(row.inputs["smiles"]), reference_molecule(row.reference["answer"])
        assert row.inputs["by"] == wanted.asked(wanted.moved(source, answer, row.inputs["direction"]))
        assert worth(row, row.reference["answer"]) == 1.0, row


@needs_data
@pytest.mark.parametrize("task", OPTIMISED)
def test_no_rule_knows_what_openmolins_asks_for_and_its_references_do(task: str, openmolins: list[Example]) -> None:
    rows = [row for row in some(openmolins, task, 2 * ROWS) if fault(row) is None]
    assert len(rows) > 1.7 * ROWS and all(row.inputs["by"] >= OPTIMISED[task].margin for row in rows)
    assert sum(worth(row, row.reference["answer"]) == 1.0 for row in rows) >= 0.98 * len(rows)
    found = means(rows[: ROWS if task != "molopt_qed" else ROWS // 2])  # QED is slow
    assert all(mean <= MOST_OF_A_RULE for mean in found.values()), found


@needs_data
def test_openmolins_rows_that_hardly_move_their_property_are_not_trained_on(openmolins: list[Example]) -> None:
    for task in OPTIMISED:
        rows = some(openmolins, task, 2 * ROWS)
        faults = Counter(wrong.reason for row in rows if (wrong := fault(row)) is not None)
        assert faults["the answer hardly changes the property"] == sum("by" not in row.inputs for row in rows) > 0


@needs_data
@pytest.mark.parametrize("task", OPTIMISED)
def test_where_no_size_is_asked_for_a_rule_earns_little_and_knowing_the_best_rule_half(task: str) -> None:
    rows = some(rows_of_test("tomg", task, default_data_dir()), task, ROWS // 2)
    found = means(rows)
    assert all(mean <= MOST_OF_A_RULE_WITHOUT_A_SIZE for mean in found.values()), found
    best = sum(max(worth(row, rule(row.inputs["smiles"])) for rule in RULES.values()) for row in rows) / len(rows)
    assert 0.25 < best < 0.6, f"the best of the rules, chosen row by row, earns {best:.2f}"


@needs_data
@pytest.mark.parametrize("task", ["molopt_logp", "molopt_mr"])
def test_other_edits_of_the_size_asked_for_earn_what_the_reference_earns(task: str, openmolins: list[Example]) -> None:
    paid = tried = 0
    for row in [row for row in some(openmolins, task, 40) if fault(row) is None]:
        source = reference_molecule(row.inputs["smiles"])
        for mol in _substituted(source):
            moved = OPTIMISED[task].moved(source, mol, row.inputs["direction"])
            if abs(moved - row.inputs["by"]) <= 0.5 * OPTIMISED[task].tolerance:
                tried += 1
                paid += worth(row, mol.canonical) >= 0.5
    assert tried > 40 and paid > 0.7 * tried, f"{paid} of {tried}"


def _substituted(source: Molecule) -> Iterator[Molecule]:
    """It with one more substituent on a carbon."""
    for smiles in ("C", "N", "O", "F", "Cl", "Br", "CC", "C#N", "OC"):
        for atom in source.mol.GetAtoms():
            if atom.GetSymbol() == "C" and atom.GetTotalNumHs() and atom.GetNumExplicitHs() == 0:
                joined = Chem.RWMol(Chem.CombineMols(source.mol, Chem.MolFromSmiles(smiles)))
                joined.AddBond(atom.GetIdx(), source.heavy_atoms, Chem.BondType.SINGLE)
                if Chem.SanitizeMol(joined, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
                    yield reference_molecule(Chem.MolToSmiles(joined))
