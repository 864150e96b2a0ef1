"""Packing, hashing and handing over weights, without Ray or vLLM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.weights import (
    ALIGNMENT,
    Probe,
    TensorSlot,
    WeightFile,
    WeightManifest,
    WeightsCorruptError,
    checkpoint_shapes,
    content_hash,
    pack_buckets,
    probe_error,
    require_same_weights,
    unpack_buckets,
)

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def some_tensors(seed: int = 0) -> list[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes: list[tuple[int, ...]] = [(7, 3), (), (0, 4), (129,), (2, 3, 5)]
    return [(f"w{i}", torch.randn(shape, generator=generator)) for i, shape in enumerate(shapes)]


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 9), max_size=3)), min_size=1, max_size=8),
    bucket_bytes=st.integers(1, 2000),
    seed=st.integers(0, 1000),
)
def test_what_is_packed_comes_out_bit_for_bit(shapes: list[tuple[torch.dtype, list[int]]], bucket_bytes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = [
        (f"layer.{i}", torch.randint(0, 2, shape, generator=generator).to(dtype) if dtype == torch.bool
         else (torch.randn(shape, generator=generator) * 50).to(dtype))
        for i, (dtype, shape) in enumerate(shapes)
    ]  # fmt: skip
    layout, buckets = pack_buckets(iter(tensors), bucket_bytes)
    unpacked = list(unpack_buckets(layout, buckets))
    assert [name for name, _ in unpacked] == [name for name, _ in tensors], "names must come out in the order they went in"
    for (name, tensor), (_, copy) in zip(tensors, unpacked, strict=True):
        assert copy.dtype == tensor.dtype and copy.shape == tensor.shape, f"{name} must keep dtype and shape"
        assert torch.equal(copy, tensor), f"{name} must keep its values"
    assert all(slot.offset % ALIGNMENT == 0 for slot in layout), "every tensor must be aligned"
    assert all(bucket.size <= bucket_bytes or sum(slot.bucket == i for slot in layout) == 1 for i, bucket in enumerate(buckets)), (
        "only a single tensor may exceed the bucket size"
    )


def test_the_hash_depends_on_every_byte_and_name_and_on_nothing_else() -> None:
    layout, buckets = pack_buckets(some_tensors(), 256)
    again = pack_buckets(some_tensors(), 256)
    assert content_hash(layout, buckets) == content_hash(*again), "equal weights must have equal hashes"
    renamed = (replace(layout[0], name="other"), *layout[1:])
    assert content_hash(renamed, buckets) != content_hash(layout, buckets), "a renamed tensor must change the hash"
    for index, bucket in enumerate(buckets):
        if bucket.size:
            changed = [b.copy() for b in buckets]
            changed[index][-1] ^= 1
            assert content_hash(layout, changed) != content_hash(layout, buckets), f"a flipped bit in bucket {index} must change the hash"


def test_a_tensor_that_changes_after_it_was_handed_over_does_not_change_the_bucket() -> None:
    weight = torch.ones(4)

    def stream() -> object:
        yield "a", weight
        weight.fill_(7)  # as a learner does that gathers the next module into the same buffer
        yield "b", weight

    layout, buckets = pack_buckets(stream())  # type: ignore[arg-type]
    tensors = dict(unpack_buckets(layout, buckets))
    assert tensors["a"].tolist() == [1] * 4 and tensors["b"].tolist() == [7] * 4, "each tensor must be copied when it is handed over"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([], "no weights"),
        ([("a", torch.ones(1)), ("a", torch.ones(1))], "comes twice"),
        ([("a", torch.ones(1, dtype=torch.complex64))], "complex64"),
    ],
)
def test_weights_that_cannot_be_packed_are_refused_by_name(tensors: list[tuple[str, torch.Tensor]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_buckets(iter(tensors))


def test_a_layout_that_points_outside_its_bucket_is_corrupt() -> None:
    layout, buckets = pack_buckets(some_tensors())
    for wrong in (replace(layout[0], offset=10**6), replace(layout[0], bucket=3), replace(layout[0], shape=(8, 3))):
        with pytest.raises(WeightsCorruptError, match="does not fit"):
            list(unpack_buckets([wrong], buckets))


def test_a_weight_file_gives_back_its_buckets_even_after_it_is_unlinked(tmp_path: Path) -> None:
    layout, buckets = pack_buckets(some_tensors(), 128)
    file = WeightFile.write(tmp_path / "w", layout, buckets)
    received = WeightFile.from_message(**file.to_message())
    mapped = received.map()
    file.unlink()
    assert received == file, "a weight file must survive vLLM's RPC, which knows lists and dicts only"
    assert content_hash(layout, mapped) == content_hash(layout, buckets), "the mapped bytes must be the written ones"


def test_a_weight_file_never_overwrites_and_a_cut_one_is_corrupt(tmp_path: Path) -> None:
    layout, buckets = pack_buckets(some_tensors())
    file = WeightFile.write(tmp_path / "w", layout, buckets)
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o600, "weights must be readable by their owner only"
    with pytest.raises(FileExistsError):
        WeightFile.write(tmp_path / "w", layout, buckets)
    with open(tmp_path / "w", "r+b") as handle:
        handle.truncate(10)
    with pytest.raises(WeightsCorruptError, match="10 bytes"):
        file.map()


def test_the_probe_error_is_the_largest_difference_and_never_hides_a_nan() -> None:
    probe = Probe((1, 2, 3), (-1.0, -2.0))
    assert probe_error(probe, [-1.0, -2.5]) == pytest.approx(0.5), "the largest difference counts"
    assert probe_error(probe, [float("nan"), -2.0]) == float("inf"), "a NaN must not compare as fine"
    with pytest.raises(ValueError, match="expects 2"):
        probe_error(probe, [-1.0])
    with pytest.raises(ValueError, match="one log-prob"):
        Probe((1, 2, 3), (-1.0,))


def test_only_the_weights_of_the_running_model_are_accepted() -> None:
    expected = {"a": (2,), "b": (3, 4), "lm_head.weight": (5,)}

    def slots(shapes: dict[str, tuple[int, ...]]) -> list[TensorSlot]:
        return [TensorSlot(name, "float32", shape, 0, 0, 0) for name, shape in shapes.items()]

    require_same_weights(expected, slots(expected))
    require_same_weights(expected, slots({"a": (2,), "b": (3, 4)}))  # a tied head is not sent
    with pytest.raises(ValueError, match=r"1 missing \(b\).*1 unknown \(c\).*1 of another shape \(a\)"):
        require_same_weights(expected, slots({"a": (9,), "c": (1,)}))


def test_names_and_shapes_are_read_from_safetensors_headers(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2, 3)}, tmp_path / "model-1.safetensors", metadata={"format": "pt"})
    save_file({"y": torch.ones(4)}, tmp_path / "model-2.safetensors")
    assert checkpoint_shapes(tmp_path) == {"x": (2, 3), "y": (4,)}, "all shards count, metadata does not"
    with pytest.raises(FileNotFoundError, match="safetensors"):
        checkpoint_shapes(tmp_path / "nowhere")


def test_a_manifest_counts_tensor_bytes_without_padding() -> None:
    layout, buckets = pack_buckets([("a", torch.ones(1)), ("b", torch.ones(3))])
    assert WeightManifest(1, layout, tuple(buckets), "").nbytes == 16, "4 floats are 16 bytes"
    assert int(np.sum([bucket.size for bucket in buckets])) == ALIGNMENT + 12, "the second tensor is aligned"
