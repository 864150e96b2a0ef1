"""On every reference prediction file our figures are the published code's, to the last digit it prints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewards.benchmark.evaluation import benchmark_figures
from rewards.benchmark.request import BenchmarkSettings
from tests.rewards.benchmark import reference_folders as reference

TOLERANCE = 1e-6
NOVELTY_TOLERANCE = 1e-5  # float32 in the published code; weighted success of MolCustom is a product with it
FCD_RELATIVE = 1e-4  # float32 network and a matrix square root

WORDNET = next((path for path in (os.environ.get("CHEMR_WORDNET"), "/usr/share/wordnet") if path and Path(path).is_dir()), None)
NEEDS_WORDNET = {"meteor"}


def tolerance(folder: str, figure: str, value: float) -> float:
    if figure.startswith("fcd"):
        return FCD_RELATIVE * abs(value)
    custom = folder.split("/")[1:2] and folder.split("/")[1] in ("AtomNum", "BondNum", "FunctionalGroup")
    return NOVELTY_TOLERANCE if custom and figure.endswith(("novelty", "weighted_success")) else TOLERANCE


@pytest.mark.parametrize("folder", sorted(reference.TASKS))
def test_the_figures_of_a_reference_folder_are_reproduced(folder: str) -> None:
    path = reference.SCORES / folder
    if not path.is_dir() or not reference.DATA.is_dir():
        pytest.skip("no reference scores or no data here (CHEMR_REFERENCE_SCORES, CHEMR_DATA)")
    task = reference.TASKS[folder]
    samples = reference.samples_of(path)
    rows = reference.golds(task)[: len(samples[0])]
    known = reference.novelty_molecules() if task.startswith("molcustom_") else None
    report = benchmark_figures(task, rows, samples, BenchmarkSettings(deadline_s=60.0, wordnet_dir=WORDNET, novelty_molecules=known))

    document = report.to_json(always_samples=folder.startswith("chemllmbench"))
    found = reference.flatten(document["scores"]) | reference.flatten(document["not_official"])
    wanted = reference.expected(path)
    if WORDNET is None:
        assert not NEEDS_WORDNET & found.keys(), "METEOR without WordNet would be silently wrong; it should be left out"
        wanted = {name: value for name, value in wanted.items() if name not in NEEDS_WORDNET}
    absent = wanted.keys() - found.keys()
    assert not absent, f"{folder} has no {sorted(absent)}; notes: {report.notes}"
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=0, abs=tolerance(folder, name, value)), f"{folder} {name}"
    assert not report.unscored, "no reference prediction is hostile"
