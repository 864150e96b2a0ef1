"""A training run as its control service shows it and passes requests on to it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from actors.clock import monotonic
from actors.control.address import NOTE, ControlNote
from actors.control.run_status import (
    Ages,
    InvalidRequestError,
    LedgerCounts,
    MemberStatus,
    NotNowError,
    Phase,
    RunStatus,
    Slots,
)

if TYPE_CHECKING:
    from actors.control.server import ControlServer
    from actors.fleet import RolloutFleet
    from chemr.training_run import TrainingRun

KINDS = ("generators", "rewards")
_NEEDED = {"grpc": "grpcio", "grpc_health": "grpcio-health-checking"}


class ControlledRun:
    """The run behind ``actors.control.run_status.Controllable``; every method is explained there."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._control = run.control
        self._started = monotonic()

    def status(self) -> RunStatus:
        run, control = self._run, self._control
        phase, reason = self._phase()
        state, books = run.state, control.grpo
        now = monotonic()
        status = RunStatus(
            run=str(run.directory.path.resolve()),
            phase=phase,
            reason=reason,
            stage=state.stage,
            step=state.step,
            stage_step=state.stage_step,
            stage_steps=getattr(run.config, state.stage).steps if state.stage else 0,
            version=state.version,
            checkpoint=control.newest_checkpoint,
            uptime_s=now - self._started,
            quiet_s=now - control.last_boundary,
            members=_members(run.fleet),
            counters=run.fleet.stats(),
        )
        if books is None:
            return status
        ledger = books.ledger
        return replace(
            status,
            slots=Slots(books.buffer.capacity, **books.buffer.counts()),
            ages=Ages(books.recorder.age_max, books.buffer.max_age),
            ledger=LedgerCounts(ledger.submitted, ledger.trained, ledger.dropped, len(ledger.in_flight), ledger.error),
            curriculum=books.source.curriculum.weights,
            floors=dict(books.source.curriculum.floors),
        )

    def healthy(self) -> bool:
        return self._phase()[0] in (Phase.running, Phase.pausing)

    async def pause(self) -> int:
        await self._control.pause()
        return self._run.state.step

    def resume(self) -> bool:
        return self._control.resume()

    async def checkpoint(self) -> str:
        return await self._control.checkpoint()

    async def drain(self, evicted: bool) -> str:
        return await self._control.drain(evicted)

    def set_curriculum_floor(self, task: str, floor: float) -> dict[str, float]:
        if self._control.grpo is None:
            raise NotNowError(f"the run is in stage {self._run.state.stage or '(none yet)'}; only grpo has a curriculum")
        curriculum = self._control.grpo.source.curriculum
        try:
            curriculum.set_floor(task, floor)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        self._run.display.note(f"curriculum floor of {task} is now {floor:g}")
        return curriculum.weights

    def scale(self, kind: str, count: int) -> None:
        if kind not in KINDS:
            raise InvalidRequestError(f"there are no {kind!r} to scale; there are {' and '.join(KINDS)}")
        if count < 1:
            raise InvalidRequestError(f"{kind}={count}: a run needs at least one; `chemr pause` makes all of them idle")
        try:
            self._run.fleet.scale(kind, count)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        self._run.display.note(f"scaling to {count} {kind}")

    def _phase(self) -> tuple[Phase, str]:
        """The phase, and why the run is not running."""
        phase = self._control.phase
        match phase:
            case Phase.running:
                waits_for = self._run.fleet.waiting()
                return (Phase.waiting, waits_for) if waits_for else (phase, "")
            case Phase.pausing:
                return phase, "asked to pause; finishing what is in flight"
            case Phase.paused:
                return phase, "asked to pause; `chemr resume` ends it"
            case Phase.draining:
                return phase, "asked to drain; finishing what is in flight"
            case _:
                return phase, "the run has ended"


def _members(fleet: RolloutFleet) -> list[MemberStatus]:
    known = MemberStatus.__dataclass_fields__
    return [MemberStatus(**{name: value for name, value in member.items() if name in known}) for member in fleet.snapshot()]


@contextlib.asynccontextmanager
async def controlled(run: TrainingRun) -> AsyncIterator[None]:
    """Serve ``run``'s control service and take SIGTERM for a drain while the block runs.

    A service that cannot start is a line for people: it never stops a run.
    """
    note = run.directory.path / NOTE
    note.unlink(missing_ok=True)  # of a process that was killed
    with run.control.draining_on_sigterm():
        server = await _start_server(run) if run.config.control.enabled else None
        try:
            yield
        finally:
            run.control.end()
            note.unlink(missing_ok=True)
            if server is not None:
                await server.stop()


async def _start_server(run: TrainingRun) -> ControlServer | None:
    config = run.config.control
    missing = [distribution for module, distribution in _NEEDED.items() if find_spec(module) is None]
    if missing:
        run.display.note(f"no control service: {', '.join(missing)} not installed; pip install 'chemr[service]'")
        return None
    from actors.control.server import ControlOptions, ControlServer, ControlStartError
    from rewards.service.certificates import TlsFiles

    tls = None
    if config.tls_certificate is not None and config.tls_key is not None:
        client_ca = Path(config.tls_client_ca) if config.tls_client_ca is not None else None
        tls = TlsFiles(Path(config.tls_certificate), Path(config.tls_key), client_ca, tuple(config.tls_client_names))
    token = own = None
    if config.token_env is not None:
        token = os.environ.get(config.token_env)
        if not token:
            run.display.note(f"no control service: control.token_env={config.token_env} names a variable that is not set")
            return None
    elif not config.tls_client_names:
        token = own = secrets.token_urlsafe(32)
    server = ControlServer(ControlledRun(run), ControlOptions(config.address, token, tls))
    try:
        await server.start()
        ControlNote.of_this_process(server.address, own, config.token_env, tls is not None).write(run.directory.path)
    except (ControlStartError, OSError) as error:
        await server.stop()
        run.display.note(f"no control service: {error}")
        return None
    return server
