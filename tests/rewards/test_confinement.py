"""Processes that read hostile text: what they inherit, what they can reach, and that every one of them is started that way."""

from __future__ import annotations

import ast
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.benchmark.child import Child
from rewards.confinement import _CALLS, PluginAccess, child_environment, confined_command, filter_program
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob

ROOT = Path(__file__).parents[2]
SECRET = "not-for-parsers-5f3a"
PLUGINS = Path(__file__).parent / "plugins"
# Where hostile text is read outside rewards/.
READERS = ("chemr/tracking/molecule_drawings.py", "chemr/playground/names.py")


def landlock_version() -> int:
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)


@pytest.fixture
def prying(monkeypatch):
    """The plugin's path, with a secret in this process's environment from its very start, as /proc shows it."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("JUDGE_URL", f"https://judge.example/?key={SECRET}")


@pytest.fixture
def caller():
    """A process of this user whose /proc entry shows the secret: what this one was given at its own start cannot be changed."""
    with subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "WANDB_API_KEY": SECRET}) as process:
        yield process.pid
        process.kill()


def pry(caller: int, **pool: object) -> dict[str, float]:
    with ScorerPool(workers=1, deadline_s=20.0, opsin="never", plugins=("prying_scorers",), **pool) as running:
        (verdict,) = running.score([ScoreJob("pry", "<answer>x</answer>", {"secret": SECRET, "caller": caller}, {})])
    assert verdict.value == 1.0, verdict
    return dict(verdict.parts)


def test_a_scorer_finds_no_secret_no_network_and_no_other_process(prying, caller):
    found = pry(caller)
    expected = dict.fromkeys(("variable", "ipv4", "ipv6", "netlink"), 0.0) | {"unix": 1.0}
    if landlock_version() >= 1:
        expected["callers_variable"] = 0.0
    if landlock_version() >= 6:
        expected["signal"] = 0.0
    assert found | expected == found, found


def test_a_plugin_gets_the_variables_and_the_network_that_are_named_for_it(prying, caller):
    found = pry(caller, plugin_access=PluginAccess(environment=("JUDGE_URL",), network=True))
    assert (found["variable"], found["ipv4"], found["ipv6"]) == (1.0, 1.0, 1.0)
    if landlock_version() >= 1:
        assert found["callers_variable"] == 0.0, "not more than what is named"


def state_of(pid: int) -> tuple[bool, str, str]:
    """Whether the process sees the secret; its no_new_privs and seccomp mode."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    return SECRET.encode() in environment, status["NoNewPrivs"].strip(), status["Seccomp"].strip()


CONFINED = (False, "1", "2")


def children_of(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def test_the_zygote_its_workers_and_the_jvm_are_confined_and_the_jvm_keeps_nothing_for_plugins(prying):
    access = PluginAccess(environment=("JUDGE_URL",), network=True)
    with ScorerPool(workers=1, deadline_s=20.0, opsin="auto", plugins=("prying_scorers",), plugin_access=access) as pool:
        pool.score([ScoreJob("iupac2smiles", "<answer>2-methylpropan-1-ol</answer>", {"iupac": "x"}, {"answer": "CC(C)CO"})])
        pool.score([ScoreJob("smiles2iupac", "<answer>2-methylpropan-1-ol</answer>", {"smiles": "CC(C)CO"}, {"answer": "isobutanol"})])
        programs = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of(pool.zygote_pid)}
        readers = [pid for pid, command in programs.items() if b"-osmi" in command]
        assert all(state_of(pid)[1:] == ("1", "2") for pid in (pool.zygote_pid, *programs))
        if shutil.which("java"):
            assert readers, f"no JVM was started: {programs}"
        for pid in readers:
            assert state_of(pid) == CONFINED


def test_the_evaluating_child_is_confined(prying):
    with Child(deadline_s=20.0, memory_bytes=0) as child:
        process = child._start()
        assert state_of(process.pid) == CONFINED


def test_the_process_that_draws_molecules_is_confined(prying):
    command = [sys.executable, "-m", "chemr.tracking.molecule_drawings"]
    with subprocess.Popen(command, env=child_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        drawn, _ = process.communicate(b'["CCO"]', timeout=120)
    assert b"CCO" in drawn
    source = (ROOT / "chemr/tracking/molecule_drawings.py").read_text()
    main = source[source.index("def main()") :]
    assert main.index("confine()") < main.index("json.load(sys.stdin)"), "it is confined before it reads"


def test_a_program_that_is_not_ours_is_confined_by_the_command_that_starts_it(prying):
    command = confined_command(["cat", "/proc/self/status", "/proc/self/environ"])
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert "NoNewPrivs:\t1" in done.stdout and "Seccomp:\t2" in done.stdout and SECRET not in done.stdout


def starts(path: Path) -> list[tuple[int, str]]:
    """Line and text of everything that starts a program."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    text = [(call.lineno, ast.unparse(call.func), ast.unparse(call)) for call in calls]
    return [
        (line, whole) for line, name, whole in text if name.startswith(("subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.popen"))
    ]


def test_every_program_that_reads_hostile_text_gets_the_environment_of_the_allow_list():
    files = [*sorted((ROOT / "rewards").rglob("*.py")), *(ROOT / name for name in READERS)]
    found = [(path, line, text) for path in files if path.name != "confinement.py" for line, text in starts(path)]
    assert len(found) >= 5, "the search itself works"
    without = [f"{path.relative_to(ROOT)}:{line}: {text}" for path, line, text in found if "child_environment(" not in text]
    assert not without


def test_the_allow_list_leaves_out_whatever_is_not_named():
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "WANDB_API_KEY": "k",
        "HTTPS_PROXY": "http://user:pass@proxy",
        "LD_PRELOAD": "x.so",
        "JUDGE": "j",
    }
    assert child_environment(("JUDGE",), given).keys() == {"PATH", "LC_ALL", "JUDGE", "PYTHONPATH", "OMP_NUM_THREADS"}


def run_filter(program: list[tuple[int, int, int, int]], architecture: int, number: int, argument: int = 0) -> int:
    """A BPF machine of the four instructions that the filter uses."""
    data, accumulator, place = {0: number, 4: architecture, 16: argument}, 0, 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x06:
            return value
        else:
            holds = accumulator == value if code == 0x15 else accumulator >= value
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", sorted(_CALLS))
@pytest.mark.parametrize("network", [False, True])
def test_the_filter_refuses_exactly_what_it_says(machine, network):
    calls = _CALLS[machine]
    program = filter_program(calls, network)
    allow, refuse = 0x7FFF0000, 0x0005000D
    assert all(run_filter(program, calls.audit, number) == refuse for number in calls.others)
    families = {family: run_filter(program, calls.audit, calls.socket, family) for family in (1, 2, 10, 16, 17, 40)}
    assert families == {1: allow} | dict.fromkeys((2, 10, 16, 17, 40), allow if network else refuse)
    others = [number for number in range(500) if number not in (*calls.others, calls.socket)]
    assert all(run_filter(program, calls.audit, number, 2) == allow for number in others)
    assert run_filter(program, 0x40000003, calls.socket, 1) == refuse, "another architecture's table of calls"
    if machine == "x86_64":
        assert run_filter(program, calls.audit, 0x40000000 | 41, 1) == refuse, "x32's table of calls"
