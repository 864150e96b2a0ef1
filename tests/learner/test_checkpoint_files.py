"""A rank that cannot write goes on in step, and all ranks say why. Two real processes with gloo, without DeepSpeed."""

from __future__ import annotations

import errno
import multiprocessing
import queue
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.checkpoint import _Files
from learner.distributed import World
from learner.sealed_files import seal_folder
from tests.learner.samples import free_port


def fail(path: Path) -> None:
    raise OSError(errno.ESTALE, "Stale file handle")


def save(folder: Path, world: World, broken: int) -> Any:
    """Two files and the last; rank ``broken`` fails at its second. What this rank vouches for, or is told."""
    folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor(1) as thread:
        files = _Files(folder, thread)
        files.write(f"state-{world.rank}-0", lambda path: path.write_text("weights"))
        files.write(f"state-{world.rank}-1", fail if world.rank == broken else lambda path: path.write_text("moments"))
        files.write(f"rng-{world.rank}", lambda path: path.write_text("random"))
        try:
            return files.sealed(world)
        except OSError as error:
            return error.errno, str(error)


def run_rank(rank: int, port: int, folder: Path, answers: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    world = World(rank, 2)
    said = save(folder / "failed", world, broken=1)
    sealed = save(folder / "whole", world, broken=-1)  # a collective, which would hang unless both are in step
    answers.put((rank, said, sealed))
    torch.distributed.destroy_process_group()


def test_ranks_agree_on_a_failure_and_stay_in_step(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers, port = context.Queue(), free_port()
    ranks = [context.Process(target=run_rank, args=(rank, port, tmp_path, answers), daemon=True) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        found = {rank: (said, sealed) for rank, said, sealed in (answers.get(timeout=240) for _ in ranks)}
    except queue.Empty:
        pytest.fail("a rank waits for the other for ever")
    finally:
        for rank in ranks:
            rank.join(timeout=30)
            rank.kill()
    (number, words), (other, _) = found[0][0], found[1][0]
    assert number == other == errno.ESTALE, "both raise, with what the system said"
    assert "learner rank 1" in words and not (tmp_path / "failed" / "rng-1").exists(), "after a failure nothing more is written"
    assert sorted([*found[0][1], *found[1][1]], key=lambda file: file.name) == seal_folder(tmp_path / "whole"), "each vouches for its own"
