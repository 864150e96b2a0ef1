"""The rows of the starter data: right, apart, deterministic, graded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from statistics import fmean

import pytest
from rdkit import Chem

from chemr.data.example import Example
from chemr.data.starter.build import build
from chemr.data.starter.compounds import Compound, MissingTableError, read_compounds, table_paths
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.drafts import Draft, choose
from chemr.data.starter.molecules import flat, heavy_counts
from chemr.data.starter.splits import Split
from chemr.tasks import TASKS, MacroTask
from rewards.job import ScoreJob
from rewards.registry import task_names
from rewards.scoring import score_here
from tests.chemr.starter_rows import SMALL, molecules_of

Rows = dict[Split, list[Example]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return build(SMALL)


@pytest.fixture(scope="module")
def compounds() -> list[Compound]:
    return read_compounds(SMALL.max_heavy_atoms)


def test_no_molecule_is_in_two_splits(rows: Rows, compounds: list[Compound]) -> None:
    smiles_of_name = {compound.name: compound.smiles for compound in compounds if compound.name}
    splits_of: dict[str, set[Split]] = defaultdict(set)
    splits_of_atoms: dict[str, set[Split]] = defaultdict(set)
    for split, examples in rows.items():
        for example in examples:
            for smiles in molecules_of(example, smiles_of_name):
                mol = Chem.MolFromSmiles(smiles)
                splits_of[flat(mol)].add(split)
                splits_of_atoms[str(sorted(heavy_counts(mol).items()))].add(split)
    assert len(splits_of) > 500, "the check saw hardly any molecules, so it proves nothing"
    torn = {smiles: splits for smiles, splits in splits_of.items() if len(splits) > 1}
    assert not torn, f"molecules in several splits: {dict(list(torn.items())[:5])}"
    assert all(len(splits) == 1 for splits in splits_of_atoms.values()), "a heavy-atom composition is in several splits"


def test_no_question_is_asked_in_two_splits_and_held_out_ones_are_asked_once(rows: Rows) -> None:
    splits_of: dict[str, list[Split]] = defaultdict(list)
    for split, examples in rows.items():
        for example in examples:
            splits_of[json.dumps([example.task, example.inputs], sort_keys=True)].append(split)
    for question, splits in splits_of.items():
        assert len(set(splits)) == 1, f"{question} is asked in {set(splits)}"
        assert splits[0] is Split.train or len(splits) == 1, f"{question} is held out and asked {len(splits)} times"


def test_every_reference_answer_gets_full_credit_from_its_scorer(rows: Rows) -> None:
    for examples in rows.values():
        for example in examples:
            completion = f"<answer>{example.reference['answer']}</answer>"
            verdict = score_here(ScoreJob(example.task, completion, example.inputs, example.reference))
            assert verdict.value == 1.0, f"{example.task} {dict(example.inputs)}: {example.reference['answer']} is scored {verdict}"


def test_every_task_of_the_starter_has_rows_in_every_split(rows: Rows) -> None:
    assert set(task_names()) <= set(TASKS), "a scorer has no task"
    of_starter = {task for task, spec in TASKS.items() if spec.in_starter}
    assert len(of_starter) >= 12, "too few tasks"
    assert {spec.macro_task for spec in TASKS.values()} == set(MacroTask), "a macro-task has no task"
    assert all(name == spec.name for name, spec in TASKS.items()), "a task is listed under another name"
    for split, examples in rows.items():
        assert {example.task for example in examples} == of_starter, f"tasks without {split} rows"


def test_answers_fit_the_length_their_task_declares(rows: Rows) -> None:
    longest = Counter[str]()
    for example in (example for examples in rows.values() for example in examples):
        longest[example.task] = max(longest[example.task], len(example.reference["answer"]))
    too_long = {task: length for task, length in longest.items() if length > TASKS[task].max_answer_chars}
    assert not too_long, f"answers longer than declared: {too_long}"


def test_rows_are_named_once_graded_and_cited(rows: Rows) -> None:
    everything = [example for examples in rows.values() for example in examples]
    assert max(Counter(example.uid for example in everything).values()) == 1, "a uid occurs twice"
    for example in everything:
        assert example.uid.startswith(f"starter/{example.task}/"), f"uid {example.uid} does not name its task"
        assert 0.0 <= example.difficulty <= 1.0, f"{example.uid} has difficulty {example.difficulty}"
        assert example.source.startswith("PubChem identifiers in the PyPI package chemicals"), f"{example.uid} cites no source"
        assert example.licence == "MIT", f"{example.uid} names no licence"
        assert Example.from_json(example.to_json()) == example, f"{example.uid} does not survive JSON"


def test_difficulty_grows_with_the_size_of_the_molecule(rows: Rows) -> None:
    by_size: dict[int, list[float]] = defaultdict(list)
    for example in rows[Split.train]:
        if example.task == "smiles2formula":
            by_size[Chem.MolFromSmiles(example.inputs["smiles"]).GetNumAtoms()].append(example.difficulty)
    levels = [fmean(by_size[size]) for size in sorted(by_size)]
    assert levels == sorted(levels), f"mean difficulties by size are not increasing: {levels}"
    assert levels[0] == 0.0, "the smallest molecules are not the easiest"


def test_reactions_do_not_give_a_reactant_back_and_have_one_product(rows: Rows) -> None:
    product_of: dict[str, str] = {}
    for example in (example for examples in rows.values() for example in examples if example.task == "forward"):
        product = flat(Chem.MolFromSmiles(example.reference["answer"]))
        assert "." not in product, f"{example.uid} has several products"
        assert product not in example.inputs["reactants"].split("."), f"{example.uid} gives a reactant back"
        assert product_of.setdefault(example.inputs["reactants"], product) == product, f"{example.uid}: these reactants have two products"


def test_a_product_is_taken_apart_in_one_way_only(rows: Rows) -> None:
    ways: dict[str, set[str]] = defaultdict(set)
    for example in (example for examples in rows.values() for example in examples if example.task == "retro"):
        ways[example.inputs["product"]].add(example.reference["answer"])
        assert example.inputs["product"] not in example.reference["answer"].split("."), f"{example.uid} starts from its product"
    assert all(len(answers) == 1 for answers in ways.values()), "a product has two disconnections"


def test_the_right_candidate_is_listed_once_and_not_always_at_the_same_place(rows: Rows) -> None:
    places = Counter[int]()
    for example in (example for examples in rows.values() for example in examples if example.task == "reactant_selection"):
        candidates = example.inputs["candidates"]
        assert len(set(candidates)) == len(candidates) == 3, f"{example.uid} lists {candidates}"
        places[candidates.index(example.reference["answer"])] += 1
    assert max(places.values()) < 0.45 * places.total(), f"the place of the right candidate gives it away: {places}"


def test_a_caption_describes_one_molecule(rows: Rows) -> None:
    molecules: dict[str, set[str]] = defaultdict(set)
    captions: dict[str, set[str]] = defaultdict(set)
    for example in (example for examples in rows.values() for example in examples if example.task == "text2mol"):
        identity = flat(Chem.MolFromSmiles(example.reference["answer"]))
        molecules[example.inputs["caption"]].add(identity)
        captions[identity].add(example.inputs["caption"])
    assert all(len(found) == 1 for found in molecules.values()), "a caption stands for several molecules"
    assert all(len(found) == 1 for found in captions.values()), "a molecule has several captions"


def test_edited_molecules_are_written_like_the_question() -> None:
    """The reference repeats the question's text with a change in it, so that copying is most of the work."""
    from chemr.data.starter.surgery import Fragment, exchange

    ketone = Chem.MolFromSmiles("CCC(C)=O")
    added = exchange(ketone, 1, (), Fragment.of("Cl"))
    removed = exchange(ketone, 2, (3,))
    swapped = exchange(ketone, 2, (3,), Fragment.of("O"))
    assert added is not None and added.text == "CC(Cl)C(C)=O", f"adding chlorine to atom 1 wrote {added}"
    assert removed is not None and removed.text == "CCC=O", f"removing the methyl wrote {removed}"
    assert swapped is not None and swapped.text == "CCC(O)=O", f"exchanging the methyl wrote {swapped}"


def test_an_edit_that_leaves_two_pieces_or_no_valence_is_refused() -> None:
    from chemr.data.starter.surgery import Fragment, exchange

    assert exchange(Chem.MolFromSmiles("COC"), 0, (1,)) is None, "cutting out the middle leaves two pieces"
    assert exchange(Chem.MolFromSmiles("CC(C)(C)C"), 1, (), Fragment.of("O")) is None, "a carbon took five bonds"


def _drafts(sizes: list[int]) -> list[Draft]:
    return [Draft("t", {"smiles": str(number)}, "A", size, Split.train, "test") for number, size in enumerate(sizes)]


def test_small_molecules_are_preferred_by_the_configured_factor() -> None:
    drafts = _drafts([4] * 2000 + [8] * 2000)
    taken = choose(drafts, StarterConfig(train_per_task=400, size_decay=0.7))[Split.train]
    small = sum(example.difficulty == 0.0 for example in taken)
    assert 0.7 < small / len(taken) < 0.9, f"sizes 4 and 8 at 0.7 per atom should be drawn 81:19, got {small} of {len(taken)}"
    even = choose(drafts, StarterConfig(train_per_task=400, size_decay=1.0))[Split.train]
    assert 0.4 < sum(example.difficulty == 0.0 for example in even) / len(even) < 0.6, "without decay sizes should come as they are"


def test_the_seed_changes_the_draw_but_not_the_candidates() -> None:
    drafts = _drafts([5] * 100)
    first, again, other = (choose(drafts, StarterConfig(train_per_task=20, seed=seed))[Split.train] for seed in (0, 0, 1))
    assert first == again, "the same seed drew other rows"
    assert {example.uid for example in first} != {example.uid for example in other}, "another seed drew the same rows"


def test_another_process_with_another_hash_seed_builds_the_same_rows() -> None:
    tiny = StarterConfig(max_heavy_atoms=5, train_per_task=40, validation_per_task=4, test_per_task=4)
    program = (
        "import sys; from chemr.data.starter.build import build; from chemr.data.starter.config import StarterConfig;"
        f"rows = build({tiny!r}); sys.stdout.write(''.join(e.to_json() for part in rows.values() for e in part))"
    )
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=480, check=True, env=environment)
    here = "".join(example.to_json() for examples in build(tiny).values() for example in examples)
    assert elsewhere.stdout == here, "a build depends on the order of sets or dictionaries"


def test_compounds_are_ordinary_and_named_once(compounds: list[Compound]) -> None:
    names = Counter(compound.name for compound in compounds if compound.name)
    assert max(names.values()) == 1, f"names of several molecules: {names.most_common(3)}"
    assert {"ethanol", "acetic acid", "propan-2-one"} <= set(names), "everyday molecules are missing"
    assert len({compound.smiles for compound in compounds}) == len(compounds), "a molecule is listed twice"
    for compound in compounds:
        assert compound.size <= SMALL.max_heavy_atoms, f"{compound.smiles} is too large"
        assert "." not in compound.smiles and "@" not in compound.smiles and "/" not in compound.smiles, f"{compound.smiles} is not flat"


def test_a_missing_table_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingTableError, match="pip install"):
        table_paths()
