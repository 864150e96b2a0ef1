"""Predictions that hang, crash or eat memory cost their own row and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from rewards.benchmark.child import Child, JobFailure
from rewards.benchmark.errors import BenchmarkChildError
from rewards.benchmark.evaluation import benchmark_figures
from rewards.benchmark.request import BenchmarkRow, BenchmarkSettings
from tests.patience import PATIENCE

MACROCYCLE = "C%99" + "c1ccc(cc1)C" * 24 + "C%99"  # the default ring finder of RDKit needs minutes for it (REWARDS §4.3, B5)


def test_a_hanging_prediction_is_wrong_is_named_and_hurts_no_other() -> None:
    rows = [BenchmarkRow({}, {"answer": "CCO"})] * 3
    report = benchmark_figures("forward", rows, [["OCC", MACROCYCLE, "CCO"]], BenchmarkSettings(deadline_s=1.5 * PATIENCE))
    assert report.figure("accuracy").mean == pytest.approx(2 / 3)
    assert [(item.row, item.reason) for item in report.unscored] == [(1, "timeout")]


def test_a_crash_is_told_from_a_timeout_and_the_next_job_gets_a_fresh_process() -> None:
    with Child(deadline_s=60.0, memory_bytes=4 << 30) as child:
        assert child.run("molecule_jobs.canonical", {"text": "OCC"})["smiles"] == "CCO"
        crash = threading.Timer(0.5, os.kill, (child._process.pid, signal.SIGSEGV))
        crash.start()
        failure = child.run("molecule_jobs.canonical", {"text": MACROCYCLE})
        crash.join()
        assert isinstance(failure, JobFailure) and failure.reason == "crash" and str(-signal.SIGSEGV) in failure.note
        assert child.run("molecule_jobs.canonical", {"text": "OCC"})["smiles"] == "CCO"


def test_text_that_no_smiles_can_hold_is_invalid_and_no_accident() -> None:
    texts = ["\ud800CCO", "C\0C", "{" * 200_000, "((((", "答案"]
    rows = [BenchmarkRow({"smiles": "CCO", "direction": "increase"}, {})] * len(texts)
    report = benchmark_figures("molopt_logp", rows, [texts])
    assert report.figure("raw.success_rate").mean == 0.0 and not report.unscored


def test_a_library_that_raises_gives_a_failure_with_its_message() -> None:
    with Child(deadline_s=60.0, memory_bytes=4 << 30) as child:
        failure = child.run("molecule_jobs.gold_mol", {"text": "C("})
        assert isinstance(failure, JobFailure) and failure.reason == "error" and "not valid" in failure.note
        pid = child._process.pid
        assert child.run("molecule_jobs.canonical", {"text": "OCC"})["smiles"] == "CCO" and child._process.pid == pid


def test_what_the_child_needs_and_lacks_is_an_error_of_the_installation() -> None:
    with Child(deadline_s=60.0, memory_bytes=4 << 30) as child:
        child.prepare("molecule_jobs.gold_mol", {"text": "C("})
        with pytest.raises(BenchmarkChildError, match="gold_mol"):
            child.run("molecule_jobs.canonical", {"text": "C"})


def test_the_child_is_gone_after_the_evaluation() -> None:
    with Child(deadline_s=30.0, memory_bytes=4 << 30) as child:
        pid = child.run("molecule_jobs.canonical", {"text": "C"}) and child._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_calling_process_meets_no_chemistry() -> None:
    program = "import rewards.benchmark.evaluation, sys; print({'rdkit', 'nltk', 'torch', 'fcd', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert result.stdout.strip() == "set()"
