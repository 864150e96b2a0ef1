"""Run by test_lost_node in a process of its own: a small Ray cluster of several nodes, one of which dies with what it holds.

Prints one JSON object: what the learner, and whoever scores, made of it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from actors.failures import GroupsLost, await_ref, classify
from actors.fleet_losses import losing_tokens
from actors.handles import RayScorer
from actors.learner_group import LearnerGroup
from actors.learner_worker import LearnerWorker, TrainGroup
from actors.reward_worker import RewardWorker
from actors.trajectory import GroupRequest, GroupTokens, Sampling

LENGTH = 4096  # 8 samples of it are 400 kB: above what Ray keeps in the driver


class Worker:
    """Makes groups, and scores them; the verdicts of ``want_texts`` are as large as a group."""

    begin = RewardWorker.begin

    @ray.method(num_returns=2)
    def generate(self, uid: str, length: int) -> tuple[GroupTokens, str]:
        arrays = {kind: [np.ones(length, kind) for _ in range(8)] for kind in (np.int32, np.float32)}
        prompt = np.zeros(10, np.int32)
        return GroupTokens(uid, prompt, arrays[np.int32], arrays[np.float32], arrays[np.int32], ["stop"] * 8), uid

    def score(
        self, tokens: GroupTokens, task: str, inputs: Any, reference: Any, want_texts: bool, blind: Sequence[str] = ()
    ) -> tuple[list[int], list[str]]:
        return [1] * len(tokens.completion_ids), [str(n) * 100_000 for n in range(8)] if want_texts else []

    def unreadable(self) -> None:
        try:
            raise OSError(errno.ESTALE, "Stale file handle")
        except OSError as error:
            raise ValueError("there is no tokenizer in the folder") from error


class Learner(LearnerWorker):
    """Fetches as the real one does; no model."""

    def start(self, *anything: Any) -> None:
        pass

    def grpo_step(self, groups: Any, grpo: Any) -> dict[str, float]:
        return {"train/groups": float(len(self._fetched))}


def on(role: str, cls: type, *args: Any) -> Any:
    options = {"num_cpus": 0, "resources": {role: 0.01}, "max_restarts": 0, "max_task_retries": 0}
    return ray.remote(cls).options(**options).remote(*args)


def patiently(start: Callable[[], Any], tries: int = 3) -> Any:
    """Ray gives a node 30 s to come up, which is not enough on a busy machine, and has no type of its own for that."""
    for left in reversed(range(tries)):
        try:
            return start()
        except Exception as error:
            if not left or "timed out" not in str(error).lower():
                raise


async def main() -> None:
    head = {"num_cpus": 2, "resources": {"near": 1}, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster()
    patiently(lambda: cluster.add_node(**head))
    far = patiently(lambda: cluster.add_node(num_cpus=1, resources={"far": 1}, object_store_memory=100 << 20))
    ray.init(address=cluster.address, log_to_driver=False)
    doomed, safe, scorer = on("far", Worker), on("near", Worker), on("near", Worker)
    scorer_there = on("far", Worker)
    groups = {
        name: actor.generate.remote(name, length)
        for name, actor, length in (
            ("gone", doomed, LENGTH),
            ("scored", doomed, LENGTH),
            ("small", doomed, 4),
            ("safe", safe, LENGTH),
            ("unscored", doomed, LENGTH),
        )
    }
    tokens = {name: refs[0] for name, refs in groups.items()}
    ray.get([refs[1] for refs in groups.values()], timeout=120)
    request = GroupRequest("u", "t", (1,), {}, {}, Sampling(8, 8), 0)
    near, there = RayScorer("near", scorer), RayScorer("there", scorer_there)
    await near.score(tokens["scored"], request, False, 120)
    large = scorer_there.score.remote(tokens["safe"], "t", {}, {}, True)
    ray.wait([large], timeout=120, fetch_local=False)
    config: Any = SimpleNamespace(ranks=2, start_timeout_s=120, step_timeout_s=300, config=None)
    learner = LearnerGroup(lambda rank: on("near", Learner, rank, 2), config)
    await learner.start("model")
    cluster.remove_node(far, allow_graceful=False)

    def order(*names: str) -> list[TrainGroup]:
        return [TrainGroup(tokens[name], (0.0,) * 8, (True,) * 8) for name in names]

    found: dict[str, Any] = {}
    try:
        found["step"] = await learner.grpo_step(order("safe", "gone", "small", "scored"), None)  # type: ignore[arg-type]
    except GroupsLost as loss:
        found["lost"] = loss.indices
    found["learner"] = await learner.grpo_step(order("safe", "small"), None)  # type: ignore[arg-type]
    for name, scoring in (
        ("tokens", near.score(tokens["unscored"], request, False, 120)),
        ("verdicts", asyncio.wait_for(large, 120)),
        ("scorer", there.score(tokens["safe"], request, False, 120)),
        ("cause", await_ref(safe.unreadable.remote(), 120, "reading")),
    ):
        try:
            with losing_tokens(request):
                await scoring
        except Exception as error:  # noqa: BLE001  # the point: what comes is printed
            found[name] = [type(error).__name__, classify(error).value]
    print(json.dumps(found))
    sys.stdout.flush()
    await learner.close()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
