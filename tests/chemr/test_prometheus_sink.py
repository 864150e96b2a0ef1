"""What Prometheus scrapes from a run is what the run recorded last, and the alert rules and dashboard name nothing else."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.prometheus_sink import sample_of
from chemr.tracking.tracker import Tracker

ROOT = Path(__file__).resolve().parents[2]
SERVED = TrackingConfig(wandb=WandbMode.off, prometheus_port=0)


def scrape(tracker: Tracker) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value, read by the client library's own parser."""
    assert tracker._prometheus is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{tracker._prometheus.port}/metrics", timeout=180) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_tasks_reasons_and_suites_become_labels() -> None:
    assert sample_of("async/age_max") == ("chemr_async_age_max", ())
    assert sample_of("reward/mean") == ("chemr_reward_mean", ()), "the mean of all tasks has no task"
    assert sample_of("reward/retro/mean") == ("chemr_reward_mean", (("task", "retro"),))
    assert sample_of("reward/retro/reason/no_answer") == ("chemr_reward_reason", (("task", "retro"), ("reason", "no_answer")))
    assert sample_of("curriculum/weight/retro") == ("chemr_curriculum_weight", (("task", "retro"),))
    assert sample_of("curriculum/alert/retro/stall") == ("chemr_curriculum_alert", (("task", "retro"), ("kind", "stall")))
    assert sample_of("async/dropped/zero_variance") == ("chemr_async_dropped", (("reason", "zero_variance"),))
    assert sample_of("fleet/restarts/generator") == ("chemr_fleet_restarts", (("role", "generator"),))
    assert sample_of("eval/test/mean") == ("chemr_eval", (("suite", "test"), ("metric", "mean")))
    assert sample_of("alert/ess_low") == ("chemr_alert", (("kind", "ess_low"),))
    assert sample_of("alert/hollow_reward/retro") == ("chemr_alert_hollow_reward", (("task", "retro"),))
    assert sample_of("reward/retro/excess") == ("chemr_reward_excess", (("task", "retro"),))
    assert sample_of("eval/validation/retro/verbatim") == ("chemr_eval_verbatim", (("suite", "validation"), ("task", "retro")))
    rising = ("chemr_alert_reason_rising", (("task", "retro"), ("reason", "no_answer")))
    assert sample_of("alert/reason_rising/retro/no_answer") == rising
    assert sample_of("tracking/dropped/wandb") == ("chemr_tracking_dropped", (("sink", "wandb"),))
    assert sample_of("weights/pull/load_s") == ("chemr_weights_pull_load_s", ())


def test_a_scrape_shows_the_newest_values_with_run_step_and_stage(tmp_path: Path) -> None:
    with Tracker(tmp_path / "mine", SERVED, {}) as tracker:
        tracker.log(1, {"stage": "distill", "train/loss": 2.5, "reward/retro/mean": 0.25, "train/grad_norm": math.nan})
        tracker.log(2, {"stage": "grpo", "train/loss": 1.5, "eval/test/mean": 0.5})
        seen = scrape(tracker)
    run = ("run", "mine")
    assert seen["chemr_train_loss", (run,)] == 1.5, "a gauge holds the newest value"
    assert seen["chemr_reward_mean", (run, ("task", "retro"))] == 0.25
    assert seen["chemr_eval", (("metric", "mean"), run, ("suite", "test"))] == 0.5
    assert seen["chemr_step", (run,)] == 2
    assert seen["chemr_nonfinite", (("metric", "train/grad_norm"), run)] == 1.0, "an alert needs a number for what is none"
    assert ("chemr_nonfinite", (("metric", "train/loss"), run)) not in seen
    assert [labels for name, labels in seen if name == "chemr_stage"] == [(run, ("stage", "grpo"))], "a run is in one stage"
    assert not any(name == "chemr_train_grad_norm" for name, _ in seen), "what is not a number is left out, not 0"


def test_an_alert_or_a_reason_ends_with_the_step_it_was_true_of(tmp_path: Path) -> None:
    with Tracker(tmp_path / "mine", SERVED, {}) as tracker:
        tracker.log(5, {"stage": "grpo", "curriculum/alert/retro/stall": 1.0, "reward/retro/mean": 0.1})
        tracker.log(5, {"eval/validation/mean": 0.2})
        assert any(name == "chemr_curriculum_alert" for name, _ in scrape(tracker)), "a second record of the same step ends nothing"
        tracker.log(6, {"stage": "grpo", "train/loss": 1.0})
        names = {name for name, _ in scrape(tracker)}
    assert "chemr_curriculum_alert" not in names, "an alert that is over must not page anybody"
    assert "chemr_reward_mean" in names, "a level stays until there is a new one"


def test_a_port_that_is_taken_costs_a_warning_and_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Tracker(tmp_path / "first", SERVED, {}) as first:
        assert first._prometheus is not None
        taken = TrackingConfig(wandb=WandbMode.off, prometheus_port=first._prometheus.port)
        with caplog.at_level(logging.WARNING), Tracker(tmp_path / "second", taken, {}) as second:
            second.log(1, {"train/loss": 1.0})
    assert str(taken.prometheus_port) in caplog.text and "in use" in caplog.text
    assert "train/loss" in (tmp_path / "second" / "metrics.jsonl").read_text(), "the run goes on"


def test_a_port_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tracking\.prometheus_port=70000"):
        TrackingConfig(prometheus_port=70_000).validate()


def test_before_the_first_record_there_is_the_start_and_no_end(tmp_path: Path) -> None:
    with Tracker(tmp_path / "mine", SERVED, {}) as tracker:
        seen = {name: value for (name, _), value in scrape(tracker).items()}
    assert seen.keys() == {"chemr_started_timestamp_seconds", "chemr_run_ended"} and seen["chemr_run_ended"] == 0.0


@pytest.mark.parametrize(("how", "told"), [("in order", 1.0), ("with an error", None), ("to go on elsewhere", None)])
def test_whoever_scrapes_a_run_sees_that_it_ended_in_order(tmp_path: Path, how: str, told: float | None) -> None:
    tracker = Tracker(tmp_path / "mine", SERVED, {})
    assert tracker._prometheus is not None
    tracker.log(1, {"train/loss": 1.0})
    for last in (10.0, 11.0):  # every few seconds, so that the end waits for the next time
        scrape(tracker)
        tracker._prometheus._scraped[-1] = last - 10.0
    tracker._prometheus._scraped = [0.0, 15.0]
    if how == "to go on elsewhere":
        tracker.interrupted()
    ending = threading.Thread(target=tracker.finish, args=(1 if how == "with an error" else 0,))
    ending.start()
    sink, seen = tracker._prometheus, None
    if told is not None:
        while sink is not None and sink._values["chemr_run_ended", ()] != 1.0:
            time.sleep(0.01)
        seen = next(value for (name, _), value in scrape(tracker).items() if name == "chemr_run_ended")
    ending.join(timeout=30)
    assert not ending.is_alive() and seen == told


# what operators are given


def rules() -> list[dict]:
    manifest = yaml.safe_load((ROOT / "k8s" / "monitoring" / "alerts.yaml").read_text())
    return [rule for group in manifest["spec"]["groups"] for rule in group["rules"]]


def dashboard() -> dict:
    return json.loads((ROOT / "k8s" / "monitoring" / "dashboard.json").read_text())


def test_every_alert_says_what_it_means_and_is_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text()
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 10
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), f"{rule['alert']}: who is woken?"
        assert rule["annotations"]["summary"], f"{rule['alert']} says nothing"
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page.startswith("https://") and page.endswith("/operations.html"), f"{rule['alert']}: a link that can be followed"
        assert f"### {rule['alert']}\n" in runbook and anchor == rule["alert"].lower(), f"{rule['alert']} has no entry in the runbook"


def test_panels_do_not_overlap_and_all_ask_something() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert panel["targets"] and all(target["expr"] for target in panel["targets"]), f"{panel['title']} asks nothing"


def named(expression: str) -> set[str]:
    """Metrics of an expression (chemr's own all begin alike)."""
    return set(re.findall(r"\bchemr_[a-z0-9_]+", expression))


def all_names() -> set[str]:
    """Every metric that an alert or a panel asks for."""
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return set().union(*(named(expression) for expression in asked))


def test_expressions_name_metrics() -> None:
    assert len(all_names()) > 20, "the check of tests/e2e/test_three_phases.py would prove nothing"
