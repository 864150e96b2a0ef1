"""The steps in order. Each is a command, a file and a unit of resume: one whose inputs have not changed is not done again."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chemr.mining.errors import MiningInputError
from chemr.mining.protocol_file import SHARED
from chemr.mining.protocol_steps import cluster_steps, merge
from chemr.mining.report import build_report, report_lines
from chemr.mining.sft_steps import filter_traces, select, synthesise
from chemr.mining.step_files import StepFile
from chemr.mining.trace_steps import extract, mine, verify
from chemr.mining.workplace import PROTOCOLS, Workplace
from chemr.run_stopped import RunStopped
from chemr.whole_file import write_whole


class NothingMined(RunStopped):
    """The teacher's traces hold no protocol."""


STEPS: Mapping[str, Callable[[Workplace], StepFile | Awaitable[StepFile]]] = {
    "mine": mine,
    "verify": verify,
    "extract": extract,
    "cluster": cluster_steps,
    "merge": merge,
    "synthesise": synthesise,
    "filter": filter_traces,
    "select": select,
}


def run_step(name: str, work: Workplace) -> StepFile:
    """Run one step, or find its file up to date, and say what it left.

    Raises:
        MiningInputError, TeacherStopped: with everything kept that was paid for.
    """
    outcome = STEPS[name](work)
    file = asyncio.run(_awaited(outcome)) if inspect.isawaitable(outcome) else outcome
    assert isinstance(file, StepFile)
    facts = {
        key: value for key, value in file.header.items() if key not in ("step", "made_from", "digest", "rows") and value not in ({}, 0)
    }
    work.say(f"{name}: {len(file.rows)} rows in {file.path}" + (f" ({_facts(facts)})" if facts else ""))
    return file


async def _awaited(outcome: Awaitable[StepFile]) -> StepFile:
    return await outcome


def _facts(facts: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} " + ("; ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else str(value))
        for name, value in facts.items()
    )


def run_all(work: Workplace) -> None:
    """All steps and the report.

    Raises:
        NothingMined: no task has a protocol, so there is nothing to write along; the report is written.
    """
    for name in STEPS:
        file = run_step(name, work)
        if name == "merge" and not file.header["protocols"] and not _protocols(work):
            write_report(work)
            raise NothingMined(
                "no task has a protocol: too few traces were right and in numbered steps (see above). Ask a stronger teacher, raise "
                f"mining.samples, lower mining.cluster.min_support, or write {work.path(PROTOCOLS)}/<task>.yaml by hand"
            )
    write_report(work)


def write_report(work: Workplace) -> None:
    """Says the report and writes ``report.json`` and ``report.txt``."""
    report = build_report(work.folder, work.config.mining.endpoint)
    lines = report_lines(report)
    for line in lines:
        work.say(line)
    write_whole(work.path("report.json"), json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_whole(work.path("report.txt"), "\n".join(lines) + "\n")


def _protocols(work: Workplace) -> bool:
    """Whether there are some, mined or by hand."""
    return any(path.stem != SHARED for path in work.path(PROTOCOLS).glob("*.yaml"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process works in a folder at a time; the kernel lets go of it when that process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mining.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise MiningInputError(
                f"{folder} is in use by process {file.read().strip() or 'unknown'}; wait for it to end, or take another folder"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
