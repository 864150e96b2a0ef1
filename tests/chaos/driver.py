"""The driver of a chaos run: ``chemr train`` as it is, with three windows for the harness.

* its learner ranks remember what they were trained on (:mod:`tests.chaos.history`);
* twice a second it writes the pids of its actors to ``pids.json`` in the chaos folder;
* it carries out what only the driver's own process can do to itself, read from ``orders/``: let its clock jump, fill the object store.

Run as ``python -m tests.chaos.driver FIELD=VALUE ...`` with CHEMR_CHAOS_DIR set.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import actors.pool
import chemr.train
from actors import clock
from chemr.cli import main
from chemr.training_run import TrainingRun
from tests.chaos.history import CHAOS_DIR_VARIABLE, HistoryLearner
from tests.chaos.observer import PIDS, write_whole

PERIOD_S = 0.5


class JumpyClock:
    """The machine's clocks with offsets that an order changes."""

    def __init__(self) -> None:
        self.monotonic_s = 0.0
        self.wall_s = 0.0

    def clock(self) -> clock.Clock:
        return clock.Clock(lambda: time.monotonic() + self.monotonic_s, lambda: time.time() + self.wall_s)


class Windows:
    """Called after every optimiser step; the first call starts the loop that looks after pids and orders."""

    def __init__(self, folder: Path, jumpy: JumpyClock) -> None:
        self._folder = folder
        self._jumpy = jumpy
        self._task: asyncio.Task[None] | None = None
        self._held: list[tuple[float, Any]] = []  # (until when, references)

    def __call__(self, run: TrainingRun) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve(run), name="chaos windows")

    async def _serve(self, run: TrainingRun) -> None:
        """Consumes: orders. Waits for: its period. Unblocked by: the clock. Produces: pids.json; jumps and ballast as ordered."""
        while True:
            write_whole(self._folder / PIDS, json.dumps(run.pool.pids()))
            self._held = [entry for entry in self._held if entry[0] > time.monotonic()]
            for path in sorted((self._folder / "orders").glob("*.json")):
                order = json.loads(path.read_text())
                path.unlink()
                self._carry_out(order)
            await asyncio.sleep(PERIOD_S)

    def _carry_out(self, order: dict[str, Any]) -> None:
        if order["do"] == "jump":
            self._jumpy.monotonic_s += order["monotonic_s"]
            self._jumpy.wall_s += order["wall_s"]
        elif order["do"] == "fill_object_store":
            import numpy as np
            import ray

            until = time.monotonic() + order["seconds"]
            self._held += [(until, ray.put(np.ones(4 << 20, np.uint8))) for _ in range(order["mb"] // 4)]
        else:
            raise ValueError(f"unknown order {order}")


def drive(overrides: list[str]) -> int:
    """As ``chemr train``; returns its exit status."""
    jumpy = JumpyClock()
    clock.use(jumpy.clock())
    actors.pool.LearnerWorker = HistoryLearner
    windows = Windows(Path(os.environ[CHAOS_DIR_VARIABLE]), jumpy)
    chemr.train.train = functools.partial(chemr.train.train, on_step=windows)
    return main(["train", *overrides])


if __name__ == "__main__":
    sys.exit(drive(sys.argv[1:]))
