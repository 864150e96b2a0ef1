"""What is typed as ``field=value``, or stands in a file of the user's, means what it says or is refused with the form to type."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from chemr.cli import main
from chemr.config import ChemrConfig, ConfigError, load
from chemr.config_overrides import Fields, OverrideError, hydra_arguments, override_values
from chemr.config_secrets import SecretError, require_no_secrets
from chemr.k8s.cluster_config import ClusterConfig

RUN = Fields(ChemrConfig)


def said(*overrides: str) -> str:
    with pytest.raises(OverrideError) as caught:
        hydra_arguments(overrides, RUN)
    return str(caught.value)


@pytest.mark.parametrize("marks", ["", "+", "++"])
@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("grpo.stepps=7", "grpo.steps"),
        ("rewards.plugins=[x]", "rewards.opsin"),
        ("grpo.optim.llr=1", "grpo.optim.lr"),
        ("runs.name=x", "run.name"),
        ("grpo={stepps: 7}", "grpo.steps"),
        ("grpo={optim: {lr: 1e-3, betaz: [0.9, 0.9]}}", "grpo.optim.betas"),
        ("nothing_like_it_at_all=1", "--cfg job"),
    ],
)
def test_a_key_that_is_no_field_is_an_error_whatever_stands_before_it(marks: str, override: str, nearest: str) -> None:
    message = said(marks + override)
    assert "unknown field" in message and nearest in message, message


@pytest.mark.parametrize(
    "override",
    ["~grpo.steps", "~grpo", "~experiment", "hydra.run.dir=x", "+hydra.job.name=x", "hydra/launcher=basic", "experiment@a=b", "=3"],
)
def test_what_would_do_nothing_in_chemr_is_refused(override: str) -> None:
    assert override.lstrip("+~").split("=")[0] in said(override)


@pytest.mark.parametrize("text", ["1e5", "007", "on", "off", "true", "1_000", "1.50", "inf", "nan", "0x10", "-3", "7"])
def test_a_name_stays_the_text_that_was_typed(text: str) -> None:
    (argument,) = hydra_arguments([f"run.name={text}"], RUN)
    (parsed,) = OverridesParser.create().parse_overrides([argument])
    assert str(parsed.value()) == text


@pytest.mark.parametrize("text", ["1e5", "007", "on", "true", "1_000"])
def test_the_run_of_such_a_name_has_that_directory(text: str) -> None:
    assert load(["experiment=smoke", f"run.name={text}"])[0].run.path == Path("runs") / text


def test_a_text_cannot_be_null_unless_it_may_be_unset() -> None:
    assert "run.name='null'" in said("run.name=null")
    assert load(["experiment=smoke", "data.dir=null"])[0].data.dir is None


def test_a_list_of_texts_takes_no_numbers() -> None:
    assert "single quotes" in said("data.tasks=[1e5]")
    assert "single quotes" in said("data={tasks: [smiles2formula, 7]}")
    assert "single quotes" in said("run={name: 1e5}")


@pytest.mark.parametrize(
    "text", ["a=b", "a~b", "a#b", "/tmp/é", "x(1)", "it's", "a&b", "a!b", "<x>", "a;b", "{", "$(x)", 'say "x"', "a=b=c\\"]
)
def test_the_message_for_what_hydra_cannot_read_holds_the_form_that_it_can(text: str) -> None:
    message = said(f"policy.path={text}")
    assert f"policy.path={text}" in message, "which override it is"
    character = next(char for char in text if char in "=~#é('&!<;{\"")
    assert repr(character) in message, "which character it is"
    typed = message.partition("type it as ")[2]
    from shlex import split

    (argument,) = split(typed)  # as a shell hands it on
    (parsed,) = OverridesParser.create().parse_overrides([argument])
    assert parsed.value() == text


def test_a_list_keeps_its_brackets_in_the_form_to_type() -> None:
    assert "data.tasks=['a=b',smiles2formula]" in said("data.tasks=[a=b, smiles2formula]")


def test_several_values_are_no_sweep() -> None:
    message = said("data.tasks=forward,retro")
    assert "[forward,retro]" in message and "'forward,retro'" in message


def test_settings_that_hydra_does_not_compose_are_read_alike() -> None:
    known = Fields(ClusterConfig, "cluster.")
    assert override_values(["cluster.name=1e5"], known) == {"name": "1e5"}
    assert override_values(["grpo.curriculum.floors.forward=0.1", "grpo.curriculum.floors.retro=0.2"], RUN) == {
        "grpo": {"curriculum": {"floors": {"forward": 0.1, "retro": 0.2}}}
    }
    with pytest.raises(OverrideError, match=r"cluster\.nmae.*cluster\.name"):
        override_values(["cluster.nmae=x"], known)


COMMANDS = [
    ["train"],
    ["train", "--dry-run"],
    ["rounds", "specialists", "--dry-run"],
    ["ablate", "--dry-run"],
    ["eval", "--model", "."],
    ["export", "--to", "nowhere"],
    ["data", "stats"],
    ["doctor"],
    ["protocols", "mine", "nowhere"],
    ["plan", "--model", "llama-3.1-8b", "--gpu", "h100", "--gpus", "8", "--prompt-tokens", "9", "--mean-tokens", "9"],
    ["k8s", "render"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("override", ["++grpo.stepps=7", "grpo.steps=a=b"])
def test_every_command_that_takes_overrides_refuses_them_in_one_line(
    command: list[str], override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, override]) == 2
    said = capsys.readouterr().err
    assert said.startswith("chemr ") and len(said.strip().splitlines()) == 1, said
    assert "grpo.steps" in said if "stepps" in override else "grpo.steps='a=b'" in said, said


# files


def written(folder: Path, text: str, name: str = "mine") -> Path:
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


HEAD = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "run: {name: [\n", ["mine.yaml:", "not YAML"]),
        (HEAD + "run:\n\tname: x\n", ["mine.yaml:3:1: not YAML"]),
        (HEAD + "run: {name: x}\nrun: {name: y}\n", ["mine.yaml:3:1", "duplicate key"]),
        (HEAD + "grpo:\n  stepps: 3\n", ["mine.yaml:3", "grpo.stepps", "grpo.steps"]),
        (HEAD + "grpo: {optim: {llr: 3}}\n", ["mine.yaml:2", "grpo.optim.lr"]),
        (HEAD + "hydra: {job: {name: x}}\n", ["mine.yaml:2", "hydra"]),
        (HEAD + "grpo: 7\n", ["mine.yaml:2", "section"]),
        (HEAD + "run:\n  name: 1e5\n", ["mine.yaml:3", "run.name", "'1e5'"]),
        (HEAD + "run: {name: on}\n", ["run.name", "'on'"]),
        (HEAD + "run: {name: 007}\n", ["run.name", "'007'"]),
        (HEAD + "run: {name: 1_000}\n", ["run.name", "'1_000'"]),
        (HEAD + "run: {name: 12:30}\n", ["run.name", "'12:30'"]),
        (HEAD + "data:\n  tasks:\n  - forward\n  - 1e5\n", ["mine.yaml:5", "data.tasks", "'1e5'"]),
        (HEAD + "just a text\n", ["mine.yaml", "just a text"]),
        ("run: {name: x}\n", ["mine.yaml", "# @package _global_"]),
    ],
)
def test_what_is_wrong_in_an_experiment_of_ones_own_is_said_with_file_and_line(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--cfg", "job", "--config-dir", str(written(tmp_path, text)), "experiment=mine"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and all(word in said for word in words), said


def test_files_that_an_experiment_builds_on_are_read_as_closely(tmp_path: Path) -> None:
    written(tmp_path, HEAD + "grpo: {stepps: 3}\n", "base")
    for entry in ("base", "/experiment/base", "{/experiment: base}"):
        with pytest.raises(ConfigError, match=r"base\.yaml:2: unknown field 'grpo\.stepps'"):
            load(["experiment=mine"], written(tmp_path, f"{HEAD}defaults: [{entry}]\nrun: {{name: x}}\n"))


def test_an_experiment_of_ones_own_may_extend_a_shipped_one(tmp_path: Path) -> None:
    config, _ = load(["experiment=mine"], written(tmp_path, HEAD + "defaults: [smoke, _self_]\nrun: {name: '1e5'}\ngrpo: {steps: 3}\n"))
    assert (config.run.name, config.grpo.steps, config.grpo.groups_per_step) == ("1e5", 3, 4)


def test_an_experiment_that_is_no_text_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (written(tmp_path, "") / "experiment" / "mine.yaml").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(["experiment=mine"], tmp_path)
    with pytest.raises(ConfigError, match=r"experiment=mien.*did you mean 'mine'"):
        load(["experiment=mien"], tmp_path)


# secrets


@pytest.mark.parametrize("value", ["${oc.env:MY_API_KEY}", "${oc.env:MY_API_KEY,x}", "a-${oc.env:${oc.env:CHEMR_CONF_WHICH}}"])
def test_a_variable_that_is_not_on_the_list_is_not_read(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret")
    monkeypatch.setenv("CHEMR_CONF_WHICH", "MY_API_KEY")
    with pytest.raises(ConfigError, match=r"oc\.env:MY_API_KEY.*CHEMR_CONF_") as caught:
        load(["experiment=smoke", f"data.dir='{value}'"])
    assert "very-secret" not in str(caught.value)


def test_places_and_numbers_of_jobs_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("CHEMR_CONF_SITE", "north")
    config, _ = load(["experiment=smoke", "run.name=job-${oc.env:SLURM_JOB_ID}", "data.dir=${oc.env:CHEMR_CONF_SITE}"])
    assert (config.run.name, config.data.dir) == ("job-4711", "north")


def test_the_resolver_of_other_programs_is_theirs_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    load(["experiment=smoke"])
    monkeypatch.setenv("ANYTHING", "x")
    assert OmegaConf.create({"a": "${oc.env:ANYTHING}"}).a == "x"


def test_a_secret_that_a_shell_has_put_in_is_refused_without_being_told() -> None:
    secret = SimpleNamespace(content={"run": {"name": "x"}, "data": {"dir": "s3://a?key=abcdefgh12345"}})
    with pytest.raises(SecretError, match=r"data\.dir.*\$HF_TOKEN") as caught:
        require_no_secrets(secret.content, {"HF_TOKEN": "abcdefgh12345"})
    assert "abcdefgh" not in str(caught.value)
    require_no_secrets(secret.content, {"SSH_KEY": "/srv/me/key", "OTHER": "abcdefgh12345"})
    with pytest.raises(SecretError, match=r"pool\.address"):
        require_no_secrets({"pool": {"address": "http://me:word@host:1"}}, {})
