"""Write requirements/hashed/: the pins of every requirements file with the SHA-256 of each file that may be installed.

    python requirements/hash.py            needs uv (https://docs.astral.sh/uv) and the package index

The files are for `pip install --require-hashes --no-deps -r`. A pin lists its wheels for CPython 3.11 and 3.12 on x86-64 Linux, and its
source distribution where there is no such wheel. Pins with a local version (torch's CPU build) are left out: PyPI does not have them, and
only PyTorch's own index could vouch for them. requirements/check.py compares both sides.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent
NAMES = ("build", "cpu", "cluster", "dev", "docs", "gpu")
GLIBC = range(5, 40)  # manylinux_2_5 (manylinux1) to what is current; pip takes the newest that the machine can have
PLATFORMS = [*(f"manylinux_2_{minor}_x86_64" for minor in GLIBC), "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
PLATFORMS += ["linux_x86_64"]


def accepted_tags() -> set[Tag]:
    """Of the wheels that are listed."""
    tags: set[Tag] = set()
    for minor in (11, 12):
        tags |= {*cpython_tags((3, minor), platforms=PLATFORMS), *compatible_tags((3, minor), f"cp3{minor}", PLATFORMS)}
    return tags


def locked(pins: list[str]) -> list[dict[str, Any]]:
    """uv's lock of exactly these pins: name, version, wheels and source distribution of each."""
    with tempfile.TemporaryDirectory() as folder:
        source, lock = Path(folder) / "pins.txt", Path(folder) / "pylock.toml"
        source.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--python-version", "3.11.9"]
        subprocess.run([*command, "--format", "pylock.toml", str(source), "-o", str(lock)], check=True, timeout=900)
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    return packages


def hashes_of(package: dict[str, Any], tags: set[Tag]) -> list[str]:
    """SHA-256 of the files that may be installed. Raises ValueError when there is none."""
    wheels = [wheel for wheel in package.get("wheels", []) if parse_wheel_filename(wheel["url"].rsplit("/", 1)[-1])[3] & tags]
    found = wheels or ([package["sdist"]] if "sdist" in package else [])
    if not found:
        raise ValueError(f"{package['name']}=={package['version']}: no wheel for x86-64 Linux and no source distribution")
    return sorted({each["hashes"]["sha256"] for each in found})


def main() -> None:
    tags = accepted_tags()
    for name in NAMES:
        lines = (line.partition("#")[0].strip() for line in (ROOT / f"{name}.txt").read_text(encoding="utf-8").splitlines())
        pins = [line for line in lines if line and "+" not in line]
        text = f"# Made by requirements/hash.py from requirements/{name}.txt; change that, not this.\n"
        for package in locked(pins):
            digests = hashes_of(package, tags)
            text += f"{package['name']}=={package['version']}" + "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests) + "\n"
        target = ROOT / "hashed" / f"{name}.txt"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(f"{target.relative_to(ROOT.parent)}: {len(pins)} pins", file=sys.stderr)


if __name__ == "__main__":
    main()
