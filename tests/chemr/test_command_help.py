"""Everything that can be typed says what it does, explains every argument and shows examples that can be typed as they stand."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chemr import report_figure
from chemr.cli import command_parser, main, parse
from chemr.config import field_names
from tests.chaos import __main__ as chaos
from tests.chemr.mining import filter_figures

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"chemr.report_figure": report_figure, "tests.chaos": chaos, "tests.chemr.mining.filter_figures": filter_figures}
OWN_NAMES = ("experiment", "model", "suite", "task", "arms", "seeds", "name", "parallel", "overlay", "components")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


ALL = [*parsers(command_parser()), *(module.command_parser() for module in MODULES.values())]


def examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    """The words of every example line, without its comment."""
    lines = (parser.epilog or "").splitlines()
    return [shlex.split(line, comments=True) for line in lines[1:] if line.startswith("  ") and not line.startswith("  eval ")]


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.prog)
def test_help_describes_the_command_and_every_argument(parser: argparse.ArgumentParser) -> None:
    assert parser.description and parser.description.rstrip().endswith((".", ")")), f"{parser.prog} has no description"
    silent = [action.dest for action in parser._actions if not action.help]
    assert not silent, f"{parser.prog}: no help text for {', '.join(silent)}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            without = set(action.choices) - {choice.dest for choice in action._choices_actions if choice.help}
            assert not without, f"{parser.prog}: the list of commands does not say what {', '.join(without)} is"
    assert "\nexample" in parser.format_help(), f"{parser.prog} --help shows no examples"


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.prog)
def test_every_example_can_be_typed(parser: argparse.ArgumentParser) -> None:
    shown = examples(parser)
    assert shown, f"{parser.prog} shows no example"
    for words in shown:
        if words[0] != "chemr":
            assert words[:2] == ["python", "-m"] and words[2] in MODULES, f"{words} is no program of ours"
            MODULES[words[2]].command_parser().parse_args(words[3:])
            continue
        if words[1:] == ["COMMAND", "--help"] or words[2:3] == [">"]:
            continue
        arguments = words[1 : words.index(">")] if ">" in words else words[1:]
        options = parse(command_parser(), arguments)
        assert callable(options.execute), f"{shlex.join(words)} would do nothing"
        known = {*field_names(), *OWN_NAMES}
        if options.command != "score":
            for override in getattr(options, "overrides", ()):
                name = override.partition("=")[0]
                assert name in known or name.startswith("cluster."), f"{shlex.join(words)}: {name} is no field of the configuration"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--cfg", "job", "run.name=arm", "stages=[foundation,grpo]"],
        ["train", "--cfg", "job", "--dry-run", "grpo.groups_per_step=32"],
        ["export", "--cfg", "job", "run.name=mine", "--to", "my-model"],
        ["eval", "--cfg", "job", "model=PATH", "suite=chemllmbench", "data.dir=DATA"],
    ],
)
def test_examples_of_a_configuration_load(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0, capsys.readouterr().err


def test_examples_that_need_nothing_of_this_machine_do_what_they_say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for parser in ALL:
        shown = examples(parser)
        if parser.prog in ("chemr plan", "chemr k8s render"):
            assert main(shown[0][1:]) == 0, f"{shlex.join(shown[0])}: {capsys.readouterr().err}"
    assert (tmp_path / "manifests" / "run" / "kustomization.yaml").is_file()


def test_help_of_make_lists_every_target_and_its_examples_are_targets() -> None:
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    targets = set(phony[1].split()) - {"help"}
    described = {line.split()[1] for line in said.splitlines() if line.startswith("make ")}
    assert targets == described, f"make help and .PHONY differ in {sorted(targets ^ described)}"
    shown = [shlex.split(line) for line in said.splitlines() if line.startswith("  make ")]
    assert shown, "make help shows no example"
    for words in shown:
        asked = {word for word in words[1:] if word in targets}
        assert asked, f"{words} names no target"


def test_modules_that_the_documents_name_are_tested_here() -> None:
    texts = [(ROOT / "README.md"), *sorted((ROOT / "docs").glob("*.md"))]
    named = {found for text in texts for found in re.findall(r"python -m ([a-z_.]+[a-z_])", text.read_text(encoding="utf-8"))}
    ours = {name for name in named if name.split(".")[0] in ("chemr", "actors", "learner", "rewards", "tests")}
    without_help = {"chemr.cli", "rewards.confinement"}  # the latter runs whatever command follows it
    assert ours <= set(MODULES) | without_help, f"no test of the help of {sorted(ours - set(MODULES))}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "runs/x", "grpo.steps=3"], "status does not know: grpo.steps=3"),
        (["k8s", "check", "--all", "--fast"], "k8s check does not know: --fast"),
        (["train", "--dry-run", "experiment=smoke", "--fast"], "--fast"),
        (["completion", "tcsh"], "bash"),
    ],
)
def test_what_a_command_does_not_know_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_evaluation_without_a_model_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval"]) == 2
    assert "model=runs/NAME/model" in capsys.readouterr().err
