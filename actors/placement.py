"""Where the pool's actors run: one placement group for those it starts with, one more for every actor that joins later."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.failures import await_ref
from actors.pool_config import PoolConfig, infeasible

log = logging.getLogger(__name__)

PLACEMENT_SECONDS = 60.0
POLL_SECONDS = 0.5
REPORT_SECONDS = 10.0  # a newcomer that has no room by then is mentioned
SPARE_SECONDS = 10.0  # what is free is given within moments


class PoolStartError(RuntimeError):
    """The pool cannot be placed on this cluster; the message names the shortfall."""


class Placement:
    """Resources of actors by name. A name that was placed keeps its resources over all incarnations of its actor."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._bundles = config.bundles()
        self._first: PlacementGroup | None = None
        self._index: dict[str, int] = {}  # of the actor's bundle in the first group
        self._later: dict[str, PlacementGroup] = {}

    async def start(self) -> None:
        """Place everything the pool starts with. Raises PoolStartError when the cluster is too small."""
        wait = self._config.nodes_wait_s
        if not wait and (reason := self._shortfall()):
            raise PoolStartError(reason)
        group: PlacementGroup = placement_group(list(self._bundles.values()), strategy="PACK", bundle_label_selector=self._selectors())
        self._first = group
        began = time.monotonic()
        if wait:  # the group is there first: its pending bundles are what an autoscaler adds nodes for
            await self._await_nodes(group, began + wait)
        await await_ref(group.ready(), PLACEMENT_SECONDS, f"placing {len(self._bundles)} actors (is the cluster in use?)")
        alike = {name: (*sorted(bundle.items()), *self._config.node_labels(name).items()) for name, bundle in self._bundles.items()}
        self._index = neighbours(alike, await self._node_of_bundle())
        log.debug("placement took %.1f s", time.monotonic() - began)

    async def nodes(self) -> set[str]:
        """Ray's ids of the nodes on which the actors that the pool starts with run."""
        return set((await self._node_of_bundle()).values())

    async def _node_of_bundle(self) -> dict[int, str]:
        table = await asyncio.to_thread(placement_group_table, self._first)
        return dict(table["bundles_to_node_id"])

    def _shortfall(self) -> str | None:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        labels = [node.get("Labels", {}) for node in nodes] if self._config.role_labels else None
        return infeasible(self._bundles, [node["Resources"] for node in nodes], labels)

    def _selectors(self) -> list[dict[str, str]] | None:
        return [self._config.node_labels(name) for name in self._bundles] if self._config.role_labels else None

    async def _await_nodes(self, group: PlacementGroup, deadline: float) -> None:
        reported = time.monotonic()
        while await asyncio.to_thread(_state, group) != "CREATED" and (reason := await asyncio.to_thread(self._shortfall)):
            now = time.monotonic()
            if now > deadline:
                raise PoolStartError(f"the cluster's nodes did not come within pool.nodes_wait_s={self._config.nodes_wait_s:g}: {reason}")
            if now - reported > REPORT_SECONDS * 3:
                log.warning("waiting for nodes: %s", reason)
                reported = now
            await asyncio.sleep(POLL_SECONDS)

    def resources(self, name: str) -> dict[str, float]:
        """What the actor may use."""
        return self._bundles.get(name) or self._config.bundle(name.rsplit("-", 1)[0])

    def strategy(self, name: str) -> PlacementGroupSchedulingStrategy:
        """To be given to the actor's options."""
        if name in self._later:
            return PlacementGroupSchedulingStrategy(self._later[name], placement_group_bundle_index=0)
        assert self._first is not None, "actors are placed after start()"
        return PlacementGroupSchedulingStrategy(self._first, placement_group_bundle_index=self._index[name])

    # what the fleet asks (actors.seats.Rooms)

    async def take(self, name: str) -> None:
        """Waits without end, on purpose: a newcomer is wanted from the day its resources appear. Scaling down and closing cancel it."""
        if name in self._bundles and name not in self._later:
            return
        if name not in self._later:
            labels = self._config.node_labels(name)
            self._later[name] = placement_group([self.resources(name)], bundle_label_selector=[labels] if labels else None)
        began, reported = time.monotonic(), False
        while await asyncio.to_thread(_state, self._later[name]) != "CREATED":
            if not reported and time.monotonic() - began > REPORT_SECONDS:
                wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in self.resources(name).items())
                log.warning("%s waits for the cluster to have %s for it", name, wanted)
                reported = True
            await asyncio.sleep(POLL_SECONDS)

    def release(self, name: str) -> None:
        if name in self._later:
            remove_placement_group(self._later.pop(name))

    async def elsewhere(self, name: str) -> bool:
        """Other resources for an actor that cannot start where it is. It gives back what it had when it has them, so that it does not get
        the same again; a bundle of the pool's first group cannot be given back alone, so it stays reserved."""
        labels = self._config.node_labels(name)
        spare = placement_group([self.resources(name)], bundle_label_selector=[labels] if labels else None)
        found = False
        try:
            deadline = time.monotonic() + SPARE_SECONDS
            while not (found := await asyncio.to_thread(_state, spare) == "CREATED") and time.monotonic() < deadline:
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if not found:
                remove_placement_group(spare)
        if found:
            self.release(name)
            self._later[name] = spare
        return found

    async def for_another_generator(self) -> bool:
        """Ray's sums over all nodes: the last word has the placement group."""
        free = await asyncio.to_thread(ray.available_resources)
        return all(free.get(kind, 0.0) + 1e-6 >= amount for kind, amount in self._config.bundle("generator").items())

    def require(self, kind: str, count: int) -> None:
        """A private cluster has what it was started with; one that was joined may grow."""
        if self._config.address is not None:
            return
        others = sum(bundle.get("CPU", 0.0) for name, bundle in self._bundles.items() if not name.startswith(f"{kind}-"))
        later = sum(self.resources(name).get("CPU", 0.0) for name in self._later if not name.startswith(f"{kind}-"))
        wanted = others + later + count * self._config.bundle(kind)["CPU"]
        if wanted > self._config.logical_cpus() + 1e-6:
            raise ValueError(
                f"{count} {kind} actors make {wanted:g} CPUs with everything else, and this private cluster was started with "
                f"{self._config.logical_cpus()}; start the run with pool.max_generators or pool.num_cpus that leave room for them"
            )

    def close(self) -> None:
        """Give everything back."""
        for name in [*self._later]:
            self.release(name)
        if self._first is not None:
            remove_placement_group(self._first)
            self._first = None


def neighbours(alike: Mapping[str, Hashable], node_of: Mapping[int, str]) -> dict[str, int]:
    """Which bundle of a placement group every actor takes, so that learner ranks next to each other are on one node as far as can be.

    Ray packs bundles on few nodes, in no order that follows their index: 16 ranks were scattered over three nodes of 8 GPUs. Collectives of
    neighbours (sequence parallel groups, rings) would then cross the network.

    Args:
        alike: what the actor's bundle asks for, by name; bundle i was asked for by the i-th name. Who asks for the same may swap.
        node_of: node of bundle i.

    Returns:
        The index of a bundle by name, no two the same. Learner ranks fill the nodes that have most bundles of their kind.
    """
    kinds: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name, kind in alike.items():
        kinds[kind].append(name)
    index = {name: i for i, name in enumerate(alike)}
    taken: dict[str, int] = {}
    for names in kinds.values():
        ours = [index[name] for name in names]
        on_node = Counter(node_of[i] for i in ours)
        ours.sort(key=lambda i: (-on_node[node_of[i]], node_of[i], i))
        ranks_first = sorted(names, key=lambda name: not name.startswith("learner-"))
        taken |= dict(zip(ranks_first, ours, strict=True))
    return taken


def _state(group: PlacementGroup) -> str:
    return str(placement_group_table(group).get("state"))
