"""One file of weights a node: shared by its generators, written by one of them, never while an engine reads it, never lost to a kill."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from actors import generator as generator_module
from actors.failures import FailureKind, classify
from actors.generator import RolloutGenerator
from actors.generator_config import GeneratorConfig
from actors.node_folder import remove_engine
from actors.node_weights import MOST_FILES, Lease, NodeWeights, SharedMemoryFullError
from actors.weight_delivery import WeightDelivery
from actors.weight_file import MappedFile, WeightFile
from actors.weights import (
    TensorSlot,
    WeightManifest,
    WeightsCorruptError,
    WeightsNotDeliveredError,
    bucket_starts,
    content_digest,
    pack_buckets,
    tensor_bytes,
    tensor_digest,
)

ENGINE = cast("Any", None)  # only the transport "direct" asks it


def tensors_of(version: int, size: int = 3000) -> list[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(version)
    return [("a", torch.rand(size, generator=generator)), ("b", torch.rand(7, 5, generator=generator))]


def manifest_of(version: int, size: int = 3000) -> WeightManifest:
    buckets = list(pack_buckets(iter(tensors_of(version, size)), 4000))
    layout = tuple(slot for bucket in buckets for slot in bucket.slots)
    digests = [tensor_digest(part) for bucket in buckets for part in tensor_bytes(bucket.slots, [bucket.runs])]
    return WeightManifest(version, layout, tuple(list(bucket.runs) for bucket in buckets), content_digest(layout, digests))


def deliveries(folder: Path, count: int) -> list[WeightDelivery]:
    return [WeightDelivery(f"generator-{index}", folder, 5.0) for index in range(count)]


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "weights").iterdir() if path.name != "lock"]


def assert_holds(file: WeightFile, version: int, size: int = 3000, reader: MappedFile | None = None) -> None:
    received = WeightFile.from_message(**file.to_message())
    assert received == file, "what the engine is told must survive vLLM's RPC, which knows lists and dicts only"
    found = dict(received.tensors((reader or MappedFile()).read(received)))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors_of(version, size)), "the version's own bytes must be read"


async def test_eight_generators_share_one_file_and_one_of_them_brings_it(tmp_path: Path) -> None:
    generators, readers = deliveries(tmp_path, 8), [MappedFile() for _ in range(8)]
    for version in range(4):
        delivered = await asyncio.gather(*(generator.bring(manifest_of(version), ENGINE) for generator in generators))
        assert len({(one.file.path, one.file.inode) for one in delivered}) == 1
        assert sorted("write" in one.seconds for one in delivered) == [False] * 7 + [True], "the others wait for the one that brings it"
        for one, reader in zip(delivered, readers, strict=True):
            assert_holds(one.file, version, reader=reader)
        for generator, one in zip(generators, delivered, strict=True):
            generator.loaded(one)
        (file,) = files(tmp_path)
        assert file.stat().st_mode & 0o777 == 0o600, "weights must be readable by their owner only"


async def test_a_file_that_an_engine_still_reads_is_not_written_and_there_are_never_more_than_two(tmp_path: Path) -> None:
    slow, quick = deliveries(tmp_path, 2)
    held = await slow.bring(manifest_of(1), ENGINE)
    for version in (2, 3, 4):
        delivered = await quick.bring(manifest_of(version), ENGINE)
        assert_holds(held.file, 1)
        assert_holds(delivered.file, version)
        assert len(files(tmp_path)) == MOST_FILES
        quick.loaded(delivered)
    slow.loaded(held)
    quick.loaded(await quick.bring(manifest_of(5), ENGINE))
    assert len(files(tmp_path)) == 1, "what nobody needs any more is given back"


async def test_who_finds_all_files_read_waits_and_says_so(tmp_path: Path) -> None:
    first, second, third = deliveries(tmp_path, 3)
    third._fetch_timeout_s = 0.1
    held = [await first.bring(manifest_of(1), ENGINE), await second.bring(manifest_of(2), ENGINE)]
    with pytest.raises(WeightsNotDeliveredError, match="engines still load older ones") as caught:
        await third.bring(manifest_of(3), ENGINE)
    assert classify(caught.value) is FailureKind.INFRASTRUCTURE
    waiting = asyncio.create_task(second.bring(manifest_of(3), ENGINE))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    first.loaded(held[0])
    assert_holds((await waiting).file, 3)


async def test_weights_of_another_size_replace_the_file(tmp_path: Path) -> None:
    (generator,) = deliveries(tmp_path, 1)
    for version, size in ((1, 3000), (2, 50), (3, 9000)):
        delivered = await generator.bring(manifest_of(version, size), ENGINE)
        assert_holds(delivered.file, version, size)
        generator.loaded(delivered)
        assert len(files(tmp_path)) == 1


async def test_bytes_that_are_not_what_was_published_have_no_name_and_the_next_try_brings_them(tmp_path: Path) -> None:
    first, second = deliveries(tmp_path, 2)
    good, bad = manifest_of(1), replace(manifest_of(2), digest=manifest_of(1).digest)
    with pytest.raises(WeightsCorruptError, match="arrived with"):
        await first.bring(bad, ENGINE)
    assert not (tmp_path / "weights" / good.digest).exists()
    delivered = await second.bring(good, ENGINE)
    assert "write" in delivered.seconds and len(files(tmp_path)) == 1
    assert_holds(delivered.file, 1)


async def test_a_delivery_that_is_given_up_half_way_lets_go_only_when_its_thread_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from actors import weight_delivery

    writing, may_end, real = threading.Event(), threading.Event(), weight_delivery.copy_buckets

    def slow(*arguments: Any) -> list[bytes]:
        writing.set()
        may_end.wait(30)
        return real(*arguments)

    first, second = deliveries(tmp_path, 2)
    monkeypatch.setattr(weight_delivery, "copy_buckets", slow)
    given_up = asyncio.create_task(first.bring(manifest_of(1), ENGINE))
    await asyncio.to_thread(writing.wait, 30)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    other = asyncio.create_task(second.bring(manifest_of(2), ENGINE))
    await asyncio.sleep(0.1)
    assert not other.done() and len(files(tmp_path)) == 1, "the first thread may still write to its file"
    may_end.set()
    assert_holds((await other).file, 2)


FILLER = """
import sys, time
from pathlib import Path
from actors.node_weights import NodeWeights
from actors.weights import TensorSlot
size = int(sys.argv[3])
filling = NodeWeights(Path(sys.argv[1]) / "weights").begin("d" * 32, [TensorSlot("a", "uint8", (size,), 0, 0, size)])
filling.data[:10] = 7
if sys.argv[2] == "whole":
    lease = filling.finish()
print("here", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("state", ["half", "whole"])
async def test_who_is_killed_with_a_file_leaves_it_to_the_next(tmp_path: Path, state: str) -> None:
    manifest = manifest_of(2)
    arguments = [sys.executable, "-c", FILLER, str(tmp_path), state, str(bucket_starts(manifest.layout)[-1])]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    if state == "half":
        assert NodeWeights(tmp_path / "weights").begin(manifest.digest, manifest.layout) is None, "somebody brings a version"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (generator,) = deliveries(tmp_path, 1)
    assert_holds((await generator.bring(manifest, ENGINE)).file, 2)
    assert len(files(tmp_path)) == 1, "and the file is used again"


async def test_a_full_shared_memory_is_infrastructure_and_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (generator,) = deliveries(tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr("actors.node_weights.os.posix_fallocate", full)
        with pytest.raises(WeightsNotDeliveredError, match=r"MiB free.*enlarge it .*shm_gb.*or lower the object store") as caught:
            await generator.bring(manifest_of(1), ENGINE)
    assert classify(caught.value) is FailureKind.INFRASTRUCTURE and not files(tmp_path), "nothing half-made is left"
    assert_holds((await generator.bring(manifest_of(1), ENGINE)).file, 1)


def test_a_real_full_file_system_is_told_with_its_room(tmp_path: Path) -> None:
    weights = NodeWeights(tmp_path / "weights")
    huge = (TensorSlot("a", "uint8", (1 << 56,), 0, 0, 1 << 56),)
    with pytest.raises(OSError) as caught:  # ENOSPC on a tmpfs, EFBIG where a file may not be so large
        weights.begin("d" * 32, huge)
    assert isinstance(caught.value, SharedMemoryFullError) or caught.value.errno == errno.EFBIG
    assert not files(tmp_path)


def test_a_cut_or_replaced_file_is_corrupt(tmp_path: Path) -> None:
    manifest = manifest_of(1)
    filling = NodeWeights(tmp_path / "weights").begin(manifest.digest, manifest.layout)
    assert filling is not None
    lease = filling.finish()
    path = Path(lease.file.path)
    path.with_name("v").write_bytes(b"x" * path.stat().st_size)
    with open(path, "r+b") as handle:
        handle.truncate(10)
    with pytest.raises(WeightsCorruptError, match="10 bytes"):
        MappedFile().read(lease.file)
    os.replace(path.with_name("v"), path)
    with pytest.raises(WeightsCorruptError, match="replaced"):
        MappedFile().read(lease.file)


def test_a_lease_ends_though_its_bytes_stay_mapped(tmp_path: Path) -> None:
    weights, manifest = NodeWeights(tmp_path / "weights"), manifest_of(1)
    filling = weights.begin(manifest.digest, manifest.layout)
    assert filling is not None
    data, lease = filling.data, filling.finish()
    assert isinstance(lease, Lease) and isinstance(data, np.ndarray)
    lease.release()
    lease.release()
    other = NodeWeights(tmp_path / "weights").begin(manifest_of(2).digest, manifest.layout)
    assert other is not None and len(files(tmp_path)) == 1, "the map of the one that wrote it does not keep it locked"
    other.abandon()


class ReadingEngine:
    """What a generator asks of its engine while it pulls; keeps what it has read."""

    alive = True

    def __init__(self, engine_dir: Path) -> None:
        self.engine_dir, self.reader, self.read = engine_dir, MappedFile(), dict[str, torch.Tensor]()
        engine_dir.mkdir(parents=True)

    async def load(self, file: WeightFile, version: int) -> dict[str, float]:
        self.read = {name: tensor.clone() for name, tensor in file.tensors(self.reader.read(file))}
        return {"pause": 0.0, "load": 0.0}

    async def stop(self) -> None:
        remove_engine(self.engine_dir)


async def test_generators_of_a_node_pull_together_and_the_last_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(config: GeneratorConfig, model: Path, engine_dir: Path, seed: int, version: int) -> ReadingEngine:
        return ReadingEngine(engine_dir)

    model, shared = tmp_path / "model", tmp_path / "chemr-00000001"
    model.mkdir()
    save_file(dict(tensors_of(0)), model / "model.safetensors")
    monkeypatch.setattr(generator_module.Engine, "start", start)
    monkeypatch.setattr(generator_module, "sweep_node", lambda: [])
    generators = [RolloutGenerator(f"generator-{index}", GeneratorConfig(), str(shared), index) for index in range(3)]
    for generator in generators:
        await generator.start(str(model), 0)
    for version in (1, 2):
        acks = await asyncio.gather(*(generator.pull(manifest_of(version)) for generator in generators))
        assert {(ack.version, ack.digest) for ack in acks} == {(version, manifest_of(version).digest)}
        assert sorted("wait" in ack.seconds for ack in acks) == [False, True, True]
        for generator in generators:
            read = cast("ReadingEngine", generator._engine).read
            assert all(torch.equal(read[name], tensor) for name, tensor in tensors_of(version))
        assert len(files(shared)) == 1, "the last version's file was free again, and is this one's"
    for generator in generators[:2]:
        await generator.stop()
    assert len(files(shared)) == 1 and [path.name for path in shared.glob("generator-*")] == ["generator-2"]
    await generators[2].stop()
    assert not shared.exists()
