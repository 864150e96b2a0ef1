"""vLLM's own processes for an engine that is split over several (``generator.tensor_parallel``), under names that can be swept.

vLLM gives the shared memory between its processes random names in ``/dev/shm``. An engine that is killed leaves them, hundreds of
megabytes each, and nothing says whose they were. Every process of the engine imports this module before it makes any, since the executor's
class is part of what it is started with.
"""

from __future__ import annotations

import os
from multiprocessing import shared_memory
from pathlib import Path

from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from actors.node_folder import segment_prefix

NAME_LIMIT = 96  # characters; Linux allows 255, Python keeps to 14 for other systems' sake


class EngineProcesses(MultiprocExecutor):
    """A process for each part of the model, children of EngineCore: they end with it, and it ends with the generator's actor."""


def _name_segments(engine_dir: Path) -> None:
    shared_memory._SHM_NAME_PREFIX = f"/{segment_prefix(engine_dir)}"  # type: ignore[attr-defined]
    shared_memory._SHM_SAFE_NAME_LENGTH = NAME_LIMIT  # type: ignore[attr-defined]


_name_segments(Path(os.environ["VLLM_RPC_BASE_PATH"]))  # of actors.generator_config.engine_environment
