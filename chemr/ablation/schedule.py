"""Runs the arms: ``chemr train`` once for each arm and seed, bases first, a few at a time.

Every arm is a run of its own, in a process and a directory of its own. One that is finished is not run again, one that was interrupted goes
on; so the same command continues a comparison that was stopped.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chemr.ablation.arms import Arm, Comparison
from chemr.finished_run import has_finished

STOP_SECONDS = 120.0  # a child that was asked to end writes a checkpoint first
TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One arm with one seed. ``directory``: its run; ``base``: the run it goes on from."""

    arm: Arm
    seed: int
    directory: Path
    base: Path | None

    @property
    def name(self) -> str:
        return self.directory.name

    def has_finished(self) -> bool:
        return has_finished(self.directory)

    def overrides(self, experiment: Sequence[str]) -> list[str]:
        """Of ``chemr train``."""
        own = [
            f"run.root={self.directory.parent}",
            f"run.name={self.name}",
            f"run.seed={self.seed}",
            "run.resume=auto",
            *([f"run.start_from={self.base}"] if self.base is not None else []),
        ]
        return [*experiment, *self.arm.overrides, *own]


def plan_runs(
    comparisons: Sequence[Comparison], seeds: Sequence[int], root: Path, identity: Callable[[Arm], str]
) -> dict[tuple[str, str, int], ArmRun]:
    """The run of every (comparison, arm, seed), each after the one it goes on from. Arms of equal ``identity`` (what an arm's configuration
    comes to) share their runs, also between comparisons: nothing is trained twice."""
    planned: dict[tuple[str, str, int], ArmRun] = {}
    runs: dict[tuple[str, int], ArmRun] = {}
    for comparison in comparisons:
        for arm in comparison.arms.values():
            taken = {run.arm.name for run in runs.values()}
            for seed in seeds:
                key = (identity(arm), seed)
                if key not in runs:
                    name = f"{comparison.name}-{arm.name}" if arm.name in taken else arm.name
                    base = planned[comparison.name, arm.base, seed].directory if arm.base else None
                    runs[key] = ArmRun(arm, seed, root / f"{name}-seed{seed}", base)
                planned[comparison.name, arm.name, seed] = runs[key]
    return planned


async def run_all(
    runs: Sequence[ArmRun], experiment: Sequence[str], config_dir: Path | None, parallel: int, say: Callable[[str], None]
) -> list[ArmRun]:
    """Runs what is not finished, ``parallel`` at a time; returns those that failed or could not begin.

    Consumes: the runs. Waits for: their processes. Unblocked by: each one's end. Produces: their directories. Cancelled, by Ctrl-C or by
    SIGTERM to this process, it asks the processes to end as SIGTERM does (they write a checkpoint) and waits for that.

    Raises:
        KeyboardInterrupt: after SIGTERM; Ctrl-C raises it by itself.
    """
    gate = asyncio.Semaphore(parallel)
    ended: dict[Path, asyncio.Task[bool]] = {}

    async def one(run: ArmRun) -> bool:
        base = ended.get(run.base) if run.base is not None else None
        if base is not None and not await base:
            say(f"{run.name}: not begun, since {run.base.name if run.base else ''} did not finish")
            return False
        if run.has_finished():
            say(f"{run.name}: finished before")
            return True
        async with gate:
            say(f"{run.name}: begins")
            status = await _train(run, experiment, config_dir)
        if status == 0 and run.has_finished():
            say(f"{run.name}: done")
            return True
        log = log_of(run)
        tail = "\n  ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
        say(f"{run.name}: ended with status {status}; {log} ends with\n  {tail}")
        return False

    loop, whole = asyncio.get_running_loop(), asyncio.current_task()
    assert whole is not None
    terminated = asyncio.Event()

    def terminate() -> None:
        terminated.set()
        whole.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)  # without it the runs would outlive the pod's or the job's own process
    try:
        async with asyncio.TaskGroup() as group:
            for run in runs:  # each after its base, so that a task finds the one it waits for
                ended[run.directory] = group.create_task(one(run), name=run.name)
    except asyncio.CancelledError:
        if terminated.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    return [run for run in runs if not ended[run.directory].result()]


def log_of(run: ArmRun) -> Path:
    """What its process printed."""
    return run.directory.with_name(run.name + ".log")


async def _train(run: ArmRun, experiment: Sequence[str], config_dir: Path | None) -> int:
    run.directory.parent.mkdir(parents=True, exist_ok=True)
    own = ["--config-dir", str(config_dir)] if config_dir is not None else []
    with log_of(run).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chemr.cli", "train", *own, *run.overrides(experiment), stdout=log, stderr=log
        )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
            raise
