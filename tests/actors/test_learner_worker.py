"""The learner's actor without Ray: where its ranks meet."""

from __future__ import annotations

import socket

import pytest
import torch.distributed

from actors.learner_worker import LearnerWorker


def test_nobody_can_take_the_port_at_which_the_ranks_will_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice of a port and DeepSpeed's start lie seconds of imports, in which other programs open ports, too."""
    worker = LearnerWorker(0, 1)
    host, port = worker.meeting_place()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, port))
    for name, value in {"MASTER_ADDR": host, "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    torch.distributed.init_process_group("gloo")  # as DeepSpeed does
    try:
        assert torch.distributed.get_world_size() == 1, "and this process can"
    finally:
        torch.distributed.destroy_process_group()
