"""``chemr protocols``, as a person meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chemr.cli import main
from chemr.data import loading
from chemr.data.task_data import TaskData
from tests.chemr.protocol_rows import ROWS

FORMULAS = [row for row in ROWS if row.task == "smiles2formula"]
SETTINGS = ["data.tasks=[smiles2formula]", "data.grpo_share=0.0", "mining.questions_per_task=6", "mining.synthesis_questions_per_task=6"]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_starter", lambda *_: TaskData(train=FORMULAS, validation=FORMULAS[:1], test=FORMULAS[:1]))


def test_all_steps_run_from_one_command_and_again_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "mining")
    assert main(["protocols", "all", folder, "mining.teacher=programmatic", *SETTINGS]) == 0
    printed = capsys.readouterr().out
    assert "select: " in printed and "passed the filters" in printed
    assert (tmp_path / "mining" / "protocols" / "smiles2formula.yaml").is_file() and (tmp_path / "mining" / "config.yaml").is_file()
    assert main(["protocols", "filter", folder, *SETTINGS, "mining.teacher=programmatic"]) == 0
    assert main(["protocols", "report", folder]) == 0
    assert "chemr-programmatic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine"], "mining.endpoint.model is not set"),
        (["mine", "mining.endpoint.model=m"], "mining.endpoint.base_url=None"),
        (["mine", "mining.endpoint.model=m", "mining.endpoint.base_url=http://127.0.0.1:9/v1"], "OPENAI_API_KEY"),
        (["verify", "mining.endpoint.model=m"], "mined.jsonl does not exist"),
        (["report"], "holds no file of mining"),
        (["mine", "mining.temperature=3"], "mining.temperature=3.0"),
        (["mine", "mining.endpoint.key_env=sk-abc-def"], "does not belong there"),
    ],
)
def test_what_is_missing_is_one_line_and_status_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    step, *overrides = arguments
    assert main(["protocols", step, str(tmp_path / "m"), *SETTINGS, *overrides]) == 2
    message = capsys.readouterr().err
    assert message.startswith("chemr protocols: ") and said in message and "Traceback" not in message and message.count("\n") == 1
    assert "sk-abc-def" not in message


def test_an_unknown_step_lists_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["protocols", "dig", "somewhere"])
    assert "synthesise" in capsys.readouterr().err
