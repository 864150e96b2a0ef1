"""TensorBoard's event files hold what was recorded, read back by the format's own definition."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chemr.config import ConfigError, load
from chemr.tracking import config as tracking_config
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.metrics_log import read_metrics
from chemr.tracking.tracker import Tracker
from tests.chemr.test_wandb_offline import rows_of

CONFIG = TrackingConfig(wandb=WandbMode.off, tensorboard=True)


def events(run_dir: Path) -> list[Any]:
    """The events of all files, in the order in which they were written. A TFRecord is length, checksum, content, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((run_dir / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack("<Q", content[place : place + 8])
            found.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 12 + length + 4
        assert place == len(content), f"{path} ends in the middle of an event"
    return found


def scalars(run_dir: Path) -> dict[tuple[int, str], float]:
    return {(event.step, value.tag): value.simple_value for event in events(run_dir) for value in event.summary.value if value.tag}


def texts(run_dir: Path) -> dict[str, str]:
    return {
        value.tag: value.tensor.string_val[0].decode()
        for event in events(run_dir)
        for value in event.summary.value
        if value.tensor.string_val
    }


def test_every_number_is_there_as_a_32_bit_float(tmp_path: Path) -> None:
    with Tracker(tmp_path, CONFIG, {"run": {"seed": 7}}) as tracker:
        for step in range(1, 6):
            tracker.log(step, {"stage": "grpo", "train/loss": 1 / step, "train/grad_norm": math.nan if step == 2 else 0.5})
        tracker.summary({"gain": {"grpo": 0.0625}})
    found = scalars(tmp_path)
    for record in read_metrics(tmp_path / "metrics.jsonl"):
        step = record["step"]
        assert found[step, "train/loss"] == np.float32(record["train/loss"]), f"step {step} has another loss"
        assert math.isnan(found[step, "train/grad_norm"]) if step == 2 else found[step, "train/grad_norm"] == 0.5
        assert found[step, "elapsed_s"] == np.float32(record["elapsed_s"])
    by_tag = texts(tmp_path)
    assert '"seed": 7' in next(text for tag, text in by_tag.items() if tag.startswith("config")), "the configuration is not shown"
    assert "0.0625" in next(text for tag, text in by_tag.items() if tag.startswith("summary"))


def test_histograms_and_completions_are_there(tmp_path: Path) -> None:
    with Tracker(tmp_path / "mine", CONFIG, {}) as tracker:
        tracker.distributions(3, {"async/age_histogram": [0, 1, 1, 2]})
        tracker.samples(3, rows_of(tmp_path, 3))
    (histogram,) = [value.histo for event in events(tmp_path / "mine") for value in event.summary.value if value.HasField("histo")]
    assert (histogram.num, histogram.sum, histogram.max) == (4, 4, 2)
    text = next(text for tag, text in texts(tmp_path / "mine").items() if tag.startswith("completions"))
    assert "**forward** forward#3 [0]: correct, 1.000" in text and "    answer: CCOC(C)=O" in text
    assert all(line.startswith("    ") for line in text.split("\n") if "<script>" in line), "what a model wrote is interpreted"


def test_going_back_hides_the_steps_that_will_happen_again(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import SessionLog

    with Tracker(tmp_path, CONFIG, {}) as tracker:
        tracker.log(1, {"train/loss": 1.0})
        tracker.log(2, {"train/loss": 2.0})
    with Tracker(tmp_path, CONFIG, {}) as tracker:
        tracker.rewind(1)
        tracker.log(2, {"train/loss": 3.0})
    starts = [event.step for event in events(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts == [2], "TensorBoard is told that steps from 2 on of the files before do not count"


@pytest.mark.parametrize(("field", "package"), [("tensorboard", "tensorboardX"), ("trackio", "trackio")])
def test_a_sink_that_is_not_installed_is_refused_by_the_name_of_its_extra(
    field: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_config, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"tracking\.{field}=true, but {package} is not installed.*chemr\[{field}\]"):
        load(["experiment=smoke", f"tracking.{field}=true"])
    assert load(["experiment=smoke", f"tracking.{field}=true"], files_here=False), "a run elsewhere needs nothing here"
    assert load(["experiment=smoke"]), "what is not asked for need not be there"
