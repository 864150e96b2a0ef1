"""The card of an exported model: its figures are the run's, its metadata are what the Hub reads, and it says what was not done."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from chemr.checkpoints import Checkpoint
from chemr.config import ChemrConfig, load
from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.export import export_model
from chemr.export_checkpoint import _which
from chemr.manifest import run_manifest, source_commit
from chemr.model_card import CardFacts, metadata, model_card, read_card_facts
from chemr.summary import summarise

STAGES = ("foundation", "grpo")
SCORERS = {"scorer_version": "2", "opsin": "2.9.0", "grounding": 0.0}


def score(mean: float, prompts: int) -> dict[str, Any]:
    return {"prompts": prompts, "mean": mean, "interval95": [mean - 0.05, mean + 0.05], "greedy": mean + 0.01}


def result(forward: float, retro: float) -> dict[str, Any]:
    mean = (forward + retro) / 2
    evaluation = {"mean_reward": mean, "interval95": [mean - 0.03, mean + 0.03], "greedy_mean_reward": mean + 0.02}
    tasks = {"forward": score(forward, 12), "retro": score(retro, 8)}
    prompts = {"forward": {"a": forward, "b": forward / 2}, "retro": {"c": retro}}
    return {"trained_samples": 1234, "trained_tokens": 56789, "evaluation": evaluation | {"tasks": tasks}, "by_prompt": prompts}


RESULTS = {"foundation": result(0.123456, 0.3), "grpo": result(0.456789, 0.25)}


def example(number: int, source: str, licence: str) -> Example:
    return Example(f"x/{number}", "forward", {"reactants": "CC.O"}, {"answer": "CCO"}, 0.0, source, licence)


DATA = TaskData(
    train=[example(1, "chemicals; computed", "MIT"), example(2, "chemicals; named", "MIT"), example(3, "USPTO-50K", "CC0-1.0")],
    validation=[example(4, "chemicals; named", "MIT")],
    test=[example(5, "ChemLLMBench", "LicenseRef-ChemLLMBench")],
)


@pytest.fixture(scope="module")
def loaded() -> tuple[ChemrConfig, str]:
    return load(["run.name=mine", "run.seed=7", "stages=[foundation,grpo]", "data.tasks=[forward,retro]"])


@pytest.fixture
def run(tmp_path: Path, loaded: tuple[ChemrConfig, str]) -> SimpleNamespace:
    """A finished run as far as cards and summaries look at it, with its folder."""
    config, resolved = loaded
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text(resolved, encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(run_manifest(SCORERS, DATA)), encoding="utf-8")
    state = SimpleNamespace(results=RESULTS, seconds=100.0)
    return SimpleNamespace(config=config, state=state, folder=folder, account_time=lambda: None)


@pytest.fixture
def facts(run: SimpleNamespace) -> CardFacts:
    return read_card_facts(run.folder, run.config, RESULTS, "after the last stage, grpo")


def front(card: str) -> dict[str, Any]:
    before, block, _ = card.split("---\n", 2)
    assert before == "", "the metadata come first, or the Hub does not see them"
    content: dict[str, Any] = yaml.safe_load(block)
    return content


def test_metadata_are_yaml_and_their_figures_are_those_of_the_summary(run: SimpleNamespace, facts: CardFacts) -> None:
    block = front(model_card(facts))
    assert block["library_name"] == "transformers" and block["license"] == "other" and "chemistry" in block["tags"]
    (index,) = block["model-index"]
    written = {one["dataset"]["config"]: one["metrics"][0]["value"] for one in index["results"]}
    summary = summarise(run)  # as train() writes it into summary.json
    table = json.loads(json.dumps(summary["table"]))
    assert written == {task if task != "mean" else "mean over tasks": row["grpo"] for task, row in table.items()}


def test_the_hub_reads_the_results(facts: CardFacts) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="comes with transformers")
    card = hub.ModelCard(model_card(facts))
    results = card.data.eval_results
    assert len(results) == 3 and {result.metric_type for result in results} == {"mean_reward"}
    assert card.data.model_name == "mine"


def test_the_text_says_scores_data_licences_settings_seed_and_commit(facts: CardFacts) -> None:
    text = model_card(replace(facts, manifest=facts.manifest | {"commit": "0123abc, modified"}))
    for line in (
        "| forward | 0.123 [0.073, 0.173], 0.133 | 0.457 [0.407, 0.507], 0.467 | 12 |",
        "| **mean** | 0.212 [0.182, 0.242], 0.232 | 0.353 [0.323, 0.383], 0.373 | 20 |",
        "| chemicals | MIT | 2 | 1 | 0 |",
        "| USPTO-50K | CC0-1.0 | 1 | 0 | 0 |",
        "| ChemLLMBench | LicenseRef-ChemLLMBench | 0 | 0 | 1 |",
        "commit 0123abc, modified |",
        "| seed | 7 |",
        "| seeds | run 7, evaluation 20000, data 0 |",
    ):
        assert line in text, f"{line!r} is not in\n{text}"
    assert "trained on 1,234 samples, 56,789 tokens" in text and "groups_per_step 16" in text
    assert "hardened scorers, version 2" in text and "OPSIN: 2.9.0" in text
    for heading in ("## Limits", "## Chemical safety", "## Data and their licences"):
        assert f"\n\n{heading}\n\n" in text
    assert "| task | after foundation | after grpo | questions |\n|---|---|---|---|\n| forward" in text, "a table without a gap"
    assert "distil" not in text, "a stage that was left out is not mentioned"


def test_gains_are_those_of_the_summary(run: SimpleNamespace, facts: CardFacts) -> None:
    gain = summarise(run)["gain"]["grpo"]
    assert f"Stage grpo: {100 * gain:+.1f} [" in model_card(facts)


def test_weights_of_the_middle_of_a_stage_do_not_pass_for_evaluated_ones(run: SimpleNamespace) -> None:
    state = {"stage": "grpo", "stage_step": 40, "results": {"foundation": RESULTS["foundation"]}}
    weights = _which(Checkpoint(590, Path("step-590"), state))
    text = model_card(read_card_facts(run.folder, run.config, state["results"], weights))
    assert "were not evaluated" in text and "after 40 of its steps" in text
    assert "after grpo" not in text.split("## Data")[0].split("## Scores")[1], "a stage without an evaluation has no column"
    assert "; not finished" in text
    assert "after stage grpo" in _which(Checkpoint(650, Path("step-650"), state | {"results": RESULTS}))


def test_a_run_that_was_never_evaluated_and_recorded_nothing_has_a_card_that_says_so(tmp_path: Path) -> None:
    text = model_card(read_card_facts(tmp_path, ChemrConfig(), {}, "in the middle of stage foundation"))
    assert "model-index" not in front(text)
    assert "No stage was evaluated" in text and "did not record sources" in text and "commit not recorded" in text


def test_settings_of_an_earlier_version_are_completed(run: SimpleNamespace) -> None:
    stored = yaml.safe_load((run.folder / "config.yaml").read_text())
    del stored["grpo"]["shaping"], stored["learner"]["lora_rank"]
    (run.folder / "config.yaml").write_text(yaml.safe_dump(stored))
    text = model_card(read_card_facts(run.folder, run.config, RESULTS, "after stage grpo"))
    assert "all weights" in text and "all tasks: partial 1" in text


def test_a_base_model_and_a_file_of_traces_are_named_without_their_place(facts: CardFacts, tmp_path: Path) -> None:
    base = tmp_path / "secret-place" / "smol"
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Smol\n")
    settings = facts.settings | {
        "policy": facts.settings["policy"] | {"path": str(base)},
        "distill": facts.settings["distill"] | {"traces": "/secret-place/traces.jsonl"},
        "stages": ["foundation", "distill", "grpo"],
    }
    text = model_card(replace(facts, settings=settings))
    assert "the model in the folder `smol`; licence by its card: apache-2.0" in text
    assert "`traces.jsonl`" in text and "secret-place" not in text
    assert "and of the model that they were started from" in text and "is not known here" in text


def test_metadata_survive_names_that_yaml_would_read_as_something_else(facts: CardFacts) -> None:
    settings = facts.settings | {"run": facts.settings["run"] | {"name": "1e3"}}
    assert front(model_card(replace(facts, settings=settings)))["model-index"][0]["name"] == "1e3"
    assert metadata(facts)["model-index"][0]["name"] == "mine"


def test_the_folder_has_card_and_generation_config_and_replaces_an_older_one(facts: CardFacts, tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "old").mkdir(parents=True)

    async def export_hf(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")

    learners, tokenizer = SimpleNamespace(export_hf=export_hf), SimpleNamespace(bos_id=1, end_ids=(2,), pad_id=0)
    asyncio.run(export_model(learners, tokenizer, target, model_card(facts), 96))  # type: ignore[arg-type]
    assert sorted(path.name for path in target.iterdir()) == ["README.md", "config.json", "generation_config.json"]
    assert (target / "README.md").read_text(encoding="utf-8") == model_card(facts)
    generation = json.loads((target / "generation_config.json").read_text())
    assert (generation["max_new_tokens"], generation["eos_token_id"]) == (96, 2)


async def test_a_model_that_is_kept_after_a_stage_has_that_stage_s_scores_in_its_card(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chemr import train

    async def nothing(*_: object) -> None: ...

    async def export_hf(folder: Path) -> None:
        folder.mkdir()

    evaluation = SimpleNamespace(
        tasks={}, mean=0.5, metrics=lambda suite: {}, to_json=lambda: RESULTS["grpo"]["evaluation"], by_prompt=RESULTS["grpo"]["by_prompt"]
    )

    async def test() -> SimpleNamespace:
        return evaluation

    monkeypatch.setitem(train.DRIVERS, train.Stage.grpo, nothing)
    state = SimpleNamespace(results={"foundation": RESULTS["foundation"]}, stage_totals={}, stage_state={})
    running = SimpleNamespace(
        config=replace(run.config, run=replace(run.config.run, keep_stage_models=True)),
        directory=SimpleNamespace(path=run.folder, model=run.folder / "model"),
        learners=SimpleNamespace(export_hf=export_hf),
        tokenizer=SimpleNamespace(bos_id=1, end_ids=(2,), pad_id=0),
        state=state,
        display=SimpleNamespace(evaluation=lambda *_: None),
        control=SimpleNamespace(between_steps=nothing),
        **{"publish": nothing, "test": test, "log": lambda record: None, "checkpoint": nothing},
    )
    await train.run_stage(running, train.Stage.grpo)  # type: ignore[arg-type]
    kept = front((run.folder / "stages" / "grpo" / "README.md").read_text(encoding="utf-8"))
    values = {one["dataset"]["config"]: one["metrics"][0]["value"] for one in kept["model-index"][0]["results"]}
    assert values == {"forward": 0.456789, "retro": 0.25, "mean over tasks": (0.456789 + 0.25) / 2}
    assert "grpo" in state.results, "and the stage counts as finished"


def test_the_commit_is_that_of_the_checkout(tmp_path: Path) -> None:
    assert source_commit(tmp_path) is None, "a folder that is no checkout has no commit"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@x"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert source_commit(tmp_path) == head
    (tmp_path / "file").write_text("2")
    assert source_commit(tmp_path) == f"{head}, modified"
