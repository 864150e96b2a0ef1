"""Packages whose licences ask for more than a notice are named to whoever passes an image on."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMANDING = re.compile(r"\b(A?L?GPL|GNU|MPL|Mozilla|CDDL|EPL|EULA|Agreement|Proprietary|Commercial)", flags=re.IGNORECASE)


def licence_of(name: str) -> str:
    """Expression, first line of the text and classifiers, as the package gives them."""
    found = metadata(name)
    classifiers = [each for each in found.get_all("Classifier") or [] if each.startswith("License")]
    lines = [*str(found.get("License-Expression") or "").splitlines()[:1], *str(found.get("License") or "").splitlines()[:1], *classifiers]
    return "; ".join(lines)


def test_every_redistributed_package_with_a_demanding_licence_is_in_the_table() -> None:
    table = (ROOT / "k8s" / "LICENCES.md").read_text("utf-8")
    listed = set(re.findall(r"^\| ([\w.-]+) \|", table, flags=re.MULTILINE))
    demanding = {}
    for file in ("build", "cpu", "cluster"):
        for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / f"{file}.txt").read_text("utf-8"), flags=re.MULTILINE):
            try:
                licence = licence_of(name)
            except PackageNotFoundError:
                continue  # cluster.txt is not part of every environment
            if DEMANDING.search(licence):
                demanding[name] = licence
    assert len(demanding) >= 3, "the search itself works"
    assert demanding.keys() <= listed, {name: licence for name, licence in demanding.items() if name not in listed}
    for part in ("OPSIN", "OpenJDK", "WordNet", "Cairo", "NVIDIA"):
        assert part in table
