"""trackio's database holds what was recorded. Runs where the extra is installed; requirements/ pins another pillow than trackio wants."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from chemr.tracking.metrics_log import read_metrics

pytestmark = pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed: pip install 'chemr[trackio]'")


def test_a_run_and_its_continuation_are_one_run_with_every_number(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        os.environ["TRACKIO_DIR"] = sys.argv[2]  # read at import
        from chemr.tracking.config import TrackingConfig, WandbMode
        from chemr.tracking.tracker import Tracker
        config = TrackingConfig(wandb=WandbMode.off, trackio=True, group="seeds")
        for steps in ([1, 2], [3]):
            with Tracker(Path(sys.argv[1]), config, {"run": {"seed": 7}}) as tracker:
                for step in steps:
                    tracker.log(step, {"stage": "grpo", "train/loss": 1 / 3 * step})
                tracker.distributions(step, {"async/age_histogram": [0, 1, 1]})
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "mine"), str(tmp_path / "trackio")]
    subprocess.run(arguments, timeout=480, check=True)
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = [(step, run, json.loads(text)) for step, run, text in connection.execute("select step, run_name, metrics from metrics")]
        configs = [json.loads(text) for (text,) in connection.execute("select config from configs")]
    logged = {step: metrics for step, _, metrics in rows if "train/loss" in metrics}
    for record in read_metrics(tmp_path / "mine" / "metrics.jsonl"):
        found = logged[record["step"]]
        names = {"stage", "train/loss", "elapsed_s"}
        assert {name: found[name] for name in names} == {name: record[name] for name in names}, f"step {record['step']} differs"
    assert {run for _, run, _ in rows} == {"mine"}, "the continued run has another name"
    assert sum("async/age_histogram" in metrics for _, _, metrics in rows) == 2
    assert configs[0]["run"] == {"seed": 7} and configs[0]["_Group"] == "seeds"
