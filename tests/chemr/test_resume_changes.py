"""A run that goes on: what may be told it otherwise is applied and named, what may not is refused and named; nothing is kept in silence."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chemr.config import ConfigError, field_names, load
from chemr.resume_changes import KINDS, Kind, Progress, begins_otherwise, compare, goes_further, kind_of, resume_changes, unclassified

NOTHING = Progress()
IN_FOUNDATION = Progress(120, "foundation", 120)
BETWEEN = Progress(600, "foundation", 600, ("foundation",))
IN_GRPO = Progress(900, "grpo", 40, ("foundation", "distill"))
FINISHED = Progress(1060, "grpo", 200, ("foundation", "distill", "grpo"))
STORED = Path(__file__).parent / "stored"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(load(["experiment=starter"])[1])
    content["foundation"]["steps"], content["grpo"]["steps"] = 600, 200
    return content


def told(stored: dict[str, Any], *overrides: str) -> dict[str, Any]:
    """The configuration with some fields set otherwise; loading all of it takes seconds on a busy machine."""
    content = copy.deepcopy(stored)
    for override in overrides:
        name, _, text = override.partition("=")
        section = content
        for part in name.split(".")[:-1]:
            section = section[part]
        section[name.split(".")[-1]] = json.loads(text) if text[0] in "[0123456789t" else text
    return content


def changed(stored: dict[str, Any], progress: Progress, *overrides: str) -> list[str]:
    return compare(stored, told(stored, *overrides), progress)


def refused(stored: dict[str, Any], progress: Progress, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        changed(stored, progress, *overrides)
    assert "\n" not in str(caught.value), "a refusal is one line"
    return str(caught.value)


def test_every_field_of_the_schema_says_when_it_may_be_changed() -> None:
    assert not unclassified(), "say in chemr/resume_changes.py what a change of these means to a run that goes on"
    assert unclassified(["learner.new", "foundation.optim.new", "new.section"]) == ["learner.new", "new.section"]
    known = field_names()
    assert not [name for name in KINDS if not any(f"{field}.".startswith(f"{name}.") for field in known)], (
        "KINDS names no field that is gone"
    )


def test_the_same_command_again_changes_nothing(stored: dict[str, Any]) -> None:
    for progress in (NOTHING, IN_FOUNDATION, BETWEEN, IN_GRPO, FINISHED):
        assert changed(stored, progress, "run.resume=auto", "run.root=/elsewhere") == []


@pytest.mark.parametrize(
    ("progress", "overrides"),
    [
        (IN_FOUNDATION, ["foundation.optim.lr=1e-06", "foundation.steps=800", "foundation.optim.betas=[0.8,0.9]"]),
        (IN_FOUNDATION, ["foundation.optim.schedule=linear", "foundation.optim.warmup_steps=7", "foundation.optim.grad_clip=0.5"]),
        (IN_FOUNDATION, ["foundation.eval_every=17", "pool.generators=2", "pool.timing.score_s=99.0", "tracking.project=other"]),
        (IN_FOUNDATION, ["grpo.samples_per_group=4", "distill.traces_per_task=7", "learner.zero_stage=2", "learner.threads=2"]),
        (BETWEEN, ["distill.documents_per_step=32", "grpo.groups_per_step=8"]),
        (
            IN_GRPO,
            ["grpo.optim.lr=1e-07", "grpo.algo.clip_high=0.3", "grpo.groups_per_step=8", "grpo.samples_per_group=4", "grpo.steps=50"],
        ),
        (IN_GRPO, ["grpo.curriculum.weighting=uniform", "grpo.off_policy_steps=2", "generator.max_num_seqs=64", "control.drain_s=60.0"]),
    ],
)
def test_what_can_be_applied_is_named_with_both_values(stored: dict[str, Any], progress: Progress, overrides: list[str]) -> None:
    lines = changed(stored, progress, *overrides)
    assert len(lines) == len(overrides)
    for override in overrides:
        name, _, value = override.partition("=")
        (line,) = (line for line in lines if line.startswith(f"{name}="))
        assert value in line.replace(" ", "") and "(it was " in line and f"from step {progress.step} on" in line, line


@pytest.mark.parametrize(
    ("progress", "override", "why"),
    [
        (IN_FOUNDATION, 'data.tasks=["forward"]', "what was trained so far depends on it"),
        (IN_FOUNDATION, "run.seed=7", "depends on it"),
        (IN_FOUNDATION, "policy.scratch.layers=2", "depends on it"),
        (IN_FOUNDATION, "policy.vocab_size=700", "depends on it"),
        (IN_FOUNDATION, "data.starter.seed=3", "depends on it"),
        (IN_FOUNDATION, "data.grpo_share=0.5", "depends on it"),
        (BETWEEN, "learner.lora_rank=8", "depends on it"),
        (IN_FOUNDATION, "foundation.documents_per_step=32", "stage foundation is under way"),
        (IN_FOUNDATION, "foundation.steps=100", "stage foundation has made 120 steps"),
        (IN_FOUNDATION, 'stages=["distill","grpo"]', "the run has begun foundation"),
        (IN_GRPO, 'stages=["foundation","grpo"]', "the run has begun foundation, distill, grpo"),
        (IN_GRPO, "foundation.optim.lr=1e-06", "stage foundation is over"),
        (IN_GRPO, "foundation.steps=5000", "stage foundation is over"),
        (IN_GRPO, "distill.verify_at=0.5", "stage distill is over"),
        (FINISHED, "grpo.optim.lr=1e-07", "stage grpo is over"),
        (FINISHED, "grpo.steps=100", "stage grpo has made 200 steps"),
    ],
)
def test_what_would_make_it_another_run_is_refused_with_both_values(
    stored: dict[str, Any], progress: Progress, override: str, why: str
) -> None:
    message = refused(stored, progress, override)
    name, _, value = override.partition("=")
    assert name in message and why in message and "(it was " in message and "run.name=" in message, message
    assert f"{name}={value}" in message.replace('", "', '","')


def test_all_that_is_refused_is_named_at_once(stored: dict[str, Any]) -> None:
    message = refused(stored, IN_GRPO, "run.seed=7", 'data.tasks=["forward"]', "grpo.optim.lr=1e-07")
    assert "run.seed=7 (it was 0)" in message and 'data.tasks=["forward"] (it was [' in message
    assert "grpo.optim.lr" not in message, "what would be applied is not in the way"


def test_a_stage_that_is_over_may_be_looked_at_more_often_in_vain(stored: dict[str, Any]) -> None:
    (line,) = changed(stored, IN_GRPO, "foundation.eval_every=17")
    assert "without effect: the stage is over" in line


def test_a_finished_run_may_be_asked_to_go_further_with_all_that_a_stage_may_be_told(stored: dict[str, Any]) -> None:
    lines = changed(stored, FINISHED, "grpo.steps=700", "grpo.optim.lr=1e-07", "grpo.groups_per_step=8")
    assert [line.split("=")[0] for line in lines] == ["grpo.groups_per_step", "grpo.optim.lr", "grpo.steps"]
    lines = changed(stored, BETWEEN, "foundation.steps=5000", "foundation.optim.lr=1e-06")
    assert len(lines) == 2, "a stage that is over, before the next has begun"
    assert "depends on it" in refused(stored, FINISHED, "grpo.steps=700", "run.seed=7")


def test_whether_a_run_goes_further_follows_from_its_checkpoint_alone() -> None:
    config, _ = load(["experiment=starter", "grpo.steps=200"])
    state = {"step": 1060, "stage": "grpo", "stage_step": 200, "results": {"foundation": {}, "distill": {}, "grpo": {}}}
    assert not goes_further(state, config)
    config.grpo.steps = 700
    assert goes_further(state, config)
    assert not goes_further(state | {"results": {}}, config), "it is under way anyway"
    assert not goes_further(state | {"stage": "", "results": {}}, config)
    config.stages = config.stages[:2]
    assert not goes_further(state, config)


def test_a_field_that_is_not_known_is_refused(stored: dict[str, Any]) -> None:
    old, new = stored | {"novelty": {"weight": 1}}, stored | {"novelty": {"weight": 2}}
    with pytest.raises(ConfigError, match=r"novelty\.weight=2 \(it was 1\)"):
        compare(old, new, IN_FOUNDATION)
    assert kind_of("novelty.weight") is None and kind_of("grpo.optim.lr") is Kind.until_over


def test_fields_of_another_version_are_named_and_stop_nobody(stored: dict[str, Any]) -> None:
    old = told(stored)
    del old["grpo"]["optim"]["grad_clip"], old["data"]["strict"]
    old["run"]["colour"] = "blue"
    new = told(stored, "data.strict=true")
    lines = compare(old, new, IN_GRPO)
    assert lines == [
        "data.strict=true: the version of chemr that began this run did not have it",
        "run.colour=blue is not used any more: this version of chemr does not have it",
    ], "a new field that has its default is nothing to tell"


@pytest.mark.parametrize("experiment", ["starter", "smoke"])
@pytest.mark.parametrize("progress", [IN_FOUNDATION, IN_GRPO])
def test_a_run_of_version_0_1_goes_on_with_the_same_command(experiment: str, progress: Progress, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((STORED / f"config-0.1-{experiment}.yaml").read_text())
    state = {"step": progress.step, "stage": progress.stage, "stage_step": min(progress.stage_step, 5), "results": {}}
    state["results"] = {stage: {} for stage in progress.finished}
    resume_changes(tmp_path, state, load([f"experiment={experiment}", "run.resume=auto"])[1])  # it would raise


def test_the_first_start_promises_nothing(tmp_path: Path) -> None:
    state = {"step": 0, "stage": "", "stage_step": 0, "results": {}}
    assert resume_changes(tmp_path, state, load(["experiment=starter"])[1]) == []


def test_a_run_without_a_checkpoint_begins_again_as_what_it_is_now(tmp_path: Path, stored: dict[str, Any]) -> None:
    assert not begins_otherwise(tmp_path, yaml.safe_dump(stored)), "there was no run"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored))
    assert not begins_otherwise(tmp_path, yaml.safe_dump(told(stored, "grpo.optim.lr=1e-07", "run.resume=auto")))
    for override in ("run.seed=7", 'data.tasks=["forward"]', "policy.scratch.layers=2"):
        assert begins_otherwise(tmp_path, yaml.safe_dump(told(stored, override))), f"an initial model of before {override} is another's"
