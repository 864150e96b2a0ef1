"""What a run serves to others: whether its addresses are free, and its secrets and certificates there."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

from chemr.control_config import ControlConfig
from chemr.doctor.finding import Check
from chemr.tracking.config import TrackingConfig

NAME = "addresses"
CONNECT_SECONDS = 2.0


def check_addresses(control: ControlConfig, tracking: TrackingConfig, environment: Mapping[str, str] = os.environ) -> list[Check]:
    """One finding for each address that cannot be listened on, or whose secret is missing; else one that lists them."""
    wanted: list[tuple[str, str]] = []
    if control.enabled:
        wanted.append(("control.address", control.address))
    if tracking.prometheus_port is not None:
        wanted.append(("tracking.prometheus_port", f"{tracking.prometheus_address}:{tracking.prometheus_port}"))
    findings = [Check(NAME, False, f"{field}={address}: {why}", _remedy(field)) for field, address in wanted if (why := why_not(address))]
    if len({address.rpartition(":")[2] for _, address in wanted}) < len(wanted) and not wanted[0][1].endswith(":0"):
        findings.append(Check(NAME, False, f"{wanted[0][0]} and {wanted[1][0]} name the same port", "give each its own"))
    if control.enabled:
        findings += _secrets(control, environment)
    return findings or [Check(NAME, True, ", ".join(f"{field}={address}" for field, address in wanted) or "none asked for")]


def why_not(address: str) -> str:
    """Why nobody can listen on ``HOST:PORT`` or ``unix:/PATH`` now; empty when one can."""
    if address.startswith("unix:"):
        return _why_no_socket(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return f"{host} is no address of this machine ({error.strerror or error})"
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(place)
            server.listen(1)
        except OSError as error:
            return f"nobody can listen there: {error.strerror}"
    return ""


def _why_no_socket(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if not os.access(path.parent, os.W_OK):
        return f"{path.parent} is not writable"
    if not os.path.lexists(path):
        return ""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return "a file that is no socket has this name"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except OSError:
            return ""  # of a process that has ended
    return "another process listens there"


def _secrets(control: ControlConfig, environment: Mapping[str, str]) -> list[Check]:
    findings = []
    if control.token_env is not None and not environment.get(control.token_env):
        findings.append(
            Check(NAME, False, f"control.token_env={control.token_env} names a variable that is not set", f"export {control.token_env}=...")
        )
    if control.tls_certificate is not None and control.tls_key is not None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(control.tls_certificate, control.tls_key)
            if control.tls_client_ca is not None:
                context.load_verify_locations(control.tls_client_ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            found = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            findings.append(Check(NAME, False, f"control.tls_*: {found}", "give PEM files of a certificate, its own key, and a CA"))
    return findings


def _remedy(field: str) -> str:
    return "name another port, or 0 for a free one" if field == "control.address" else "name another port, or null for none"
