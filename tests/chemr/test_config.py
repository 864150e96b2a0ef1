"""The configuration: what is typed wrong stops before anything starts, with words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from chemr.config import ChemrConfig, ConfigError, Precision, Stage, field_names, load

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml")))
def test_every_shipped_experiment_composes_and_is_valid(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "smollm2").mkdir(parents=True)
    (tmp_path / "models" / "smollm2" / "config.json").write_text("{}")  # as docs/smollm2.md has one get it
    policy = {"pretrained": ["policy.path=models/smollm2"], "chem_r_8b": ["policy.path=models/smollm2"]}.get(experiment, [])
    config, resolved = load([f"experiment={experiment}", *policy])
    assert isinstance(config, ChemrConfig)
    assert config.run.name == experiment, "an experiment's runs are named after it unless told otherwise"
    assert "???" not in resolved, "nothing may be left to fill in"


def test_overrides_reach_their_field_with_its_type() -> None:
    config, _ = load(["experiment=smoke", "grpo.optim.lr=3e-4", "run.seed=7", "stages=[foundation,grpo]", "grpo.algo.loss=gspo"])
    assert (config.grpo.optim.lr, config.run.seed, config.stages) == (3e-4, 7, [Stage.foundation, Stage.grpo])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("grpo.groupsize=8", ["grpo.groupsize", "grpo.groups_per_step"]),
        ("run.sede=1", ["run.sede", "run.seed"]),
        ("grpo.steps=many", ["many"]),
        ("grpo.samples_per_group=1", ["grpo.samples_per_group=1", "at least 2"]),
        ("grpo.groups_per_step=0", ["grpo.groups_per_step=0", "positive"]),
        ("grpo.off_policy_steps=-1", ["grpo.off_policy_steps=-1"]),
        ("grpo.window_fraction=2", ["grpo.window_fraction"]),
        ("grpo.curriculum.floor=0", ["grpo.curriculum.floor=0"]),
        ("grpo.max_new_tokens=4096", ["grpo.max_new_tokens=4096", "generator.max_model_len"]),
        ("data.tasks=[smiles2formulae]", ["smiles2formulae", "smiles2formula"]),
        ("stages=[grpo,grpo]", ["stages"]),
        ("stages=[]", ["stages"]),
        ("run.name=a/b", ["run.name", "a/b"]),
        ("policy.path=/nowhere", ["policy.path", "config.json"]),
        ("learner.zero_stage=7", ["learner.zero_stage", "7"]),
        ("generator.dtype=float8", ["generator.dtype", "float8"]),
        ("experiment=nosuch", ["nosuch"]),
        ("pool.learners=0", ["pool.learners=0"]),
        ("foundation.optim.lr=-1", ["optim.lr", "-1"]),
        ("control.address=nowhere", ["control.address='nowhere'", "HOST:PORT"]),
        ("control.address=0.0.0.0:50061", ["control.address=0.0.0.0:50061", "control.tls_certificate", "control.plaintext=true"]),
        ("control.tls_key=/nowhere", ["control.tls_certificate", "belong together"]),
        ("control.drain_s=-1", ["control.drain_s=-1"]),
    ],
)
def test_a_wrong_setting_is_refused_in_words_that_name_field_value_and_remedy(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["experiment=smoke", override] if not override.startswith("experiment") else [override])
    for word in words:
        assert word in str(caught.value), f"the message for {override!r} should contain {word!r}; it is:\n{caught.value}"


def test_a_users_own_experiment_is_found_beside_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nrun: {name: mine}\ngrpo: {steps: 3}\n")
    config, _ = load(["experiment=mine"], config_dir=tmp_path)
    assert (config.run.name, config.grpo.steps) == ("mine", 3)


def test_the_resolved_configuration_composes_to_itself(tmp_path: Path) -> None:
    config, resolved = load(["experiment=smoke", "run.seed=3"])
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "again.yaml").write_text("# @package _global_\n" + resolved)
    again, _ = load(["experiment=again"], config_dir=tmp_path)
    assert again == config, "what a run directory keeps as config.yaml must reproduce the run"


def test_every_field_is_documented_by_name() -> None:
    names = field_names()
    assert "grpo.optim.lr" in names and "pool.timing.hang_s" in names and len(names) > 60


MATCHED = ["experiment=starter", "precision=match", "generator.keep_cache=false", "grpo.mismatch_warn=1e-4", "grpo.mismatch_stop=1e-3"]


def test_matched_precision_accepts_equal_formats_only() -> None:
    assert load(MATCHED)[0].precision is Precision.match
    for change, remedy in (
        ("generator.dtype=bfloat16", "set generator.dtype=float32"),
        ("generator.keep_cache=true", "keys of older weights"),
        ("grpo.mismatch_stop=0.1", "grpo.mismatch_stop=0.001 or less"),
    ):
        with pytest.raises(ConfigError, match=remedy):
            load([*MATCHED, change])


def test_ranks_that_work_together_divide_the_learners_and_direct_weights_need_one_kind_of_device() -> None:
    cut = ["experiment=starter", "pool.learners=4", "learner.zero_stage=1", "learner.gradient_dtype=fp32", "learner.tensor_parallel=2"]
    assert load(cut)[0].learner.tensor_parallel == 2
    for changes, remedy in (
        (["learner.tensor_parallel=3"], "learner.tensor_parallel=3 does not divide pool.learners=4"),
        (["learner.tensor_parallel=1", "learner.sequence_parallel=3"], "learner.sequence_parallel=3 does not divide pool.learners=4"),
        (["pool.weights.transport=direct", "learner.device=cuda"], "take store or collective"),
        (["pool.learner_nice=20"], "from 0 .* to 19"),
    ):
        with pytest.raises(ConfigError, match=remedy):
            load([*cut, *changes])
