"""What TAB offers: asked through argcomplete's protocol as a shell does it, and once through bash itself."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chemr.cli import command_parser
from chemr.completion.finder import Finder
from chemr.completion.overrides import PER_TASK, SOURCES, SUITES, TEXTS
from chemr.config import field_names, mapping_fields
from chemr.evaluation_commands import SCORE_NAMES

ROOT = Path(__file__).resolve().parents[2]
BREAKS = " \t\n\"'><=;|&(:"  # bash's COMP_WORDBREAKS
HEAVY = {"torch", "ray", "vllm", "deepspeed", "transformers", "rdkit", "hydra", "omegaconf", "wandb", "rich", "yaml"}


class _Answered(Exception):
    pass


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A function: line -> the words that bash is offered, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def ask(line: str) -> list[str]:
        for name, value in {"": "1", "_SHELL": "bash", "_COMP_WORDBREAKS": BREAKS, "_SUPPRESS_SPACE": "1"}.items():
            monkeypatch.setenv(f"_ARGCOMPLETE{name}", value)
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        monkeypatch.setattr(Finder, "_init_debug_stream", lambda self: None)
        monkeypatch.setattr("argcomplete.io.debug_stream", io.StringIO())
        answer = io.StringIO()

        def leave(status: int) -> None:
            raise _Answered(status)

        with pytest.raises(_Answered):
            Finder().answer(command_parser(), exit_method=leave, output_stream=answer)
        return answer.getvalue().split("\013") if answer.getvalue() else []

    return ask


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("chemr tr", ["train"]),
        ("chemr k8s ", ["render", "check"]),
        ("chemr curriculum f", ["floor"]),
        ("chemr train --", ["--cfg", "--dry-run", "--config-dir"]),
        ("chemr train --cfg ", ["job"]),
        ("chemr train --cfg=", ["job"]),
        ("chemr curriculum simulate runs/x --clock ", ["steps", "groups"]),
        ("chemr curriculum simulate runs/x --set weighting=", ["uniform", "variance"]),
        ("chemr data ", ["leaks", "stats"]),
        ("chemr protocols ", ["mine", "all", "report"]),
        ("chemr completion ", ["bash", "zsh"]),
        ("chemr train exp", ["experiment="]),
        ("chemr train experiment=", ["smoke", "smollm2", "starter"]),
        ("chemr train grpo.curriculum.wei", ["grpo.curriculum.weighting="]),
        ("chemr train grpo.curriculum.weighting=", ["uniform", "difficulty", "variance"]),
        ("chemr train grpo.cur", ["grpo.curriculum.weighting=", "grpo.curriculum.prompts."]),
        ("chemr train grpo.", ["grpo.steps=", "grpo.curriculum.", "grpo.algo."]),
        ("chemr train ++grpo.st", ["++grpo.steps="]),
        ("chemr train grpo.curriculum.floors.ret", ["grpo.curriculum.floors.retro="]),
        ("chemr train run.keep_stage_models=", ["true", "false"]),
        ("chemr train grpo.max_barren_groups=", ["null"]),
        ("chemr train rewards.opsin=", ["auto", "always", "never"]),
        ("chemr train 'stages=[foundation,", ["stages=[foundation,grpo", "stages=[foundation,distill"]),
        ("chemr train --dry-run experiment=smoke --cfg job run.res", ["run.resume="]),
        ("chemr train run.resume=", ["never", "auto"]),
        ("chemr eval su", ["suite="]),
        ("chemr eval suite=chem", ["chemllmbench", "chemdfm"]),
        ("chemr score ta", ["task="]),
        ("chemr score task=ret", ["retro"]),
        ("chemr rounds ", ["specialists", "iterated"]),
        ("chemr ablate arms=paper,", ["paper,reward"]),
        ("chemr k8s render overlay=", ["cpu-smoke", "node-8gpu"]),
        ("chemr k8s render cluster.work", ["cluster.workload="]),
        ("chemr k8s render cluster.workload=", ["job", "cluster"]),
        ("chemr k8s render components=", ["kueue"]),
        ("chemr pool scale runs/x gen", ["generators="]),
        ("chemr curriculum floor runs/x retr", ["retro="]),
        ("chemr plan --gpu h1", ["h100"]),
        ("chemr plan --assume mf", ["mfu="]),
    ],
)
def test_tab_offers(line: str, some: list[str], offered) -> None:
    words = offered(line)
    assert set(some) <= set(words), f"{line!r} offers {words}"
    begun = line.replace("=", " ").replace("'", "").split(" ")[-1]
    assert "'" in line or all(word.startswith(begun) for word in words), f"{line!r} offers words that begin otherwise: {words}"


@pytest.mark.parametrize("line", ["chemr train grpo.nothing", "chemr train nothing=", "chemr status --timeout "])
def test_tab_offers_nothing_where_nothing_is_known(line: str, offered) -> None:
    assert offered(line) == []


def test_a_name_that_goes_on_is_never_the_only_offer(offered) -> None:
    """The shell adds a blank to the only offer unless it ends with = or /; a blank after ``grpo.curriculum.`` would be a wrong word."""
    sections = sorted({name.rpartition(".")[0] for name in field_names()} - {""})
    for section in sections:
        words = offered(f"chemr train {section}")
        assert len(words) > 1 or not words[0].endswith("."), f"{section} offers only {words}"


def test_every_field_can_be_reached_level_by_level(offered) -> None:
    reached: set[str] = set()
    open_names = [""]
    while open_names:
        for word in offered(f"chemr train {open_names.pop()}"):
            if word.endswith("."):
                open_names.append(word)
            else:
                reached.add(word.removesuffix("="))
    missing = {name for name in field_names() if name not in reached} - set(PER_TASK)
    assert not missing, f"TAB never comes to {sorted(missing)}"


def test_runs_folders_and_files_are_offered(offered, tmp_path: Path) -> None:
    for name in ("starter", "mine"):
        (tmp_path / "runs" / name / "trajectories").mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
        (tmp_path / "runs" / name / "model").mkdir()
    (tmp_path / "answers.csv").touch()
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").touch()
    assert offered("chemr status ") == ["runs/mine", "runs/starter"]
    assert offered("chemr report runs/s") == ["runs/starter"]
    assert "runs/starter/model/" in offered("chemr eval model=runs/starter/m")
    assert offered("chemr eval --model own/") == ["own/experiment/"]
    assert offered("chemr train run.name=s") == ["starter"]
    assert offered("chemr score predictions=a") == ["answers.csv"]
    assert offered("chemr import-gguf a") == ["answers.csv"]
    assert "mine" in offered("chemr train --config-dir own experiment=")


def test_what_the_types_do_not_say_is_of_fields_that_exist() -> None:
    from dataclasses import fields

    from chemr.config_checks import OPSIN_MODES
    from chemr.data.sources import suites
    from chemr.score_predictions import ScoreOptions

    unknown = set(TEXTS) - set(field_names())
    assert not unknown, f"no such fields: {sorted(unknown)}"
    assert set(PER_TASK) < set(mapping_fields())
    assert set(SUITES) == set(suites.SUITES) and set(SOURCES) == set(suites.SOURCES)
    assert list(TEXTS["rewards.opsin"]("")) == list(OPSIN_MODES)
    assert list(SCORE_NAMES) == [field.name for field in fields(ScoreOptions)]


def answer_of_a_process(line: str, program: str) -> str:
    """Standard output of a fresh interpreter that was asked as a shell asks."""
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "zsh",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True
    )
    return result.stdout


def test_completion_imports_nothing_heavy() -> None:
    program = """if True:
        import os, sys
        os.dup2(1, 8)
        from chemr.cli import command_parser
        from chemr.completion.finder import Finder
        Finder().answer(command_parser(), exit_method=lambda status: None)
        print()
        print(*sorted({name.split(".")[0] for name in sys.modules}))"""
    answer, loaded = answer_of_a_process("chemr train grpo.curriculum.weighting=u", program).splitlines()
    assert answer == "grpo.curriculum.weighting=uniform:", "zsh wants word:description"
    heavy = set(loaded.split()) & HEAVY
    assert not heavy, f"a TAB loads {', '.join(sorted(heavy))}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_after_sourcing_what_chemr_prints(tmp_path: Path) -> None:
    program = tmp_path / "chemr"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m chemr.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = r"""
        eval "$("$1" completion bash)"
        complete -p chemr >&2
        press_tab() { COMP_LINE="$2"; COMP_POINT=${#2}; _python_argcomplete "$1"; printf '%s|' "${COMPREPLY[@]}"; echo; }
        press_tab "$1" "chemr train experiment=sm"
        press_tab "$1" "chemr train grpo.curriculum.wei"
        press_tab "$1" "chemr tr"
    """
    result = subprocess.run(["bash", "-c", script, "bash", program], cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    assert result.stdout.splitlines() == ["smoke|smollm2|", "grpo.curriculum.weighting=|", "train |"], result.stderr
    assert "_python_argcomplete chemr" in result.stderr and "-o default" not in result.stderr, "no file names where there are none"
