"""A run on published data: what is set aside, what is cached, and which configurations are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chemr.config import ConfigError, load
from chemr.data import published
from chemr.data.decontamination import EvaluationIndex
from chemr.data.example import Example
from chemr.data.loading import load_data
from chemr.data.published_config import PublishedConfig
from chemr.data.row_keys import row_keys
from chemr.data.task_data import TaskData
from chemr.lengths import leave_out_too_long

ALKANES = ["C" * length for length in range(1, 31)]


def formula_row(prefix: str, number: int, smiles: str) -> Example:
    carbons = len(smiles)
    reference = {"answer": f"C{carbons}H{2 * carbons + 2}"}
    return Example(f"{prefix}/smiles2formula/{number}", "smiles2formula", {"smiles": smiles}, reference, 0.5, "test", "CC0-1.0")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Thirty training rows, two of them of one molecule each, and five test rows; the list grows by one at every reading."""
    readings: list[str] = []

    def clean(source: str, data_dir: Path, index: EvaluationIndex, log: Any) -> Iterator[Example]:
        readings.append(source)
        yield from (formula_row("train", number, smiles) for number, smiles in enumerate([*ALKANES, *ALKANES]))

    monkeypatch.setattr(published, "clean_training_rows", clean)
    monkeypatch.setattr(published, "test_rows", lambda suite, task, data_dir: [formula_row("test", n, "O" + "C" * n) for n in range(1, 6)])
    monkeypatch.setattr(published, "SUITES", {"tiny": ("smiles2formula",)})
    monkeypatch.setattr(EvaluationIndex, "of_all_suites", classmethod(lambda cls, data_dir: cls()))
    return readings


def config(**changes: Any) -> PublishedConfig:
    return PublishedConfig(**{"sources": ["chemicals_names"], "suites": ["tiny"], "validation_per_task": 4, "test_per_task": 3, **changes})


def test_validation_rows_share_no_molecule_with_training_rows(files: list[str], tmp_path: Path) -> None:
    data = published.load_published(tmp_path / "cache", tmp_path, config(), [])
    assert (len(data.validation), len(data.test)) == (4, 3)
    shared = set().union(*map(row_keys, data.train)) & set().union(*map(row_keys, data.validation))
    assert not shared, f"in training and validation: {shared}"
    assert 50 <= len(data.train) <= 56, "only the validation rows and their twins are taken out of sixty"


def test_other_scorers_build_anew(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.load_published(tmp_path / "cache", tmp_path / "data", config(), [])
    monkeypatch.setattr(published, "SCORER_VERSION", "another")
    published.load_published(tmp_path / "cache", tmp_path / "data", config(), [])
    assert len(files) == 2, "rows that new scorers do not pay would be trained on"


def test_a_build_is_read_again_and_a_changed_file_or_setting_builds_anew(files: list[str], tmp_path: Path) -> None:
    first = published.load_published(tmp_path / "cache", tmp_path / "data", config(), [])
    assert published.load_published(tmp_path / "cache", tmp_path / "data", config(), []) == first
    assert len(files) == 1, "a build that was there was made again"
    published.load_published(tmp_path / "cache", tmp_path / "data", config(train_per_task=5), [])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new.csv").write_text("x")
    published.load_published(tmp_path / "cache", tmp_path / "data", config(), [])
    assert len(files) == 3, "other settings or other files must build anew"


def test_train_per_task_bounds_each_task(files: list[str], tmp_path: Path) -> None:
    assert len(published.load_published(tmp_path / "c", tmp_path, config(train_per_task=5), []).train) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sources": ["chemical_names"]}, "chemicals_names"), ({"suites": ["tommy"]}, "tiny"), ({"suites": []}, "at least one suite")],
)
def test_unknown_names_are_refused_with_the_known_ones(files: list[str], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published.load_published(tmp_path / "cache", tmp_path, config(**change), [])


def test_distillation_without_a_protocol_for_a_task_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = Example("x/property_bace/1", "property_bace", {"smiles": "CCO"}, {"answer": "Yes"}, 0.5, "test", "CC0-1.0")
    monkeypatch.setattr(published, "load_published", lambda *_, **__: TaskData([row], [row], [row]))
    overrides = ["data.kind=published", f"data.dir={tmp_path}", "data.tasks=[property_bace]"]
    with pytest.raises(ConfigError, match="no protocol for property_bace"):
        load_data(load(overrides)[0])
    assert load_data(load([*overrides, "stages=[foundation,grpo]"])[0]).train == [row]


def test_a_missing_folder_is_one_helpful_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.dir"):
        load_data(load(["data.kind=published", f"data.dir={tmp_path / 'nowhere'}", f"data.cache_dir={tmp_path}", "data.tasks=[]"])[0])


def test_rows_that_do_not_fit_the_model_are_left_out_and_counted() -> None:
    class CharacterTokenizer:
        def encode_prompt(self, messages: list[dict[str, str]]) -> list[int]:
            return list(messages[0]["content"].encode())

        def encode_completion(self, text: str) -> list[int]:
            return list(text.encode())

    rows = [formula_row("train", number, smiles) for number, smiles in enumerate(ALKANES)]
    fitted, notes = leave_out_too_long(TaskData(rows, rows[:2], rows[:2]), CharacterTokenizer(), 60, 30)  # type: ignore[arg-type]
    assert 0 < len(fitted.train) < 30 and fitted.test == rows[:2]
    assert len(notes) == 1 and f"{30 - len(fitted.train)} of 30 training rows" in notes[0], notes
    with pytest.raises(ValueError, match="no training row fits"):
        leave_out_too_long(TaskData(rows[20:], rows[:2], rows[:2]), CharacterTokenizer(), 40, 30)  # type: ignore[arg-type]
