"""`chemr score`, as a person meets it: both scorers' figures, a reason for each wrong answer, and one clear line for a wrong file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from chemr.cli import main
from chemr.score_predictions import ScoreInputError, ScoreOptions, score_predictions

FORWARD = "reactant,product\nCC(=O)O.CCO,CCOC(C)=O\nC=C.BrBr,BrCCBr\nCO.CC(=O)O,COC(C)=O\n"
ANSWERS = ["CCOC(C)=O", "BrCCBr is the answer", "CO"]


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    path = tmp_path / "reactions.csv"
    path.write_text(FORWARD, encoding="utf-8")
    return path


def csv_file(path: Path, answers: list[str], header: str = "row,prediction") -> Path:
    lines = [f'{row},"{answer}"' for row, answer in enumerate(answers)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def score(*arguments: str, json_file: Path | None = None) -> tuple[dict, str]:
    lines: list[str] = []
    return score_predictions(arguments, json_file, lines.append), "\n".join(lines)


def test_both_scorers_report_and_every_wrong_answer_has_a_reason(tmp_path: Path, test_file: Path) -> None:
    predictions = csv_file(tmp_path / "answers.csv", ANSWERS)
    document, said = score("task=forward", f"predictions={predictions}", f"data={test_file}", json_file=tmp_path / "scores.json")
    assert document["scores"]["accuracy"] == pytest.approx(2 / 3), "the published rule ignores the text after a blank"
    assert document["hardened"]["correct"] == pytest.approx(1 / 3)
    assert [row["reason"] for row in document["hardened"]["rows"]] == ["correct", "bad_characters", "copied_input"]
    assert "bad_characters" in said and "row 1" in said and "handed back" in said
    assert json.loads((tmp_path / "scores.json").read_text()) == document
    assert document["versions"]["rdkit"], "figures hold for one version of RDKit"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_all_formats_and_other_column_names_give_the_same(suffix: str, tmp_path: Path, test_file: Path) -> None:
    path = tmp_path / f"answers.{suffix}"
    if suffix == "csv":
        csv_file(path, ANSWERS, "n,text")
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"n": row, "text": text}) + "\n\n" for row, text in enumerate(ANSWERS)))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"n": [0, 1, 2], "text": ANSWERS}), path)
    document, _ = score("task=forward", f"predictions={path}", f"data={test_file}", "row=n", "prediction=text", "hardened=false")
    assert document["scores"]["accuracy"] == pytest.approx(2 / 3) and document["hardened"] is None


def test_cells_stay_the_text_they_are(tmp_path: Path) -> None:
    data = tmp_path / "names.csv"
    data.write_text('smiles,iupac,formula,label\nCCO,None,C2H6O,test\nCO," NA",CH4O,train\nCC,"a\nb ",C2H6,test\n', encoding="utf-8")
    predictions = tmp_path / "p.csv"
    predictions.write_bytes(b'\xef\xbb\xbfprediction,row\n"None",0\n"a\nb",1\n')
    document, _ = score("task=smiles2iupac", f"predictions={predictions}", f"data={data}", "hardened=false")
    assert document["scores"]["accuracy"] == 1.0, "None is a word, line breaks stay, and rows count the test rows"


def test_several_files_are_samples(tmp_path: Path, test_file: Path) -> None:
    for number, answers in enumerate((ANSWERS, ["C", "C", "C"]), start=1):
        csv_file(tmp_path / f"p_{number}.csv", answers)
    document, said = score("task=forward", f"predictions={tmp_path}/p_*.csv", f"data={test_file}", "hardened=false")
    assert document["scores"]["accuracy"]["sample_2"] == 0.0 and document["scores"]["accuracy"]["mean"] == pytest.approx(1 / 3)
    assert "over 2 samples" in said


def test_tagged_answers_are_taken_out_for_the_published_rules_on_request(tmp_path: Path, test_file: Path) -> None:
    path = csv_file(tmp_path / "p.csv", ["<think>hm</think><answer>CCOC(C)=O</answer>", "<answer>C", "<answer>CC</answer>"])
    whole, _ = score("task=forward", f"predictions={path}", f"data={test_file}", "hardened=false")
    tagged, _ = score("task=forward", f"predictions={path}", f"data={test_file}", "answer=tagged")
    assert whole["scores"]["accuracy"] == 0.0 and tagged["scores"]["accuracy"] == pytest.approx(1 / 3)
    assert [row["reason"] for row in tagged["hardened"]["rows"]] == ["correct", "no_answer", "wrong"]


def test_a_part_of_the_rows_is_scored_on_request_only(tmp_path: Path, test_file: Path) -> None:
    path = csv_file(tmp_path / "p.csv", ANSWERS[:2])
    with pytest.raises(ScoreInputError, match=r"1 of 3 rows .* have no prediction: 2.*rows=given"):
        score("task=forward", f"predictions={path}", f"data={test_file}")
    document, _ = score("task=forward", f"predictions={path}", f"data={test_file}", "rows=given", "hardened=false")
    assert document["n_rows"] == 2 and document["scores"]["accuracy"] == 1.0


def test_an_answer_of_a_megabyte_is_too_long_and_its_neighbours_are_scored(tmp_path: Path, test_file: Path) -> None:
    path = csv_file(tmp_path / "p.csv", [ANSWERS[0], "C(" * 500_000, ANSWERS[2]])
    document, _ = score("task=forward", f"predictions={path}", f"data={test_file}")
    assert [row["reason"] for row in document["hardened"]["rows"]] == ["correct", "too_long", "copied_input"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", "row,answer\n0,C\n", "no column 'prediction'; the columns are 'row', 'answer'"),
        ("p.csv", "row,prediction\n0,C\n1,C\n0,C\n2,C\n", r"row 0 is predicted twice \(line 2 and line 4\)"),
        ("p.csv", "row,prediction\n0,C\n1,C\n2,C\n7,C\n", "another test file"),
        ("p.csv", "row,prediction\nfirst,C\n", "line 2.*whole number; found 'first'"),
        ("p.csv", "row,prediction\n0,C,C\n", "line 2: 3 cells under a header of 2"),
        ("p.csv", "", "no column"),
        ("p.csv", "row,prediction\n", "no predictions"),
        ("p.jsonl", '{"row": 0, "prediction": "C"}\nno json\n', "line 2: is not JSON"),
        ("p.jsonl", '{"row": 0, "prediction": 5}\n', "should be text, found 5"),
        ("p.jsonl", '{"row": true, "prediction": "C"}\n', "whole number"),
        ("p.parquet", "PAR", "Parquet"),
        ("p.xlsx", "", r"\.csv, \.jsonl, \.parquet"),
    ],
)
def test_a_wrong_file_is_refused_in_one_clear_line(name: str, content: str, said: str, tmp_path: Path, test_file: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ScoreInputError, match=said):
        score("task=forward", f"predictions={tmp_path / name}", f"data={test_file}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predictions=x.csv"], "task= is missing"),
        (["task=forward"], "predictions= is missing"),
        (["task=forward", "predictions=x.csv", "colour=red"], "unknown option 'colour=red'; options: task="),
        (["task=forward", "task=retro", "predictions=x.csv"], "given twice"),
        (["task=forward", "predictions=x.csv", "rows=some"], "all, given"),
        (["task=forward", "predictions=x.csv", "workers=0"], "positive"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], said: str) -> None:
    with pytest.raises(ScoreInputError, match=said):
        ScoreOptions.parse(arguments)


def test_the_command_ends_with_status_2_and_one_line_for_a_wrong_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, test_file: Path
) -> None:
    assert main(["score", "task=forward", f"data={test_file}", "predictions=nothing-here.csv", "--json", str(tmp_path / "s.json")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("chemr score: ") and "nothing-here.csv" in said and "Traceback" not in said
    assert main(["score", "task=alchemy", "predictions=x.csv"]) == 2 and "alchemy" in capsys.readouterr().err
    path = csv_file(tmp_path / "p.csv", ANSWERS)
    assert main(["score", "task=retro", f"data={test_file}", f"predictions={path}"]) == 2
    assert "reactions.csv" in capsys.readouterr().err, "the test file is not one of retrosynthesis"
