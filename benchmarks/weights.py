"""Publishing a version of the weights until an engine serves it, over the bytes, against a plain copy of the same bytes in the same run.

Llama shapes of 5M, 135M (both fp32) and 1.1B parameters (bf16) with random weights. One process holds the weights and publishes them with
the learner's own code (``LearnerWorker.publish`` at ZeRO-0; the optimiser has no part in it), a real generator actor with a real vLLM
engine pulls them out of a real Ray object store, both on one node. No samples are in flight and there is no probe: what is timed is bytes.

The copy is ``numpy.copyto`` of every tensor by one thread in the publisher, into memory that was written before (*warm*: no page is
allocated, which is the faster and so the stricter yardstick; the same into fresh memory is printed as *cold*). Copies and updates take
turns; medians over --rounds after one update that is not counted. The store holds one version at a time, as its older ones are freed.

transport = everything but the engine: publish (tensors into the store, digested meanwhile), fetch (mapping them), write (into the file
that engine processes read, digested on the way) and calls. Two passes over the bytes are its floor. engine = pause and vLLM's own reload,
which materialises every layer, loads it and packs it for the CPU's matrix multiplication.

JSON (--json FILE): for each size N in 5m, 135m, 1b: ratio_N (transport over the warm copy), ratio_N_loaded (the same with the engine),
bytes_N, copy_s_N, cold_copy_s_N and the seconds of each part: publish_s_N, fetch_s_N, write_s_N, calls_s_N, pause_s_N, load_s_N.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)  # in place of this folder, whose rewards.py would hide the package, here and in actors
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

import ray  # noqa: E402

from actors.generator import RolloutGenerator  # noqa: E402
from actors.generator_config import GeneratorConfig  # noqa: E402
from actors.learner_worker import LearnerWorker, Published  # noqa: E402
from actors.weights import WeightManifest  # noqa: E402

WAIT = 600.0  # seconds; deadline of every remote call


@dataclass(frozen=True)
class Shape:
    dtype: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool


SHAPES = {
    "5m": Shape("float32", 256, 6, 8, 8, 704, 1024, True),
    "135m": Shape("float32", 576, 30, 9, 3, 1536, 49152, True),  # SmolLM2-135M
    "1b": Shape("bfloat16", 2048, 22, 32, 4, 5632, 32000, False),  # TinyLlama-1.1B
}


def write_model(folder: Path, shape: Shape) -> int:
    """A model folder with random weights, as bytes of its tensors; returns how many."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, max_position_embeddings=512,
        tie_word_embeddings=shape.tied, bos_token_id=0, eos_token_id=1, pad_token_id=2, dtype=shape.dtype,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(getattr(torch, shape.dtype))
    tensors = {
        name: block.repeat(-(-one.numel() // block.numel()))[: one.numel()].view(one.shape) for name, one in model.named_parameters()
    }
    folder.mkdir(parents=True)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    save_file({name: one.contiguous() for name, one in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(one.numel() * one.element_size() for one in tensors.values())


class Publisher(LearnerWorker):
    """The learner's publication, of weights that nobody trains."""

    def open(self, folder: str, dtype: str) -> None:
        import torch

        from learner.config import Dtype, LearnerConfig
        from learner.policy import Policy

        policy = Policy.load(folder, LearnerConfig(dtype={"float32": Dtype.fp32, "bfloat16": Dtype.bf16}[dtype]))
        policy.join_memory()  # as the learner does at ZeRO-0
        tensors = {name: parameter.detach() for name, parameter in policy.model.named_parameters()}
        self._bytes = [one.view(-1).view(torch.uint8).numpy() for one in tensors.values()]
        self._target = [np.zeros_like(one) + 1 for one in self._bytes]  # written, so its pages are there
        learner: Any = SimpleNamespace(named_weights=lambda: iter(tensors.items()), config=SimpleNamespace(zero_stage=0))
        self._learner = learner

    def copy_s(self, cold: bool) -> float:
        """Seconds of a plain copy; a cold one into memory that is fresh from the kernel, one tensor's worth at a time."""
        seconds = 0.0
        for source, warm in zip(self._bytes, self._target, strict=True):
            target = np.empty_like(source) if cold else warm
            began = time.perf_counter()
            np.copyto(target, source)
            seconds += time.perf_counter() - began
        return seconds


def publish(publisher: Any, version: int) -> WeightManifest:
    """What ``LearnerGroup.publish`` does, without a probe."""
    refs = list(publisher.publish.options(num_returns="streaming").remote((), 256 << 20))
    published: Published = ray.get(refs.pop(), timeout=WAIT)
    return WeightManifest(version, published.layout, tuple(refs), published.digest)


def one_update(publisher: Any, generator: Any, version: int) -> dict[str, float]:
    """Seconds of the parts of one update, and of the whole."""
    began = time.perf_counter()
    manifest = publish(publisher, version)
    published = time.perf_counter()
    ack = ray.get(generator.pull.remote(manifest), timeout=WAIT)
    total = time.perf_counter() - began
    assert (ack.version, ack.digest) == (version, manifest.digest), "the generator acknowledged something else"
    parts = {name: ack.seconds[name] for name in ("fetch", "write", "pause", "load")} | {"publish": published - began}
    return parts | {"calls": total - sum(parts.values())}


def measure(name: str, rounds: int, threads: int, folder: Path) -> dict[str, float]:
    """The figures of one size, medians over the rounds."""
    shape = SHAPES[name]
    nbytes = write_model(folder / name, shape)
    temporary = tempfile.mkdtemp(prefix="chemr-")
    shared = Path(tempfile.mkdtemp(prefix="chemr-w", dir="/dev/shm"))
    os.environ["RAY_AUTH_MODE"] = "disabled"  # one process tree on the loopback
    store = int(1.2 * nbytes) + (256 << 20)
    ray.init(address="local", num_cpus=2, include_dashboard=False, _temp_dir=temporary, object_store_memory=store, log_to_driver=False)
    try:
        publisher = ray.remote(Publisher).options(num_cpus=1).remote(0, 1)
        config = GeneratorConfig(dtype=shape.dtype, threads=threads, max_model_len=64, max_num_seqs=8, kv_cache_mb=64)
        generator = ray.remote(RolloutGenerator).options(num_cpus=1).remote("g", config, str(shared), 0)
        ray.get([publisher.open.remote(str(folder / name), shape.dtype), generator.start.remote(str(folder / name), 0)], timeout=WAIT)
        one_update(publisher, generator, 1)
        samples: dict[str, list[float]] = {}
        for version in range(2, 2 + rounds):
            figures = {
                "copy": ray.get(publisher.copy_s.remote(False), timeout=WAIT),
                "cold_copy": ray.get(publisher.copy_s.remote(True), timeout=WAIT),
                **one_update(publisher, generator, version),
            }
            for part, seconds in figures.items():
                samples.setdefault(part, []).append(seconds)
        ray.get(generator.stop.remote(), timeout=WAIT)
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(shared, ignore_errors=True)
        shutil.rmtree(folder / name, ignore_errors=True)
    medians = {part: statistics.median(values) for part, values in samples.items()}
    transport = [sum(parts) for parts in zip(*(samples[part] for part in ("publish", "fetch", "write", "calls")), strict=True)]
    engine = [sum(parts) for parts in zip(samples["pause"], samples["load"], strict=True)]
    medians["transport"], medians["engine"] = statistics.median(transport), statistics.median(engine)
    medians["loaded"] = statistics.median(map(sum, zip(transport, engine, strict=True)))
    return medians | {"bytes": float(nbytes)}


def report(results: dict[str, dict[str, float]]) -> Iterator[tuple[str, float]]:
    """Prints the table and yields the JSON's entries."""
    parts = ("publish", "fetch", "write", "calls", "pause", "load")
    print(f"{'':6s}{'MB':>7s}{'copy':>8s}{'cold':>8s}" + "".join(f"{part:>9s}" for part in parts) + "   ratio  loaded   (milliseconds)")
    for name, figures in results.items():
        ratio, loaded = (figures[whole] / figures["copy"] for whole in ("transport", "loaded"))
        times = "".join(f"{1e3 * figures[part]:9.1f}" for part in parts)
        copies = f"{1e3 * figures['copy']:8.1f}{1e3 * figures['cold_copy']:8.1f}"
        print(f"{name:6s}{figures['bytes'] / 1e6:7.0f}{copies}{times}{ratio:8.2f}{loaded:8.2f}")
        yield f"ratio_{name}", ratio
        yield f"ratio_{name}_loaded", loaded
        yield f"bytes_{name}", figures["bytes"]
        for part in ("copy", "cold_copy", *parts):
            yield f"{part}_s_{name}", figures[part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--sizes", default="5m,135m,1b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--rounds", type=int, default=5, help="updates that count")
    parser.add_argument("--threads", type=int, default=2, help="of the engine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chemr-weights-") as folder:
        results = {name: measure(name, arguments.rounds, arguments.threads, Path(folder)) for name in arguments.sizes.split(",")}
    figures = dict(report(results))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
