"""A run's own shared memory: what its policy and its pool make of :mod:`actors.shared_memory`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from actors.shared_memory import MIB, SharedMemory, needed
from actors.weights import checkpoint_shapes
from chemr.planning.errors import PlanError
from chemr.planning.memory import BYTES
from chemr.planning.model_sizes import model_named, model_of_scratch

if TYPE_CHECKING:
    from chemr.config import ChemrConfig


def version_bytes(config: ChemrConfig) -> int | None:
    """Bytes of one version of the policy's weights as the learner publishes it; None when nothing here says how large the policy is.

    The folder says it where it can be read, else its name, if that is one of ``chemr plan``'s models.
    """
    each = BYTES[str(config.learner.dtype)]
    if config.policy.path is None:
        return each * model_of_scratch(config.policy.scratch, config.policy.vocab_size).parameters
    folder = Path(config.policy.path)
    try:
        return each * sum(math.prod(shape) for shape in checkpoint_shapes(folder).values())
    except (OSError, ValueError):  # it is elsewhere, or no folder of weights, which others say
        pass
    for name in (str(folder), folder.name):
        try:
            return each * model_named(name).parameters
        except PlanError:
            continue
    return None


def node_needs(config: ChemrConfig, object_store: int, generators: int, ranks: int) -> SharedMemory | None:
    """What a node with so many of the run's actors needs, ``object_store`` (bytes) included; None where the policy's size is not known."""
    version = version_bytes(config)
    if version is None:
        return None
    return needed(object_store, version, generators, config.generator.tensor_parallel, ranks if config.learner.device == "cuda" else 0)


def machine_shortage(config: ChemrConfig, free: int) -> str | None:
    """Why a run on this machine alone does not fit ``free`` bytes of /dev/shm, with the remedy; None when it does."""
    pool = config.pool
    store = pool.object_store_mb * MIB
    needs = node_needs(config, store, max(pool.generators, pool.max_generators or 0), pool.learners) or needed(store, 0, 0)
    if needs.total <= free:
        return None
    return (
        f"/dev/shm has {free >> 20} MB free, and the run needs {needs}; lower pool.object_store_mb={pool.object_store_mb} or enlarge "
        "/dev/shm (docker run --shm-size)"
    )
