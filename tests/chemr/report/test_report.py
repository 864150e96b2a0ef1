"""``chemr report``: from run directories to one page that stands alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chemr.cli import main
from chemr.report.gallery import gallery, split_completion
from chemr.report.page import json_for_html
from chemr.report.run_data import read_run
from tests.chemr.report.written_run import HOSTILE, TASKS, write_run


class Elements(HTMLParser):
    """Counts elements as a browser would find them, and keeps the text of scripts and what refers to elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.links: list[str] = []
        self._inside = False
        self.kinds: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith(("#", "data:"))]
        if tag == "script":
            self._inside = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def data_of(page: str) -> dict[str, Any]:
    return json.loads(Elements(page).scripts[0])


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "mine")


@pytest.fixture
def page(run_dir: Path) -> str:
    assert main(["report", str(run_dir)]) == 0
    return (run_dir / "report.html").read_text(encoding="utf-8")


def test_the_page_has_two_scripts_whatever_a_model_wrote(page: str) -> None:
    elements = Elements(page)
    assert elements.kinds.count("script") == 2 and "img" not in elements.kinds, "text of a model became elements"
    assert HOSTILE not in page
    answers = [sample[7] for sample in data_of(page)["gallery"]["samples"]]
    assert HOSTILE in answers, "and yet it is all there, as text"


def test_the_page_refers_to_nothing_outside_and_forbids_to(page: str) -> None:
    elements = Elements(page)
    assert elements.links == [], f"the page refers to {elements.links}"
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "default-src 'none'" in policy[1] and "unsafe" not in policy[1], policy
    for foreign in ("@import", "url(http", "fetch(", "XMLHttpRequest", "innerHTML", "eval("):
        assert foreign not in page, f"the page holds {foreign}"


def test_what_the_run_says_is_what_the_page_has(page: str) -> None:
    data = data_of(page)
    run = data["runs"][0]
    facts = dict(run["facts"])
    assert facts["state"] == "finished" and facts["held-out reward after grpo"] == "60.0 % [55.0, 65.0]"
    assert facts["oldest sample trained on"] == "1 version, bound 2" and facts["running time"] == "1 min 15 s"
    assert [row["task"] for row in data["table"]["rows"]] == ["mean", "smiles2formula", "moledit_add", "forward"]
    assert data["table"]["rows"][1]["cells"]["0/grpo"] == [0.6, 0.55, 0.65, 0.7, 0.3, 64.0]
    assert [span[:3] for span in run["spans"]] == [["foundation", 1, 10], ["grpo", 10, 60]]
    assert ["grpo.optim.lr", "0.001"] in run["config"] and ["packages.rdkit", "2026.9.1"] in run["environment"]
    assert {chart["task"] for chart in data["curves"]} == {"mean", *TASKS}
    names = {chart["title"]: [one["name"] for one in chart["series"]] for chart in data["curves"]}
    assert names["mean over tasks"] == ["rollouts", "test"]


def test_failures_and_drops_are_events(page: str) -> None:
    events = [(kind, text) for _, kind, text in data_of(page)["runs"][0]["events"]]
    for wanted in (
        ("stage", "grpo begins"),
        ("failure", "a checkpoint could not be written"),
        ("drop", "2 groups were dropped: straggler"),
        ("weights", "a generator skipped 2 versions"),
        ("alert", "ess_low"),
        ("failure", "train/entropy was not finite in 1 records, first here"),
    ):
        assert wanted in events, f"{wanted} is not told; told is {events}"


def test_every_episode_of_an_alert_is_an_event(run_dir: Path) -> None:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        if record["step"] in (20, 21, 22, 40) and "reward/mean" in record:
            record["curriculum/alert/forward/stall"] = 1.0  # as it is recorded: while it goes on, and not at all when it does not
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    from chemr.report.overview import events, stage_spans

    metrics = read_run(run_dir).metrics
    found = [step for step, kind, text in events(metrics, stage_spans(metrics)) if (kind, text) == ("alert", "forward: stall")]
    assert found == [20, 40]


def test_where_a_step_s_time_went_sums_to_the_step(page: str) -> None:
    (entry,) = data_of(page)["timeline"]
    for parts in zip(*entry["parts"].values(), strict=True):
        assert sum(parts) == pytest.approx(1.0), "the parts of a step are not the step"
    assert entry["idle_mean"] == {"learner": pytest.approx(0.4), "generators": pytest.approx(0.1)}


def test_reasons_are_shares_of_every_bucket(page: str) -> None:
    (entry,) = data_of(page)["reasons"]
    assert entry["tasks"]["all"]["rows"] == ["wrong", "correct"], "the most frequent reason stands first"
    assert all(sum(column) == pytest.approx(1.0) for column in zip(*entry["tasks"]["forward"]["cells"], strict=True))


def test_a_reason_that_occurs_in_few_steps_keeps_its_small_share(run_dir: Path) -> None:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rare = [json.loads(line) for line in lines]
    for record in rare:
        if record["step"] == 30 and "reward/forward/mean" in record:
            record["reward/forward/reason/timeout"] = 1.0
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rare), encoding="utf-8")
    from chemr.report import charts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "BUCKETS", 1)
        (entry,) = charts.reasons([read_run(run_dir)])
    shares = dict(zip(entry["tasks"]["forward"]["rows"], entry["tasks"]["forward"]["cells"], strict=True))
    assert shares["timeout"] == [pytest.approx(1 / 51, rel=1e-3)], "once in 51 steps is not always"


def test_molecules_and_their_differences_are_found_by_task(run_dir: Path) -> None:
    made = gallery([read_run(run_dir)], limit=1000)
    rows = {(made["groups"][sample[0]][3], sample[2]): sample for sample in made["samples"]}
    assert rows["forward", "correct"][11] == ([], []), "a right answer differs from the reference"
    # CCCC(C)=O against CCOC(C)=O: the carbon where the ester's oxygen should be.
    assert len(rows["forward", "partial"][11][0]) >= 1
    edit = rows["moledit_add", "partial"]
    assert len(edit[12][0]) == 1 and edit[12][1] == [], "aniline is benzene and one atom more"
    assert rows["smiles2formula", "partial"][9] is None, "a formula was drawn as if it were SMILES"
    assert rows["forward", "no_answer"][8] is None and rows["forward", "no_answer"][7] == HOSTILE


def test_a_gallery_is_thinned_by_whole_groups_over_the_whole_run(run_dir: Path) -> None:
    made = gallery([read_run(run_dir)], limit=12)
    steps = [group[1] for group in made["groups"]]
    assert len(made["samples"]) == 12 and made["total"] == 36
    assert steps == sorted(steps) and steps[-1] > 30, f"the groups are not spread over the run: {steps}"


def test_a_completion_is_split_as_the_scorers_read_it() -> None:
    assert split_completion("<think> a </think><answer> C </answer>") == ("a", "C")
    assert split_completion("a<answer>C</answer>") == ("a", "C")
    assert split_completion("<think>a<answer>C</answer>") == ("<think>a<answer>C</answer>", None)


def test_files_of_older_versions_are_shown_without_molecules_of_the_reference(run_dir: Path) -> None:
    for path in (run_dir / "trajectories").iterdir():
        old = pq.read_table(path).drop_columns(["inputs", "reference", "parts", "terms"])
        pq.write_table(old, path)
    made = gallery([read_run(run_dir)], limit=1000)
    assert len(made["samples"]) == 36 and all(group[5] is None and group[6] == [] for group in made["groups"])
    assert any(sample[9] is not None for sample in made["samples"]), "answers are drawn all the same"


def test_damaged_files_are_named_and_the_rest_is_shown(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run_dir / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-20])
    (run_dir / "trajectories" / "step-000020.parquet").write_bytes(b"PAR1 and then nothing")
    pq.write_table(pa.table({"uid": ["x"]}), run_dir / "trajectories" / "step-000030.parquet")
    (run_dir / "summary.json").write_text('{"run": ', encoding="utf-8")
    assert main(["report", str(run_dir)]) == 0
    problems = "\n".join(data_of((run_dir / "report.html").read_text(encoding="utf-8"))["runs"][0]["problems"])
    for named in (
        "metrics.jsonl: its last line is cut off",
        "step-000020.parquet is damaged",
        "has no column task",
        "summary.json is damaged",
    ):
        assert named in problems, f"{named!r} is not said in:\n{problems}"
    assert "step-000020.parquet" in capsys.readouterr().err, "the command says it, too"


def test_a_line_that_is_no_json_ends_what_is_shown(run_dir: Path) -> None:
    metrics = run_dir / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines()
    lines[20] = "{not json"
    metrics.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = read_run(run_dir)
    assert run.metrics.steps.size == 20 and any("20 records before" in problem for problem in run.problems), run.problems


def test_a_run_that_goes_on_has_a_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "going", finished=False)
    assert main(["report", str(folder), "--out", str(tmp_path / "deep" / "going.html")]) == 0
    data = data_of((tmp_path / "deep" / "going.html").read_text(encoding="utf-8"))
    assert dict(data["runs"][0]["facts"])["state"] == "not finished" and data["table"]["rows"] == []


def test_a_restart_is_seen_in_the_clock(run_dir: Path) -> None:
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for record in records:
        record["time"] += 7200.0 if record["step"] > 40 else 0.0
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    from chemr.report.overview import events, stage_spans

    metrics = read_run(run_dir).metrics
    (restart,) = [event for event in events(metrics, stage_spans(metrics)) if event[1] == "restart"]
    assert restart == [40, "restart", "the run stood still for 2 h 0 min and went on"]


def test_what_the_run_told_stands_among_the_events_at_its_step(run_dir: Path) -> None:
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for record in records:
        record["time"] = 1000.0 + 10 * record["step"]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    notes = [
        {"time": 940.0, "kind": "note", "text": "no control service"},
        {"time": 1405.0, "kind": "warning", "text": "generator-0 is replaced: it died"},
    ]
    (run_dir / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")
    assert main(["report", str(run_dir)]) == 0
    events = data_of((run_dir / "report.html").read_text(encoding="utf-8"))["runs"][0]["events"]
    assert [0, "note", "no control service"] in events, "told before the first step"
    assert [40, "warning", "generator-0 is replaced: it died"] in events


def test_runs_are_compared_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_run(tmp_path / "runs" / name, name, shift=shift) for name, shift in (("one", 0.0), ("two", 0.1))]
    assert main(["report", *map(str, folders), "--compare"]) == 0
    assert capsys.readouterr().out.startswith(str(tmp_path / "runs" / "report.html"))
    data = data_of((tmp_path / "runs" / "report.html").read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]] == ["one", "two"]
    cells = data["table"]["rows"][0]["cells"]
    assert (cells["0/grpo"][0], cells["1/grpo"][0]) == (0.6, 0.7)
    assert all({one["run"] for one in chart["series"]} == {0, 1} for chart in data["curves"]), "a curve lacks a run"
    assert {group[0] for group in data["gallery"]["groups"]} == {0, 1}


def test_runs_of_one_name_are_told_apart_by_folder(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / place / "same", "same") for place in ("a", "b")]
    assert main(["report", *map(str, folders), "--compare", "--out", str(tmp_path / "x.html")]) == 0
    data = data_of((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]] == [str(folder) for folder in folders]


def test_several_runs_without_compare_are_several_pages(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, name) for name in ("one", "two")]
    assert main(["report", *map(str, folders)]) == 0
    assert all((folder / "report.html").is_file() for folder in folders)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}/nowhere"], "is not a folder"),
        (["{0}"], "has no config.yaml"),
        (["{0}/mine", "--compare"], "needs two runs"),
        (["{0}/mine", "{0}/mine", "--out", "x.html"], "add --compare"),
        (["{0}/mine", "--samples", "0"], "at least 1"),
        (["{0}/new"], "has no metrics.jsonl"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "mine")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text("stages: []\n", encoding="utf-8")
    assert main(["report", *(argument.format(tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and error.count("\n") == 1, error


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    assert "chemr report runs/starter" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["</script>", "<!--", "a&b", "\u2028", "\ud800", "é 中"])
def test_any_text_comes_back_from_the_page_s_data(text: str) -> None:
    written = json_for_html({"x": text}).encode("utf-8", errors="backslashreplace").decode()
    assert "<" not in written and json.loads(written) == {"x": text}


def test_a_run_of_which_nothing_but_its_start_is_recorded_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("run: {name: new}\n", encoding="utf-8")
    (tmp_path / "metrics.jsonl").touch()
    assert main(["report", str(tmp_path)]) == 0
    data = data_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert data["runs"][0]["name"] == "new" and data["curves"] == [] and data["gallery"]["samples"] == []
