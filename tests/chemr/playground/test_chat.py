"""``chemr chat``: a tiny random Llama, asked from a script and from the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chemr.cli import main
from chemr.data.example import Example
from chemr.playground.errors import ModelFolderError, QuestionError
from chemr.playground.model import ChatModel, Sampling
from chemr.playground.names import Names
from chemr.playground.session import Playground
from chemr.playground.terminal import Terminal, printable
from chemr.prompts import messages
from rewards.opsin import OpsinMode
from tests.chemr.playground.scripted import PROSE, ScriptedModel, write_tiny_model

QUESTION = messages(Example("t", "smiles2formula", {"smiles": "CCO"}, {}, 0.0, "", ""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> ChatModel:
    return ChatModel.load(folder)


def test_one_question_from_a_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["chat", str(folder), "--ask", "moledit_add", "CCCC", "--set", "add=hydroxyl", "--json", "--max-new-tokens", "12"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["question"] == "Add hydroxyl to CCCC" and found["inputs"] == {"smiles": "CCCC", "add": "hydroxyl"}
    assert 1 <= found["tokens"] <= 12 and found["score"]["value"] == 0.0 and found["sampling"]["seed"] == 0
    assert set(found) >= {"steps", "claims", "answer", "ended", "notes", "completion"}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_equal_seeds_give_equal_answers_in_pieces_that_make_the_whole(temperature: float, model: ChatModel) -> None:
    pieces: list[str] = []
    first = model.answer(QUESTION, Sampling(7, temperature, 40), pieces.append)
    assert first.text == "".join(pieces) or first.ended == "by itself", "what was streamed is what was written"
    assert model.answer(QUESTION, Sampling(7, temperature, 40)).text == first.text
    other = model.answer(QUESTION, Sampling(8, temperature, 40)).text
    assert (other == first.text) is (temperature == 0.0), "only sampling depends on the seed"


def test_an_answer_ends_at_the_model_s_context_or_when_it_is_told_to(model: ChatModel) -> None:
    long = model.answer(QUESTION, Sampling(1, 2.0, 10_000))
    assert long.prompt_tokens + long.tokens <= 96
    seen: list[str] = []
    short = model.answer(QUESTION, Sampling(1, 2.0, 50), seen.append, lambda: len(seen) >= 3)
    assert short.ended in ("by the person", "by itself") and short.tokens < 20
    crowded = messages(Example("t", "smiles2formula", {"smiles": "C" * 200}, {}, 0.0, "", ""))
    with pytest.raises(QuestionError, match="the model's context only 96"):
        model.answer(crowded, Sampling())


def test_a_folder_without_a_model_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"no config\.json"):
        ChatModel.load(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="no tokenizer"):
        ChatModel.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(ModelFolderError, match="cannot be loaded"):
        ChatModel.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ask", "smiles2formula", "C1CC"], "is no molecule"),
        (["--ask", "nothing", "C"], "there is no task"),
        (["--ask", "moledit_add", "C", "--set", "add"], "NAME=VALUE was expected"),
        (["--ask", "smiles2formula", "C"], "no config.json"),
        (["--json"], "--json is of --ask"),
        (["--set", "add=amine"], "--set is of --ask"),
        (["--port", "1"], "--port is of --page"),
        (["--page", "--ask", "smiles2formula", "C"], "exclude each other"),
        (["--temperature", "-1"], "temperature -1"),
        (["--seed", "-1"], "seed -1"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and error.count("\n") == 1, error


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    model: Any = ScriptedModel(PROSE)
    made = Playground(model, Names(OpsinMode.NEVER))
    yield made
    made.close()


@pytest.fixture
def terminal(playground: Playground) -> tuple[Terminal, Console]:
    console = Console(width=100, record=True, force_terminal=False)
    return Terminal(playground, Path("model"), Sampling(), console), console


def test_a_conversation_in_the_terminal(terminal: tuple[Terminal, Console], monkeypatch: pytest.MonkeyPatch) -> None:
    talk, console = terminal
    typed = iter(["", "/help", "/tasks", "/task moledit_add", "CC(=O)OCC", "/set add=hydroxyl", "/seed 3", "CC(=O)OCC", "/nonsense", "C1C"])

    def type_on(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_on)
    talk.run()
    text = console.export_text()
    for wanted in (
        "moledit_add needs add=",
        "Add hydroxyl to CC(=O)OCC",
        "✓ true: has the group ester, of question and answer",
        "✗ false: 2 rings",
        "answer: CC(=O)OCCO",
        "score ",
        "there is no command /nonsense",
        "'C1C' is no molecule",
    ):
        assert wanted in text, f"{wanted!r} is not in\n{text}"


@pytest.mark.parametrize("line", ["/seed x", "/temperature 99", "/tokens 0", "/task", "/set x"])
def test_a_wrong_command_is_a_sentence(line: str, terminal: tuple[Terminal, Console]) -> None:
    with pytest.raises(QuestionError):
        terminal[0].take(line)


def test_a_model_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\u202e") == "a�[2Jb\nc�"
