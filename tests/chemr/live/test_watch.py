"""``chemr watch``: what a person sees of a run that goes on, has not begun, has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.control.address import ControlNote
from chemr.cli import main
from chemr.live.facts import flow_facts, head_facts, speed_text
from chemr.live.frame import frame, sparkline
from chemr.live.liveness import QUIET_S, Life, Watcher
from chemr.live.progress import Pace, left_s, plan_of
from chemr.live.run_state import RunState, stage_rows
from chemr.live.view import LiveView
from chemr.run_notes import NOTES, RunNotes
from tests.chemr.report.written_run import write_run

CONFIG = {"stages": ["foundation", "grpo"], "foundation": {"steps": 10}, "grpo": {"steps": 100}}
PLAN = plan_of(CONFIG)


def record(step: int, stage: str = "grpo", **metrics: Any) -> dict[str, Any]:
    return {"step": step, "time": 1e9 + step, "elapsed_s": 2.0 * step, "stage": stage, **metrics}


def state_of(*records: dict[str, Any]) -> RunState:
    state = RunState()
    for one in records:
        state.fold(one)
    return state


def text_of(state: RunState, life: Life = Life.running, width: int = 100, height: int = 60, run: str = "runs/mine") -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115
    console.print(frame(Path(run), PLAN, state, life, 0, width, height))
    return console.export_text()


@pytest.fixture
def grpo() -> RunState:
    records = [record(step, "foundation", **{"train/loss": 3.0}) for step in range(1, 11)]
    records.append(record(10, "grpo", **{"weights/publish_s": 0.5}))
    for step in range(11, 31):
        records.append(
            record(
                step,
                **{"train/loss": 0.25, "time/step_s": 2.0, "reward/mean": 0.5, "reward/forward/mean": step / 40, "reward/retro/mean": 0.1},
                **{"curriculum/weight/forward": 0.75, "curriculum/weight/retro": 0.25, "async/age_mean": 0.9, "async/age_max": 1.0},
                **{"async/age_bound": 2.0, "async/overlap_efficiency": 0.97, "engine/cache_usage": 0.42, "weights/pull_s": 0.25},
                **{"fleet/members/generator": 2.0},
            )
        )
    return state_of(*records)


def test_the_step_of_a_stage_begins_with_the_stage(grpo: RunState) -> None:
    assert (grpo.stage, grpo.step, grpo.stage_step) == ("grpo", 30, 20)
    assert stage_rows(PLAN, grpo) == [("foundation", 10, 10, "done"), ("grpo", 20, 100, "now")]
    assert state_of(record(11, "grpo", **{"train/loss": 1.0})).stage_step == 1, "a first record with a loss is a first step"


def test_the_rest_of_a_stage_is_told_at_its_own_speed(grpo: RunState) -> None:
    assert grpo.pace.step_s == pytest.approx(2.0)
    assert left_s(PLAN, "grpo", grpo.stage_step, grpo.pace.step_s) == pytest.approx(160.0)
    facts = dict(head_facts(PLAN, grpo, Life.running))
    assert facts["stage"] == "grpo, step 20 of 100" and facts["rest of the stage"] == "2 min 40 s" and facts["speed"] == "2.0 s a step"
    assert dict(head_facts(PLAN, grpo, Life.stopped))["rest of the stage"] == "–", "a run that stands still never ends"
    assert left_s([], "grpo", 5, 2.0) is None and speed_text(0.25) == "4.0 steps/s" and speed_text(None) == "–"


def test_a_restart_does_not_slow_the_speed_down() -> None:
    pace = Pace()
    for step, elapsed in ((1, 1.0), (2, 2.0), (2, 2.1), (3, 3.0)):
        pace.step(step, elapsed)
    assert pace.step_s == pytest.approx(1.0)


def test_ages_overlap_engines_and_weights_are_shown(grpo: RunState) -> None:
    facts = dict(flow_facts(grpo))
    assert facts["age"] == "0.9, oldest 1 (bound 2)" and facts["overlap"] == "0.97"
    assert (
        facts["engine cache"] == "42 %"
        and facts["weights published"] == "0.50 s"
        and facts["weights pulled"] == "0.25 s"
        and facts["actors"] == "2 generator"
    )


def test_tasks_stand_in_the_order_of_their_shares_with_a_picture_each(grpo: RunState) -> None:
    text = text_of(grpo)
    rows = [line for line in text.splitlines() if "%" in line and any(task in line for task in ("forward", "retro"))]
    assert "forward" in rows[0] and "75.0 %" in rows[0] and "retro" in rows[1] and "25.0 %" in rows[1]
    assert any(bar in rows[0] for bar in "▃▄▅▆") and "▁" in rows[1]


def test_alerts_go_on_until_they_end_and_failures_are_kept() -> None:
    stall, share = {"curriculum/alert/retro/stall": 1.0}, {"curriculum/weight/retro": 1.0}
    drops = {"async/dropped/straggler": 2.0, "async/dropped/zero_variance": 8.0}
    state = state_of(record(1, **stall, **share), record(1, **{"weights/pull_s": 1.0}), record(2, **stall, **share, **drops))
    assert state.active == {("retro", "stall")} and [told.step for told in state.alerts] == [1], "one episode is told once"
    assert [told.text for told in state.failures] == ["2 groups were dropped: straggler"], "a group that teaches nothing is no failure"
    assert "goes on  retro: stall" in text_of(state) and "step 2: 2 groups were dropped" in text_of(state)
    state.fold(record(3, **share))
    assert state.active == set(), "an alert that is recorded no more has ended"
    state.fold(record(4, **stall, **share, **{"alert/reward_collapse": 1.0}))
    assert [(told.step, told.text) for told in state.alerts] == [(1, "retro: stall"), (4, "reward collapse"), (4, "retro: stall")]


def test_what_is_not_finite_or_of_a_wrong_type_does_no_harm() -> None:
    state = state_of(record(1, **{"train/loss": None, "nonfinite": ["train/loss"], "odd": [1], "flag": True}))
    assert state.value("train/loss") is None and state.failures[0].text == "train/loss was not finite" and state.value("flag") is None
    assert text_of(state)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 24), (80, 24), (100, 40), (200, 60)])
def test_a_picture_fits_any_terminal(width: int, height: int, grpo: RunState) -> None:
    for task in range(27):
        grpo.fold(record(31, **{f"reward/task_{task:02}/mean": 0.5, f"curriculum/weight/task_{task:02}": 0.01}))
    text = text_of(grpo, width=width, height=height)
    assert max(len(line) for line in text.splitlines()) <= width, "a line sticks out"
    assert "more" in text or "task_26" in text, "what does not fit is said to be there"
    if height >= 24:
        assert len(text.splitlines()) <= height, text


def test_a_sparkline_runs_from_zero_to_one() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█" and sparkline([2.0, -1.0], 10) == "█▁"
    assert len(sparkline([0.5] * 1000, 30)) == 30 and sparkline([], 10) == ""


# -- a run's folder --------------------------------------------------------------------------------------------------------------------


def test_one_picture_of_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "mine")
    assert main(["watch", str(run), "--once"]) == 0
    text = capsys.readouterr().out
    assert "mine" in text and "finished" in text and "forward" in text and "\x1b" not in text, "a pipe gets no colours"


def test_watching_a_finished_run_ends_at_once(tmp_path: Path) -> None:
    assert main(["watch", str(write_run(tmp_path / "mine"))]) == 0


def test_a_run_that_has_not_begun_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path / "later"), "--once"]) == 0
    assert "has not begun" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "config.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert main(["watch", str(tmp_path / "later"), "--once"]) == 0
    assert "Nothing is recorded yet" in capsys.readouterr().out


def test_a_view_follows_a_run_that_is_being_written_and_goes_back(tmp_path: Path) -> None:
    view = LiveView(tmp_path)
    view.look()
    assert view.life is Life.not_begun
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    metrics = tmp_path / "metrics.jsonl"
    lines = [json.dumps(record(step, **{"train/loss": 1.0, "time": time.time()})) + "\n" for step in range(1, 6)]
    metrics.write_text("".join(lines) + '{"step": 6, "tr', encoding="utf-8")
    view.look()
    assert view.state.step == 5 and view.plan == PLAN and view.damaged == 0
    aside = tmp_path / "aside"
    aside.write_text("".join(lines[:2]), encoding="utf-8")
    aside.replace(metrics)
    view.look()
    assert (view.state.step, view.state.records) == (2, 2), "what a run has taken back is forgotten"
    view.close()


def test_what_the_run_told_people_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine")
    view = LiveView(run)
    notes = RunNotes(run / NOTES)
    for number in range(5):
        notes.write(f"generator-{number} was lost\nand replaced")
        view.look()
    notes.close()
    assert list(view.notes) == [f"generator-{number} was lost and replaced" for number in (2, 3, 4)]
    console = Console(width=40, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(view.picture(40, 40))
    assert "generator-4 was lost and" in console.export_text(), "a long note takes one line"
    view.close()


def test_a_half_written_configuration_is_read_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stages: [foundation", encoding="utf-8")
    view = LiveView(tmp_path)
    view.look()
    assert view.plan == []
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    view.look()
    assert view.plan == PLAN
    view.close()


def test_a_run_ends_when_its_driver_does(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", finished=False)
    watcher = Watcher(run)
    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (run / "run.lock").write_text(str(driver.pid), encoding="utf-8")
        assert watcher.look(0.0) is Life.running, "the process in the lock runs"
        note = ControlNote.of_this_process("127.0.0.1:1", "t", None, False)
        note.write(run)
        assert watcher.look(0.0) is Life.running
    finally:
        driver.kill()
        driver.wait()
    assert watcher.look(0.0) is Life.running, "the control note names a process that runs"
    (run / "control.json").unlink()
    assert watcher.look(time.time()) is Life.stopped, "a note that is gone and a driver that is gone: the run was drained"


def test_a_run_without_a_control_service_ends_with_its_driver_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", finished=False)
    watcher = Watcher(run)
    (run / "run.lock").write_text(str(os.getpid()), encoding="utf-8")
    assert watcher.look(time.time()) is Life.running
    (run / "run.lock").write_text(str(2**22 + 1), encoding="utf-8")
    assert watcher.look(time.time()) is Life.stopped, "its process was here and is gone"


def test_a_killed_driver_is_seen_in_the_note_it_left(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", finished=False)
    note = json.loads(json.dumps(vars_of(ControlNote.of_this_process("127.0.0.1:1", "t", None, False))))
    (run / "control.json").write_text(json.dumps(note | {"pid": 2**22 + 1}), encoding="utf-8")
    assert Watcher(run).look(time.time()) is Life.stopped


def vars_of(note: ControlNote) -> dict[str, Any]:
    return {name: getattr(note, name) for name in ("address", "token", "token_env", "tls", "host", "pid", "started")}


def test_a_run_of_another_machine_is_taken_for_ended_when_it_is_silent(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", finished=False)
    assert Watcher(run).look(time.time() - QUIET_S / 2) is Life.running
    assert Watcher(run).look(time.time() - 2 * QUIET_S) is Life.stopped


def test_ctrl_c_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "mine", finished=False)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chemr.live.command.time.sleep", interrupt)
    (run / "run.lock").write_text(str(os.getpid()), encoding="utf-8")
    assert main(["watch", str(run)]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}/file"], "is not a folder"),
        (["{0}/other"], "has no config.yaml"),
        (["{0}", "--port", "80"], "--port is of --page"),
        (["{0}", "--page", "--port", "70000"], "is no port"),
        (["{0}", "--page", "--once"], "exclude each other"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.jsonl").touch()
    assert main(["watch", *(argument.format(tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
