"""TRL's virtual environment: made once from requirements-trl.txt, made again when that file changes."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements-trl.txt"
ENVIRONMENT = HERE / ".trl-venv"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class EnvironmentNotMadeError(RuntimeError):
    """pip could not install TRL's requirements."""


def ensure_trl_python(environment: Path = ENVIRONMENT, requirements: Path = REQUIREMENTS) -> Path:
    """Return the Python of TRL's environment, first creating the environment (about a minute) unless it is there and up to date.

    A stamp with the requirements' hash is written last, so that an interrupted installation is not taken for a finished one.

    Raises:
        EnvironmentNotMadeError: pip failed twice, the second time with PyTorch's own CPU index; the message ends with pip's.
    """
    python = environment / "bin" / "python"
    stamp = environment / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"creating TRL's environment in {environment}", file=sys.stderr, flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "-r", str(requirements)]
    result = subprocess.run(install, capture_output=True, text=True)
    if result.returncode != 0:
        result = subprocess.run([*install, "--extra-index-url", TORCH_CPU_INDEX], capture_output=True, text=True)
    if result.returncode != 0:
        raise EnvironmentNotMadeError(f"pip could not install {requirements} into {environment}:\n{result.stderr.strip()[-2000:]}")
    stamp.write_text(wanted, encoding="utf-8")
    return python
