"""A scorer that does what text that broke a parser would: it looks for secrets, for the network and for other processes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from rewards.registry import scorer
from rewards.verdict import Reason, Verdict


def _can(attempt) -> float:
    try:
        return float(bool(attempt()))
    except OSError:
        return 0.0


def _connect(family: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM):
        return True


@scorer("pry")
def pry(answer, inputs, reference):
    """What could be had, by name: 1 or 0."""
    secret, caller = inputs["secret"], inputs["caller"]
    parts = {
        "variable": _can(lambda: any(secret in value for value in os.environ.values())),
        "callers_variable": _can(lambda: secret.encode() in Path(f"/proc/{caller}/environ").read_bytes()),
        "signal": _can(lambda: os.kill(caller, 0) is None),
        "ipv4": _can(lambda: _connect(socket.AF_INET)),
        "ipv6": _can(lambda: _connect(socket.AF_INET6)),
        "netlink": _can(lambda: bool(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))),
        "unix": _can(lambda: _connect(socket.AF_UNIX)),
    }
    return Verdict(1.0, Reason.CORRECT, parts)
