"""What a run says to itself over loopback and to a tracker outside, and what the environment changes about it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlparse

from chemr.doctor.finding import Check
from chemr.tracking.config import WandbMode
from chemr.tracking.wandb_sink import choose_mode

TRACKER_SECONDS = 5.0


def check_loopback() -> Check:
    """A listening port on 127.0.0.1 that can be connected to is all the network that a local run needs."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(1.0)
            with socket.create_connection(server.getsockname(), timeout=1.0):
                connection, _ = server.accept()
                connection.close()
    except OSError as error:
        return Check("loopback", False, f"no connection over 127.0.0.1: {error}", "a firewall or sandbox blocks loopback; Ray cannot start")
    return Check("loopback", True, "ports on 127.0.0.1 open and connect")


def check_proxy(environment: Mapping[str, str]) -> Check:
    proxies = [name for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy") if environment.get(name)]
    excepted = {part.strip() for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy") for part in environment.get(name, "").split(",")}
    ok = not proxies or "*" in excepted or bool(excepted & {"127.0.0.1", "127.0.0.0/8"})
    detail = f"{', '.join(proxies)} set" + (", 127.0.0.1 excepted" if ok else ", without an exception for 127.0.0.1") if proxies else "none"
    return Check("proxy", ok, detail, "export no_proxy=127.0.0.1,localhost: gRPC would send Ray's local calls through the proxy")


def check_environment(environment: Mapping[str, str]) -> Check:
    """Variables that silently override what the configuration says."""
    overriding = ("RAY_ADDRESS", "VLLM_CPU_KVCACHE_SPACE", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_CPU_OMP_THREADS_BIND", "DS_ACCELERATOR")
    present = [f"{name}={environment[name]}" for name in overriding if environment.get(name)]
    return Check(
        "environment", not present, ", ".join(present) or "nothing overrides the configuration", "unset them, or know why they are set"
    )


def check_tracker(wanted: WandbMode, environment: Mapping[str, str]) -> Check:
    """Where metrics will go, and for a tracker outside, whether it (or the proxy on the way) takes connections."""
    if find_spec("wandb") is None:
        return Check("W&B", True, "not installed; metrics.jsonl has everything")
    mode = choose_mode(wanted, environment)
    if mode != "online":
        return Check("W&B", True, "no key, or offline wanted: recorded offline" if mode else "off")
    server = environment.get("WANDB_BASE_URL", "https://api.wandb.ai")
    proxy = environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    place = urlparse(proxy or server)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), timeout=TRACKER_SECONDS).close()
    except OSError as error:
        return Check(
            "W&B",
            False,
            f"a key is present, but {'the proxy ' if proxy else ''}{place.hostname}:{port} does not answer ({error})",
            "open the way to it, or record offline and `wandb sync` later: tracking.wandb=offline. A run trains on either way",
        )
    return Check("W&B", True, f"a key is present: runs are sent to {urlparse(server).hostname}{' through a proxy' if proxy else ''}")
