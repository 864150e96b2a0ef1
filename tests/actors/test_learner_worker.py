"""The learner's actor without Ray: where its ranks meet, and which tokens it finds."""

from __future__ import annotations

import socket
from typing import Any

import psutil
import pytest
import ray
import torch.distributed

from actors.learner_worker import LearnerWorker, TrainGroup
from learner.distributed import leave
from tests.listening import listeners


def test_nobody_can_take_the_port_at_which_the_ranks_will_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice of a port and DeepSpeed's start lie seconds of imports, in which other programs open ports, too."""
    worker = LearnerWorker(0, 1)
    host, port = worker.meeting_place()
    assert f"{host}:{port}" in [place for places in listeners([psutil.Process()]).values() for place in places], "and nowhere else"
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, port))
    for name, value in {"MASTER_ADDR": host, "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    torch.distributed.init_process_group("gloo")  # as DeepSpeed does
    try:
        assert torch.distributed.get_world_size() == 1, "and this process can"
    finally:
        torch.distributed.destroy_process_group()
        leave()


def test_a_rank_says_which_tokens_are_gone_or_late_and_keeps_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    store: dict[str, Any] = {"here": "tokens", "gone": ray.exceptions.ObjectLostError("a" * 40, None, ""), "also": "more tokens"}
    store |= {"unreadable": ray.exceptions.OwnerDiedError("a" * 40, None, ""), "slow": ray.exceptions.GetTimeoutError("x")}

    def get(ref: str, timeout: float) -> Any:
        if isinstance(store[ref], Exception):
            raise store[ref]
        return store[ref]

    monkeypatch.setattr(ray, "wait", lambda refs, num_returns, timeout: ([ref for ref in refs if ref != "late"], ["late"]))
    monkeypatch.setattr(ray, "get", get)
    worker = LearnerWorker(0, 1)
    refs = ["here", "gone", "late", "also", "unreadable", "slow"]
    assert worker.fetch([TrainGroup(ref, (), ()) for ref in refs], 1.0) == (1, 2, 4, 5)
    assert worker._fetched == ["tokens", "more tokens"]
    store["here"] = ray.exceptions.RayTaskError("generate", "trace", KeyError("typo")).as_instanceof_cause()
    with pytest.raises(KeyError, match="trace"):
        worker.fetch([TrainGroup("here", (), ())], 1.0)
