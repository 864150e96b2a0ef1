"""The picture of a run is drawn from the run's own files and stands alone."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from chemr.report_figure import FigureError, Point, RunFigure, draw, load_run, main
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.tracker import Tracker

STAGES = {"foundation": 0.25, "distill": 0.5, "grpo": 0.75}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    step = 0
    with Tracker(tmp_path, TrackingConfig(wandb=WandbMode.off), {}) as tracker:
        for stage, mean in STAGES.items():
            for _ in range(3):
                step += 1
                tracker.log(step, {"stage": stage, "train/loss": 1.0})
            tracker.log(step, {"stage": stage, "eval/validation/mean": mean - 0.1})
            tracker.log(step, {"stage": stage, "eval/test/mean": mean})
    summary = {
        "run": "mine & <yours>",
        "stages": list(STAGES),
        **{s: {"mean_reward": m, "interval95": [m - 0.05, m + 0.05]} for s, m in STAGES.items()},
        "table": {"forward": STAGES, "retro": {"foundation": 0.1, "grpo": 0.2}, "mean": STAGES},
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_a_finished_run_becomes_a_well_formed_picture_that_needs_nothing_else(run_dir: Path) -> None:
    target = run_dir / "new" / "picture.svg"
    assert main([str(run_dir), str(target)]) == 0
    picture = target.read_text(encoding="utf-8")
    for phase in ("foundation", "distillation", "GRPO"):
        assert phase in texts(picture), f"the phase {phase} is not named"
    for shown in ("0.25", "0.50", "0.75", "forward", "retro"):
        assert shown in texts(picture), f"{shown} is not shown"
    assert "mean" not in texts(picture), "the mean was drawn as if it were a task"
    for foreign in ("href", "<script", "@import", "url("):
        assert foreign not in picture, f"the picture refers to something else: {foreign}"


def test_phases_follow_each_other_without_gaps(run_dir: Path) -> None:
    spans = load_run(run_dir).spans
    assert [stage for stage, _, _ in spans] == list(STAGES)
    for (_, _, end), (_, start, _) in pairwise(spans):
        assert end == start, "a phase does not begin where the one before ends"


def test_everything_drawn_lies_inside_the_picture() -> None:
    figure = RunFigure(
        "x",
        [("foundation", 0.0, 100.0), ("custom", 100.0, 5000.0)],
        [],
        [Point(5000.0, 1.0, "custom", (0.9, 1.0)), Point(100.0, 0.0, "foundation")],
        {f"task_{index}": {"custom": 1.0} for index in range(17)},
    )
    root = ElementTree.fromstring(draw(figure))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root:
        x, y = (float(element.get(a) or element.get("c" + a) or 0) for a in "xy")
        assert -1 <= x <= width, f"{element.attrib} lies outside"
        assert -1 <= y <= height, f"{element.attrib} lies outside"


def test_a_run_that_has_not_finished_is_refused_with_the_file_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FigureError, match=r"metrics\.jsonl"):
        load_run(tmp_path)
    assert main([str(tmp_path), str(tmp_path / "x.svg")]) == 1
    assert "metrics.jsonl" in capsys.readouterr().err
