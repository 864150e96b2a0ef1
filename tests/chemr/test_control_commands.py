"""chemr status, pause, … : a run that is not there is one clear line, and so is whatever was typed wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.control.address import ControlNote
from actors.control.run_status import Ages, LedgerCounts, MemberStatus, Phase, RunStatus, Slots
from chemr.cli import main
from chemr.control_commands import describe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder as it is after a kill in step 14."""
    run = tmp_path / "mine"
    for step in ("step-10", "step-12", "step-14.partial"):
        (run / "checkpoints" / step).mkdir(parents=True)
    (run / "config.yaml").write_text("run: {}\n")
    (run / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 15)) + '{"step": 1')
    return run


def said(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "Traceback" not in printed.err, f"one line, on stderr: {printed}"
    return printed.err


@pytest.mark.parametrize("command", ["status", "pause", "resume", "checkpoint", "drain"])
def test_a_dead_run_is_one_line_with_what_its_folder_says(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(folder)]) == 1
    line = said(capsys)
    assert f"chemr {command}: {folder} is not running" in line
    assert "came to step 14" in line and "step-12" in line and "run.resume=auto" in line, line


def test_a_killed_run_is_told_from_one_that_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = ControlNote.of_this_process("127.0.0.1:1", "token", None, False)
    ControlNote(here.address, "token", None, False, here.host, process.pid, here.started).write(folder)
    assert main(["status", str(folder)]) == 1
    assert f"its process {process.pid} was killed" in said(capsys)


def test_a_finished_run_points_at_its_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "summary.json").write_text("{}")
    (folder / "model").mkdir()
    assert main(["status", str(folder)]) == 1
    assert "it finished" in (line := said(capsys)) and "summary.json" in line


def test_a_live_process_that_does_not_answer_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ControlNote.of_this_process("127.0.0.1:1", "token", None, False).write(folder)
    assert main(["status", str(folder), "--timeout", "2"]) == 1
    assert "does not answer" in said(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pool", "scale", "{run}", "generators=two"], "'generators=two' should be NAME=NUMBER, e.g. generators=2"),
        (["pool", "scale", "{run}", "learners=2"], "pool scale takes generators=N and rewards=N"),
        (["pool", "scale", "{run}", "generators=1.5"], "N a whole number"),
        (["curriculum", "floor", "{run}", "retro"], "'retro' should be NAME=NUMBER, e.g. retro=0.1"),
        (["status", "{run}/checkpoints"], "is not a run's folder"),
    ],
)
def test_what_is_typed_wrong_is_explained(arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument.format(run=folder) for argument in arguments]) == 2
    assert words in said(capsys)


def test_a_status_for_people_names_what_they_look_for() -> None:
    status = RunStatus(
        run="runs/x",
        phase=Phase.waiting,
        reason="1 of 2 generators serve",
        stage="grpo",
        step=12,
        stage_step=2,
        stage_steps=6,
        version=5,
        slots=Slots(8, 0, 3, 2, 3),
        ages=Ages(1, 2),
        ledger=LedgerCounts(20, 8, {"trivial": 4}, 8, 0),
        members=[MemberStatus("generator-0", "generator", "serving", 4, 1, 77, 5, 16)],
    )
    text = "\n".join(describe(status))
    for words in (
        "waiting (1 of 2 generators serve)",
        "stage grpo, step 2 of 6",
        "3 generating, 2 ready, 3 taken, 0 free of 8",
        "20 submitted, 8 trained, dropped 4 trivial, 8 in flight, error 0",
        "generator-0: serving, 4 of 16 samples, version 5, 1 restarts, pid 77",
    ):
        assert words in text, f"{words!r} is missing from\n{text}"
