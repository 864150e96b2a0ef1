"""Arms of an experiment: what is described, what is run and shared, what the tables say. Real runs: test_run_fork and docs."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from chemr.ablation import report
from chemr.ablation.arms import ArmsError, load_comparison
from chemr.ablation.command import ablate, read_options
from chemr.ablation.results import SeedResult, compare, seed_interval
from chemr.ablation.schedule import plan_runs, run_all
from chemr.cli import main
from chemr.config import ConfigError, conf_directory, load
from chemr.finished_run import differing_fields, has_finished

TASKS = ("a", "b", "c", "d", "e", "f")


def result(seed: int, scores: dict[str, float]) -> SeedResult:
    by_prompt = {task: {f"{task}-{n}": score + (0.01 if n else -0.01) for n in range(2)} for task, score in scores.items()}
    return SeedResult(seed, sum(scores.values()) / len(scores), None, scores, by_prompt)


def finish(directory: Path, resolved: str = "stages: [grpo]\n") -> None:
    """What a finished run leaves, as far as a comparison asks."""
    (directory / "model").mkdir(parents=True)
    (directory / "config.yaml").write_text(resolved)
    stages = yaml.safe_load(resolved)["stages"]
    (directory / "summary.json").write_text(json.dumps({"stages": {stage: {} for stage in stages}}))


@pytest.mark.parametrize("name", ["paper", "curriculum", "reward"])
def test_the_comparisons_that_come_with_chemr_fit_the_starter(name: str, tmp_path: Path) -> None:
    options = read_options(["experiment=starter", f"arms={name}", "seeds=0,3", f"run.root={tmp_path}"], None)
    (comparison,) = options.comparisons
    assert comparison.reference in comparison.arms
    assert {seed for _, _, seed in options.runs} == {0, 3}
    for run in options.runs.values():
        if run.base is not None:
            assert any(run.base == other.directory for other in options.runs.values()), "an arm goes on from a run of this comparison"


def test_arms_whose_configuration_is_equal_are_trained_once(tmp_path: Path) -> None:
    options = read_options(["experiment=starter", "arms=paper,curriculum,reward", "seeds=0", f"run.root={tmp_path}"], None)
    runs = options.runs
    assert runs["paper", "without_grpo", 0] is runs["curriculum", "supervised", 0] is runs["reward", "supervised", 0]
    assert runs["paper", "all", 0] is runs["curriculum", "variance", 0] is runs["reward", "answer_only", 0], "it is the starter itself"
    assert len({run.directory for run in runs.values()}) == 7, "four of the paper, two other curricula, one other reward"


def test_the_dry_run_prints_commands_that_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = read_options(["experiment=starter", "seeds=1", "name=mine", f"run.root={tmp_path}", "grpo.steps=7"], None)
    assert ablate(options, dry_run=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("chemr train experiment=starter") and "grpo.steps=7" in line for line in lines)
    assert f"run.start_from={tmp_path / 'mine' / 'foundation-seed1'}" in lines[1], lines[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("reference: a", "expected the fields 'reference' and 'arms'"),
        ("reference: x\narms: {a: {set: ['grpo.steps=1']}}", "reference 'x' is none of the arms a"),
        ("reference: a\narms: {a: {overrides: []}}", "arm 'a' should have 'set'"),
        ("reference: a\narms: {a: {set: [grpo]}}", "a list of overrides"),
        ("reference: a\narms: {a: {set: ['run.seed=1']}}", "which the comparison itself decides"),
        ("reference: a\narms: {a: {set: ['a=1'], from: b}, b: {set: ['a=1'], from: a}}", "in a circle: a from b, b from a"),
        ("reference: a\narms: {a/b: {set: ['a=1']}, a: {set: []}}", "use letters, digits"),
        ("a: [", "not YAML"),
    ],
)
def test_a_description_that_cannot_be_followed_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(ArmsError) as caught:
        load_comparison(str(path), [])
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_mistakes_are_found_before_anything_runs(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("reference: a\narms: {a: {set: ['grpo.stepz=1']}}")
    for arguments, message in (
        ([f"arms={own}"], "did you mean 'grpo.steps'"),
        (["arms=papers"], "known: curriculum, paper, reward"),
        (["seeds=0,0"], "none twice"),
        (["parallel=0"], "at least one run"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_options(["experiment=starter", *arguments], None)


def test_runs_wait_for_their_base_and_a_failure_stops_only_what_goes_on_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = load_comparison("paper", [conf_directory()])
    runs = list(plan_runs([comparison], (0, 1), tmp_path, lambda arm: arm.name).values())
    begun: list[str] = []
    at_once = 0

    async def train(run, experiment, config_dir):  # type: ignore[no-untyped-def]
        nonlocal at_once
        begun.append(run.name)
        at_once += 1
        assert at_once <= 2, "two at a time"
        await asyncio.sleep(0)
        at_once -= 1
        assert run.base is None or (run.base / "summary.json").is_file(), "the base has finished"
        if run.name == "foundation-seed1":
            (tmp_path / "foundation-seed1.log").write_text("first\nout of memory")
            return 1
        finish(run.directory)
        return 0

    monkeypatch.setattr("chemr.ablation.schedule._train", train)
    said: list[str] = []
    failed = asyncio.run(run_all(runs, [], None, 2, said.append))
    assert {run.name for run in failed} == {f"{arm}-seed1" for arm in comparison.arms}
    assert sorted(begun) == sorted([f"{arm}-seed0" for arm in comparison.arms] + ["foundation-seed1"])
    assert any("out of memory" in line for line in said), "the end of its log says why"
    begun.clear()
    asyncio.run(run_all([run for run in runs if run.seed == 0], [], None, 2, said.append))
    assert not begun, "what is finished is not run again"


def test_sigterm_ends_the_runs_in_order_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = load_comparison("curriculum", [conf_directory()])
    (run, *_) = plan_runs([comparison], (0,), tmp_path, lambda arm: arm.name).values()
    trainer = tmp_path / "trainer"
    trainer.write_text(
        f"#!/bin/sh\ntrap 'echo written > {tmp_path}/checkpoint; exit 0' TERM\necho up > {tmp_path}/up\nwhile :; do sleep 0.05; done\n"
    )
    trainer.chmod(0o755)
    monkeypatch.setattr("chemr.ablation.schedule.sys.executable", str(trainer))

    async def terminated() -> None:
        async def kill() -> None:
            while not (tmp_path / "up").exists():
                await asyncio.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)

        async with asyncio.timeout(180):
            killing = asyncio.create_task(kill())
            await run_all([run], [], None, 1, lambda line: None)
            await killing

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(terminated())
    assert (tmp_path / "checkpoint").is_file(), "the run was left behind, or killed before it could write a checkpoint"


def test_gains_are_paired_and_the_worst_third_is_the_references(tmp_path: Path) -> None:
    comparison = load_comparison("reward", [conf_directory()])
    low = {task: 0.1 * n for n, task in enumerate(TASKS, start=1)}
    arms = compare(
        comparison,
        {
            "answer_only": [result(seed, {task: score + 0.02 * seed for task, score in low.items()}) for seed in (0, 1, 2)],
            "grounded": [
                result(seed, {task: score + 0.02 * seed + (0.2 if task in "ab" else -0.05) for task, score in low.items()})
                for seed in (0, 1, 2)
            ],
        },
    )
    own, other = arms
    assert own.gain is None and other.gain is not None and other.gain_worst_third is not None and other.gain_worst_task is not None
    assert other.gain == pytest.approx(((2 * 0.2 - 4 * 0.05) / 6,) * 3), "every seed gains alike, so the paired interval has no width"
    assert other.gain_worst_third[0] == pytest.approx(0.2), "a and b are the worst third of the reference"
    assert other.worst_task[0] == pytest.approx(0.32) and own.worst_task[0] == pytest.approx(0.12)
    assert own.mean[2] - own.mean[0] == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-5), "Student's t with two degrees of freedom"
    text = report.markdown(arms, "answer_only", ["experiment=starter"])
    assert "+20.0" in text and "| a | 12.0 | 32.0 |" in text, text
    picture = ElementTree.fromstring(report.picture("reward", arms, "answer_only"))
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 6, "a dot per seed and arm"


def test_one_seed_has_the_interval_over_prompts_and_the_table_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert seed_interval([0.5]) == (0.5, 0.5, 0.5)
    assert seed_interval([0.5], [(0.5, 0.4, 0.6)]) == (0.5, 0.4, 0.6)
    options = read_options(["experiment=starter", "arms=reward", "seeds=0", f"run.root={tmp_path}"], None)
    from chemr.checkpoints import CheckpointStore
    from learner.sealed_files import seal_folder

    for (_, _, _), run in options.runs.items():
        store = CheckpointStore(run.directory / "checkpoints")
        partial = store.begin(3)
        (partial / "learner.json").write_text("{}")
        scores = {task: {"mean": 0.25 if run.arm.name == "grounded" else 0.5} for task in TASKS}
        by_prompt = {task: {f"{task}-{n}": score["mean"] for n in range(3)} for task, score in scores.items()}
        evaluation = {"mean_reward": scores["a"]["mean"], "greedy_mean_reward": None, "tasks": scores}
        store.commit(3, {"stage": "grpo", "results": {"grpo": {"evaluation": evaluation, "by_prompt": by_prompt}}}, seal_folder(partial))
        finish(run.directory, load(run.overrides(options.experiment))[1])
    assert ablate(options, dry_run=False) == 0, "all are finished, nothing is run"
    table = json.loads((options.root / "reward.json").read_text())
    assert table["arms"]["grounded"]["gain"][0] == pytest.approx(-0.25)
    assert "-25.0" in capsys.readouterr().out and (options.root / "reward.svg").is_file() and (options.root / "reward.md").is_file()


def test_a_run_is_finished_when_model_and_summary_of_all_its_stages_are_there(tmp_path: Path) -> None:
    finish(tmp_path / "run", "stages: [distill, grpo]\n")
    assert has_finished(tmp_path / "run") and has_finished(tmp_path / "run", ["grpo"])
    assert not has_finished(tmp_path / "run", ["foundation", "grpo"]), "a stage that was asked for since is still to do"
    for missing in ("model", "summary.json", "config.yaml"):
        directory = tmp_path / missing
        finish(directory)
        (directory / missing).rename(tmp_path / f"{missing}.away")
        assert not has_finished(directory), f"without its {missing} a run is not finished"
    finish(tmp_path / "half", "stages: [distill, grpo]\n")
    (tmp_path / "half" / "summary.json").write_text('{"stages": {"distill": {}}}')
    assert not has_finished(tmp_path / "half"), "a summary of earlier stages is none of the run"


def test_a_run_that_was_made_otherwise_is_not_taken_for_the_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["experiment=starter", "arms=reward", "seeds=0", f"run.root={tmp_path}"]
    options = read_options(arguments, None)
    run = next(iter(options.runs.values()))
    finish(run.directory, load([*run.overrides(options.experiment), "tracking.wandb=off", "run.resume=never"])[1])
    assert ablate(options, dry_run=True) == 0, "how it was tracked and started changes nothing"
    assert main(["ablate", *arguments, "grpo.steps=7", "grpo.curriculum.floors={forward: 0.2}"]) == 2, "nothing is started"
    said = capsys.readouterr().err
    for part in (str(run.directory), "grpo.steps was", "grpo.curriculum.floors was {} and is now {'forward': 0.2}", "name=NAME"):
        assert part in said, f"a person has to read {part!r}: {said}"


def test_fields_of_another_version_are_no_difference_and_entries_under_own_names_are() -> None:
    assert differing_fields({"a": {"x": 1, "old": 2}}, {"a": {"x": 1, "new": 3}}) == []
    assert differing_fields({"a": {"b": {"t": 1}}}, {"a": {"b": {}}}, mappings=["a.b"]) == [("a.b", {"t": 1}, {})]
    assert differing_fields({"a": {"x": 1}, "b": {"y": 1}}, {"a": {"x": 2}, "b": {"y": 2}}, beside=["b"]) == [("a.x", 1, 2)]
