"""Processor, memory and limits of this machine, or of what a container may use of it."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import tempfile
from pathlib import Path

from actors.private_folder import NoPrivateFolderError, choose_base, unsuitable
from chemr.doctor.finding import GIB, Check

MIN_SHM_BYTES = GIB // 2  # object store and weight buckets of the starter; Docker's default of 64 MiB is far too small
MIN_MEMORY_BYTES = 6 * GIB  # starter: one engine, one learner rank, scorers, Ray
MIN_OPEN_FILES = 4096


def check_libnuma() -> Check:
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return Check("libnuma", False, "libnuma.so.1 is not found; vLLM's CPU kernels are linked against it", "apt-get install libnuma1")
    return Check("libnuma", True, "found")


def check_instruction_set(cpuinfo: Path) -> Check:
    try:
        flags = set(re.findall(r"avx2|avx512f|avx512_bf16|amx_bf16|asimd", cpuinfo.read_text(encoding="utf-8")))
    except OSError:
        return Check("CPU", True, f"{cpuinfo} cannot be read; instruction sets not checked")
    ok = bool(flags & {"avx2", "avx512f", "asimd"})
    return Check("CPU", ok, ", ".join(sorted(flags)) or "neither AVX2 nor AVX-512", "vLLM's CPU kernels need AVX2, AVX-512 or Arm NEON")


def check_cores(cores: float) -> Check:
    remedy = "the starter wants 2 cores; give the container more (docker run --cpus 2), or expect it to take twice the time"
    return Check("cores", cores >= 2, f"{cores:g} usable", remedy)


def check_memory(available_bytes: int) -> Check:
    remedy = f"the starter wants {MIN_MEMORY_BYTES / GIB:.0f} GiB; end other programs or raise the container's limit"
    return Check("memory", available_bytes >= MIN_MEMORY_BYTES, f"{available_bytes / GIB:.1f} GiB available", remedy)


def check_shared_memory(path: Path) -> Check:
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Check(
            "shared memory", False, f"{path}: {error.strerror}", "mount a tmpfs there; Ray's object store and weight updates use it"
        )
    remedy = f"at least {MIN_SHM_BYTES / GIB:g} GiB: docker run --shm-size=2g, or an emptyDir of medium Memory in Kubernetes"
    return Check("shared memory", free >= MIN_SHM_BYTES and os.access(path, os.W_OK), f"{free / GIB:.1f} GiB free in {path}", remedy)


def check_open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    detail = "no limit" if unlimited else f"{soft} (hard limit {'none' if hard == resource.RLIM_INFINITY else hard})"
    return Check("open files", unlimited or soft >= MIN_OPEN_FILES, detail, f"ulimit -n {MIN_OPEN_FILES * 16}; Ray opens many sockets")


def check_temp_path(path: Path) -> Check:
    """Where a run puts the temporary folder of its private Ray cluster."""
    try:
        base = choose_base(path)
    except NoPrivateFolderError as error:
        return Check("temp path", False, str(error), "see there")
    return Check("temp path", True, str(path) if base == path else f"{base}, since {unsuitable(path)}", "")


def temp_folder() -> Path:
    """Where temporary files, and Ray's session, go."""
    return Path(tempfile.gettempdir())


def check_build_locks(directory: Path) -> Check:
    """torch waits without end for the lock file of an extension build; a build that was killed leaves its lock behind."""
    locks = sorted(str(path) for path in directory.glob("*/*/lock")) if directory.is_dir() else []
    return Check("extension builds", not locks, ", ".join(locks) or "no leftover locks", "if no build is running, delete these files")


def available_cores() -> float:
    """Cores this process may use: its affinity, capped by the cgroup's quota."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _cgroup("cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return cores


def available_memory() -> int:
    """Bytes this process may still take: the machine's, capped by what the cgroup leaves (droppable file cache counts as free)."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit.isdigit() and used.isdigit():
        cache = re.search(r"^inactive_file (\d+)$", _cgroup("memory.stat"), flags=re.MULTILINE)
        available = min(available, int(limit) - int(used) + (int(cache[1]) if cache else 0))
    return available


def _cgroup(name: str) -> str:
    """A value of this process's cgroup (version 2), empty where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
