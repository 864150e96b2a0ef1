"""Which values a run gets by default: rates that its model bears, formats that its devices have, what a user's experiment changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from chemr.cli import main
from chemr.config import ChemrConfig, ConfigError, conf_directory, load
from chemr.k8s.request import read_request

OVERLAYS = sorted(path.stem for path in (conf_directory() / "k8s").glob("*.yaml"))
LARGEST = {"foundation": 1e-4, "distill": 1e-4, "grpo": 1e-5}  # of a pretrained model; chemr warns from 1e-4 on


def rates(config: ChemrConfig) -> dict[str, float]:
    return {name: getattr(config, name).optim.lr for name in LARGEST}


def model_folder(folder: Path, hidden_size: int = 4096) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": hidden_size}))
    return folder


def own(folder: Path, text: str) -> Path:
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\n" + text)
    return folder


def test_an_experiment_of_a_users_extends_the_starter(tmp_path: Path) -> None:
    folder = own(tmp_path, "defaults: [starter, _self_]\nrun: {name: mine}\ngrpo: {steps: 100, curriculum: {weighting: difficulty}}\n")
    config, _ = load(["experiment=mine"], folder)
    starter, _ = load(["experiment=starter"])
    assert rates(config) == rates(starter), "what it does not name stays the starter's"
    assert (config.run.name, config.grpo.steps, config.data.tasks) == ("mine", 100, starter.data.tasks)


def test_an_experiment_that_extends_nothing_has_rates_that_destroy_nothing(tmp_path: Path) -> None:
    folder = own(tmp_path, "run: {name: mine}\ngrpo: {steps: 100}\n")
    assert rates(load(["experiment=mine"], folder)[0])["grpo"] <= 1.5e-4, "4e-4 already undoes what a model from scratch has learnt"
    pretrained, _ = load(["experiment=mine", f"policy.path={model_folder(tmp_path / 'model')}"], folder)
    assert all(rate <= LARGEST[name] for name, rate in rates(pretrained).items())


@pytest.mark.parametrize("experiment", [[], ["experiment=starter"], ["experiment=smoke"], ["experiment=pretrained"]], ids=str)
def test_a_pretrained_model_never_meets_the_starters_rates(experiment: list[str], tmp_path: Path) -> None:
    config, _ = load([*experiment, f"policy.path={model_folder(tmp_path / 'model')}"])
    assert all(rate <= LARGEST[name] for name, rate in rates(config).items())
    adapters, _ = load([*experiment, f"policy.path={tmp_path / 'model'}", "learner.lora_rank=16"])
    assert rates(adapters) == {name: pytest.approx(10 * rate) for name, rate in rates(config).items()}, "adapters take more"
    named, _ = load([*experiment, f"policy.path={tmp_path / 'model'}", "grpo.optim.lr=3e-6"])
    assert rates(named)["grpo"] == 3e-6, "who names a rate gets it"


def test_a_model_that_the_starter_made_goes_on_at_its_rates(tmp_path: Path) -> None:
    """Rounds hand a run's model on through policy.path."""
    folder = model_folder(tmp_path / "model", hidden_size=128)
    assert rates(load([f"policy.path={folder}"])[0]) == rates(load([])[0])


def test_a_model_that_is_named_brings_its_own_experiment(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    assert load([f"policy.path={folder}"])[0].run.name == "pretrained"
    assert load(["policy.path=null"])[0].run.name == "starter"
    assert load([f"policy.path={folder}", "experiment=starter"])[0].run.name == "starter", "unless one is named"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_overlay_brings_a_large_model_what_was_meant_for_the_starter(overlay: str) -> None:
    request = read_request([f"overlay={overlay}"])
    config = request.config
    if config.policy.path is None:
        assert overlay == "cpu-smoke"
        return
    text = (conf_directory() / "k8s" / f"{overlay}.yaml").read_text()
    assert not {"experiment=starter", "experiment=smoke"} & set(yaml.safe_load(text)["run"])
    assert all(rate <= LARGEST[name] for name, rate in rates(config).items())
    assert config.eval.max_new_tokens == config.grpo.max_new_tokens >= 1024, "what is trained is what is evaluated"
    assert (config.generator.dtype, config.generator.enforce_eager, config.generator.kv_cache_mb) == ("bfloat16", False, None)
    assert (config.learner.dtype, config.learner.gradient_checkpointing) == ("bf16", True)


@pytest.mark.parametrize("overlay", ["single-gpu", "node-8gpu", "cluster-64gpu"])
@pytest.mark.parametrize("more", [[], ["policy.path=/runs/models/llama"]], ids=str)
def test_overlays_of_gpus_render_manifests_that_pass_the_check(overlay: str, more: list[str], tmp_path: Path) -> None:
    more = [*more, "data.dir=/runs/data"]
    assert main(["k8s", "render", f"overlay={overlay}", *more, "--out", str(tmp_path)]) == 0
    assert main(["k8s", "check", str(tmp_path)]) == 0


def test_chem_r_8b_has_the_published_settings() -> None:
    config, _ = load(["experiment=chem_r_8b"], files_here=False)
    grpo = config.grpo
    assert (grpo.optim.lr, grpo.optim.weight_decay, grpo.optim.warmup_steps) == (1e-6, 1e-2, 0)
    assert (grpo.algo.kl, grpo.algo.kl_coef, grpo.algo.temperature, grpo.samples_per_group) == ("k3", 1e-2, 1.0, 5)
    assert (grpo.groups_per_step, grpo.groups_per_step // grpo.algo.updates_per_step, grpo.steps) == (256, 128, 936)
    assert grpo.max_new_tokens == config.eval.max_new_tokens == 2048
    assert config.data.kind == "published"
    assert [str(stage) for stage in config.stages] == ["foundation", "distill", "grpo"]


def test_without_the_model_chem_r_8b_says_what_to_download(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--dry-run", "experiment=chem_r_8b"]) == 2
    said = capsys.readouterr().err.strip()
    assert "hf download meta-llama/Llama-3.1-8B-Instruct --local-dir models/Llama-3.1-8B-Instruct" in said and "\n" not in said


def test_the_experiment_for_pretrained_models_asks_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"policy\.path=models/policy is not a Hugging Face model folder"):
        load(["experiment=pretrained"])
