"""The learner group fails as one, and says which rank the others failed because of. Ranks are scripted; no Ray cluster."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from actors import learner_group
from actors.failures import GroupsLost, LearnerLost
from actors.learner_group import LearnerGroup
from learner.config import GrpoConfig

Script = Callable[[str, tuple[Any, ...]], Awaitable[Any]]


class Rank:
    """Every method of it is remote, and does what the script says of its name."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *args: self._script(method, args))


def task_error(cause: Exception) -> Exception:
    error: Exception = ray.exceptions.RayTaskError("f", f"Traceback:\n{type(cause).__name__}: {cause}", cause).as_instanceof_cause()
    return error


async def after(seconds: float, result: Any) -> Any:
    await asyncio.sleep(seconds)
    if isinstance(result, Exception):
        raise result
    return result


ANSWERS = {"pid": 1, "meeting_place": ("host", 1)}


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    killed: list[Any] = []
    monkeypatch.setattr(ray, "kill", lambda actor, no_restart: killed.append(actor))
    monkeypatch.setattr(learner_group, "GRACE_SECONDS", 0.2)
    return killed


def group_of(*ranks: dict[str, tuple[float, Any]]) -> LearnerGroup:
    """One dictionary for each rank: method -> (seconds, result or error)."""

    def spawn(rank: int) -> Rank:
        async def script(method: str, args: tuple[Any, ...]) -> Any:
            return await after(*ranks[rank].get(method, (0.0, ANSWERS.get(method))))

        return Rank(script)

    actors: Any = SimpleNamespace(ranks=len(ranks), start_timeout_s=0.3, step_timeout_s=30.0, config=None)
    return LearnerGroup(spawn, actors)


BUG = task_error(KeyError("typo"))
ECC = task_error(torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"))
PEER = task_error(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"))
NCCL = task_error(torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"))
DIED = ray.exceptions.ActorDiedError()
FULL = task_error(OSError(errno.ENOSPC, "No space left on device"))


@pytest.mark.parametrize("method", ["sft_step", "publish_like", "save", "load", "export_hf", "begin_stage"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"s": (0.0, PEER)}, {"s": (0.05, DIED)}),
        ({"s": (0.0, NCCL)}, {"s": (0.05, ECC)}),
        ({"s": (9.0, None)}, {"s": (0.0, ECC)}),
        ({"s": (0.05, NCCL)}, {"s": (0.0, ECC)}),
        ({"s": (0.01, ECC)}, {"s": (0.05, DIED)}),
    ],
    ids=["closed-then-died", "nccl-then-ecc", "hung", "ecc-then-nccl", "ecc-then-died"],
)
async def test_the_rank_that_failed_first_is_named_and_not_what_the_others_heard_of_it(
    killed: list[Any], method: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    group = group_of({method: first["s"]}, {method: second["s"]})
    await group.start("model")
    with pytest.raises(LearnerLost, match=rf"the learner was lost: {method} failed on rank 1: ") as lost:
        await group._on_all(method)
    assert lost.value.__cause__ is second["s"][1]
    assert len(killed) == 2
    with pytest.raises(LearnerLost, match="restart"):
        await group.set_threads(1)


async def test_a_bug_in_one_rank_is_raised_as_it_is_though_the_others_lost_their_peer(killed: list[Any]) -> None:
    group = group_of({"sft_step": (0.0, PEER)}, {"sft_step": (0.05, BUG)})
    await group.start("model")
    with pytest.raises(KeyError, match="typo"):
        await group.sft_step([0])
    assert len(killed) == 2, "the ranks are out of step"


async def test_what_all_ranks_refuse_alike_costs_nobody_their_life(killed: list[Any]) -> None:
    refusal = task_error(ValueError("an empty prompt"))
    group = group_of({"sft_step": (0.0, refusal)}, {"sft_step": (0.0, refusal)})
    await group.start("model")
    with pytest.raises(ValueError, match="empty"):
        await group.sft_step([0])
    assert not killed
    await group.set_threads(1)


@pytest.mark.parametrize("others", [{"save": (0.0, None)}, {"save": (0.0, FULL)}], ids=["rank 0 writes", "all write"])
async def test_a_full_disk_is_told_and_costs_no_learner(killed: list[Any], others: dict[str, Any]) -> None:
    group = group_of({"save": (0.0, FULL)}, others)
    await group.start("model")
    with pytest.raises(OSError, match="No space left"):
        await group.save("checkpoint")
    assert not killed
    await group.set_threads(1)


async def test_a_full_disk_in_a_step_may_leave_the_ranks_out_of_step(killed: list[Any]) -> None:
    group = group_of({"sft_step": (0.0, FULL)}, {"sft_step": (0.0, FULL)})
    await group.start("model")
    with pytest.raises(LearnerLost, match="No space left"):
        await group.sft_step([0])
    assert len(killed) == 2


async def test_devices_that_fail_alike_are_a_lost_learner(killed: list[Any]) -> None:
    out_of_memory = task_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    group = group_of({"sft_step": (0.0, out_of_memory)}, {"sft_step": (0.0, out_of_memory)})
    await group.start("model")
    with pytest.raises(LearnerLost, match="out of memory"):
        await group.sft_step([0])


@pytest.mark.parametrize("method", ["pid", "meeting_place", "start"])
@pytest.mark.parametrize("failure", [(9.0, None), (0.0, DIED), (0.0, ray.exceptions.RuntimeEnvSetupError("agent timed out")), (0.0, PEER)])
async def test_a_rank_that_does_not_come_up_is_a_lost_learner(
    monkeypatch: pytest.MonkeyPatch, killed: list[Any], method: str, failure: tuple[float, Any]
) -> None:
    monkeypatch.setattr(learner_group, "START_TRIES", 2)
    group = group_of({method: failure}, {})
    with pytest.raises(LearnerLost, match="rank 0"):
        await group.start("model")
    assert len(killed) == 2 * 2, "what came up of it has gone, so that the next try finds room"
    with pytest.raises(LearnerLost, match="restart"):
        await group.set_threads(1)


@pytest.mark.parametrize("method", ["pid", "meeting_place", "start"])
async def test_a_start_survives_a_rank_that_dies_while_it_comes_up(killed: list[Any], method: str) -> None:
    flaky: dict[str, Any] = {method: (0.0, DIED)}
    group = group_of({}, flaky, flaky) if method == "pid" else group_of(flaky, {})
    starting = asyncio.ensure_future(group.start("model"))
    while not killed:
        await asyncio.sleep(0.01)
    flaky.clear()
    await starting
    await group.set_threads(1)


async def test_a_bug_at_the_start_is_raised_at_once(killed: list[Any]) -> None:
    group = group_of({"start": (0.0, BUG)}, {"start": (0.0, BUG)})
    with pytest.raises(KeyError):
        await group.start("model")
    assert not killed


async def test_groups_whose_tokens_are_gone_on_any_rank_are_named_before_a_step_begins(killed: list[Any]) -> None:
    group = group_of({"fetch": (0.0, (3,))}, {"fetch": (0.01, (0, 3))})
    await group.start("model")
    with pytest.raises(GroupsLost) as lost:
        await group.grpo_step([], GrpoConfig())
    assert lost.value.indices == (0, 3)
    assert not killed, "the learner is well"
    group = group_of({"fetch": (0.0, ()), "grpo_step": (0.0, {"train/loss": 0.5})}, {"fetch": (0.0, ())})
    await group.start("model")
    assert await group.grpo_step([], GrpoConfig()) == {"train/loss": 0.5}
