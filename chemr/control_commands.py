"""A live run from the command line: ``chemr status|pause|resume|checkpoint|drain``, ``pool scale``, ``curriculum floor``.

``curriculum simulate`` is registered here too, beside its sibling, but needs no run: :mod:`chemr.curriculum.simulate_command`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_command, add_verbs, completes
from chemr.completion.words import run_folders, settings_words, task_names
from chemr.curriculum.simulate_command import add_simulate
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from actors.control.client import ControlClient
    from actors.control.run_status import RunStatus

SIMPLE = (
    ("status", "what a run is doing, or how it ended", ("chemr status runs/mine", "chemr status runs/mine --json")),
    ("pause", "finish what is in flight, then wait with all actors up", ("chemr pause runs/mine",)),
    ("resume", "go on after a pause", ("chemr resume runs/mine",)),
    ("checkpoint", "write a checkpoint after the step in progress and print its folder", ("chemr checkpoint runs/mine --timeout 60",)),
    (
        "drain",
        "finish what is in flight, write a checkpoint and end the run",
        ("chemr drain runs/mine", "chemr drain runs/mine --evicted   # of a preStop hook: whoever started the run starts it again"),
    ),
)
SCALED = ("generators", "rewards")
STATUS_TIMEOUT_S, WORK_TIMEOUT_S = 10.0, 600.0


class NotReached(RuntimeError):
    """There is no live run to talk to; the message says what its folder says."""


def add_control_commands(commands: Any) -> None:
    """Registers the commands. ``commands`` is what ``add_subparsers`` returned."""
    for name, help, examples in SIMPLE:
        command = _add_command(commands, name, help, examples)
        if name == "status":
            command.add_argument("--json", action="store_true", help="all of it, as JSON")
        if name == "drain":
            command.add_argument(
                "--evicted", action="store_true", help="its place is taken away: it ends with status 75, to be started again"
            )
    scaling = ("chemr pool scale runs/mine generators=4 rewards=2",)
    pool = add_verbs(add_command(commands, "pool", "the actors of a live run", examples=scaling), "scale")
    scale = _add_command(pool, "scale", "other numbers of generators or reward workers", scaling)
    settings = scale.add_argument("settings", nargs="+", metavar="generators=N|rewards=N", help="how many there are to be of a kind")
    completes(settings, settings_words(lambda: SCALED))
    flooring = ("chemr curriculum floor runs/mine retro=0.5",)
    curriculum = add_command(
        commands,
        "curriculum",
        "the task weights of a live run, and what others would have been",
        examples=(*flooring, "chemr curriculum simulate runs/mine --set weighting=uniform"),
    )
    verbs = add_verbs(curriculum, "floor|simulate")
    floor = _add_command(verbs, "floor", "the smallest unnormalised weight of a task of a live run, in (0, 1]", flooring)
    settings = floor.add_argument("settings", nargs="+", metavar="TASK=FLOOR", help="tasks and their smallest weights")
    completes(settings, settings_words(task_names))
    add_simulate(verbs)


def _add_command(commands: Any, name: str, help: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """A command that talks to a live run."""
    parser = add_command(commands, name, help, examples=examples, run=run_command)
    completes(parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, e.g. runs/starter"), run_folders)
    parser.add_argument("--address", metavar="HOST:PORT", help="where the run listens, if not as its control.json says")
    parser.add_argument("--tls-ca", type=Path, metavar="PEM", help="CA of the run's certificate")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="client certificate (mTLS); with --tls-key")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its key")
    patience = f"wait so long for it to be done ({WORK_TIMEOUT_S:g}; status and resume {STATUS_TIMEOUT_S:g})"
    parser.add_argument("--timeout", type=float, metavar="S", help=patience)
    return parser


def run_command(options: argparse.Namespace) -> int:
    """Returns the exit status: 0 done, 1 when the run is not there or refused, 2 for wrong arguments."""
    command = options.command
    try:
        settings = _settings(options)
        if not (options.run / "config.yaml").is_file():
            raise UsageError(f"{options.run} is not a run's folder: it has no config.yaml")
        _require_grpc()
        from actors.control.client import ControlError

        with _connect(options) as client:
            try:
                print(_do(options, client, settings))
            except ControlError as error:
                raise _explained(error, options, command) from error
    except UsageError as error:
        print(f"chemr {command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except NotReached as error:
        print(f"chemr {command}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"chemr {command}: interrupted; what was asked for stands", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _do(options: argparse.Namespace, client: ControlClient, settings: dict[str, float]) -> str:
    match options.command:
        case "status":
            status = client.status()
            return json.dumps(asdict(status), indent=2) if options.json else "\n".join(describe(status))
        case "pause":
            return f"paused at step {client.pause()}"
        case "resume":
            return "resumed" if client.resume() else "the run was not paused"
        case "checkpoint":
            return client.checkpoint()
        case "drain":
            return f"drained: {client.drain(options.evicted)}"
        case "pool":
            for kind, count in settings.items():
                client.scale(kind, int(count))
            return "scaling to " + ", ".join(f"{kind}={int(count)}" for kind, count in settings.items()) + "; see chemr status"
        case _:
            shares: dict[str, float] = {}
            for task, floor in settings.items():
                shares = client.set_curriculum_floor(task, floor)
            return "\n".join(f"{task}: {share:.1%} of the prompts" for task, share in sorted(shares.items()))


def describe(status: RunStatus) -> list[str]:
    """Lines for people."""
    lines = [f"{status.run}: {status.phase}" + (f" ({status.reason})" if status.reason else "")]
    if status.stage:
        step = f"step {status.stage_step} of {status.stage_steps} ({status.step} in all)"
        lines.append(f"stage {status.stage}, {step}, version {status.version}")
    lines.append(f"up {status.uptime_s:.0f} s, last between two steps {status.quiet_s:.1f} s ago")
    lines.append(f"checkpoint: {status.checkpoint or 'none yet'}")
    if status.slots is not None and status.ages is not None:
        slots = status.slots
        busy = f"{slots.generating} generating, {slots.ready} ready, {slots.taken} taken"
        lines.append(f"slots: {busy}, {slots.free} free of {slots.capacity}")
        lines.append(f"age: at most {status.ages.oldest_seen} so far, {status.ages.bound} possible")
    if status.ledger is not None:
        books = status.ledger
        dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(books.dropped.items())) or "0"
        settled = f"{books.submitted} submitted, {books.trained} trained, dropped {dropped}"
        lines.append(f"prompts: {settled}, {books.in_flight} in flight, error {books.error}")
    for member in status.members:
        limit = f" of {member.limit}" if member.limit is not None else ""
        version = f", version {member.version}" if member.version is not None else ""
        pid = f", pid {member.pid}" if member.pid is not None else ""
        lines.append(f"{member.name}: {member.state}, {member.load}{limit} samples{version}, {member.restarts} restarts{pid}")
    return lines


def what_the_folder_says(run_dir: Path) -> str:
    """How far a run that is not live came, from its files."""
    if (run_dir / "summary.json").is_file() and (run_dir / "model").is_dir():
        return f"it finished; results are in {run_dir / 'summary.json'}"
    steps = [entry.name.removeprefix("step-") for entry in (run_dir / "checkpoints").glob("step-*") if entry.is_dir()]
    newest = max((int(step) for step in steps if step.isdigit()), default=None)
    reached = _last_step(run_dir / "metrics.jsonl")
    if newest is None:
        return f"it came to step {reached} and has no checkpoint; run.resume=auto begins again"
    return f"it came to step {reached}, its newest checkpoint is step-{newest}; the same command with run.resume=auto goes on from there"


def _last_step(metrics: Path) -> int:
    if not metrics.is_file():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - (1 << 16)))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a crash, or by the seek
    return 0


def _connect(options: argparse.Namespace) -> ControlClient:
    from actors.control.address import ControlNote
    from actors.control.client import ControlClient
    from rewards.service.client import ClientTls

    try:
        note = ControlNote.read(options.run)
    except (OSError, ValueError) as error:
        raise NotReached(f"{options.run / 'control.json'} cannot be read: {error}") from error
    if note is None:
        raise NotReached(f"{options.run} is not running or serves no control: {what_the_folder_says(options.run)}")
    if note.driver_alive() is False:
        raise NotReached(f"{options.run} is not running, its process {note.pid} was killed: {what_the_folder_says(options.run)}")
    token = os.environ.get(note.token_env) if note.token_env else note.token
    if note.token_env and not token:
        raise UsageError(f"the run's token is in the environment variable {note.token_env}, which is not set here")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together; one of them is missing")
    tls = ClientTls(options.tls_ca, options.tls_cert, options.tls_key) if note.tls else None
    timeout_s = options.timeout or (STATUS_TIMEOUT_S if options.command in ("status", "resume") else WORK_TIMEOUT_S)
    try:
        return ControlClient(options.address or note.address, token, tls, timeout_s)
    except OSError as error:
        raise UsageError(f"the certificates cannot be read: {error}") from error


def _explained(error: Any, options: argparse.Namespace, command: str) -> Exception:
    """A gRPC status as a person needs it."""
    from grpc import StatusCode

    match error.code:
        case StatusCode.INVALID_ARGUMENT:
            return UsageError(str(error))
        case StatusCode.UNAVAILABLE | StatusCode.CANCELLED:
            return NotReached(f"{options.run} does not answer ({error}); {what_the_folder_says(options.run)}")
        case StatusCode.DEADLINE_EXCEEDED if command != "status":
            return NotReached(f"{options.run}: asked for, but not done within the time; it still stands, see `chemr status {options.run}`")
        case _:
            return NotReached(f"{options.run}: {error}")


def _settings(options: argparse.Namespace) -> dict[str, float]:
    """``NAME=NUMBER`` arguments. Raises UsageError."""
    found: dict[str, float] = {}
    pairs: Sequence[str] = getattr(options, "settings", ())
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not name or not equals or number < 0:
            raise UsageError(f"{pair!r} should be NAME=NUMBER, e.g. " + ("generators=2" if options.command == "pool" else "retro=0.1"))
        if options.command == "pool" and (name not in SCALED or not number.is_integer()):
            raise UsageError(f"{pair!r}: pool scale takes generators=N and rewards=N, N a whole number")
        found[name] = number
    return found


def _require_grpc() -> None:
    from importlib.util import find_spec

    if find_spec("grpc") is None:
        raise NotReached("grpcio is not installed; pip install 'chemr[service]'")
