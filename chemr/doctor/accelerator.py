"""GPUs: the driver against the CUDA that torch was built for, NCCL, and whether the run can have what it asks for here."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from chemr.doctor.finding import Check

NVIDIA_SMI_SECONDS = 10.0
# The oldest driver that runs programs of a major CUDA version (CUDA Compatibility, "minor version compatibility").
OLDEST_DRIVER = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580, 65, 6)}


@dataclass(frozen=True, slots=True)
class Gpus:
    """What ``nvidia-smi`` lists: product names, and the driver's version; empty where there is no GPU.

    ``complaint``: why it could not be asked though it is there.
    """

    names: tuple[str, ...] = ()
    driver: str = ""
    complaint: str = ""


@functools.cache
def find_gpus() -> Gpus:
    """Asks ``nvidia-smi``. No torch is imported for it: that would take a context of memory on every GPU."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=False)
    except FileNotFoundError:
        return Gpus()
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(complaint=f"nvidia-smi does not answer: {error}")
    if done.returncode:
        return Gpus(complaint=f"nvidia-smi failed: {(done.stderr or done.stdout).strip().splitlines()[-1:] or done.returncode}")
    return read_gpus(done.stdout)


def read_gpus(output: str) -> Gpus:
    """From lines of ``name, driver``."""
    rows = [line.rsplit(",", 1) for line in output.splitlines() if "," in line]
    return Gpus(tuple(row[0].strip() for row in rows), rows[0][1].strip() if rows else "")


def check_driver(installed: Mapping[str, str], gpus: Gpus) -> Check:
    """The driver must be at least as new as the CUDA of the installed torch wants it."""
    if gpus.complaint:
        return Check("GPU driver", False, gpus.complaint, "the driver is not loaded, or does not match its library: reboot or reinstall it")
    if not gpus.names:
        return Check("GPU driver", True, "no GPU here")
    found = f"{len(gpus.names)} x {', '.join(sorted(set(gpus.names)))}, driver {gpus.driver}"
    cuda = cuda_of(installed)
    if cuda is None or cuda not in OLDEST_DRIVER:
        return Check("GPU driver", True, f"{found}; torch {installed.get('torch', '(absent)')} names no CUDA to compare with")
    oldest = OLDEST_DRIVER[cuda]
    return Check(
        "GPU driver",
        tuple(map(int, re.findall(r"\d+", gpus.driver))) >= oldest,
        f"{found}, CUDA {cuda}",
        f"CUDA {cuda} needs driver {'.'.join(map(str, oldest))} or newer on the node; update it, or install a torch of an older CUDA",
    )


def cuda_of(installed: Mapping[str, str]) -> int | None:
    """Major version of CUDA that torch was built for: of its local version (2.13.0+cu130), else of the libraries that came with it."""
    local = re.search(r"\+cu(\d\d)\d", installed.get("torch", ""))
    if local is not None:
        return int(local[1])
    libraries = [re.fullmatch(r"nvidia-(?:cuda-runtime|nccl|cudnn|cublas)-cu(\d\d)", name) for name in installed]
    return next((int(match[1]) for match in libraries if match is not None), None)


def check_nccl(installed: Mapping[str, str], gpus: Gpus) -> Check:
    """NCCL comes with torch as a package of its own; learner ranks and weight broadcasts need it as soon as there are two GPUs."""
    versions = [f"{name} {version}" for name, version in sorted(installed.items()) if name.startswith("nvidia-nccl")]
    if not gpus.names:
        return Check("NCCL", True, "not needed without a GPU")
    if len(versions) > 1:
        return Check(
            "NCCL", False, f"several: {', '.join(versions)}", "make a new environment: only one of them is loaded, and not always one"
        )
    bundled = " (none as a package: torch must bring its own)"
    return Check("NCCL", True, (versions[0] if versions else "found with torch") + ("" if versions else bundled))


def check_gpu_count(asked: int, gpus: Gpus) -> Check:
    """Of a run that starts its own Ray here: whether its actors can have the GPUs they ask for."""
    return Check(
        "GPUs for the run",
        asked <= len(gpus.names),
        f"{asked} asked for, {len(gpus.names)} here",
        "the placement group would wait for ever: lower pool.generators, pool.learners or their *_gpus, or join a cluster by pool.address",
    )
