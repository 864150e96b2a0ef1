"""What the documentation shows can be typed: commands parse and compose, configuration loads, Python runs, make targets and links exist.

Pages are found by name, so a new one is held to the same. A block that cannot be tried stands in :data:`NOT_TRIED`, with the reason.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from chemr import cli
from chemr.config import ChemrConfig, ConfigError, load
from chemr.k8s.errors import K8sError
from chemr.k8s.request import read_request
from chemr.score_predictions import ScoreOptions
from tests.docs.markdown_blocks import PAGES, ROOT, Block, blocks, commands, prose

# (page, words of the block) -> why nothing tries it, or how much of it.
NOT_TRIED = {
    ("learner.md", "learner = PolicyLearner"): "needs a model folder and trains: tests/learner/ do what it shows",
    ("reward-service.md", "from rewards.service"): "needs a running server: tests/rewards/service/ do what it shows",
    ("tracking.md", "alerts_of(read_metrics"): "reads a run of the reader's: tests of tracking do what it shows",
    ("control.md", "terminationGracePeriodSeconds"): "a fragment of a pod, no configuration of chemr",
    ("control.md", "lifecycle:"): "a fragment of a pod, no configuration of chemr",
    ("operations.md", "initContainers"): "a fragment of a pod, no configuration of chemr",
    ("kubernetes.md", "kustomization.yaml of yours"): "a kustomization: tests/chemr/k8s/ build such overlays",
}
# Where a fragment of configuration belongs that shows its section only.
SECTION = {("curriculum.md", "unlock:"): "grpo.curriculum"}
# Programs that are not ours: the line is not tried, and is none of these by a slip of the pen.
OTHERS = frozenset(
    {".venv/bin/pip", ".venv/bin/pre-commit", "cd", "eval", "export", "git", "grep", "grpcurl", "kubectl", "mkdir", "pip", "printf"}
)
# Words that stand for something of the reader's, and what is put in their place.
PLACEHOLDERS = {"…": "", "STEP": "all", "generators=N": "generators=2", "TASK=FLOOR": "retro=0.5", "TASK=0.1": "retro=0.1"} | {
    "mining.endpoint.base_url=URL": "mining.endpoint.base_url=http://localhost:8000/v1"
}
COMPOSES = frozenset({"train", "eval", "data", "protocols", "export", "doctor", "ablate"})  # commands that take the overrides of a run
OF_ABLATE = ("arms=", "seeds=", "name=", "parallel=")


def _reason(block: Block) -> str | None:
    return next((why for (page, words), why in NOT_TRIED.items() if page == block.page and words in block.text), None)


PARSER = cli.command_parser()
ALL = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def shell_lines() -> Iterator[tuple[str, str]]:
    """Where, and one command: of console blocks what is typed, of other blocks lines that begin with one of our commands."""
    for block in of("console"):
        yield from ((block.where, line) for line in commands(block.text))
    for block in of("indented", "", "bash", "sh"):
        for line in re.sub(r"\\\n\s*", " ", block.text).split("\n"):
            if re.match(r"(\.venv/bin/)?(chemr|pip|python|make) [a-z-]", line.strip()):
                yield block.where, line.strip()
    for page in PAGES:
        for code in re.findall(r"(?<!`)`((?:chemr|make) [a-z][^`\n]*)`(?!`)", prose(page)):
            if "⇥" not in code:  # what TAB will complete
                yield page.name, code


LINES = list(dict.fromkeys(shell_lines()))


def words_of(line: str) -> list[list[str]]:
    """The words of each command of a line; comments, redirections and what stands for the reader's own are taken out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    parts: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif set(word) <= set("|&;"):
            parts.append([])
        elif set(word) <= set("<>"):
            skip = True
        else:
            word = PLACEHOLDERS.get(word, word.removesuffix("…"))
            parts[-1] += [word] if word and not word.startswith("[--") else []
    return [words for words in parts if words]


def is_complete(words: list[str]) -> bool:
    """Whether a command is written out: a mere name, ``chemr k8s render`` in a sentence, is not."""
    return any("=" in word or "/" in word or word.startswith("-") for word in words[2:])


def chemr_parses(arguments: list[str], where: str, *, complete: bool) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            options = cli.parse(PARSER, arguments)
    except SystemExit as ended:
        if ended.code and (complete or "the following arguments are required" not in said.getvalue()):
            pytest.fail(f"{where}: chemr {' '.join(arguments)}: {said.getvalue().strip().splitlines()[-1]}")
        return
    overrides = list(getattr(options, "overrides", []))
    if not complete or where.startswith("add-a-"):  # what a tutorial sets exists once it is applied: tests/docs/test_tutorials.py
        return
    if options.command in COMPOSES:
        composes(tuple(_of_a_run(options.command, overrides)), where, options.config_dir, own_policy=options.command != "eval")
    elif options.command == "score":
        ScoreOptions.parse(overrides)
    elif options.command == "k8s" and options.verb == "render" and options.tree is None:
        try:
            read_request(overrides)
        except (K8sError, ConfigError) as error:
            pytest.fail(f"{where}: {' '.join(overrides)}: {error}")


def _of_a_run(command: str, overrides: list[str]) -> Iterator[str]:
    for override in overrides:
        if (command == "eval" and override.startswith("model=")) or (command == "ablate" and override.startswith(OF_ABLATE)):
            continue
        yield f"eval.{override}" if command == "eval" and override.startswith("suite=") else override


_COMPOSED: set[tuple[str, ...]] = set()


def composes(overrides: tuple[str, ...], where: str, config_dir: Path | None, *, own_policy: bool) -> None:
    """Files and folders of the reader's are not looked for; an experiment in a folder of the reader's is the starter here."""
    if config_dir is not None:
        overrides = tuple(one for one in overrides if not one.startswith("experiment="))
    if not overrides or overrides in _COMPOSED:
        return
    _COMPOSED.add(overrides)
    try:
        load(overrides, files_here=False, own_policy=own_policy)
    except ConfigError as error:
        pytest.fail(f"{where}: {' '.join(overrides)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_parses_and_its_overrides_compose(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    for where, line in LINES:
        if where.split(":")[0] != page.name:
            continue
        for words in words_of(line):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]) and len(words) > 1:
                words = words[1:]  # variables of the environment
            program = Path(words[0]).name if words[0].startswith(".venv/bin/") else words[0]
            if program == "chemr":
                chemr_parses(words[1:], where, complete=is_complete(words))
            elif program == "make":
                named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
                unknown = [word for word in named if re.fullmatch("[a-z]+", word) and word not in targets]
                assert not unknown, f"{where}: the Makefile has no target {', '.join(unknown)}"
            elif program == "python":
                assert is_ours(words), f"{where}: {line}: there is no such module or file"
            else:
                assert words[0] in OTHERS or re.match(r"[A-Z_]+=", words[0]), (
                    f"{where}: {words[0]!r} is no command of ours; name it in OTHERS if it is meant"
                )


def is_ours(words: list[str]) -> bool:
    """Whether ``python -m MODULE`` or ``python FILE`` names something of this repository."""
    if words[1] == "-m":
        path = ROOT / words[2].replace(".", "/")
        return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() or words[2] == "pytest"
    return words[1].startswith("-") or (ROOT / words[1]).is_file()


@pytest.mark.parametrize("block", of("yaml"), ids=lambda block: block.where)
def test_configuration_loads_through_the_schema(block: Block, tmp_path: Path) -> None:
    found = yaml.safe_load(textwrap.dedent(block.text))
    assert isinstance(found, dict), f"{block.where} is no mapping"
    if _reason(block) is not None or block.page.startswith("add-a-"):  # of a tutorial: its settings exist once it is applied
        return
    section = next((name for (page, words), name in SECTION.items() if page == block.page and words in block.text), "")
    for name in reversed(section.split(".") if section else []):
        found = {name: found}
    if "arms" in found:
        from chemr.ablation.arms import load_comparison

        (tmp_path / "own.yaml").write_text(block.text, encoding="utf-8")
        assert load_comparison(str(tmp_path / "own.yaml"), []).arms, f"{block.where} has no arms"
    elif "defaults" in found:
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "mine.yaml").write_text(textwrap.dedent(block.text), encoding="utf-8")
        load(["experiment=mine"], tmp_path)
    elif "runs" in found:
        from chemr.rounds import read_schedule

        (tmp_path / "own.yaml").write_text(block.text, encoding="utf-8")
        assert read_schedule(tmp_path / "own.yaml", []).runs, f"{block.where} has no runs"
    elif "steps" in found:
        from chemr.mining.protocol_file import SharedHint, read_protocols, shared_text

        hints = {
            name: SharedHint("Heavy atoms", "Counts each element.")
            for name in {step["shared"] for step in found["steps"] if step.get("shared")}
        }
        (tmp_path / "shared.yaml").write_text(shared_text(hints), encoding="utf-8")
        (tmp_path / f"{found['task']}.yaml").write_text(block.text, encoding="utf-8")
        assert found["task"] in read_protocols(tmp_path)[0], f"{block.where} is no protocol"
    else:
        OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ChemrConfig), OmegaConf.create(found)))


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.where)
def test_python_compiles_and_runs_where_it_can(block: Block) -> None:
    if block.page.startswith("add-a-"):
        return  # tests/docs/test_tutorials.py
    compile(block.text, block.where, "exec")
    if _reason(block) is None:
        result = subprocess.run([sys.executable, "-c", block.text], cwd=ROOT, capture_output=True, text=True, timeout=480, check=False)
        assert result.returncode == 0, f"{block.where} does not run:\n{result.stderr[-2000:]}"


def test_every_exception_is_still_there() -> None:
    for page, words in [*NOT_TRIED, *SECTION]:
        assert any(block.page == page and words in block.text for block in ALL), f"no block of {page} holds {words!r} any more; take it out"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_links_to_exists(page: Path) -> None:
    text = prose(page)
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", re.sub(r"`[^`\n]*`", "``", text)):
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{page.name} links to {target}, which does not exist"
        generated = other.suffix == ".md" and "<!-- generated:" in other.read_text(encoding="utf-8")
        if anchor and other.suffix == ".md" and not generated:
            assert anchor in anchors(other), f"{page.name} links to {target}, and {other.name} has no such heading"


def anchors(page: Path) -> set[str]:
    """As a git host makes them of headings."""
    heads = re.findall(r"(?m)^#+ (.+)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", head).lower()).strip().replace(" ", "-") for head in heads}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for line in ("chemr trian experiment=starter", "chemr status --jsn runs/mine", "chemr train grpo.groupsize=4"):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            chemr_parses(line.split()[1:], "example.md:1", complete=True)
