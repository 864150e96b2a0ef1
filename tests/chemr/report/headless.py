"""A headless Chromium, spoken to over its debugging pipe: no port, no driver, no package.

The protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each ended by a zero byte, on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

READY = "document.getElementById('contents').childElementCount > 0"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ANSWER_S = 240.0  # the longest that one command may take
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13, "End": 35, "Home": 36}


def find_chromium() -> str | None:
    """The program of ``CHEMR_CHROMIUM``, or the first that is installed."""
    wanted = os.environ.get("CHEMR_CHROMIUM")
    return wanted or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One process with its own throw-away profile."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chemr-chromium-", ignore_cleanup_errors=True)
        to_child, self._to = os.pipe()
        self._from, from_child = os.pipe()
        # Above what the child uses, so that putting them in place overwrites neither of them.
        reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_child, from_child))

        def put_in_place() -> None:
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"]
        self._process = subprocess.Popen(
            [program, *flags, "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", "about:blank"],
            preexec_fn=put_in_place,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_child, from_child, reads, writes):
            os.close(end)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command; what happens meanwhile is kept in :attr:`events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") != self._number:
                self.events.append(answer)
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            result: dict[str, Any] = answer["result"]
            return result

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"Chromium did not answer {method} within {ANSWER_S:g} s")
            some = os.read(self._from, 1 << 20)
            if not some:
                raise RuntimeError(f"Chromium ended (status {self._process.poll()}) before it answered {method}")
            self._rest += some
        message, self._rest = self._rest.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, place: Path | str, width: int = 1280, height: int = 900, dark: bool = False, ready: str = READY) -> Page:
        """A page of its own, loaded: a file, or an address of this machine."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        address = place.resolve().as_uri() if isinstance(place, Path) else place
        page = Page(self, target, session, address)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.call("Page.navigate", url=address)
        page.wait(f"document.readyState === 'complete' && {ready}")
        return page

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Page:
    """A tab."""

    def __init__(self, browser: Browser, target: str, session: str, address: str) -> None:
        self._browser = browser
        self._own = ("file:", "data:") if address.startswith("file:") else (address, "data:")
        self._target = target
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def value(self, expression: str) -> Any:
        """What an expression, or the promise it gives, evaluates to in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression[:200]}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        why = ""
        while True:
            try:
                if self.value(f"Boolean({expression})"):
                    return
            except RuntimeError as error:  # also while the page is being loaded again
                why = f": {error}"
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {expression}{why}")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def serious_findings(self, axe: Path) -> list[dict[str, Any]]:
        """What axe-core finds of accessibility that is serious or critical."""
        self.value(axe.read_text(encoding="utf-8") + ";0")
        found: list[dict[str, Any]] = self.value(
            "axe.run().then((result) => result.violations.map((one) => ({id: one.id, impact: one.impact, "
            "nodes: one.nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary)})))"
        )
        return [one for one in found if one["impact"] in ("serious", "critical")]

    def wider_than(self, width: int) -> list[str]:
        """Elements that stick out of a page that is wider than that; none of a page that is not."""
        sticks: list[str] = self.value(
            f"document.documentElement.scrollWidth <= {width} ? [] : [...document.querySelectorAll('body *')]"
            f".filter((one) => one.getBoundingClientRect().right > {width} && !one.closest('.scroll'))"
            ".map((one) => one.outerHTML.slice(0, 120)).slice(0, 5).concat('…')"
        )
        return sticks

    def show_all(self) -> None:
        """Everything that waits to be scrolled to is built, as before printing."""
        self.value("dispatchEvent(new Event('beforeprint'))")
        self.value("document.querySelectorAll('.later').forEach((one) => one.classList.remove('later'))")
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screenshot(self, file: Path, whole: bool = False) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and requests to anything but the file, or the server, itself."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            parameters = event["params"]
            match event["method"]:
                case "Runtime.exceptionThrown":
                    details = parameters["exceptionDetails"]
                    found.append(details.get("exception", {}).get("description") or details["text"])
                case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                    found.append(f"{parameters['type']}: {[one.get('value') for one in parameters['args']]}")
                case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                    found.append(parameters["entry"]["text"])
                case "Network.requestWillBeSent" if not parameters["request"]["url"].startswith(self._own):
                    found.append(f"a request to {parameters['request']['url']}")
        return found

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
