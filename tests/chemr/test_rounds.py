"""Schedules of runs: mistakes stop before anything starts, finished runs are left alone, harvests reach who learns from them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from chemr.cli import main
from chemr.config import ChemrConfig, Stage, conf_directory
from chemr.config_overrides import quoted
from chemr.rounds import RoundsError, check_schedule, find_schedule, read_schedule
from chemr.run_rounds import plan, run_rounds
from chemr.run_stopped import RunStopped

SPECIALIST = ["stages=[grpo]", "grpo.harvest.share=1.0"]


def content(**changes: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "overrides": ["experiment=smoke"],
        "runs": [
            {"name": "base", "overrides": ["stages=[foundation]"]},
            {"name": "a", "start": "base", "tasks": ["forward"], "overrides": SPECIALIST},
            {"name": "all", "start": "base", "traces": ["a"], "overrides": ["stages=[distill,grpo]"]},
        ],
    } | changes


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump({"root": str(tmp_path / "runs")} | content(**changes)), encoding="utf-8")
        return path

    return write


class Trainer:
    """Stands in for `chemr train`: leaves behind what a finished run leaves, and may fail or be drained."""

    def __init__(self, **ends: str) -> None:
        self.configs: list[ChemrConfig] = []
        self.ends = ends

    def __call__(self, config: ChemrConfig, resolved: str) -> dict[str, Any]:
        self.configs.append(config)
        path = config.run.path
        path.mkdir(parents=True, exist_ok=True)
        match self.ends.pop(config.run.name, ""):
            case "drained":
                return {"drained": "step-3", "evicted": True}
            case "stops":
                raise RunStopped("too few traces")
        if Stage.grpo in config.stages and config.grpo.harvest.share:
            (path / "harvest").mkdir(exist_ok=True)
            (path / "harvest" / "grpo.jsonl").write_text(f'{{"by": "{config.run.name}"}}\n')
        (path / "config.yaml").write_text(resolved)
        (path / "model").mkdir(exist_ok=True)
        (path / "model" / "config.json").write_text("{}")
        summary = {"stages": [str(stage) for stage in config.stages]}
        (path / "summary.json").write_text(json.dumps(summary))
        return summary

    @property
    def names(self) -> list[str]:
        return [config.run.name for config in self.configs]


def test_a_schedule_runs_in_order_and_hands_models_and_traces_on(written: Callable[..., Path], tmp_path: Path) -> None:
    train = Trainer()
    runs = content()["runs"]
    runs[2:] = [runs[1] | {"name": "b", "tasks": ["smiles2formula"]}, runs[2] | {"traces": ["a", "b"]}]
    assert run_rounds(read_schedule(written(runs=runs)), train, say=lambda _: None) == {}
    assert train.names == ["s-base", "s-a", "s-b", "s-all"]
    base, a, _, every = train.configs
    root = tmp_path / "runs"
    assert base.policy.path is None and a.policy.path == every.policy.path == str(root / "s-base" / "model")
    assert a.data.tasks == ["forward"] and every.data.tasks == base.data.tasks, "the generalist has all tasks again"
    assert every.distill.traces == str(root / "s-all" / "traces.jsonl")
    assert (root / "s-all" / "traces.jsonl").read_text() == '{"by": "s-a"}\n{"by": "s-b"}\n'
    assert {config.run.resume.value for config in train.configs} == {"auto"}


def test_a_second_start_leaves_finished_runs_alone_and_goes_on_with_the_rest(written: Callable[..., Path]) -> None:
    schedule = read_schedule(written())
    stopped = Trainer(**{"s-a": "stops"})
    with pytest.raises(RunStopped):
        run_rounds(schedule, stopped, say=lambda _: None)
    assert stopped.names == ["s-base", "s-a"], "what comes after a run that stopped is not started"
    drained, said = Trainer(**{"s-all": "drained"}), []
    assert run_rounds(schedule, drained, say=said.append) == {"drained": "step-3", "evicted": True}
    assert drained.names == ["s-a", "s-all"] and any("same command" in line for line in said)
    last = Trainer()
    assert run_rounds(schedule, last, say=lambda _: None) == {}
    assert last.names == ["s-all"]
    assert [line for line in plan(schedule) if line.startswith("#")] == [
        "# 1/3 base: finished, is left out",
        "# 2/3 a: finished, is left out",
        "# 3/3 all: finished, is left out",
    ]
    runs = content()["runs"]
    runs[0]["overrides"] = ["stages=[foundation,distill]"]
    again = Trainer()
    run_rounds(read_schedule(written(runs=runs)), again, say=lambda _: None)
    assert again.names == ["s-base"], "a run that got another stage since is not finished"


def test_a_finished_run_that_is_told_otherwise_is_not_passed_over_in_silence(written: Callable[..., Path]) -> None:
    run_rounds(read_schedule(written()), Trainer(), say=lambda _: None)
    same = Trainer()
    run_rounds(read_schedule(written()), same, say=lambda _: None)
    assert same.names == []
    longer = Trainer()
    run_rounds(read_schedule(written(), ["grpo.steps=700"]), longer, say=lambda _: None)
    assert longer.names == ["s-base", "s-a", "s-all"], "`train` goes further, or says why not"


def test_a_missing_harvest_is_named(written: Callable[..., Path], tmp_path: Path) -> None:
    schedule = read_schedule(written())
    run_rounds(schedule, Trainer(**{"s-all": "drained"}), say=lambda _: None)
    (tmp_path / "runs" / "s-a" / "harvest" / "grpo.jsonl").unlink()
    with pytest.raises(RoundsError, match=r"'all' needs the harvest of 'a'.*moved away"):
        run_rounds(schedule, Trainer(), say=lambda _: None)


def test_overrides_of_the_command_line_come_last(written: Callable[..., Path]) -> None:
    schedule = read_schedule(written(), ["grpo.harvest.share=0.5", "run.seed=7"])
    assert [(config.grpo.harvest.share, config.run.seed) for config in check_schedule(schedule)] == [(0.5, 7)] * 3


def test_the_plan_is_commands_that_a_person_could_type(written: Callable[..., Path], tmp_path: Path) -> None:
    schedule = read_schedule(written())
    run_rounds(schedule, Trainer(**{"s-a": "drained"}), say=lambda _: None)
    lines = list(plan(schedule))
    marks = ["# 1/3 base: finished, is left out", "# 2/3 a: begun, goes on", "# 3/3 all: new"]
    assert [line for line in lines if line.startswith("#")] == marks
    root = tmp_path / "runs"
    assert f"cat {root}/s-a/harvest/grpo.jsonl > {root}/s-all/traces.jsonl" in lines
    command = shlex.split(lines[-1])
    assert command[:3] == ["chemr", "train", "experiment=smoke"]
    assert {"run.name=s-all", "run.resume=auto", f"policy.path={root}/s-base/model", "stages=[distill,grpo]"} <= set(command)


def changed(index: int, **changes: Any) -> list[dict[str, Any]]:
    runs = content()["runs"]
    runs[index] = {name: value for name, value in (runs[index] | changes).items() if value != "absent"}
    return runs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": []}, ["unknown key 'run'", "did you mean 'runs'"]),
        ({"name": "a/b"}, ["name is 'a/b'", "directory"]),
        ({"runs": []}, ["runs is []", "at least one run"]),
        ({"runs": ["base"]}, ["runs[0]", "found 'base'", "mapping"]),
        ({"overrides": "experiment=smoke"}, ["overrides is 'experiment=smoke'", "a list"]),
        ({"overrides": ["smoke"]}, ["holds 'smoke'", "field=value"]),
        ({"overrides": ["run.name=x"]}, ["'run.name=x'", "name and root"]),
        ({"root": 3}, ["root is 3", "folder"]),
        ({"runs": changed(1, starts="base")}, ["runs[1]", "unknown key 'starts'", "did you mean 'start'"]),
        ({"runs": changed(1, name="base")}, ["runs[1] (base)", "this name already"]),
        ({"runs": changed(1, name="absent")}, ["runs[1].name is None"]),
        ({"runs": changed(1, start="all")}, ["(a).start", "'all' is no run before this one", "base"]),
        ({"runs": changed(2, traces=["a", "c"])}, ["(all).traces", "'c'", "base, a"]),
        ({"runs": changed(2, traces=["a", "a"])}, ["names a twice"]),
        ({"runs": changed(2, traces="a")}, ["traces is 'a'", "list of names"]),
        ({"runs": changed(1, overrides=["data.tasks=[retro]"])}, ["'data.tasks=[retro]'", "'tasks'", "leave one"]),
        ({"overrides": ["experiment=smoke", "policy.path=x"]}, ["'policy.path=x'", "'start'"]),
        ({"runs": changed(1, tasks=["foward"])}, ["run 'a'", "foward", "did you mean 'forward'"]),
        ({"runs": changed(2, overrides=["stages=[distill,grpo]", "grpo.stepps=3"])}, ["run 'all'", "grpo.stepps", "grpo.steps"]),
        ({"runs": changed(2, overrides=["stages=[grpo]"])}, ["run 'all'", "distill.traces", "no effect"]),
        ({"runs": changed(1, overrides=["stages=[grpo]"])}, ["run 'all'", "'a'", "harvests nothing", "grpo.harvest.share=0.0"]),
        ({"runs": changed(1, overrides=["stages=[distill]", "grpo.harvest.share=1.0"])}, ["'a'", "harvests nothing", "['distill']"]),
    ],
)
def test_a_wrong_schedule_is_refused_before_a_run_starts(written: Callable[..., Path], changes: dict[str, Any], words: list[str]) -> None:
    train = Trainer()
    with pytest.raises(RoundsError) as caught:
        run_rounds(read_schedule(written(**changes)), train, say=lambda _: None)
    for word in ("s.yaml", *words):
        assert word in str(caught.value), f"{word!r} should be in: {caught.value}"
    assert train.names == []


def test_a_file_that_is_no_yaml_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: [")
    with pytest.raises(RoundsError, match=r"s\.yaml:1:\d+: not YAML"):
        read_schedule(tmp_path / "s.yaml")


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_directory() / "rounds").glob("*.yaml")))
def test_every_shipped_schedule_is_valid(name: str) -> None:
    schedule = read_schedule(find_schedule(name))
    assert schedule.name == name, "a schedule's runs are named after it"
    configs = check_schedule(schedule)
    assert any(config.distill.traces for config in configs), "it distils from its own harvests"


def test_schedules_are_found_by_path_in_the_users_folder_and_among_the_shipped(tmp_path: Path) -> None:
    (tmp_path / "rounds").mkdir()
    mine = tmp_path / "rounds" / "mine.yaml"
    mine.write_text("name: mine\n")
    assert find_schedule("mine", tmp_path) == find_schedule(str(mine)) == mine
    with pytest.raises(RoundsError, match=r"no schedule 'nosuch'.*iterated, mine, specialists"):
        find_schedule("nosuch", tmp_path)
    with pytest.raises(RoundsError, match="not a file"):
        find_schedule("nosuch.yaml")


@settings(deadline=None)  # the grammar is read at the first example
@given(st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=20))
def test_any_path_survives_the_grammar_of_overrides(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"policy.path={quoted(text)}"])
    assert override.value() == text


def test_the_command_line_says_what_is_wrong_and_plans_without_starting(
    written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["rounds", str(written()), "--dry-run", "run.seed=3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# 1/3 base: new") and printed.count("run.seed=3") == 3
    assert not (tmp_path / "runs").exists(), "a dry run makes nothing"
    assert main(["rounds", "nosuch"]) == 2
    assert "no schedule 'nosuch'" in capsys.readouterr().err

    async def stop(*_: object) -> None:
        raise RunStopped("too few traces")

    monkeypatch.setattr("chemr.train.train", stop)
    assert main(["rounds", str(written())]) == 1
    assert capsys.readouterr().err == "chemr rounds: too few traces; the same command goes on from there\n"
