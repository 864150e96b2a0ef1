"""`chemr doctor`: is this machine, and this environment, one that a run will start on?

Without overrides, every check reads metadata, files and limits; nothing heavy (torch, vLLM, Ray, DeepSpeed) is imported, so that the whole
takes well under three seconds and also works where one of them cannot be imported. With overrides the run's own wishes are checked,
too: all that its start asks (:mod:`chemr.doctor.start`), its tracker, its GPUs, and if it joins a cluster (``pool.address``), that cluster.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chemr.doctor.accelerator import check_driver, check_gpu_count, check_nccl, find_gpus
from chemr.doctor.finding import Check, as_json, print_checks
from chemr.doctor.machine import (
    available_cores,
    available_memory,
    check_build_locks,
    check_cores,
    check_instruction_set,
    check_libnuma,
    check_memory,
    check_open_files,
    check_shared_memory,
    check_temp_path,
    temp_folder,
)
from chemr.doctor.network import check_environment, check_loopback, check_proxy, check_tracker
from chemr.doctor.packages import (
    check_drawing,
    check_engine,
    check_optional,
    check_packages,
    check_pins,
    check_python,
    check_torch,
    check_torch_companions,
    installed_versions,
    pins_file,
)
from chemr.doctor.storage import check_clock, check_disk, check_semantics
from chemr.tracking.config import WandbMode
from chemr.whole_file import write_whole

if TYPE_CHECKING:
    from chemr.config import ChemrConfig


def doctor(config: ChemrConfig | None, json_file: Path | None) -> bool:
    """Run the checks (of ``config``, too, if one is given), print them and say whether all are in order.

    Args:
        json_file: where the findings are written for programs; ``-`` prints them in place of the table.
    """
    checks = run_doctor() if config is None else run_doctor(config.run.path.parent, config.tracking.wandb)
    if config is not None:
        told = {check.name for check in checks}
        checks += [check for check in check_run(config) if check.name not in told or not check.ok]
    if str(json_file) == "-":
        print(json.dumps(as_json(checks), indent=1))
    else:
        print_checks(checks)
        if json_file is not None:
            write_whole(json_file, json.dumps(as_json(checks), indent=1) + "\n")
    return all(check.ok for check in checks)


def run_doctor(run_root: Path = Path("runs"), wandb: WandbMode = WandbMode.auto) -> list[Check]:
    """All checks of machine and environment, in the order in which problems are best solved. ``run_root``: where runs will be written."""
    installed, gpus, environment = installed_versions(), find_gpus(), os.environ
    checks: list[Callable[[], Check]] = [
        lambda: check_python(sys.version_info[:3]),
        lambda: check_engine(installed),
        lambda: check_packages(installed),
        lambda: check_pins(installed, pins_file()),
        lambda: check_torch(installed, gpus=len(gpus.names)),
        lambda: check_torch_companions(installed),
        lambda: check_driver(installed, gpus),
        lambda: check_nccl(installed, gpus),
        check_libnuma,
        check_drawing,
        lambda: check_instruction_set(Path("/proc/cpuinfo")),
        lambda: check_cores(available_cores()),
        lambda: check_memory(available_memory()),
        lambda: check_shared_memory(Path("/dev/shm")),
        lambda: check_disk(run_root),
        lambda: check_semantics(run_root),
        lambda: check_clock(run_root),
        check_open_files,
        lambda: check_temp_path(temp_folder()),
        check_loopback,
        lambda: check_proxy(environment),
        lambda: check_environment(environment),
        lambda: check_build_locks(Path(environment.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")),
        lambda: check_tracker(wandb, environment),
    ]
    return [*(check() for check in checks), *check_optional(environment)]


def check_run(config: ChemrConfig) -> Sequence[Check]:
    """What the run's start asks, and what its actors ask of this machine or of the cluster it joins."""
    from chemr.config import pool_config
    from chemr.doctor.cluster import check_clocks, check_placement, read_cluster
    from chemr.doctor.start import ask

    start = ask(config)
    asked = [*start.checks, *(Check("warning", True, note) for note in start.notes)]
    bundles = pool_config(config, config.run.path / "initial-model", config.run.path).bundles()
    if config.pool.address is None:
        return [*asked, check_gpu_count(math.ceil(sum(bundle.get("GPU", 0.0) for bundle in bundles.values())), find_gpus())]
    try:
        nodes = read_cluster(config.pool.address)
    except ConnectionError as error:
        return [
            *asked,
            Check("cluster", False, f"pool.address={config.pool.address}: {error}", "is the head up, and RAY_AUTH_TOKEN its token?"),
        ]
    return [*asked, check_placement(nodes, bundles, config.pool.role_labels), check_clocks(nodes)]
