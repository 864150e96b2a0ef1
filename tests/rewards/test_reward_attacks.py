"""Adversarial answers S1-S18 and B1-B16 of REWARDS §4, each sent through a real pool: no credit, no failure, no waiting."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from rdkit import Chem

import rewards
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.molecule import MAX_SMILES_CHARS, Molecule, answer_molecule
from rewards.verdict import Reason
from tests.patience import PATIENCE

STRUCTURE_TASKS = (
    *(
        "iupac2smiles",
        "text2mol",
        "forward",
        "retro",
        "moledit_add",
        "moledit_del",
        "moledit_sub",
        "molopt_logp",
        "molopt_mr",
        "molopt_qed",
    ),
    *("molcustom_atomnum", "molcustom_bondnum", "molcustom_functionalgroup"),
    *("reactant_selection", "solvent_selection", "ligand_selection"),
)
WORD_TASKS = ("mol2text", "property_hiv", "yield_bh", "smiles2iupac", "smiles2formula", "iupac2formula")


def complete_graph(atom: str, size: int) -> str:
    """SMILES of ``size`` atoms that are all bonded to each other, as REWARDS B6 builds it."""
    closures = {pair: f"%{number}" for number, pair in enumerate(((i, j) for i in range(size) for j in range(i)), start=10)}
    return ".".join(atom + "".join(label for pair, label in closures.items() if i in pair) for i in range(size))


def carbon_grid(side: int) -> str:
    """SMILES of a square grid of carbons (B7); ring-closure numbers are taken from a pool and given back."""
    free, closing, text = list(range(10, 100)), {}, ""
    for row in range(side):
        text += "C" if row == 0 else ".C"
        for column in range(side):
            label = ""
            for pair in ((row - 1, column, row, column), (row, column, row + 1, column)):
                if pair[0] >= 0 and pair[2] < side:
                    if pair in closing:
                        number = closing.pop(pair)
                        free.append(number)
                    else:
                        number = free.pop(0)
                        closing[pair] = number
                    label += f"%{number}"
            text += label + ("C" if column < side - 1 else "")
    return text


C60 = "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3c8c4c4c9c5c1c1c6c2c3c41"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("CCO or maybe CCN", Reason.BAD_CHARACTERS, id="s2-prose-tail"),
        pytest.param("CCO\nCCN", Reason.BAD_CHARACTERS, id="s2-newline"),
        pytest.param("CCO\tname", Reason.BAD_CHARACTERS, id="s2-tab"),
        pytest.param("“CCO”", Reason.BAD_CHARACTERS, id="s3-quotes"),
        pytest.param("→CCO", Reason.BAD_CHARACTERS, id="s3-arrow"),
        pytest.param("答案CCO", Reason.BAD_CHARACTERS, id="s3-chinese"),
        pytest.param("CCO。", Reason.BAD_CHARACTERS, id="s3-full-stop"),
        pytest.param("\ufeffCCO", Reason.BAD_CHARACTERS, id="s3-byte-order-mark"),
        pytest.param("\u00a0CCO", Reason.BAD_CHARACTERS, id="s3-no-break-space"),
        pytest.param("ССO", Reason.BAD_CHARACTERS, id="s4-cyrillic"),
        pytest.param("CCO |$$$$::::|", Reason.BAD_CHARACTERS, id="s5-cxsmiles"),
        pytest.param("C[C@H](F)Cl |&1:1|", Reason.BAD_CHARACTERS, id="s6-racemic-mark"),
        pytest.param("CC\x00O", Reason.BAD_CHARACTERS, id="s7-nul"),
        pytest.param("CC\u200bO", Reason.BAD_CHARACTERS, id="s7-zero-width"),
        pytest.param("`CCO`", Reason.BAD_CHARACTERS, id="s7-backticks"),
        pytest.param("CC&gt;O", Reason.BAD_CHARACTERS, id="s7-html"),
        pytest.param("CC>>CCO", Reason.BAD_CHARACTERS, id="s7-reaction"),
        pytest.param(r"\boxed{CCO}", Reason.BAD_CHARACTERS, id="s7-boxed"),
        pytest.param("\ud800CCO", Reason.BAD_CHARACTERS, id="t8-lone-surrogate"),
        pytest.param("[C]" * 24 + "!", Reason.BAD_CHARACTERS, id="t3-backtracking-regex"),
        pytest.param("*", Reason.GUARDED_MOLECULE, id="s9-dummy-atom"),
        pytest.param("*C*", Reason.GUARDED_MOLECULE, id="s9-dummy-atoms"),
        pytest.param("C~C", Reason.GUARDED_MOLECULE, id="s10-any-bond"),
        pytest.param("[NH3]->[Cu]", Reason.BAD_CHARACTERS, id="s10-dative-bond"),
        pytest.param("C$C", Reason.GUARDED_MOLECULE, id="s11-quadruple-bond"),
        pytest.param(".CCO", Reason.INVALID_MOLECULE, id="s15-leading-dot"),
        pytest.param("CCO.", Reason.INVALID_MOLECULE, id="s15-trailing-dot"),
        pytest.param("CCO..CCN", Reason.INVALID_MOLECULE, id="s15-two-dots"),
        pytest.param("C1CC", Reason.INVALID_MOLECULE, id="s15-open-ring"),
        pytest.param("c1cccc1", Reason.INVALID_MOLECULE, id="s15-not-kekulisable"),
        pytest.param("[CH99999]", Reason.INVALID_MOLECULE, id="s15-hydrogen-overflow"),
        pytest.param("[C+99999999999]", Reason.INVALID_MOLECULE, id="s15-charge-overflow"),
        pytest.param("[99999999999C]", Reason.INVALID_MOLECULE, id="s15-isotope-overflow"),
        pytest.param("[CH3:99999999999]", Reason.INVALID_MOLECULE, id="s15-map-overflow"),
        pytest.param(".".join(["CCO"] * 50), Reason.GUARDED_MOLECULE, id="s16-fifty-fragments"),
        pytest.param("CCO.garbage!!.CCN", Reason.BAD_CHARACTERS, id="s17-valid-and-invalid-parts"),
        pytest.param("C" * (MAX_SMILES_CHARS + 1), Reason.TOO_LONG, id="b1-b2-long-chain"),
        pytest.param("C(" * 590 + "C", Reason.INVALID_MOLECULE, id="b3-deep-branches"),
        pytest.param("(" * 1200, Reason.INVALID_MOLECULE, id="b14-parentheses"),
        pytest.param("[" * 1200, Reason.INVALID_MOLECULE, id="b14-brackets"),
        pytest.param("C1" + "C" * 1100 + "1", Reason.GUARDED_MOLECULE, id="b8-macrocycle"),
        pytest.param("N[C@@H](C)C(=O)" * 90, Reason.TOO_LONG, id="b9-peptide"),
        pytest.param("O." * 500 + "O", Reason.GUARDED_MOLECULE, id="b12-dot-soup"),
        pytest.param(complete_graph("[Fe]", 12), Reason.GUARDED_MOLECULE, id="b6-complete-graph-12"),
        pytest.param(complete_graph("*", 12), Reason.GUARDED_MOLECULE, id="b6-complete-graph-of-dummies"),
        pytest.param(carbon_grid(12), Reason.GUARDED_MOLECULE, id="b7-grid-12"),
    ],
)
def test_every_structure_task_refuses_it_with_the_right_reason_and_at_once(pool, solved, answer, reason):
    jobs = [ScoreJob(task, f"<answer>{answer}</answer>", *solved[task]) for task in STRUCTURE_TASKS]
    started = time.perf_counter()
    verdicts = pool.score(jobs)
    assert {v.reason for v in verdicts} == {reason}, dict(zip(STRUCTURE_TASKS, verdicts, strict=True))
    assert {v.value for v in verdicts} == {0.0}, "a bad answer is a zero and never a failure"
    assert time.perf_counter() - started < 10.0 * PATIENCE, "refusing takes no time, even on a busy machine"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("[C+15]", id="s11-charge"),
        pytest.param("[C]", id="s11-bare-carbon"),
        pytest.param("[H]", id="s11-hydrogen-atom"),
        pytest.param("[H+]", id="s11-proton"),
        pytest.param("[H][H]", id="s11-hydrogen"),
        pytest.param("[#6][#6]O", id="s12-atomic-numbers"),
        pytest.param("[C][C][O]", id="s13-selfies"),
        pytest.param("I", id="s14-the-word-i"),
        pytest.param("[CH3:1][CH2:2][NH2:3]", id="s8-mapped-wrong-answer"),
        pytest.param("C%99" + "c1ccc(cc1)C" * 57 + "%99", id="b4-b5-para-phenylene-macrocycle"),
        pytest.param("c1ccc(cc1)" * 57 + "C", id="b11-polyphenylene"),
        pytest.param(complete_graph("[Fe]", 10), id="b6-complete-graph-10"),
        pytest.param(complete_graph("[U]", 8), id="b6-complete-graph-of-uranium"),
        pytest.param(carbon_grid(7), id="b7-grid-7"),
        pytest.param("C(" * 190 + "C" + ")" * 190, id="b3-branches-within-the-limits"),
        pytest.param("C1" + "C" * 390 + "1", id="b8-macrocycle-within-the-limits"),
        pytest.param("N[C@@H](C)C(=O)" * 75 + "O", id="b9-peptide-within-the-limits"),
        pytest.param("C(C(C(C(C(C)(C)C)(C)C)(C)C)(C)C)(C)(C)C", id="b10-dendrimer"),
        pytest.param(C60, id="b15-fullerene"),
    ],
)
def test_a_molecule_that_is_wrong_or_monstrous_earns_next_to_nothing_in_time(pool, solved, answer):
    jobs = [ScoreJob(task, f"<answer>{answer}</answer>", *solved[task]) for task in STRUCTURE_TASKS]
    started = time.perf_counter()
    verdicts = dict(zip(STRUCTURE_TASKS, pool.score(jobs), strict=True))
    seconds = time.perf_counter() - started
    assert all(v.value is not None for v in verdicts.values()), f"the guards should make this cheap, yet it failed: {verdicts}"
    limits = {"moledit_del": 0.7}  # losing the hydroxyl of butanol is all it asks, and ethylamine has lost it
    assert all(v.value <= limits.get(task, 0.4) for task, v in verdicts.items()), verdicts
    assert seconds < 15.0 * PATIENCE, f"{len(STRUCTURE_TASKS)} scorers took {seconds:.1f} s over it"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("nan", id="t7-nan"),
        pytest.param("1e999", id="t7-infinity"),
        pytest.param("７０", id="t7-fullwidth"),
        pytest.param("7_0", id="t7-underscore"),
        pytest.param("None", id="t8-none"),
        pytest.param("\ud800Yes", id="t8-lone-surrogate"),
        pytest.param("[" * 5000, id="t6-brackets"),
        pytest.param("C" + "9" * 5000, id="t5-digits"),
        pytest.param("[C]" * 24 + "!", id="t3-backtracking-regex"),
        pytest.param("\n" * 3000 + "x", id="t2-newlines"),
        pytest.param("the molecule " * 450, id="degenerate-repetition"),
        pytest.param("CCO.CCN or C2H6O or ethanol or Yes or No", id="t4-many-answers"),
        pytest.param("*", id="s9-dummy-atom"),
    ],
)
def test_tasks_that_are_answered_in_words_pay_nothing_for_it_and_at_once(pool, solved, answer):
    started = time.perf_counter()
    verdicts = pool.score([ScoreJob(task, f"<answer>{answer}</answer>", *solved[task]) for task in WORD_TASKS])
    assert {v.value for v in verdicts} == {0.0}, dict(zip(WORD_TASKS, verdicts, strict=True))
    assert time.perf_counter() - started < 10.0 * PATIENCE


def test_b13_b16_graphene_and_the_cage_of_rdkit_1281_end_in_time_as_no_molecule(pool, solved):
    rows = ["c" * 20] * 20
    graphene = "c1" + "c" * 18 + "c1" + "".join(f"(c{row}c1)" for row in rows[:3])
    cage = carbon_grid(7).replace("C", "c")
    started = time.perf_counter()
    verdicts = pool.score(
        [ScoreJob(task, f"<answer>{text}</answer>", *solved[task]) for task in STRUCTURE_TASKS for text in (graphene, cage)]
    )
    assert {v.value for v in verdicts} == {0.0}
    assert time.perf_counter() - started < 15.0 * PATIENCE


def test_b17_no_scorer_searches_for_common_substructures():
    """FindMCS keeps its timeout only most of the time; nothing here calls it."""
    package = Path(rewards.__file__).parent
    assert not [path for path in package.rglob("*.py") if "FindMCS" in path.read_text(encoding="utf-8")]


def test_b15_the_fullerene_parses_to_sixty_carbons():
    assert answer_molecule(C60).heavy_elements == {"C": 60}, "large real molecules must pass the guards"


def test_s1_an_empty_answer_is_no_molecule(pool, solved):
    verdicts = pool.score([ScoreJob(task, "<answer></answer>", *solved[task]) for task in STRUCTURE_TASKS])
    assert {(v.value, v.reason) for v in verdicts} == {(0.0, Reason.NO_ANSWER)}


def test_s8_atom_maps_do_not_make_a_right_answer_wrong(value_of):
    assert value_of("iupac2smiles", "[CH3:1][CH2:2][OH:3]", {}, {"answer": "CCO"}).value == 1.0


def test_s18_the_same_molecule_in_any_atom_order_is_right():
    rng = random.Random(18)
    for smiles in (
        "CC(N)C(=O)NCc1ccc(O)cc1",
        "C[C@H](F)/C=C/Cl",
        "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
        "CC[N+](C)(C)C.[Cl-]",
        "O=[N+]([O-])c1ccccc1",
    ):
        gold = answer_molecule(smiles)
        for _ in range(40):
            spelling = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=rng.randrange(1 << 30))[0]
            assert answer_molecule(spelling).components == gold.components, f"{spelling} and {smiles} are the same molecule"
        assert Molecule(Chem.MolFromSmiles(gold.canonical)).components == gold.components, "canonical forms are stable"


def test_t5_t6_t9_formula_bombs_are_invalid_formulas(pool, solved):
    bombs = ["C" + "9" * 1900, "(" * 1900, "CH" * 900, "C2h6o", "C2H6O1abc", "Xx5", "７０", "nan", "\ud800"]
    verdicts = pool.score([ScoreJob("smiles2formula", f"<answer>{bomb}</answer>", *solved["smiles2formula"]) for bomb in bombs])
    assert {(v.value, v.reason) for v in verdicts} == {(0.0, Reason.INVALID_FORMULA)}


def test_t10_a_name_with_a_line_break_does_not_shift_its_neighbours(pool):
    names = ["ethanol\nmethanol", "benzene", "ethan\x00ol", "ethanol", "eth\ud800anol"]
    golds = ["ethanol", "benzene", "ethanol", "ethanol", "ethanol"]
    jobs = [ScoreJob("smiles2iupac", f"<answer>{n}</answer>", {}, {"answer": g}) for n, g in zip(names, golds, strict=True)]
    assert [v.value for v in pool.score(jobs)] == [0.0, 1.0, 0.0, 1.0, 0.0]


def test_a_degenerate_name_costs_no_quadratic_time(value_of):
    started = time.perf_counter()
    assert value_of("smiles2iupac", "methyl" * 160, {}, {"answer": "ethanol"}).value == 0.0
    assert time.perf_counter() - started < 5.0 * PATIENCE


def test_the_attacks_left_the_pool_as_it_was(pool: ScorerPool):
    stats = pool.stats()
    failures = {name: stats[name] for name in ("timeout", "crash", "memory", "scorer_bug", "bad_reference")}
    assert not any(failures.values()), f"the guards should stop every attack before it costs a process: {failures}"
