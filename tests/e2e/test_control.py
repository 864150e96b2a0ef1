"""A real run watched, paused, checkpointed and drained over the real command line, and continued; SIGTERM is a drain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chemr.run_notes import read_notes

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def chemr(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chemr.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240, check=False)


def said(*arguments: str) -> str:
    done = chemr(*arguments)
    assert done.returncode == 0, f"chemr {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def status(path: Path) -> dict[str, Any]:
    return json.loads(said("status", str(path), "--json"))


class Driver:
    """``chemr train`` in a process of its own, read line by line."""

    def __init__(self, path: Path, *overrides: str) -> None:
        settings = ["stages=[foundation,grpo]", "foundation.steps=40", "foundation.eval_every=0", "grpo.steps=400", "run.resume=auto"]
        command = [sys.executable, "-m", "chemr.cli", "train", "experiment=smoke", f"run.root={path.parent}", f"run.name={path.name}"]
        self.process = subprocess.Popen(
            [*command, *settings, *overrides], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
        )
        self.lines: list[str] = []

    def read_until(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError(f"the run ended before it said {words!r}:\n{''.join(self.lines[-40:])}")

    def end(self, status: int) -> str:
        """Its whole output, once it has ended with ``status``."""
        rest, _ = self.process.communicate(timeout=300)
        text = "".join([*self.lines, rest])
        assert self.process.returncode == status, f"the run ended with status {self.process.returncode}, not {status}:\n{text[-3000:]}"
        return text


def test_a_run_is_steered_from_the_command_line_and_continues_after_a_drain(tmp_path: Path) -> None:
    path = tmp_path / "steered"
    driver = Driver(path)
    try:
        driver.read_until("foundation 2/40")
        assert "paused at step" in said("pause", str(path))
        stands = status(path)
        assert stands["phase"] == "paused" and stands["stage"] == "foundation" and stands["ledger"] is None
        note = json.loads((path / "control.json").read_text())
        assert (path / "control.json").stat().st_mode & 0o077 == 0, "the token is its owner's alone"
        with grpc.insecure_channel(note["address"]) as channel:
            probe = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert probe.status == health_pb2.HealthCheckResponse.NOT_SERVING, "a paused run is not ready"
            said("resume", str(path))
            driver.read_until("grpo 1/400")
            probe = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert probe.status == health_pb2.HealthCheckResponse.SERVING

        said("pause", str(path))
        stands = status(path)
        assert stands["phase"] == "paused" and stands["stage"] == "grpo" and stands["slots"]["generating"] == 0
        books = stands["ledger"]
        assert books["error"] == 0 and books["submitted"] == books["trained"] + sum(books["dropped"].values()) + books["in_flight"]
        assert {member["name"] for member in stands["members"]} == {"generator-0", "reward-0"}
        written = said("checkpoint", str(path)).strip()
        assert Path(written).name == f"step-{stands['step']}" and (Path(written) / "state.json").is_file()
        assert "of the prompts" in said("curriculum", "floor", str(path), "forward=0.9")
        time.sleep(0.5)
        later = status(path)
        assert (later["step"], later["ledger"]) == (stands["step"], books), "nothing moves during a pause"
        assert later["floors"] == {"forward": 0.9}
        said("resume", str(path))
        driver.read_until(f"grpo {stands['stage_step'] + 3}/400")
        drained = said("drain", str(path))
        text = driver.end(status=0)
        assert "drained at step" in text and "run.resume=auto" in text and "Traceback" not in text
        state = json.loads((Path(drained.split()[-1]) / "state.json").read_text())["state"]
        assert state["stage"] == "grpo" and state["stage_state"]["source"]["curriculum"]["floors"] == {"forward": 0.9}
        gone = chemr("status", str(path))
        assert gone.returncode == 1 and "is not running" in gone.stderr and f"step-{state['step']}" in gone.stderr
        assert not (path / "control.json").exists()
    finally:
        driver.process.kill()
        driver.process.wait()

    other = Driver(path, "data.tasks=[forward]", "grpo.optim.lr=1e-5")
    text = other.end(status=2)
    assert "data.tasks" in text and "Traceback" not in text, "a resume as another run is refused, in words"

    again = Driver(path, "grpo.optim.lr=1e-5", "grpo.optim.schedule=constant", "grpo.steps=500", "grpo.groups_per_step=2")
    try:
        again.read_until(f"grpo {state['stage_step'] + 2}/500")
        os.kill(again.process.pid, signal.SIGTERM)
        text = again.end(status=75)
        assert f"continuing {path} from step {state['step']}" in text and "drained at step" in text, "SIGTERM is a drain"
        assert f"grpo.optim.lr=1e-05 (it was 0.001) from step {state['step']} on" in text.replace("\n", " "), "and what changed is told"
    finally:
        again.process.kill()
        again.process.wait()
    stored = yaml.safe_load((path / "config.yaml").read_text())
    assert stored["grpo"]["optim"]["lr"] == 1e-5 and stored["data"]["tasks"] != ["forward"], "config.yaml has what holds"
    noted = [note["text"] for note in read_notes(path)]
    for name in ("grpo.optim.lr", "grpo.optim.schedule", "grpo.steps", "grpo.groups_per_step", "data.tasks"):
        assert any(name in text and "it was" in text for text in noted), f"notes.jsonl keeps what was changed or refused: {name}"
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    trained = [record["step"] for record in records if "train/loss" in record]
    rates = {record["step"]: record["train/lr"] for record in records if "train/lr" in record}
    assert all(rate == 1e-5 for step, rate in rates.items() if step > state["step"]), "the optimiser uses the new rate"
    assert max(trained) > state["step"] and all(rate > 1e-4 for step, rate in rates.items() if step <= state["step"])
    assert trained == sorted(set(trained)), "every step is recorded once, before and after the drain"
    assert max(record["async/age_max"] - record["async/age_bound"] for record in records if "async/age_max" in record) <= 0
    assert not [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
