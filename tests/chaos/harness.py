"""One chaos run: start a real driver, let the planned faults strike, continue it where it was killed, and judge what came out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from actors.leftovers import end_processes, remove_directories
from tests import patience
from tests.chaos.faults import Action, Fault, Plan
from tests.chaos.history import CHAOS_DIR_VARIABLE
from tests.chaos.inject import NotPossible, Scene, inject, small_file_system
from tests.chaos.observer import PIDS, UPTO, Observer, write_whole
from tests.chaos.verify import verify

ROOT = Path(__file__).resolve().parents[2]
# Multiplies every deadline of the harness and of its runs: for machines that do other things besides.
PATIENCE = float(os.environ.get("CHEMR_CHAOS_PATIENCE") or patience.PATIENCE)
POLL_S = 0.1
START_S = 600.0  # from the start of a driver to its first step
STUCK_S = 480.0  # after a fault without a step: every deadline of the configuration below is shorter
END_S = 60.0  # from the last step to the end of the process

MINIMUM_SIGNS = ("pool.min_generators", "pool.min_reward_workers", "fleet_wait_s")  # the fields that its message names

# Small and fast. Everything else is experiment=smoke.
SIZES = (
    "experiment=smoke",
    "stages=[grpo]",
    "grpo.groups_per_step=4",
    "grpo.samples_per_group=4",
    "grpo.checkpoint_every=2",
    "grpo.off_policy_steps=1",
    "eval.test_prompts_per_task=2",
    "pool.generators=2",
    "pool.reward_workers=2",
    "pool.object_store_mb=80",
    "run.keep_checkpoints=3",
    "run.resume=auto",
)
# Seconds that notice a hang soon, on two cores with nothing else to do; a busy machine needs ``patience``. Starts import for a quarter of a
# minute of CPU time each, and other tests start engines at the same moment: theirs only catch a hang.
DEADLINES = {
    "pool.learner_start_s": 240,
    "pool.learner_step_s": 10,
    "pool.timing.straggler_floor_s": 4,
    "pool.timing.straggler_ceiling_s": 20,
    "pool.timing.score_s": 8,
    "pool.timing.pull_s": 10,
    "pool.timing.start_s": 330,
    "pool.timing.health_s": 5,
    "pool.timing.hang_s": 8,
    "generator.start_timeout_s": 300,
    "generator.update_timeout_s": 8,
    "generator.fetch_timeout_s": 8,
}


def settings(patience: float = PATIENCE, more: Sequence[str] = ()) -> tuple[str, ...]:
    """The configuration of a chaos run, its deadlines ``patience`` times as long; ``more`` overrides come last and win."""
    return (*SIZES, "pool.timing.health_period_s=1", *(f"{name}={seconds * patience:g}" for name, seconds in DEADLINES.items()), *more)


@dataclass
class Strike:
    """A fault that was done. ``recovery_s``: until the next optimiser step, None if there was none; ``replaced_s``: until another process
    had the victim's role, None where none was seen (or none had to)."""

    kind: str
    step: int
    victim: str
    recovery_s: float | None = None
    replaced_s: float | None = None
    skipped: str = ""

    def is_over(self) -> bool:
        return bool(self.skipped) or self.recovery_s is not None


@dataclass
class Outcome:
    """What became of a run. ``problems`` is empty when everything that must hold held."""

    seed: int
    strikes: list[Strike]
    seconds: float
    launches: int
    problems: list[str] = field(default_factory=list)
    stopped: str = ""  # the driver's last words, where it stopped because the fleet stayed below its minimum


class ChaosRun:
    """GRPO from ``model``, or after a short foundation stage of its own. ``folder`` is kept: the run directory ``run``, the driver's output
    ``driver-N.log`` and the chaos folder ``chaos`` are in it."""

    def __init__(self, folder: Path, plan: Plan, model: Path | None, patience: float = PATIENCE, more: Sequence[str] = ()) -> None:
        self._plan = plan
        self._patience = patience
        self._folder = folder
        self._run_dir, self._chaos_dir = folder / "run", folder / "chaos"
        self._chaos_dir.mkdir(parents=True)
        overrides = [*settings(patience, more), f"run.root={folder}", "run.name=run", f"run.seed={plan.seed}"]
        overrides.append("stages=[foundation,grpo]" if model is None else f"policy.path={model}")
        self._command = [sys.executable, "-m", "tests.chaos.driver", *overrides, f"grpo.steps={plan.steps}"]
        self._launches = 0
        self._driver: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._observer = Observer(self._run_dir, self._chaos_dir)
        self._scene = Scene(self._run_dir, self._chaos_dir, self._observer, self._driver_pid)
        self._struck: list[tuple[Strike, float, dict[str, int]]] = []  # each strike, when it was, and the pids of then

    def run(self) -> Outcome:
        """Never raises for what the run did: that is in the outcome's problems."""
        began = time.monotonic()
        strikes: list[Strike] = []
        problems: list[str] = []
        stopped = ""
        full_disk = any(fault.kind.action is Action.full_disk for fault in self._plan.faults)
        # Everything the run's processes put into a temporary folder is in this one; short, for the sockets in it.
        with tempfile.TemporaryDirectory(prefix="cx", dir="/tmp") as temporary, small_file_system(self._run_dir / "checkpoints", full_disk):
            try:
                self._allow(0)
                self._launch(temporary)
                for number, fault in enumerate(self._plan.faults):
                    self._until(partial(self._reached, fault.step), START_S, f"step {fault.step}", temporary)
                    self._allow(number + 1)
                    strikes.append(self._strike(fault))
                    self._until(strikes[-1].is_over, STUCK_S, f"a step after {fault.kind.name}", temporary)
                self._until(self._ended, STUCK_S + END_S, "the end of the run", temporary)
            except FleetMinimum as message:
                stopped = str(message)
            except RunFailed as failure:
                problems.append(str(failure))
            finally:
                self._end_driver()
            problems += verify(self._run_dir, self._chaos_dir, self._observer, finished=not problems and not stopped)
            problems += [f"left in the temporary folder: {name}" for name in sorted(left_in(Path(temporary)))]
            self._tidy()
        return Outcome(self._plan.seed, strikes, time.monotonic() - began, self._launches, problems, stopped)

    # the driver

    def _launch(self, temporary: str) -> None:
        self._launches += 1
        (self._chaos_dir / PIDS).unlink(missing_ok=True)  # of a driver that was killed: its numbers mean nothing now
        environment = os.environ | {"PYTHONPATH": str(ROOT), CHAOS_DIR_VARIABLE: str(self._chaos_dir), "TMPDIR": temporary}
        if self._log is not None:
            self._log.close()
        self._log = (self._folder / f"driver-{self._launches}.log").open("wb")
        self._driver = subprocess.Popen(self._command, stdout=self._log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)

    def _driver_pid(self) -> int:
        assert self._driver is not None
        return self._driver.pid

    def _ended(self) -> bool:
        return self._driver is not None and self._driver.poll() is not None

    def _end_driver(self) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        if self._log is not None:
            self._log.close()

    def _tidy(self) -> None:
        """After the verdict: a run that failed must not burden the next one."""
        for note in self._observer.pools.values():
            end_processes(note.pool_id, patience_s=0.0, known=[*self._observer.seen])
            remove_directories(note.directories)

    # faults and progress

    def _allow(self, number: int) -> None:
        """Let the run go on to the step of that fault, or to its end after the last one."""
        steps = [*(fault.step for fault in self._plan.faults), self._plan.steps]
        write_whole(self._chaos_dir / UPTO, str(steps[number]))

    def _reached(self, step: int) -> bool:
        return self._observer.step >= step

    def _strike(self, fault: Fault) -> Strike:
        self._observer.poll()
        pids, at = self._observer.pids(), time.monotonic()
        try:
            victim = self._when_somebody_is_up(fault)
        except NotPossible as reason:
            return Strike(fault.kind.name, fault.step, "", skipped=str(reason))
        strike = Strike(fault.kind.name, fault.step, victim)
        self._struck.append((strike, at, pids))
        return strike

    def _when_somebody_is_up(self, fault: Fault) -> str:
        """The victim may be being replaced just now, or the driver that names it be new."""
        deadline = time.monotonic() + START_S * self._patience
        while True:
            try:
                return inject(self._scene, fault)
            except LookupError as nobody:
                if time.monotonic() > deadline or self._ended():
                    raise RunFailed(f"{fault.kind.name}: {nobody} for {START_S:.0f} s") from nobody
                time.sleep(POLL_S)
                self._observer.poll()

    def _until(self, done: Callable[[], object], limit_s: float, what: str, temporary: str) -> None:
        """Watch until ``done()``; a driver that was killed by a fault is started again with the same command."""
        limit_s *= self._patience
        deadline = time.monotonic() + limit_s
        while True:
            self._observer.poll()
            self._note_recoveries()
            if done():
                return
            if self._ended():
                assert self._driver is not None
                status = self._driver.returncode
                if status == -signal.SIGKILL:
                    self._launch(temporary)
                    deadline = time.monotonic() + START_S * self._patience
                elif status == 0:
                    if what == "the end of the run":
                        return
                    raise RunFailed(f"the run ended while {what} was waited for")
                elif any(sign in self._last_words() for sign in MINIMUM_SIGNS):
                    raise FleetMinimum(self._last_words())
                else:
                    raise RunFailed(f"the driver ended with status {status} while {what} was waited for: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RunFailed(f"nothing for {limit_s:.0f} s while {what} was waited for: {self._last_words()}")
            time.sleep(POLL_S)

    def _note_recoveries(self) -> None:
        pids = self._observer.pids()
        for strike, at, before in self._struck:
            if strike.recovery_s is None:
                strike.recovery_s = next((seen - at for seen in self._observer.step_times if seen > at), None)
            if strike.replaced_s is None and pids.get(strike.victim, 0) != before.get(strike.victim, 0) and strike.victim in pids:
                strike.replaced_s = time.monotonic() - at

    def _last_words(self) -> str:
        text = (self._folder / f"driver-{self._launches}.log").read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-3:])[-600:]


def left_in(temporary: Path) -> set[str]:
    """What a run left there, but for torch's cache of compiled kernels, which is torch's to keep for the next process."""
    return {entry.name for entry in temporary.iterdir() if not entry.name.startswith("torchinductor_")}


class FleetMinimum(Exception):
    """The run ended loudly and in order: too few members for too long, as its configuration says."""


class RunFailed(Exception):
    """The run did not do what it must; the message says what was waited for and the driver's last words."""


def starting_model(folder: Path) -> Path:
    """A model that GRPO can improve: the smoke experiment's foundation stage, half a minute, once per call of the harness."""
    command = [sys.executable, "-m", "chemr.cli", "train", "experiment=smoke", "stages=[foundation]", f"run.root={folder}"]
    command += ["run.name=start", "eval.test_prompts_per_task=2", "foundation.eval_every=0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300 * PATIENCE
    )
    if done.returncode:
        raise RuntimeError(f"the starting model could not be trained:\n{done.stdout[-2000:]}")
    return folder / "start" / "model"
