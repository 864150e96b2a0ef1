"""Whether the nodes of a pool see what the others write into the run's directory. Proven before a model is loaded.

Checkpoints are written by the learner's ranks, where they run, and sealed and read by the driver. On storage of its own a node would write
them, and nobody would ever find them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from actors.failures import await_ref

FOLDER = ".nodes"
SEEN_WITHIN_S = 60.0  # NFS may show a file of another node so much later
ASK_S = 180.0  # a worker process comes up on every node

Ask = Callable[[str], Awaitable[tuple[str, str]]]  # node id -> (host, what is wrong there)


class NotSharedError(RuntimeError):
    """A node does not see what the driver wrote, or the driver not what it wrote; the message names it and says what to do."""


def look(folder: str, node: str, token: str, seen_within_s: float = SEEN_WITHIN_S) -> tuple[str, str]:
    """On a node: the driver's token is there, and the node's own is left. Returns (host, what is wrong; empty when nothing is)."""
    host = socket.gethostname()
    if not _seen(Path(folder) / "driver", token, seen_within_s):
        return host, "does not see what the driver's node writes there"
    try:
        (Path(folder) / node).write_text(token, encoding="utf-8")
    except OSError as error:
        return host, f"cannot write there ({error.strerror})"
    return host, ""


async def require_shared(directory: Path, nodes: Collection[str], ask: Ask | None = None, seen_within_s: float = SEEN_WITHIN_S) -> None:
    """Every one of ``nodes`` (Ray's ids) reads what this process writes in ``directory``, and this process what they write.

    Args:
        ask: runs :func:`look` on a node; None = as a Ray task.

    Raises:
        NotSharedError: naming the nodes, by host.
        ActorFailure, RayError: a node did not answer.
    """
    import ray  # late: who only wants to know the error (the command line) is spared seconds

    if ask is None and set(nodes) <= {ray.get_runtime_context().get_node_id()}:
        return
    folder, token = directory.resolve() / FOLDER, secrets.token_hex(16)
    await asyncio.to_thread(_write, folder / "driver", token)
    try:
        answers = await asyncio.gather(*((ask or _ray_task(folder, token))(node) for node in nodes))
        wrong = [f"{host} {problem}" for host, problem in answers if problem]
        for node, (host, problem) in zip(nodes, answers, strict=True):
            if not problem and not await asyncio.to_thread(_seen, folder / node, token, seen_within_s):
                wrong.append(f"what {host} writes there is not seen here, on {socket.gethostname()}")
        if wrong:
            raise NotSharedError(
                f"{directory} is not shared by the nodes of this run: {'; '.join(wrong)}. Checkpoints would be lost; set run.root to a "
                "folder on storage that all nodes mount at the same place"
            )
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)


def _ray_task(folder: Path, token: str) -> Ask:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=2)(look)

    async def ask(node: str) -> tuple[str, str]:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        answer: tuple[str, str] = await await_ref(
            task.options(scheduling_strategy=there).remote(str(folder), node, token), ASK_S, f"node {node} looking into {folder.parent}"
        )
        return answer

    return ask


def _write(path: Path, token: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(token, encoding="utf-8")


def _seen(path: Path, token: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == token:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
