"""The red team: no policy of the library earns above its ceiling on rows of the starter, and a hole that is made on purpose is found."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chemr.cli import main
from chemr.data.example import Example
from chemr.data.starter import StarterConfig
from chemr.data.starter.build import build
from chemr.data.starter.splits import Split
from chemr.redteam import disguises
from chemr.redteam.attack import Finding, attacked, chosen_rows, table
from chemr.redteam.page import page
from chemr.redteam.policies import policies_for
from chemr.redteam.search import TextRule, best_text_rules, climbed, text_rules
from rewards.blind import BlindPolicies
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.registry import task_names
from rewards.scoring import score_here
from rewards.verdict import Verdict

ROWS = 60
TRIES = 40


class Here:
    """Scores in this process; ``paid``: what it pays instead for answers of a task, to make a hole."""

    def __init__(self, paid: Mapping[str, float] | None = None) -> None:
        self._paid = paid or {}

    def score(self, jobs: list[ScoreJob]) -> list[Verdict]:
        return [self._one(job) for job in jobs]

    def _one(self, job: ScoreJob) -> Verdict:
        for piece, value in self._paid.items():
            if piece in job.completion:
                return Verdict(value, "correct" if value == 1.0 else "partial")  # type: ignore[arg-type]
        return score_here(job)


@pytest.fixture(scope="module")
def starter() -> dict[Split, list[Example]]:
    return build(StarterConfig(train_per_task=400, test_per_task=60))


@pytest.fixture(scope="module")
def blind(starter: dict[Split, list[Example]]) -> BlindPolicies:
    return BlindPolicies.fitted(starter[Split.train])


@pytest.fixture(scope="module")
def pool() -> Iterator[ScorerPool]:
    with ScorerPool(workers=1) as scorers:
        yield scorers


def test_no_policy_earns_above_its_ceiling_on_the_starter(
    starter: dict[Split, list[Example]], blind: BlindPolicies, pool: ScorerPool
) -> None:
    findings: list[Finding] = []
    for rows in chosen_rows(starter[Split.test], ROWS, seed=0).values():
        of_task = attacked(rows, blind, pool, seed=0)
        findings += of_task
        findings += best_text_rules(rows, next(f.ceiling for f in of_task if f.kind == "attack"), pool, TRIES, seed=0)
    over = [finding for finding in findings if finding.exceeded]
    assert not over, "\n".join(table(over))
    assert {finding.kind for finding in findings} == {"gold", "blind", "attack", "near miss", "noise", "search"}
    noise = [finding.mean for finding in findings if finding.kind == "noise"]
    assert max(noise) < 0.9, "spoilt right answers should not earn like right ones"


def test_every_policy_of_every_task_is_a_function_of_row_and_seed(starter: dict[Split, list[Example]]) -> None:
    for task, rows in chosen_rows(starter[Split.test], 6, seed=1).items():
        for policy in policies_for(task):
            for row in rows:
                first, again = (policy.answer(row, random.Random(3)) for _ in range(2))
                assert first == again, f"{task}: {policy.name} answers otherwise the second time"


def test_every_task_has_policies_of_its_own_or_choices() -> None:
    general = {policy.name for policy in policies_for("a task of somebody's own")}
    without = [task for task in task_names() if {policy.name for policy in policies_for(task)} == general]
    assert all(task.startswith(("property_", "yield_")) or task == "napping" for task in without), without


def row(task: str, inputs: Mapping[str, Any], reference: Mapping[str, Any], number: int = 0) -> Example:
    return Example(f"test/{task}/{number}", task, inputs, reference, 0.0, "test", "MIT")


GROUPS = {"nitro": "[N+](=O)[O-]", "hydroxyl": "O", "thiol": "S", "nitrile": "C#N", "carboxyl": "C(=O)O", "amine": "N"}


def edit_rows() -> list[Example]:
    chains = ["CCCCCC", "CCCCCCC", "CC(C)CCCC", "CCCCC(C)C", "CCCCCCCC", "CCC(C)CCC"]
    chains += [f"C{chain}" for chain in chains]
    asked = enumerate(zip(chains, [*GROUPS.items(), *GROUPS.items()], strict=True))
    return [row("moledit_add", {"smiles": chain, "add": name}, {"answer": chain + piece}, n) for n, (chain, (name, piece)) in asked]


def test_a_hole_is_found_by_the_library_by_the_search_and_by_a_climb() -> None:
    rows = edit_rows()
    blind = BlindPolicies.fitted([])
    hole = Here({"OO": 1.0})  # a scorer that takes any peroxide
    ceiling = 0.32
    best = best_text_rules(rows, ceiling, hole, tries=len(text_rules()), seed=0)
    assert any(finding.exceeded and "OO" in finding.answer for finding in best), best
    assert any("OO" in climb.answer and climb.value == 1.0 for climb in climbed(rows[:2], hole, steps=40, seed=0))
    paid = {f.policy: f for f in attacked(rows, blind, Here({"<answer>Cl": 0.9}), seed=0)}
    assert paid["Cl in front"].exceeded and not paid["F in front"].exceeded


def test_a_search_without_a_hole_finds_none_above_the_ceiling() -> None:
    assert not any(finding.exceeded for finding in best_text_rules(edit_rows()[:5], 1.0, Here(), tries=30, seed=0))


def test_right_answers_that_do_not_earn_full_credit_are_a_finding() -> None:
    rows = edit_rows()
    broken = attacked(rows, BlindPolicies.fitted([]), Here({"CCCCCC[N+]": 0.4}), seed=0)
    [gold] = [finding for finding in broken if finding.kind == "gold"]
    assert gold.exceeded and gold.full < 1.0
    assert any(line.startswith("! right answer") for line in table([gold]))


@pytest.mark.parametrize(
    ("rule", "smiles", "edited"),
    [
        (TextRule("insert", "C", 0), "CCO", "CCCO"),
        (TextRule("insert", "F", -1), "CCO", "CCOF"),
        (TextRule("replace", "S", -1), "CCO", "CCS"),
        (TextRule("replace", "Cl", 0), "CCO", "ClCO"),
        (TextRule("delete", "", 0), "CCO", "CO"),
        (TextRule("delete", "", 5), "CCO", None),
        (TextRule("insert", "Cl", 1), "C#C", "C#CCl"),
    ],
)
def test_a_text_rule_edits_where_the_result_is_a_molecule(rule: TextRule, smiles: str, edited: str | None) -> None:
    assert rule.applied(smiles) == edited


def test_disguises_are_what_they_say() -> None:
    rng = random.Random(0)
    assert disguises.mirrored("C[C@H](N)O", rng) == "C[C@@H](N)O"
    assert disguises.mirrored("C[C@H](O)[C@@H](C)O", rng) is None, "a meso compound is its own mirror image"
    assert disguises.without_stereo("C/C=C/C", rng) == "CC=CC"
    assert disguises.tautomer("CC(=O)NC", rng) == "CN=C(C)O"
    assert disguises.charge_form("CS(C)=O", rng) == "C[S+](C)[O-]"
    assert disguises.atom_by_atom("CC(N)=O") == "CH3CNH2O"
    assert disguises.in_two_halves("c1ccccc1", rng) is None
    assert all(disguises.grown(text, rng) is None for text in ("not a molecule", "FC(F)(F)F"))


def test_the_page_shows_molecules_and_escapes_what_policies_wrote() -> None:
    rows = edit_rows()
    finding = Finding("moledit_add", "<script>", "attack", 12, 0.9, 0.9, 0.15, rows[0].uid, "CC<b>")
    shown = page([finding], [], {rows[0].uid: rows[0]})
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<b>" not in shown
    assert "<svg" in shown and "0.90" in shown


def test_the_command_writes_its_findings_and_says_what_is_above_its_ceiling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"max_heavy_atoms": 5, "train_per_task": 60, "test_per_task": 8, "validation_per_task": 4}
    small = [f"data.cache_dir={tmp_path}", *(f"data.starter.{name}={size}" for name, size in sizes.items())]
    out = tmp_path / "found.json"
    status = main(["redteam", "task=smiles2formula,moledit_add", *small, "--rows", "6", "--json", str(out)])
    findings = json.loads(out.read_text())["findings"]
    assert {finding["task"] for finding in findings} == {"smiles2formula", "moledit_add"}
    over = [finding for finding in findings if finding["exceeded"]]
    said = capsys.readouterr()
    assert status == (1 if over else 0) and said.err.count("chemr redteam: ") == len(over)
    assert "atom by atom" in said.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--rows", "0"], "--rows: should be at least 1, found 0"),
        (["--tries", "-1"], "--tries: should be at least 0, found -1"),
        (["--json", "no/such/folder/file.json"], "no/such/folder"),
        (["task=nothing"], "nothing"),
    ],
)
def test_options_that_cannot_be_used_are_named(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redteam", *words]) == 2
    said = capsys.readouterr().err
    assert complaint in said and "Traceback" not in said, (said, sys.argv)
