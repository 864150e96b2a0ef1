"""Where processes listen for TCP connections."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

import psutil


def listeners(processes: Iterable[psutil.Process]) -> dict[str, list[str]]:
    """ "address:port" of every listening socket, by process."""
    found: dict[str, list[str]] = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = [one.laddr for one in process.net_connections(kind="tcp") if one.status == psutil.CONN_LISTEN]
            if sockets:
                found[f"{process.pid} {process.name()}"] = [f"{place.ip}:{place.port}" for place in sockets]
    return found


def beyond_the_machine(processes: Iterable[psutil.Process]) -> dict[str, list[str]]:
    """Those of them that others than this machine can reach."""
    open_ones = {
        name: [place for place in places if not _is_loopback(place.rpartition(":")[0])] for name, places in listeners(processes).items()
    }
    return {name: places for name, places in open_ones.items() if places}


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
