"""The view that is saved in W&B: its panels exist, ask for what a run records, and are sent as W&B's own package sends a view."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chemr.cli import main
from chemr.tracking.workspace_view import SECTIONS, TASK, metrics_of

TASKS = ("forward", "retro")
CONFIG = "stages: [grpo]\ntracking: {project: chemistry}\ndata: {tasks: [forward, retro]}\n"


class Server:
    """What of W&B's API the package uses; keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._service_api = SimpleNamespace(execute_graphql=self.execute, app_url="https://wandb.example")

    def execute(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        assert "upsertView" in query
        self.sent.append(variables)
        return {"upsertView": {"view": {"name": variables["name"], "id": "view-1"}, "inserted": True}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    pytest.importorskip("wandb_workspaces")
    import wandb

    found = Server()
    monkeypatch.setattr(wandb, "Api", lambda: found)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def test_a_view_is_sent_with_a_line_for_every_task_over_optimiser_steps(
    server: Server, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["workspace", str(run), "--entity", "us", "--name", "first look"]) == 0
    assert capsys.readouterr().out.startswith("https://wandb.example/us/chemistry?nw=")
    (sent,) = server.sent
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("us", "chemistry", "first look")
    sections = json.loads(sent["spec"])["section"]["panelBankConfig"]["sections"]
    shown = {section["name"]: section["panels"] for section in sections}
    assert [name for name in shown if name in SECTIONS] == list(SECTIONS), "sections keep their order"
    by_title = {panel["config"]["chartTitle"]: panel["config"] for panels in shown.values() for panel in panels}
    assert by_title["Reward by task"]["metrics"] == ["reward/forward/mean", "reward/retro/mean"]
    assert {config["xAxis"] for config in by_title.values()} == {"step"}, "W&B's own step is not the optimiser's"


def test_no_metric_and_no_title_is_there_twice() -> None:
    panels = [panel for made in SECTIONS.values() for panel in made]
    names = [name for panel in panels for name in metrics_of(panel, TASKS)]
    assert len(names) == len(set(names)) and len(panels) == len({panel.title for panel in panels})
    assert not any(TASK in name for name in names)


def test_a_dry_run_needs_neither_key_nor_package(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workspace", str(run), "--dry-run"]) == 0
    assert "  Reward by task: reward/forward/mean, reward/retro/mean" in capsys.readouterr().out.splitlines()


def test_what_is_missing_is_said(
    run: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    assert main(["workspace", str(run)]) == 2
    assert "--entity" in capsys.readouterr().err
    assert main(["workspace", str(tmp_path / "nowhere"), "--entity", "us"]) == 2
    assert "not a run's folder" in capsys.readouterr().err

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("permission\ndenied")

    server._service_api.execute_graphql = refuse
    assert main(["workspace", str(run), "--entity", "us"]) == 1
    assert "the view was not saved: permission denied" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)  # as if it were not installed
    assert main(["workspace", str(run), "--entity", "us"]) == 2
    assert "pip install 'chemr[workspace]'" in capsys.readouterr().err
