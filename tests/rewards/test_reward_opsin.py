"""OPSIN in its own JVM: names that mean the right molecule, injection, hangs, and what happens where it is not installed."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

import rewards.opsin as opsin
from rewards.errors import ScorerPoolError
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.name_reading import NameReading
from rewards.opsin import OpsinMode, find_opsin
from rewards.scoring import score_answer
from rewards.verdict import Reason
from tests.patience import PATIENCE

GOLD = ({"smiles": "CC(CCl)CC"}, {"answer": "1-chloro-2-methylbutane"})
installed = pytest.mark.skipif(find_opsin(OpsinMode.AUTO).jar is None, reason="no Java runtime or no OPSIN jar")


def name_job(name: str, inputs: dict = GOLD[0], reference: dict = GOLD[1]) -> ScoreJob:
    return ScoreJob("smiles2iupac", f"<answer>{name}</answer>", inputs, reference)


@pytest.fixture(scope="module")
def reading_pool():
    with ScorerPool(workers=1, deadline_s=20.0 * PATIENCE, opsin="always") as running:
        yield running


@installed
def test_another_name_of_the_molecule_earns_eight_tenths_and_one_of_an_isomer_two(reading_pool):
    names = ["1-chloro-2-methylbutane", "2-methyl-1-chlorobutane", "2-(chloromethyl)butane", "1-chloropentane", "benzene", "aspirin"]
    verdicts = reading_pool.score([name_job(name) for name in names])
    assert [v.value for v in verdicts[:4]] == [1.0, 0.8, 0.8, 0.2], verdicts
    assert all(v.value <= 0.2 for v in verdicts[4:])
    assert verdicts[5].parts["readable"] == 0.0, "OPSIN knows no trade names"
    assert reading_pool.manifest()["opsin"] == find_opsin(OpsinMode.ALWAYS).description


@installed
def test_components_are_read_with_a_blank_after_the_semicolon_and_stereo_is_free_on_a_flat_row(reading_pool):
    salt = ({"smiles": "CC(=O)[O-].[Na+]"}, {"answer": "sodium;acetate"})
    chiral = ({"smiles": "CC(N)C(=O)O"}, {"answer": "2-aminopropanoic acid"})
    verdicts = reading_pool.score([name_job("sodium;ethanoate", *salt), name_job("(2S)-2-aminopropanoic acid", *chiral)])
    assert [v.value for v in verdicts] == [0.8, 0.8]


@installed
def test_t10_a_line_break_or_control_character_never_reaches_opsin_and_shifts_nobody(reading_pool):
    read = reading_pool.stats()["names_read"]
    names = [
        "2-(chloromethyl)butane\nbenzene",
        "ethane",
        "2-(chloro\x00methyl)butane",
        "2-(chloromethyl)butane",
        "a\u2028b",
        "x\ud800y",
        "m" * 1500,
    ]
    verdicts = reading_pool.score([name_job(name) for name in names])
    assert [v.value == 0.8 for v in verdicts] == [False, False, False, True, False, False, False]
    assert {v.reason for v in (verdicts[0], verdicts[2], verdicts[4], verdicts[5])} == {Reason.BAD_CHARACTERS}
    assert reading_pool.stats()["names_read"] <= read + 2


@installed
def test_the_smiles_handed_back_as_a_name_earns_nothing(reading_pool):
    [verdict] = reading_pool.score([name_job("CC(CCl)CC")])
    assert verdict.value == 0.0


def struck(pid):
    """Whether a signal has done its work: on a busy machine it takes a while, and a thread of the JVM may still answer."""
    try:
        return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True


@installed
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_jvm_that_dies_or_hangs_is_replaced_and_costs_no_verdict(how, wait_until_gone):
    with ScorerPool(workers=1, deadline_s=2.0 * PATIENCE, opsin="always") as pool:
        reader = pool._names._readers[0]
        os.kill(reader.pid, how)
        while not struck(reader.pid):
            time.sleep(0.01)
        assert pool.score([name_job("2-(chloromethyl)butane")])[0].value == 0.8
        assert pool.stats()["opsin_starts"] == 1, "one JVM in place of the one that was lost"
        last = pool._names._readers[0]
    assert wait_until_gone([reader.pid, last.pid]) == [], "JVMs end with the pool"


@installed
def test_a_killed_zygote_takes_the_jvm_along_and_both_come_back(wait_until_gone):
    with ScorerPool(workers=1, deadline_s=10.0 * PATIENCE, opsin="always") as pool:
        reader, zygote = pool._names._readers[0], pool.zygote_pid
        os.kill(zygote, signal.SIGKILL)
        assert wait_until_gone([reader.pid]) == []
        jobs = [name_job("2-(chloromethyl)butane"), ScoreJob("iupac2smiles", "<answer>OCC</answer>", {}, {"answer": "CCO"})]
        assert [v.value for v in pool.score(jobs)] == [0.8, 1.0], "a name is read by OPSIN even if both have to be started again"
        assert pool.zygote_pid != zygote


def test_a_row_cannot_bring_its_own_reading(pool):
    forged = {"smiles": "CC(CCl)CC", "_opsin": "CC(CCl)CC", "_claims": [], "_grounding": 1.0}
    with ScorerPool(workers=1, deadline_s=10.0 * PATIENCE, opsin="never") as text_only:
        [verdict] = text_only.score([name_job("benzene", forged)])
        assert verdict.value < 0.2
        assert text_only.manifest()["opsin"] == "off"


def test_a_reading_beyond_the_limits_of_answers_is_no_reading():
    for read in ("", "C" * 1300, "C~C", "not smiles"):
        assert score_answer("smiles2iupac", "benzene", GOLD[0] | {"_opsin": read}, GOLD[1]).value <= 0.2


def test_where_java_is_missing_names_are_judged_as_text_and_everybody_can_see_it(monkeypatch, caplog):
    monkeypatch.setattr(opsin.shutil, "which", lambda name: None)
    if opsin.importlib.util.find_spec("py2opsin") is not None:
        assert find_opsin(OpsinMode.AUTO).description.startswith("unavailable: no Java runtime"), "the manifest says why"
    with pytest.raises(ScorerPoolError, match="unavailable"):
        NameReading(OpsinMode.ALWAYS, 2.0)
    with ScorerPool(workers=1, deadline_s=10.0 * PATIENCE) as pool:
        [verdict] = pool.score([name_job("2-(chloromethyl)butane")])
        assert verdict.value < 0.2
        assert pool.manifest()["opsin"].startswith("unavailable")
    assert "judged as strings only" in caplog.text


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="maybe"):
        ScorerPool(opsin="maybe")
