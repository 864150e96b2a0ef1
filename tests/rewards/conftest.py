"""Shared by the tests of rewards: one well-behaved pool, one with scorers that misbehave, and one solved row of every task."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from tests.patience import PATIENCE, WAIT_S

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture(scope="session")
def pool() -> Iterator[ScorerPool]:
    with ScorerPool(workers=1, deadline_s=10.0 * PATIENCE) as running:
        yield running


@pytest.fixture(scope="session")
def plugins() -> Iterator[tuple[str, ...]]:
    sys.path.append(str(PLUGINS))
    yield ("misbehaving_scorers",)
    sys.path.remove(str(PLUGINS))


def is_running(pid: int) -> bool:
    """Whether a process exists and is not just a zombie that its new parent has not reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.fixture
def wait_until_gone():
    def wait(pids: list[int], seconds: float = WAIT_S) -> list[int]:
        """The pids that are still running after ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(map(is_running, pids)):
            time.sleep(0.01)
        return [pid for pid in pids if is_running(pid)]

    return wait


def answered(task: str, answer: str, inputs: dict, reference: dict) -> ScoreJob:
    return ScoreJob(task, f"<answer>{answer}</answer>", inputs, reference)


SOLVED = {
    "smiles2formula": ({"smiles": "CCO"}, {"answer": "C2H6O"}),
    "iupac2formula": ({"iupac": "ethanol"}, {"answer": "C2H6O"}),
    "iupac2smiles": ({"iupac": "ethanol"}, {"answer": "CCO"}),
    "smiles2iupac": ({"smiles": "CCO"}, {"answer": "ethanol"}),
    "molcustom_atomnum": ({"counts": {"C": 2, "O": 1}}, {"answer": "CCO"}),
    "molcustom_bondnum": ({"counts": {"single": 3, "double": 1}}, {"answer": "CCC(C)=O"}),
    "molcustom_functionalgroup": ({"counts": {"hydroxyl": 1, "carboxyl": 1}}, {"answer": "CC(=O)O"}),
    "moledit_add": ({"smiles": "CCCC", "add": "hydroxyl"}, {"answer": "CCCCO"}),
    "moledit_del": ({"smiles": "CCCCO", "remove": "hydroxyl"}, {"answer": "CCCC"}),
    "moledit_sub": ({"smiles": "CCCCO", "remove": "hydroxyl", "add": "halo"}, {"answer": "CCCCCl"}),
    "molopt_logp": ({"smiles": "CCCO", "direction": "increase", "by": 0.4}, {"answer": "CCCCO"}),
    "molopt_qed": ({"smiles": "CCCCCCO", "direction": "decrease", "by": 0.02}, {"answer": "CCCCCO"}),
    "molopt_mr": ({"smiles": "CCCO", "direction": "decrease", "by": 5.0}, {"answer": "CCO"}),
    "forward": ({"reactants": "CC(=O)O.CCO"}, {"answer": "CCOC(C)=O"}),
    "retro": ({"product": "CCOC(C)=O"}, {"answer": "CC(=O)O.CCO"}),
    "reactant_selection": (
        {"product": "CCOC(C)=O", "given": "CC(=O)O", "candidates": ["CO", "CCO", "CCCO"]},
        {"answer": "CCO"},
    ),
    "solvent_selection": (
        {"reaction": "Brc1ccccc1.OB(O)c1ccccc1>___>", "candidates": ["CO", "CC#N", "C1CCOC1"]},
        {"answer": "CC#N", "ranked": ["CC#N", "C1CCOC1", "CO"]},
    ),
    "ligand_selection": (
        {"reaction": "Brc1ccccc1.OB(O)c1ccccc1>___>", "candidates": ["CP(C)C", "CCP(CC)CC", "CC(C)P", "CN"]},
        {"answer": "CP(C)C", "ranked": ["CP(C)C", "CCP(CC)CC", "CC(C)P", "CN"]},
    ),
    **{f"property_{name}": ({"smiles": "CCO"}, {"answer": "Yes"}) for name in ("bace", "bbbp", "hiv", "tox21", "clintox")},
    **{f"yield_{name}": ({"reaction": "CBr.CN>>CNC"}, {"answer": "No"}) for name in ("bh", "suzuki")},
    "mol2text": (
        {"smiles": "CCO"},
        {"answer": "The molecule is a primary alcohol that is ethane in which one of the hydrogens is substituted by a hydroxy group."},
    ),
    "text2mol": ({"caption": "the simplest primary alcohol with two carbons"}, {"answer": "CCO"}),
}


@pytest.fixture(scope="session")
def solved() -> dict[str, tuple[dict, dict]]:
    """Per task: inputs and reference of one row."""
    return SOLVED


@pytest.fixture
def value_of(pool):
    """Scores one bare answer in the pool: ``value_of(task, answer, inputs, reference) -> Verdict``."""

    def score(task: str, answer: str, inputs: dict, reference: dict):
        return pool.score([answered(task, answer, inputs, reference)])[0]

    return score
