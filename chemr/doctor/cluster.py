"""A Ray cluster that the run would join: its nodes against what the configuration places on them, versions, and clocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.pool_config import infeasible
from chemr.doctor.finding import Check

NODE_SECONDS = 30.0
MAX_CLOCK_SKEW_SECONDS = 2.0  # ages of heartbeats and of cut deadlines are compared between nodes


@dataclass(frozen=True, slots=True)
class Node:
    """A live node with Ray's labels. ``clock_skew``: seconds that its clock is ahead of this one, None without an answer in time."""

    name: str
    resources: Mapping[str, float]
    clock_skew: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def read_cluster(address: str) -> list[Node]:
    """Joins the cluster, asks every node for its time and leaves again.

    Raises:
        ConnectionError: no cluster is there, or it refuses (Ray's own words).
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionError(str(error).strip().splitlines()[0]) from error
    try:
        clock = ray.remote(num_cpus=0)(time.time)
        nodes = []
        for node in [node for node in ray.nodes() if node["Alive"]]:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            skew = None
            try:
                ray.get(clock.options(scheduling_strategy=here).remote(), timeout=NODE_SECONDS)  # the first call starts a process
                before = time.time()
                there = ray.get(clock.options(scheduling_strategy=here).remote(), timeout=NODE_SECONDS)
                skew = there - (before + time.time()) / 2
            except ray.exceptions.GetTimeoutError:
                pass
            nodes.append(Node(str(node["NodeManagerHostname"]), node["Resources"], skew, node.get("Labels", {})))
        return nodes
    finally:
        ray.shutdown()


def check_placement(nodes: Sequence[Node], bundles: Mapping[str, Mapping[str, float]], role_labels: bool = False) -> Check:
    """Whether every actor of the run finds a place, by the rule that the pool itself applies (``role_labels``: pool.role_labels)."""
    labels = [dict(node.labels) for node in nodes] if role_labels else None
    shortfall = infeasible({name: dict(bundle) for name, bundle in bundles.items()}, [dict(node.resources) for node in nodes], labels)
    asked = ", ".join(f"{sum(bundle.get(kind, 0.0) for bundle in bundles.values()):g} {kind}" for kind in ("CPU", "GPU"))
    return Check(
        "cluster", shortfall is None, shortfall or f"{len(nodes)} nodes can place {asked}", "change pool.* of the run, or the worker groups"
    )


def check_clocks(nodes: Sequence[Node]) -> Check:
    silent = [node.name for node in nodes if node.clock_skew is None]
    if silent:
        return Check(
            "cluster clocks", False, f"no answer in {NODE_SECONDS:g} s from {', '.join(silent)}", "`ray status`, and look at their logs"
        )
    off = [f"{node.name} {node.clock_skew:+.1f} s" for node in nodes if abs(node.clock_skew or 0.0) > MAX_CLOCK_SKEW_SECONDS]
    largest = max((abs(node.clock_skew or 0.0) for node in nodes), default=0.0)
    return Check(
        "cluster clocks",
        not off,
        ", ".join(off) or f"{len(nodes)} nodes within {largest:.1f} s of this one",
        "let all nodes follow one time server (chrony, NTP)",
    )
