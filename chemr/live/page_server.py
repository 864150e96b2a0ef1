"""``chemr watch RUN --page``: the report of a run as a page that follows it."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.duration import duration
from chemr.finished_run import CONFIG, SUMMARY
from chemr.live.facts import flow_facts, head_facts
from chemr.live.liveness import Life
from chemr.live.view import LiveView
from chemr.local_page import Exchange, LocalServer, say_address
from chemr.report.command import SAMPLES
from chemr.report.page import LIVE, WAITING, render, report_data
from chemr.report.run_data import RunDataError, read_run

REST = 9.0  # times as long as making a page took, until it is made again: at most a tenth of the time is spent on it
LEAST_REST_S = 2.0


@dataclass(frozen=True, slots=True)
class Made:
    """A page, the state of the files that it shows, and when it may be made again (seconds of the monotonic clock)."""

    content: bytes
    version: str
    again_at: float


class RunPage:
    """Makes the page when it is asked for and the run's files have changed. Safe for several threads."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._view = LiveView(run)
        self._made: Made | None = None
        self._making = threading.Lock()
        self._looking = threading.Lock()
        self.renders = 0

    def page(self) -> bytes:
        with self._making:
            made, now = self._made, time.monotonic()
            version = version_of(self._run)
            if made is None or (made.version != version and now >= made.again_at):
                content = self._render(version)
                took = time.monotonic() - now
                made = self._made = Made(content, version, now + took + max(LEAST_REST_S, REST * took))
                self.renders += 1
            return made.content

    def now(self) -> dict[str, Any]:
        """What the strip above the report shows, and whether another page can be had."""
        with self._looking:
            self._view.look()
            state, life = self._view.state, self._view.life
            facts = [*head_facts(self._view.plan, state, life), *(flow_facts(state) if life is Life.running else [])]
            failures = [f"step {told.step:,}: {told.text}" for told in list(state.failures)[-3:]]
            alerts = [f"{task}: {kind}, goes on" for task, kind in sorted(state.active)]
            alerts += [f"step {told.step:,}: {told.text}" for told in list(state.alerts)[-2:]]
            notes = list(self._view.notes)
            quiet = f"last record {duration(max(0.0, time.time() - state.time))} ago" if state.time and life is Life.running else ""
        made = self._made
        newer = made is None or (version_of(self._run) != made.version and time.monotonic() >= made.again_at)
        shown = made.version if made is not None else ""
        told = {"failures": failures, "alerts": alerts, "notes": notes}
        return {"facts": facts, **told, "quiet": quiet, "life": life, "shown": shown, "newer": newer}

    def _render(self, version: str) -> bytes:
        try:
            run = read_run(self._run)
        except RunDataError:
            name = self._run.resolve().name
            return render({"runs": [{"name": name}], "live": version}, WAITING)
        return render(report_data([run], SAMPLES) | {"live": version}, LIVE)


def version_of(run: Path) -> str:
    """Another text whenever a file that the report shows has changed. Names, sizes and times only: nothing is read."""
    digest = hashlib.sha256()
    files = [run / name for name in (CONFIG, "manifest.json", SUMMARY, "metrics.jsonl")]
    for path in (*files, *sorted((run / "trajectories").glob("*.parquet"))):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        digest.update(f"{path.name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def run_server(run: Path, port: int) -> tuple[LocalServer, RunPage]:
    """The server, which does not serve yet, and what it shows. Raises OSError for a port that is taken."""
    shown = RunPage(run)

    def page(exchange: Exchange) -> None:
        exchange.send(shown.page(), "text/html")

    def now(exchange: Exchange) -> None:
        exchange.send_json(shown.now())

    return LocalServer({("GET", "/"): page, ("GET", "/now"): now}, port), shown


def serve_run(run: Path, port: int) -> None:
    """Until Ctrl-C. The page stays when the run has ended: somebody may be reading it."""
    server, _ = run_server(run, port)
    say_address(server, f"{run}, live")
    server.serve()
