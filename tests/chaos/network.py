"""Two hosts on one machine: network namespaces joined by a veth pair whose link can be cut and healed. Needs root and iproute2."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType


def unavailable() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if shutil.which("ip") is None:
        return "iproute2 (ip) is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"cx{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class TwoHosts:
    """``with TwoHosts() as hosts``: namespaces ``hosts.head`` and ``hosts.worker`` that reach each other by ``addresses``, and nothing
    else. Leaving it removes both; their processes must have been ended before."""

    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.head, self.worker = f"cxh{tag}", f"cxw{tag}"
        self._links = (f"vh{tag}", f"vw{tag}")

    def __enter__(self) -> TwoHosts:
        for host in (self.head, self.worker):
            _ip("netns", "add", host)
        try:
            _ip("link", "add", self._links[0], "netns", self.head, "type", "veth", "peer", "name", self._links[1], "netns", self.worker)
            for host, link, address in zip((self.head, self.worker), self._links, self.addresses, strict=True):
                _ip("-n", host, "link", "set", "lo", "up")
                _ip("-n", host, "address", "add", f"{address}/24", "dev", link)
                _ip("-n", host, "link", "set", link, "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for host in (self.head, self.worker):
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)

    def inside(self, host: str, command: Sequence[str]) -> list[str]:
        """``command`` as it is run on ``host``."""
        return ["ip", "netns", "exec", host, *command]

    def cut(self) -> None:
        _ip("-n", self.worker, "link", "set", self._links[1], "down")

    def heal(self) -> None:
        _ip("-n", self.worker, "link", "set", self._links[1], "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
