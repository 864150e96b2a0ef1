"""Packing, hashing and handing over weights, without Ray or vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.weights import (
    ALIGNMENT,
    ALONE_BYTES,
    Bucket,
    ByteArray,
    Probe,
    TensorSlot,
    WeightManifest,
    WeightsCorruptError,
    bucket_starts,
    checkpoint_shapes,
    content_digest,
    copy_buckets,
    pack_buckets,
    probe_difference,
    require_same_weights,
    tensor_bytes,
    tensor_digest,
    unpack,
)
from learner.config import LearnerConfig, ModelConfig
from learner.policy import Policy, create_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def some_tensors(seed: int = 0) -> list[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes: list[tuple[int, ...]] = [(7, 3), (), (0, 4), (129,), (2, 3, 5)]
    return [(f"w{i}", torch.randn(shape, generator=generator)) for i, shape in enumerate(shapes)]


def layout_of(buckets: list[Bucket]) -> tuple[TensorSlot, ...]:
    return tuple(slot for bucket in buckets for slot in bucket.slots)


def digest_of(buckets: list[Bucket]) -> str:
    return content_digest(
        layout_of(buckets), [tensor_digest(part) for bucket in buckets for part in tensor_bytes(bucket.slots, [bucket.runs])]
    )


def end_to_end(buckets: list[Bucket]) -> ByteArray:
    layout = layout_of(buckets)
    data = np.zeros(bucket_starts(layout)[-1], dtype=np.uint8)
    copy_buckets(layout, [bucket.runs for bucket in buckets], data)
    return data


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
    buckets = list(pack_buckets(iter(tensors), bucket_bytes, lasting=bool(seed % 2)))
    layout = layout_of(buckets)
    unpacked = list(unpack(layout, end_to_end(buckets)))
    assert [name for name, _ in unpacked] == [name for name, _ in tensors], "names must come out in the order they went in"
    for (name, tensor), (_, copy) in zip(tensors, unpacked, strict=True):
        assert copy.dtype == tensor.dtype and copy.shape == tensor.shape, f"{name} must keep dtype and shape"
        assert torch.equal(copy, tensor), f"{name} must keep its values"
    assert all(slot.offset % ALIGNMENT == 0 for slot in layout), "every tensor must be aligned"
    assert all(len(bucket.slots) == 1 or bucket.slots[-1].offset + bucket.slots[-1].bytes <= bucket_bytes for bucket in buckets), (
        "only a single tensor may exceed the bucket size"
    )


def test_the_digest_depends_on_every_byte_and_name_and_on_nothing_else() -> None:
    buckets = list(pack_buckets(some_tensors(), 256))
    layout, data = layout_of(buckets), end_to_end(buckets)
    digest = digest_of(buckets)
    assert digest == digest_of(list(pack_buckets(some_tensors(), 256, lasting=True))), "equal weights must have equal digests"
    runs = [bucket.runs for bucket in buckets]
    assert content_digest(layout, copy_buckets(layout, runs, data)) == digest, "what is digested on the way must be what was published"
    renamed = (replace(layout[0], name="other"), *layout[1:])
    assert content_digest(renamed, [tensor_digest(part) for part in tensor_bytes(layout, runs)]) != digest, "names count"
    for bucket in buckets:
        for index, run in enumerate(bucket.runs):
            if run.size:
                changed = run.copy()
                changed[-1] ^= 1
                other = replace(bucket, runs=(*bucket.runs[:index], changed, *bucket.runs[index + 1 :]))
                assert digest_of([other if one is bucket else one for one in buckets]) != digest, (
                    f"a flipped bit in {bucket.slots[index].name} must change the digest"
                )


def test_a_tensor_that_changes_after_it_was_handed_over_does_not_change_the_bucket() -> None:
    weight = torch.ones(4)

    def stream() -> Iterator[tuple[str, torch.Tensor]]:
        yield "a", weight
        weight.fill_(7)  # as a learner does that gathers the next module into the same buffer
        yield "b", weight

    buckets = list(pack_buckets(stream()))
    tensors = dict(unpack(layout_of(buckets), end_to_end(buckets)))
    assert tensors["a"].tolist() == [1] * 4 and tensors["b"].tolist() == [7] * 4, "each tensor must be copied when it is handed over"


def test_lasting_tensors_are_not_copied_and_large_ones_that_may_change_go_on_at_once() -> None:
    small, large = torch.ones(4), torch.ones(ALONE_BYTES // 4)
    (bucket,) = pack_buckets([("small", small), ("large", large)], lasting=True)
    assert [run.ctypes.data for run in bucket.runs] == [small.data_ptr(), large.data_ptr()], "the parameters' own memory is handed on"
    last = torch.zeros(2)
    taken = list(pack_buckets([("small", small), ("large", large), ("last", last)]))
    assert [[slot.name for slot in bucket.slots] for bucket in taken] == [["small"], ["large"], ["last"]], "order is kept"
    owns = [bucket.runs[0].ctypes.data != tensor.data_ptr() for bucket, tensor in zip(taken, (small, large, last), strict=True)]
    assert owns == [True, False, True], "only small tensors are copied"


def test_tensors_that_lie_in_one_memory_as_in_the_bucket_go_as_one_run() -> None:
    memory = torch.arange(200, dtype=torch.float32)
    apart, inside = memory[10:12].clone(), [memory[0:5], memory[16:40], memory[48:64]]  # 64 bytes are 16 numbers
    names = ["a", "b", "c"]
    (bucket,) = pack_buckets(zip(names, inside, strict=True), lasting=True)
    assert [run.size for run in bucket.runs] == [4 * 64], "one run, the gap between the tensors included"
    assert bucket.runs[0].ctypes.data == memory.data_ptr(), "and not a copy"
    assert [tensor.tolist() for _, tensor in unpack(bucket.slots, end_to_end([bucket]))] == [tensor.tolist() for tensor in inside]
    for order in ([inside[1], inside[0]], [inside[0], memory[17:20]], [inside[0], apart, inside[1]]):
        (bucket,) = pack_buckets(zip(names, order, strict=False), lasting=True)
        assert len(bucket.runs) == len(order), "what lies otherwise goes by itself"
        assert [tensor.tolist() for _, tensor in unpack(bucket.slots, end_to_end([bucket]))] == [tensor.tolist() for tensor in order]
    taken = list(pack_buckets(zip(names, inside, strict=True)))
    assert [len(one.runs) for one in taken] == [3], "tensors that may change were copied one by one"


def test_a_policy_whose_memory_was_joined_is_published_as_one_run_and_computes_what_it_did(tmp_path: Path) -> None:
    shape = ModelConfig(hidden_size=32, layers=2, heads=2, intermediate_size=40, max_position_embeddings=32)
    create_model(tmp_path, shape, 50, {"bos": 0, "eos": 1, "pad": 2}, seed=0)
    policy = Policy.load(tmp_path, LearnerConfig())
    before = {name: parameter.detach().clone() for name, parameter in policy.model.named_parameters()}
    policy.join_memory()
    (bucket,) = pack_buckets(((name, parameter.detach()) for name, parameter in policy.model.named_parameters()), lasting=True)
    assert len(bucket.runs) == 1, "the learner's alignment is that of a published version"
    after = dict(unpack(bucket.slots, end_to_end([bucket])))
    assert after.keys() == before.keys() and all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert policy.model.lm_head.weight is policy.model.model.embed_tokens.weight, "tied weights stay tied"


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
        list(pack_buckets(iter(tensors)))


def test_a_layout_that_points_outside_its_data_is_corrupt() -> None:
    buckets = list(pack_buckets(some_tensors()))
    layout, data = layout_of(buckets), end_to_end(buckets)
    for wrong in (replace(layout[0], bytes=10**6), replace(layout[0], bucket=3), replace(layout[0], shape=(8, 3))):
        with pytest.raises(WeightsCorruptError, match="does not fit"):
            list(unpack([wrong], data[:80]))
    with pytest.raises(WeightsCorruptError, match="arrived"):
        copy_buckets(layout, [buckets[0].runs[1:]], data)


def test_the_probe_s_difference_has_a_mean_and_a_largest_and_never_hides_a_nan() -> None:
    probe = Probe((1, 2, 3), (-1.0, -2.0))
    found = probe_difference(probe, [-1.0, -2.5])
    assert (found.mean, found.largest) == pytest.approx((0.25, 0.5))
    for broken in (float("nan"), float("inf"), float("-inf")):
        assert probe_difference(probe, [broken, -2.0]).mean == float("inf"), "a NaN must not compare as fine"
    with pytest.raises(ValueError, match="expects 2"):
        probe_difference(probe, [-1.0])
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
    buckets = list(pack_buckets([("a", torch.ones(1)), ("b", torch.ones(3))]))
    layout = layout_of(buckets)
    assert WeightManifest(1, layout, (), "").nbytes == 16, "4 floats are 16 bytes"
    assert layout[1].offset == ALIGNMENT and bucket_starts(layout) == [0, 2 * ALIGNMENT], "tensors and buckets are aligned"
