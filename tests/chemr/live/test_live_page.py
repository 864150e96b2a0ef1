"""``chemr watch --page``: a report that follows its run, over HTTP and in a real browser."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chemr.live import page_server
from chemr.live.page_server import run_server, version_of
from chemr.local_page import LocalServer
from tests.chemr.report.headless import Browser, find_chromium
from tests.chemr.report.written_run import step_metrics, write_run

CHROMIUM = find_chromium()
PHONE = 380
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(page_server, "REST", 0.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as started:
        yield started


class Served:
    """A run, its page and the server's thread."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.server, self.page = run_server(run, 0)
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=180)
        connection.request("GET", urlsplit(self.server.address).path + path.lstrip("/"))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return answer.read()

    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/now"))
        return found

    def close(self) -> None:
        self.server.close()
        self._thread.join(5.0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    started = Served(write_run(tmp_path / "mine", finished=False))
    (started.run / "run.lock").write_text(str(os.getpid()), encoding="utf-8")
    yield started
    started.close()


def go_on(run: Path, step: int, **more: float) -> None:
    record = {"step": step, "time": time.time(), "elapsed_s": float(step), **step_metrics(step, 0.0), **more}
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def test_the_page_is_made_again_only_when_the_run_went_on(served: Served) -> None:
    first = served.get("/")
    assert served.get("/") == first and served.page.renders == 1, "nothing has changed"
    assert served.now()["newer"] is False
    go_on(served.run, 61)
    assert served.now()["newer"] is True
    assert served.get("/") != first and served.page.renders == 2


def test_a_page_that_takes_long_is_not_made_all_the_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "LEAST_REST_S", 60.0)
    served.get("/")
    go_on(served.run, 61)
    assert served.now()["newer"] is False, "it was made a moment ago"
    served.get("/")
    assert served.page.renders == 1


def test_what_goes_on_now_is_told(served: Served) -> None:
    go_on(served.run, 61, **{"async/dropped/straggler": 2.0, "curriculum/alert/forward/stall": 1.0})
    now = served.now()
    facts = dict(now["facts"])
    assert facts["state"] == "running" and facts["stage"].startswith("grpo, step 5")
    assert now["failures"][-1] == "step 61: 2 groups were dropped: straggler"
    assert {"forward: stall, goes on", "step 61: forward: stall"} <= set(now["alerts"])


def test_a_run_that_has_not_begun_has_a_page_that_waits(tmp_path: Path) -> None:
    waiting = Served(tmp_path / "later")
    try:
        assert b"Nothing is recorded of this run yet" in waiting.get("/")
        assert dict(waiting.now()["facts"])["state"] == "not begun"
        write_run(tmp_path / "later")
        assert waiting.now()["newer"] is True and b"Learning curves" in waiting.get("/")
    finally:
        waiting.close()


def test_a_change_of_any_file_that_is_shown_is_a_new_version(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine")
    seen = {version_of(run)}
    for name in ("config.yaml", "summary.json", "metrics.jsonl", "trajectories/step-000010.parquet"):
        os.utime(run / name, ns=(1, len(seen)))
        seen.add(version_of(run))
    (run / "trajectories" / "step-000011.parquet").touch()
    seen.add(version_of(run))
    (run / "run.lock").touch()
    assert len(seen | {version_of(run)}) == 6


def test_the_file_that_chemr_report_writes_still_asks_nobody(tmp_path: Path) -> None:
    from chemr.report.page import page
    from chemr.report.run_data import read_run

    written = page([read_run(write_run(tmp_path / "mine"))], 100).decode()
    assert "fetch(" not in written and "connect-src" not in written


@in_browser
def test_the_page_follows_the_run_and_leaves_a_reader_alone(browser: Browser, served: Served) -> None:
    go_on(served.run, 61)
    page = browser.open(served.server.address)
    page.wait("document.querySelectorAll('#live-facts dd').length > 4")
    assert "grpo, step 52" in page.value("document.getElementById('live-facts').textContent")
    # Someone who filters answers keeps the page; there is a button.
    page.value("document.getElementById('answers').scrollIntoView(), dispatchEvent(new Event('beforeprint'))")
    page.value("document.querySelector('#answers input').focus()")
    go_on(served.run, 62)
    page.wait("!document.getElementById('reload').hidden")
    page.value("document.activeElement.blur()")
    page.wait("document.querySelector('#live-facts') && document.getElementById('live-facts').textContent.includes('step 53')")
    page.wait("JSON.parse(document.getElementById('data').textContent).runs[0].facts.some((fact) => fact[1] === '62')")
    page.value("document.getElementById('follow').click()")
    go_on(served.run, 63)
    page.wait("!document.getElementById('reload').hidden")
    assert page.complaints() == [], "the console is not clean"
    page.close()


@in_browser
def test_it_fits_a_phone_and_is_accessible(browser: Browser, served: Served) -> None:
    go_on(served.run, 61, **{"async/dropped/straggler": 2.0, "curriculum/alert/forward/stall": 1.0})
    page = browser.open(served.server.address, width=PHONE, dark=True)
    page.wait("document.querySelectorAll('#live-told li').length > 1")
    page.show_all()
    assert page.wider_than(PHONE) == []
    if os.environ.get("CHEMR_AXE"):
        assert page.serious_findings(Path(os.environ["CHEMR_AXE"])) == []
    page.close()


@in_browser
def test_a_server_that_has_ended_is_told(browser: Browser, tmp_path: Path) -> None:
    served = Served(write_run(tmp_path / "mine"))
    page = browser.open(served.server.address)
    page.wait("document.querySelectorAll('#live-facts dd').length > 3")
    served.close()
    page.wait("document.getElementById('live-state').textContent.includes('does not answer')")
    page.close()


@in_browser
def test_pictures_are_left_for_people(browser: Browser, served: Served, tmp_path: Path) -> None:
    folder = os.environ.get("CHEMR_SCREENSHOTS")
    if not folder:
        pytest.skip("CHEMR_SCREENSHOTS names no folder")
    more = {"async/dropped/straggler": 2.0, "curriculum/alert/forward/stall": 1.0, "async/age_max": 1.0, "async/age_bound": 2.0}
    go_on(served.run, 61, **more, **{"async/overlap_efficiency": 0.97, "engine/cache_usage": 0.4, "weights/pull_s": 0.2})
    waiting = Served(tmp_path / "later")
    for name, server, width, dark in (
        ("live-light", served.server, 1280, False),
        ("live-dark", served.server, 1280, True),
        ("live-phone", served.server, PHONE, False),
        ("live-waiting", waiting.server, 900, False),
    ):
        picture(browser, server, Path(folder) / f"{name}.png", width, dark)
    waiting.close()


def picture(browser: Browser, server: LocalServer, file: Path, width: int, dark: bool) -> None:
    page = browser.open(server.address, width=width, dark=dark)
    page.wait("document.querySelectorAll('#live-facts dd').length > 3")
    page.screenshot(file)
    page.close()
