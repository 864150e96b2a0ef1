"""How much of a node's ``/dev/shm`` a pool needs: pure arithmetic, for whoever sizes a node or looks whether it is large enough."""

from __future__ import annotations

from dataclasses import dataclass

from actors.node_weights import MOST_FILES

MIB, GIB = 1 << 20, 1 << 30
# vLLM's processes of a split engine: a queue to the parts, and one from each (VLLM_MQ_MAX_CHUNK_BYTES_MB = 24, ten chunks), each as large.
QUEUE_BYTES = 240 * MIB
# NCCL between GPUs of a node, where they do not reach each other's memory.
NCCL_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Bytes by what they are for."""

    object_store: int
    weights: int
    engines: int
    learners: int

    @property
    def total(self) -> int:
        return self.object_store + self.weights + self.engines + self.learners

    def __str__(self) -> str:
        parts = (
            (self.object_store, "for Ray's object store"),
            (self.weights, "for the weights, which all generators of a node share"),
            (self.engines, "for engines of several processes"),
            (self.learners, "for NCCL"),
        )
        return f"{self.total / GIB:.1f} GiB: " + ", ".join(f"{size / GIB:.1f} {what}" for size, what in parts if size)


def needed(object_store: int, version: int, generators: int, tensor_parallel: int = 1, gpu_ranks: int = 0) -> SharedMemory:
    """What one node needs.

    Args:
        object_store: bytes that Ray may take.
        version: bytes of one version of the weights, in the learner's dtype.
        generators: engines on the node. They share a file; where there are several, one may still load it while another brings the next.
        tensor_parallel: processes of each engine.
        gpu_ranks: learner ranks with a GPU on the node.
    """
    files = min(generators, MOST_FILES)
    queues = generators * (1 + tensor_parallel) * QUEUE_BYTES if tensor_parallel > 1 else 0
    return SharedMemory(object_store, files * version, queues, gpu_ranks * NCCL_BYTES if gpu_ranks > 1 else 0)
