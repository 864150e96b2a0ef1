"""The cache of the starter data, with a build that costs nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chemr.data.example import Example
from chemr.data.starter import StarterConfig, load_starter
from chemr.data.starter.cache import fingerprint
from chemr.data.starter.splits import Split
from chemr.data.task_data import TaskData
from chemr.tasks import select_tasks

CONFIG = StarterConfig()


def _example(task: str, number: int) -> Example:
    return Example(f"starter/{task}/{number}", task, {"smiles": "CCO → é"}, {"answer": "C2H6O"}, 0.5, "table; computed", "MIT")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[StarterConfig]:
    """Replaces the build by three rows; the list grows by one at every build."""
    calls: list[StarterConfig] = []

    def build(config: StarterConfig) -> dict[Split, list[Example]]:
        calls.append(config)
        return {split: [_example("smiles2formula", number)] for number, split in enumerate(Split)}

    monkeypatch.setattr("chemr.data.starter.build.build", build)
    return calls


def test_data_are_built_once_and_read_back_equal(tmp_path: Path, builds: list[StarterConfig]) -> None:
    built = load_starter(tmp_path, CONFIG)
    assert load_starter(tmp_path, CONFIG) == built, "the cache gives back other rows than were built"
    assert len(builds) == 1, "data in the cache were built again"


def test_another_configuration_is_another_build(tmp_path: Path, builds: list[StarterConfig]) -> None:
    load_starter(tmp_path, CONFIG)
    load_starter(tmp_path, replace(CONFIG, seed=1))
    assert len(builds) == 2, "a changed configuration was answered from the cache"
    assert fingerprint(CONFIG) != fingerprint(replace(CONFIG, size_decay=0.9)), "the fingerprint overlooks a field"


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "no manifest", "manifest is no JSON"])
def test_damaged_data_are_built_again(tmp_path: Path, builds: list[StarterConfig], damage: str) -> None:
    good = load_starter(tmp_path, CONFIG)
    folder = tmp_path / "starter" / fingerprint(CONFIG)
    victim = folder / "train.jsonl"
    content = victim.read_bytes()
    match damage:
        case "truncated":
            victim.write_bytes(content[:-5])
        case "changed":
            victim.write_bytes(content.replace(b"C2H6O", b"C2H7O"))
        case "missing":
            victim.unlink()
        case "no manifest":
            (folder / "manifest.json").unlink()
        case _:
            (folder / "manifest.json").write_text("{")
    assert load_starter(tmp_path, CONFIG) == good, "damaged rows were handed out"
    assert len(builds) == 2, "damage went unnoticed"


def test_an_interrupted_build_leaves_nothing_that_is_read(tmp_path: Path, builds: list[StarterConfig]) -> None:
    aside = tmp_path / "starter" / f"{fingerprint(CONFIG)}.partial"
    aside.mkdir(parents=True)
    (aside / "train.jsonl").write_text("half a row")
    assert len(load_starter(tmp_path, CONFIG).train) == 1, "the remains of another build got in the way"
    assert not aside.exists(), "the remains of another build are still there"


def test_concurrent_runs_build_once(tmp_path: Path, builds: list[StarterConfig]) -> None:
    results: list[TaskData] = []
    threads = [threading.Thread(target=lambda: results.append(load_starter(tmp_path, CONFIG))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=180)
    assert len(results) == 4, "a concurrent run failed"
    assert len(builds) == 1, f"four concurrent runs built {len(builds)} times"


def test_reading_the_cache_needs_no_rdkit() -> None:
    program = "import sys, chemr.data.starter, chemr.tasks; print('rdkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == "False", "importing the loader imports RDKit into the driver"


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_heavy_atoms", 4), ("max_heavy_atoms", 13), ("train_per_task", 0), ("test_per_task", 0), ("size_decay", 0.0)],
)
def test_a_configuration_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"data.starter.{name}={value}"):
        replace(CONFIG, **{name: value}).validate()


def test_tasks_are_selected_in_all_splits_and_none_means_all() -> None:
    both = [_example("forward", 0), _example("retro", 1)]
    data = TaskData(both, both, both)
    assert select_tasks(data, []) == data
    only = select_tasks(data, ["retro"])
    assert {row.task for row in (*only.train, *only.validation, *only.test)} == {"retro"}
    with pytest.raises(ValueError, match=r"'text2mol' has no training rows.*forward, retro"):
        select_tasks(data, ["text2mol"])
