"""Scoring processes under attack: hangs, crashes, memory, kill -9 of a worker, of the zygote and of the caller."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rewards.errors import ScorerPoolError, UnknownTaskError
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.verdict import Reason, Verdict
from tests.patience import PATIENCE, WAIT_S

DEADLINE_S = 0.5 * PATIENCE


@pytest.fixture(scope="module")
def wild(plugins):
    """Two workers with scorers that misbehave."""
    with ScorerPool(workers=2, deadline_s=DEADLINE_S, memory_bytes=1500 << 20, plugins=plugins) as running:
        yield running


def choice(number: int) -> ScoreJob:
    """A job of its own for every number, scored in a worker: right for 2, else wrong."""
    answer = "OCC" if number == 2 else f"[{number % 900 + 1}CH3]" + "C" * (number // 900) + "O"
    return ScoreJob("reactant_selection", f"<answer>{answer}</answer>", {"candidates": ["CO", "CCO"]}, {"answer": "CCO"})


def bad(task: str, mark: str = "x", **inputs: str) -> ScoreJob:
    return ScoreJob(task, f"<answer>{mark}</answer>", inputs, {})


def test_verdicts_come_in_the_order_of_the_jobs(pool):
    jobs = [choice(n) for n in (9, 2, 7, 2, 3)] + [ScoreJob("retro", "no tags", {}, {})]
    values = [v.value for v in pool.score(jobs)]
    assert [v == 1.0 for v in values] == [False, True, False, True, False, False]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("hang", Reason.TIMEOUT),
        ("hang_ignoring_signals", Reason.TIMEOUT),
        ("segfault", Reason.CRASH),
        ("killed", Reason.CRASH),
        ("exit", Reason.CRASH),
        ("eat_memory", Reason.MEMORY),
        ("raise", Reason.SCORER_BUG),
        ("recurse", Reason.SCORER_BUG),
        ("not_a_number", Reason.SCORER_BUG),
        ("bad_reference", Reason.BAD_REFERENCE),
    ],
)
def test_a_failure_is_not_a_zero_and_the_neighbours_are_scored_right(wild, task, reason):
    before = wild.stats()[reason]
    verdicts = wild.score([choice(2), choice(30), bad(task), choice(31), choice(2)])
    assert (verdicts[2].value, verdicts[2].reason) == (None, reason)
    assert [v.value for v in verdicts[:2] + verdicts[3:]] == [1.0, 0.0, 0.0, 1.0]
    assert wild.stats()[reason] == before + 1, "every failure is counted by its reason"
    assert len(wild.pids()) <= 2


def test_the_deadline_is_kept(wild):
    started = time.perf_counter()
    wild.score([bad("hang", "deadline")])
    seconds = time.perf_counter() - started
    assert 2 * DEADLINE_S <= seconds < WAIT_S, f"two tries of {DEADLINE_S} s each took {seconds:.2f} s"


def test_many_hangs_do_not_starve_honest_answers(wild):
    verdicts = wild.score([bad("hang", f"many {n}") if n % 3 == 0 else choice(100 + n) for n in range(9)])
    assert [v.reason for v in verdicts[::3]] == [Reason.TIMEOUT] * 3
    assert all(v.value == 0.0 for n, v in enumerate(verdicts) if n % 3)


def test_one_poisoned_answer_among_many_is_the_only_one_that_is_charged_and_the_others_do_not_wait_for_it(wild):
    before = wild.stats()
    jobs = [choice(200 + n) for n in range(60)]
    for task in ("segfault", "hang"):
        jobs[30] = bad(task, f"poison {task}")
        verdicts = wild.score(jobs)
        assert verdicts[30].value is None
        assert [v.value for n, v in enumerate(verdicts) if n != 30] == [0.0] * 59
    after = wild.stats()
    assert after["retried"] - before["retried"] == 2, "neighbours in the same datagram are sent again without being charged"


def test_a_worker_that_dies_between_two_jobs_or_is_full_loses_nothing(plugins):
    """The jobs of 16 datagrams of 100 kB do not fit a socket; recycling leaves a chunk half done."""
    with ScorerPool(workers=2, recycle_jobs=5, plugins=plugins, cache_size=0) as pool:
        wide = {"candidates": ["CO", "CCO"], "note": "x" * 100_000}
        jobs = [ScoreJob("reactant_selection", f"<answer>[{n + 1}CH3]O</answer>", wide, {"answer": "CCO"}) for n in range(16)]
        assert {v.value for v in pool.score(jobs)} == {0.0}
        assert [v.value for v in pool.score([choice(n) for n in range(1, 40)])] == [0.0, 1.0] + [0.0] * 37
        assert pool.stats()["recycled"] >= 10
        assert pool.stats()["retried"] == 0


def test_a_job_that_crashed_gets_one_more_try_in_a_fresh_worker(wild, tmp_path):
    before = wild.stats()["retried"]
    [verdict] = wild.score([bad("crash_once", marker=str(tmp_path / "marker"))])
    assert verdict.value == 1.0, f"the second try succeeds: {verdict}"
    assert wild.stats()["retried"] == before + 1


def test_identical_answers_of_a_group_are_scored_once_and_a_hang_costs_its_deadline_once(wild):
    before = wild.stats()["retried"]
    verdicts = wild.score([bad("hang", "the whole group wrote this")] * 16)
    assert {v.reason for v in verdicts} == {Reason.TIMEOUT}
    assert wild.stats()["retried"] == before + 1, "sixteen equal answers share one verdict"


def test_failures_are_not_remembered_but_verdicts_are(wild, tmp_path):
    job = choice(2000)
    wild.score([job])
    hits = wild.stats()["cache_hits"]
    assert wild.score([job])[0].seconds == 0.0
    assert wild.stats()["cache_hits"] == hits + 1
    spawned = wild.stats()["spawned"]
    wild.score([bad("exit", "again")])
    wild.score([bad("exit", "again")])
    assert wild.stats()["spawned"] >= spawned + 2, "a failure may have been the machine's fault, so it is tried again next time"


def test_the_cache_key_is_answer_inputs_and_reference(pool):
    def job(thought: str, answer: str, gold: str) -> ScoreJob:
        return ScoreJob("iupac2smiles", f"<think>{thought}</think><answer>{answer}</answer>", {"iupac": "X"}, {"answer": gold})

    pool.score([job("a", "CCCCC", "CCCCC")])
    hits = pool.stats()["cache_hits"]
    assert pool.score([job("b", "CCCCC", "CCCCC")])[0].value == 1.0
    assert pool.stats()["cache_hits"] == hits + 1, "another way to the same answer is the same answer"
    assert pool.score([job("a", "CCCCC", "CCCCCC")])[0].value < 1.0, "another reference is another question"


def test_an_unknown_task_is_an_error_before_anything_is_scored(pool):
    jobs = pool.stats()["jobs"]
    with pytest.raises(UnknownTaskError, match="smiles2formula"):
        pool.score([choice(2), ScoreJob("alchemy", "<answer>Au</answer>", {}, {})])
    assert pool.stats()["jobs"] == jobs


def test_jobs_that_cannot_travel_are_errors_of_the_caller(pool):
    with pytest.raises(TypeError):
        pool.score([ScoreJob("retro", "<answer>C</answer>", {"product": object()}, {"answer": "C"})])
    with pytest.raises(ValueError, match="bytes"):
        pool.score([ScoreJob("retro", "<answer>C</answer>", {"product": "C" * 200_000}, {"answer": "C"})])
    assert pool.score([choice(2)])[0].value == 1.0


def test_sigkill_of_an_idle_worker_is_repaired(wild):
    for pid in wild.pids():
        os.kill(pid, signal.SIGKILL)
    assert [v.value for v in wild.score([choice(2), choice(50)])] == [1.0, 0.0]


@pytest.mark.parametrize("victim", ["worker", "zygote"])
def test_sigkill_in_the_middle_of_a_batch_loses_no_verdict(plugins, victim):
    with ScorerPool(workers=2, deadline_s=5.0 * PATIENCE, plugins=plugins, cache_size=0) as pool:
        jobs = [choice(n % 4000 + 1) for n in range(4000)]
        reference = [v.value for v in pool.score(jobs)]
        killed = []

        def kill() -> None:
            for _ in range(2):
                time.sleep(0.1)
                target = pool.zygote_pid if victim == "zygote" else (pool.pids() or [0])[0]
                with contextlib.suppress(ProcessLookupError):  # it may be about to be replaced already
                    if target:
                        os.kill(target, signal.SIGKILL)
                        killed.append(target)

        killer = threading.Thread(target=kill)
        killer.start()
        values = [v.value for v in pool.score(jobs)]
        killer.join()
        assert killed, "the test killed nothing"
        assert values == reference, "a killed process costs time, not verdicts"
        assert pool.score([choice(2)])[0].value == 1.0
        assert victim == "worker" or pool.stats()["zygote_restarts"] >= 1


def test_a_stopped_worker_is_a_time_out_and_not_a_hang(plugins):
    with ScorerPool(workers=1, deadline_s=DEADLINE_S, plugins=plugins) as pool:
        os.kill(pool.pids()[0], signal.SIGSTOP)
        assert pool.score([choice(2)])[0].value == 1.0, "the second try has a fresh worker"
        assert pool.stats()["retried"] == 1


def test_workers_are_recycled_by_jobs_and_by_memory(plugins):
    with ScorerPool(workers=1, recycle_jobs=3, plugins=plugins) as pool:
        seen = {pool.score([bad("process_id", str(n))])[0].parts["pid"] for n in range(7)}
        assert len(seen) >= 3, "seven jobs at three a worker need three workers"
    with ScorerPool(workers=1, recycle_rss_bytes=150 << 20, plugins=plugins) as pool:
        first = pool.pids()
        assert pool.score([choice(2)])[0].value == 1.0
        assert pool.stats()["recycled"] == 0, "an honest worker stays below the limit"
        pool.score([bad("swell")])
        assert pool.score([choice(3)])[0].value is not None
        assert pool.stats()["recycled"] == 1
        assert pool.pids() != first


def test_close_leaves_no_process_and_may_be_repeated(plugins, wait_until_gone):
    pool = ScorerPool(workers=2, plugins=plugins)
    pids = [*pool.pids(), pool.zygote_pid]
    assert len(pids) == 3
    pool.close()
    pool.close()
    assert wait_until_gone(pids, seconds=5.0) == [], "close() waits for its processes"
    with pytest.raises(ScorerPoolError, match="closed"):
        pool.score([choice(2)])


def test_sigkill_of_the_caller_leaves_no_process_even_if_a_worker_hangs(plugins, wait_until_gone):
    script = """
import sys, threading
sys.path[:0] = {path!r}
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
pool = ScorerPool(workers=2, deadline_s=60.0, plugins=("misbehaving_scorers",))
print(*pool.pids(), pool.zygote_pid, flush=True)
pool.score([ScoreJob("hang_ignoring_signals", "<answer>%d</answer>" % n, {{}}, {{}}) for n in range(2)])
"""
    caller = subprocess.Popen([sys.executable, "-c", script.format(path=[p for p in sys.path if p])], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    pids = [int(pid) for pid in caller.stdout.readline().split()]
    assert len(pids) == 3, "the caller did not start its pool"
    time.sleep(0.2)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert wait_until_gone(pids) == [], "zygote and workers must end with the process that started them"


def test_an_interrupt_in_the_middle_does_not_shift_later_verdicts(plugins):
    class Interrupt(Exception):
        pass

    def interrupt(signum, frame):
        raise Interrupt

    with ScorerPool(workers=2, deadline_s=10.0 * PATIENCE, plugins=plugins) as pool:
        previous = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Interrupt):
                pool.score([bad("hang"), *(choice(n) for n in range(1, 50))])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, previous)
        verdicts = pool.score([choice(n) for n in range(1, 5)])
        assert [v.value == 1.0 for v in verdicts] == [False, True, False, False]


def test_threads_take_turns(pool):
    with ThreadPoolExecutor(4) as threads:
        batches = list(threads.map(lambda k: pool.score([choice(2), choice(5000 + k)]), range(12)))
    assert all(first.value == 1.0 and second.value == 0.0 for first, second in batches)


def test_impossible_limits_and_broken_plugins_are_told_at_the_start():
    with pytest.raises(ValueError, match="deadline_s"):
        ScorerPool(deadline_s=0)
    with pytest.raises(ScorerPoolError, match="did not start"):
        ScorerPool(plugins=("no_such_plugin_module",))
    with pytest.raises(ScorerPoolError, match="ethanol"):
        ScorerPool(memory_bytes=64 << 20)


def test_a_job_costs_the_caller_less_than_300_microseconds_and_a_repeated_one_less_than_60(plugins):
    """Processor time, so that a busy machine does not decide the test."""
    jobs = [ScoreJob("process_id", f"<answer>{n}</answer>", {"smiles": "CCO"}, {"answer": "C2H6O"}) for n in range(1000)]
    with ScorerPool(workers=1, plugins=plugins) as pool:
        first = min(_processor_seconds(pool, jobs[k * 250 : k * 250 + 250]) for k in range(4)) / 250
        again = min(_processor_seconds(pool, jobs) for _ in range(3)) / 1000
    assert first < 300e-6, f"the way to a worker and back takes {first * 1e6:.0f} us"
    assert again < 60e-6, f"a remembered verdict takes {again * 1e6:.0f} us"


def _processor_seconds(pool: ScorerPool, jobs: list[ScoreJob]) -> float:
    started = time.process_time()
    pool.score(jobs)
    return time.process_time() - started


def test_the_zygote_is_found_from_any_working_directory(tmp_path: Path):
    root = [p for p in sys.path if p]
    code = f"import sys; sys.path[:0] = {root!r}\nfrom rewards.isolation import ScorerPool\nwith ScorerPool() as p: print(len(p.pids()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=480)
    assert done.stdout.strip() == "1", done.stderr


def test_verdicts_report_where_the_time_went(pool):
    [verdict] = pool.score([ScoreJob("text2mol", "<answer>CCCCCCN</answer>", {}, {"answer": "CCCCCCO"})])
    assert isinstance(verdict, Verdict)
    assert 0.0 < verdict.seconds < 5.0
    assert 0.0 < verdict.parts["similarity"] < 1.0
