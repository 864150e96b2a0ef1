"""OPSIN in its own JVM: names that mean the right molecule, injection, hangs, and what happens where it is not installed."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest

import rewards.opsin as opsin
from rewards.errors import ScorerPoolError
from rewards.isolation import ScorerPool
from rewards.iupac_name import MAX_COPIES, copies, readable
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


def test_multipliers_inside_of_each_other_do_not_reach_opsin():
    assert copies("tris(bis(2-chloroethyl)amino)phosphane") == 6
    assert copies("tetrakis(triphenylphosphane)palladium") == 4
    assert copies("tris(" * 9 + "silyl" + ")" * 9 + "silane") > MAX_COPIES
    for bomb in (
        "tris(" * 9 + "silyl" + ")" * 9 + "silane",
        "tetrakis[tetrakis{tetrakis(tetrakis(methyl)x)y}z]",
        "hexakis(hexakis-(tris(a)b)c)d",
    ):
        assert readable(bomb) is None, bomb
    for name in ("tris(trimethylsilyl)silane", "1,2,3,4,5,6-hexakis(acetyloxy)cyclohexane", "bis(tris(4-methoxyphenyl)methyl)ether"):
        assert readable(name) == name


# Bombs without brackets: OPSIN works on them for many seconds, or answers with a line of megabytes.
BOMBS = ["tris(" * 4 + "tetracontanyl" + ")silyl" * 3 + ")silane", "cyclo" + "hecta" * 60 + "ne", "bi" * 300 + "phenyl"]


@installed
def test_names_that_take_all_their_time_are_not_tried_again_and_hold_nobody_up():
    """The promise of `score`: 2 · deadline · jobs / workers, and that holds for what is read in OPSIN."""
    with ScorerPool(workers=1, deadline_s=2.0 * PATIENCE, opsin="always") as pool:
        jobs = [name_job("tris(" * 9 + "silyl" * index + ")" * 9 + "silane") for index in range(1, 6)] + [
            name_job("2-(chloromethyl)butane")
        ]
        verdicts = pool.score(jobs)
        assert verdicts[-1].value == 0.8
        assert [verdict.value for verdict in verdicts[:5]] == [0.0] * 5, "no reading is no failure"
        assert pool.stats()["opsin_starts"] == 0, "none cost a JVM"
        assert all(verdict.value is None or verdict.value <= 0.2 for verdict in pool.score([name_job(bomb) for bomb in BOMBS]))


class StubbornReader:
    """A program in place of the JVM: knows methane, works without end on names with ``spin``, ends at ``die``, floods at ``flood``."""

    SOURCE = """
import sys
for line in sys.stdin:
    if "spin" in line:
        while True:
            pass
    if "die" in line:
        sys.exit(1)
    print("C" * 100_000 if "flood" in line else {"methane": "C"}.get(line.strip(), "CC(CCl)CC"), flush=True)
"""


@installed
def test_a_name_that_spins_costs_one_jvm_one_that_kills_two_and_the_others_go_on(monkeypatch, tmp_path):
    program = tmp_path / "reader.py"
    program.write_text(StubbornReader.SOURCE)
    script = tmp_path / "java"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ScorerPool(workers=2, deadline_s=3.0 * PATIENCE, opsin="always") as pool:
        names = ["spin one", "die two", "flood three", "spin four", *(f"a good name {number}" for number in range(20))]
        verdicts = pool.score([name_job(name) for name in names])
        assert [verdict.reason for verdict in verdicts[:4:3]] == [Reason.TIMEOUT] * 2, verdicts[:4]
        assert (verdicts[1].value, verdicts[1].reason) == (None, Reason.CRASH)
        assert verdicts[2].value is not None and verdicts[2].parts["readable"] == 0.0, "a line beyond all limits is no reading"
        assert [verdict.value for verdict in verdicts[4:]] == [0.8] * 20
        assert pool.score([name_job("good again")])[0].value == 0.8


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
