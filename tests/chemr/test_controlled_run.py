"""What a run shows through its control service, and that a service that cannot start never stops a run."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.buffer import WindowedBuffer
from actors.control.address import ControlNote
from actors.control.client import ControlClient
from actors.control.run_status import InvalidRequestError, NotNowError, Phase
from actors.ledger import Ledger
from chemr.config import GrpoStageConfig, SftStageConfig
from chemr.control_config import ControlConfig
from chemr.controlled_run import ControlledRun, controlled
from chemr.curriculum import CurriculumConfig, TaskCurriculum
from chemr.run_control import RunControl
from chemr.step_clock import StepClock
from chemr.training_run import RunState


class ScriptedFleet:
    """Shows what a fleet shows."""

    def __init__(self) -> None:
        self.held_up: str | None = None
        self.scaled: list[tuple[str, int]] = []

    def waiting(self) -> str | None:
        return self.held_up

    def snapshot(self) -> list[dict[str, Any]]:
        return [{"name": "generator-0", "kind": "generator", "state": "serving", "load": 3, "limit": 8, "pid": 5, "something": "newer"}]

    def stats(self) -> dict[str, float]:
        return {"groups": 7.0}

    def scale(self, kind: str, count: int) -> None:
        if count > 9:
            raise ValueError("the cluster can never hold so many")
        self.scaled.append((kind, count))


def scripted_run(path: Path, **control: Any) -> Any:
    notes: list[str] = []
    return SimpleNamespace(
        control=RunControl(StepClock(), 1.0, notes.append),
        config=SimpleNamespace(control=ControlConfig(**control), foundation=SftStageConfig(steps=9), grpo=GrpoStageConfig(steps=6)),
        directory=SimpleNamespace(path=path),
        display=SimpleNamespace(note=notes.append),
        state=RunState(step=11, version=4, stage="grpo", stage_step=2),
        fleet=ScriptedFleet(),
        notes=notes,
    )


def books() -> Any:
    ledger = Ledger()
    ledger.submit(ledger.next_uid("a"))
    curriculum = TaskCurriculum(["retro", "forward"], CurriculumConfig(), 0)
    return SimpleNamespace(
        ledger=ledger,
        buffer=WindowedBuffer(4, 1, 0.5),
        recorder=SimpleNamespace(age_max=1),
        source=SimpleNamespace(curriculum=curriculum),
    )


async def test_the_address_and_the_token_are_there_while_the_run_lives(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    async with controlled(run):
        note = ControlNote.read(tmp_path)
        assert note is not None and note.token

        def look() -> Any:
            with ControlClient(note.address, note.token) as client:
                return client.status()

        seen = await asyncio.to_thread(look)
        assert (seen.stage, seen.step, seen.stage_step, seen.stage_steps, seen.version) == ("grpo", 11, 2, 6, 4)
        assert seen.members[0].name == "generator-0" and seen.members[0].limit == 8 and seen.counters == {"groups": 7.0}
    assert not (tmp_path / "control.json").exists() and not run.notes
    assert run.control.phase is Phase.ended


@pytest.mark.parametrize("trouble", ["taken", "token"])
async def test_a_service_that_cannot_start_is_a_line_and_the_run_goes_on(tmp_path: Path, trouble: str, monkeypatch) -> None:
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        address = f"127.0.0.1:{occupied.getsockname()[1]}"
        run = scripted_run(tmp_path, **({"address": address} if trouble == "taken" else {"token_env": "NO_SUCH_TOKEN"}))
        async with controlled(run):
            pass
    assert len(run.notes) == 1 and (address if trouble == "taken" else "NO_SUCH_TOKEN") in run.notes[0], run.notes


async def test_a_token_of_the_environment_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "very-secret")
    async with controlled(scripted_run(tmp_path, token_env="MY_TOKEN")):
        assert "very-secret" not in (tmp_path / "control.json").read_text()


async def test_a_note_of_a_killed_process_does_not_outlive_a_start_without_control(tmp_path: Path) -> None:
    ControlNote.of_this_process("127.0.0.1:1", "old", None, False).write(tmp_path)
    async with controlled(scripted_run(tmp_path, enabled=False)):
        assert not (tmp_path / "control.json").exists()


async def test_a_run_that_waits_for_actors_says_so_and_is_not_ready(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    view = ControlledRun(run)
    assert view.healthy() and view.status().phase is Phase.running
    run.fleet.held_up = "1 of 2 generators serve"
    assert not view.healthy()
    assert (view.status().phase, view.status().reason) == (Phase.waiting, "1 of 2 generators serve")


async def test_the_books_are_shown_while_there_are_any(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    view = ControlledRun(run)
    assert view.status().ledger is None and view.status().slots is None
    run.control.grpo = books()
    seen = view.status()
    assert seen.ledger is not None and (seen.ledger.submitted, seen.ledger.in_flight, seen.ledger.error) == (1, 1, 0)
    assert seen.slots is not None and (seen.slots.capacity, seen.slots.free) == (8, 8)
    assert seen.ages is not None and seen.ages.oldest_seen <= seen.ages.bound


async def test_a_floor_needs_the_stage_that_has_a_curriculum(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    view = ControlledRun(run)
    with pytest.raises(NotNowError, match="only grpo has a curriculum"):
        view.set_curriculum_floor("retro", 0.5)
    run.control.grpo = books()
    with pytest.raises(InvalidRequestError, match="no task 'nosuch'"):
        view.set_curriculum_floor("nosuch", 0.5)
    assert set(view.set_curriculum_floor("retro", 0.5)) == {"retro", "forward"}
    assert view.status().floors == {"retro": 0.5}, "what was set is shown"


async def test_scaling_reaches_the_fleet_and_its_refusals_come_back(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    view = ControlledRun(run)
    view.scale("generators", 3)
    assert run.fleet.scaled == [("generators", 3)]
    for kind, count, words in (("learners", 2, "there are no 'learners'"), ("rewards", 0, "at least one"), ("rewards", 10, "never hold")):
        with pytest.raises(InvalidRequestError, match=words):
            view.scale(kind, count)
