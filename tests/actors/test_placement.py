"""Which node every actor is on: neighbouring ranks share one."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from actors.placement import neighbours

GPU = (("CPU", 8.0), ("GPU", 1.0))
CPU = (("CPU", 1.0),)


def names(generators: int, rewards: int, ranks: int) -> list[str]:
    kinds = (("generator", generators), ("reward", rewards), ("learner", ranks))
    return [f"{kind}-{i}" for kind, count in kinds for i in range(count)]


def changes_of_node(taken: dict[str, int], node_of: dict[int, str], ranks: int) -> int:
    nodes = [node_of[taken[f"learner-{rank}"]] for rank in range(ranks)]
    return sum(one != other for one, other in itertools.pairwise(nodes))


def scattered(of: list[str], gpus: int, seed: int) -> dict[int, str]:
    """Bundles with a GPU on nodes that have ``gpus`` of them, at random; the others anywhere."""
    with_gpu = [i for i, name in enumerate(of) if not name.startswith("reward")]
    places = [f"node-{i // gpus}" for i in range(len(with_gpu))]
    draw = random.Random(seed)
    draw.shuffle(places)
    return {**dict(zip(with_gpu, places, strict=True)), **{i: "node-0" for i, name in enumerate(of) if name.startswith("reward")}}


def test_ranks_fill_nodes_wherever_ray_put_the_bundles() -> None:
    for seed in range(50):
        generators, rewards, ranks = [(8, 0, 16), (8, 4, 16), (4, 2, 12), (0, 1, 32)][seed % 4]
        of = names(generators, rewards, ranks)
        node_of = scattered(of, 8, seed)
        taken = neighbours({name: CPU if name.startswith("reward") else GPU for name in of}, node_of)
        assert sorted(taken.values()) == list(range(len(of))), "every bundle has one actor"
        on = Counter(node_of[taken[f"learner-{rank}"]] for rank in range(ranks))
        assert len(on) == -(-ranks // 8), on
        assert changes_of_node(taken, node_of, ranks) == len(on) - 1


def test_only_those_who_asked_for_the_same_swap() -> None:
    of = names(4, 2, 4)
    asked = {name: (*GPU, ("label", name.split("-")[0])) for name in of}
    node_of = dict(enumerate("ABABABBABA"))
    taken = neighbours(asked, node_of)
    for name, bundle in taken.items():
        assert asked[name] == asked[of[bundle]]
    assert changes_of_node(taken, node_of, 4) == 1
