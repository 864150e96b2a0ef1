"""How each fault is done to a live run, and how it is undone where it has an end."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.faults import Action, Fault, Role
from tests.chaos.observer import Observer, write_whole

SLOW_S, SLOW_STOPPED_S, SLOW_RUNNING_S = 6.0, 0.4, 0.1
DRIVER_FREEZE_S = 8.0
PRESSURE_MB, PRESSURE_S = 96, 8.0
FULL_DISK_S = 30.0  # at most: until a checkpoint has failed
LEAVE_FREE_BYTES = 64 << 10
CHECKPOINTS_MB = 48


class NotPossible(RuntimeError):
    """This fault cannot be done here; the message says why."""


@dataclass
class Scene:
    """What an injection may touch. ``driver`` is asked for anew, since a killed driver gets a successor."""

    run_dir: Path
    chaos_dir: Path
    observer: Observer
    driver: Callable[[], int]


def inject(scene: Scene, fault: Fault) -> str:
    """Do it; returns whom it hit. Faults that last are over when this returns.

    Raises NotPossible; LookupError when nobody has the role just now (it is being replaced).
    """
    rng = random.Random(f"fault/{fault.seed}")
    match fault.kind.action:
        case Action.kill:
            return _signal(scene, fault.kind.role, rng, signal.SIGKILL)
        case Action.freeze:
            victim = _signal(scene, fault.kind.role, rng, signal.SIGSTOP)
            if fault.kind.role is Role.driver:
                time.sleep(DRIVER_FREEZE_S)  # its steps stand still too
                os.kill(scene.driver(), signal.SIGCONT)
            return victim
        case Action.slow:
            return _slow_down(scene, fault.kind.role, rng)
        case Action.full_disk:
            return _fill_disk(scene)
        case Action.corrupt:
            return _corrupt(scene, rng)
        case Action.pressure:
            _order(scene, {"do": "fill_object_store", "mb": PRESSURE_MB, "seconds": PRESSURE_S})
            return f"{PRESSURE_MB} MB for {PRESSURE_S:g} s"
        case Action.clock:
            jump = {"monotonic_s": rng.choice([-3600.0, 900.0, 86400.0]), "wall_s": rng.choice([-86400.0, 3600.0])}
            _order(scene, {"do": "jump", **jump})
            return f"monotonic {jump['monotonic_s']:+g} s, wall {jump['wall_s']:+g} s"


def _victim(scene: Scene, role: Role, rng: random.Random) -> tuple[str, int]:
    if role is Role.driver:
        return "driver", scene.driver()
    candidates = sorted((name, pid) for name, pid in scene.observer.pids().items() if role.of(name) and scene.observer.process(pid))
    if not candidates:
        raise LookupError(f"no {role} is up")
    return rng.choice(candidates)


def _signal(scene: Scene, role: Role, rng: random.Random, number: signal.Signals) -> str:
    name, pid = _victim(scene, role, rng)
    try:
        os.kill(pid, number)
    except ProcessLookupError as error:
        raise LookupError(f"{name} went away by itself") from error
    return name


def _slow_down(scene: Scene, role: Role, rng: random.Random) -> str:
    name, pid = _victim(scene, role, rng)
    until = time.monotonic() + SLOW_S
    process = psutil.Process(pid)  # it checks the start time: never a stranger with the same pid
    try:
        while time.monotonic() < until:
            process.suspend()
            time.sleep(SLOW_STOPPED_S)
            process.resume()
            time.sleep(SLOW_RUNNING_S)
            scene.observer.poll()
    except psutil.NoSuchProcess:
        return f"{name} (replaced meanwhile)"
    return name


def _fill_disk(scene: Scene) -> str:
    checkpoints = scene.run_dir / "checkpoints"
    if not os.path.ismount(checkpoints):
        raise NotPossible("mounting a small file system for the checkpoints needs root")
    ballast = checkpoints / "ballast"
    failed_before = _failed_checkpoints(scene)
    try:
        _take_what_is_free(ballast)
        until = time.monotonic() + FULL_DISK_S
        while time.monotonic() < until:
            scene.observer.poll()
            if _failed_checkpoints(scene) > failed_before:
                return "checkpoints (a checkpoint failed)"
            time.sleep(0.2)
    finally:
        ballast.unlink(missing_ok=True)
    return "checkpoints (none was due)"


def _take_what_is_free(ballast: Path) -> None:
    with ballast.open("wb") as file:
        while True:
            room = shutil.disk_usage(ballast.parent).free - LEAVE_FREE_BYTES
            try:
                os.posix_fallocate(file.fileno(), 0, max(room, 1))
                return
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                if room < 1:
                    return  # full without our doing
                time.sleep(0.01)  # a checkpoint took some of it meanwhile


def _failed_checkpoints(scene: Scene) -> int:
    return sum(record.get("checkpoint/failed", 0.0) > 0 for record in scene.observer.records)


def _corrupt(scene: Scene, rng: random.Random) -> str:
    steps = sorted((int(path.name[5:]), path) for path in (scene.run_dir / "checkpoints").glob("step-*") if path.name[5:].isdigit())
    if len(steps) < 2:
        raise LookupError("there are no two checkpoints yet")
    newest = steps[-1][1]
    file = rng.choice(sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    victim = _signal(scene, rng.choice([Role.learner, Role.driver]), rng, signal.SIGKILL)
    return f"{newest.name}/{file.relative_to(newest)}, then {victim}"


def _order(scene: Scene, order: dict[str, object]) -> None:
    folder = scene.chaos_dir / "orders"
    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{time.monotonic_ns()}.json", json.dumps(order))


@contextmanager
def small_file_system(folder: Path, wanted: bool) -> Iterator[None]:
    """A tmpfs of CHECKPOINTS_MB at ``folder`` while the block runs; nothing without root, where no full disk can be made."""
    mounted = False
    if wanted and os.geteuid() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={CHECKPOINTS_MB}m", "chemr-chaos", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
