"""The whole of mining with a scripted teacher: what survives, what it costs, and that no start repeats another's work."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from chemr.config import ChemrConfig
from chemr.mining.config import MiningConfig, SelectConfig, TeacherKind
from chemr.mining.errors import MiningInputError, TeacherStopped
from chemr.mining.pipeline import STEPS, NothingMined, locked, run_all, run_step
from chemr.mining.protocol_file import read_protocols
from chemr.mining.questions import EXPLANATIONS, MINE, SYNTHESISE, mining_messages, without_system
from chemr.mining.sft_steps import selected
from chemr.mining.step_files import read_rows
from chemr.mining.step_names import STEP_NAMES
from chemr.mining.teacher import ChatRequest
from chemr.mining.workplace import FILTERED, MINED, PROTOCOLS, RESPONSES, SFT, SYNTHESISED, VERIFIED, Workplace
from chemr.prompts import completion_with_trace
from chemr.protocols.steps import read_steps
from chemr.protocols.teacher import write_trace
from chemr.tasks import TASKS
from chemr.trace_file import read_traces
from tests.chemr.mining.scripted import ScriptedTeacher
from tests.chemr.protocol_rows import ROWS

TASKS_USED = ("smiles2formula", "iupac2formula", "forward")
EXAMPLES = [row for row in ROWS if row.task in TASKS_USED]
OTHER_TITLES = {"Heavy atoms": "Count heavy atoms", "Unsaturation": "Degree of unsaturation", "Forms": "Bond or group that forms"}


def write(request: ChatRequest) -> str:
    """A teacher of moods, by a seed: mostly right; some traces in prose, with a wrong answer, a false claim, the form's example."""
    example = request.example
    draw = random.Random(request.key("scripted"))
    steps = [(step.title, step.claim) for step in read_steps(write_trace(example))]
    if request.purpose != SYNTHESISE and draw.random() < 0.3:
        steps = [(OTHER_TITLES.get(title, title), claim) for title, claim in steps]
    mood = draw.random()
    answer = example.reference["answer"] if mood > 0.15 else "C99H99"
    if 0.15 < mood < 0.25:
        return f"It is plain to see. <answer>{answer}</answer>"
    if 0.25 < mood < 0.35:
        steps[-1] = (steps[-1][0], steps[-1][1] + " The molecule contains a disulfide and a borane.")
    if draw.random() < (0.1 if request.purpose == SYNTHESISE else 0.6):
        steps.append(("Title of the nextstep", "What it finds"))
    text = "\n".join(f"{n}. **{title}**: {claim} (variant {draw.randrange(100)})" for n, (title, claim) in enumerate(steps, start=1))
    return completion_with_trace(text, answer)


def workplace(folder: Path, teacher: ScriptedTeacher, **mining: object) -> Workplace:
    config = ChemrConfig(mining=MiningConfig(questions_per_task=12, samples=2, synthesis_questions_per_task=15, synthesis_samples=3))
    config.mining.endpoint.model = teacher.model
    config.mining.endpoint.price_in = config.mining.endpoint.price_out = 1000.0
    for name, value in mining.items():
        assert hasattr(config.mining, name)
        setattr(config.mining, name, value)
    config.mining.validate()
    return Workplace(folder, config, EXAMPLES, said.append, lambda used: teacher)


said: list[str] = []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScriptedTeacher]:
    folder = tmp_path_factory.mktemp("mining")
    teacher = ScriptedTeacher(write)
    run_all(workplace(folder, teacher))
    return folder, teacher


def test_the_commands_are_the_steps() -> None:
    assert tuple(STEPS) == STEP_NAMES
    assert set(EXPLANATIONS) == set(TASKS), "a task that teachers cannot be asked about, or an explanation of none"


def test_the_teachers_protocols_are_found_again(finished: tuple[Path, ScriptedTeacher]) -> None:
    protocols, hints = read_protocols(finished[0] / PROTOCOLS)
    assert [step.title for step in protocols["smiles2formula"].steps] == ["Heavy atoms", "Unsaturation"]
    assert [step.title for step in protocols["forward"].steps] == ["Forms", "Leaves", "Product atoms"]
    assert protocols["smiles2formula"].steps[0].shared == protocols["iupac2formula"].steps[0].shared is not None
    assert any(set(hint.tasks) == {"iupac2formula", "smiles2formula"} for hint in hints.values())
    step = protocols["smiles2formula"].steps[0]
    assert step.sources and 0.9 < step.statistics["share"] <= 1.0


def test_what_is_selected_is_right_in_the_projects_form_and_can_be_distilled(finished: tuple[Path, ScriptedTeacher]) -> None:
    traces = read_traces(finished[0] / SFT, EXAMPLES)
    assert {example.task for example, _ in traces} == set(TASKS_USED)
    for example, completion in traces:
        assert f"<answer>{example.reference['answer']}</answer>" in completion and "borane" not in completion
        titles = [step.title for step in read_steps(completion.partition("<think>")[2].partition("</think>")[0])]
        assert titles == [step.title for step in read_steps(write_trace(example))]
    assert len({(example.uid, completion) for example, completion in traces}) == len(traces)


def test_the_report_says_what_fell_where_and_what_it_cost(finished: tuple[Path, ScriptedTeacher]) -> None:
    folder, teacher = finished
    report = json.loads((folder / "report.json").read_text())
    counts = report["tasks"]["smiles2formula"]
    assert counts["traces mined"] == 48 and 0 < counts["verified, answer not shown"] < counts["verified"] < 48
    assert counts["traces synthesised"] == 45 > counts["passed the filters"] >= counts["selected"] > 0
    assert report["lost"]["verify"]["wrong"] > 0 and report["lost"]["extract"]["traces without numbered steps"] > 0
    assert report["lost"]["extract"]["steps that echo the form"] > 0, "steps of the prompt's own example were taken for the teacher's"
    assert {"answer: wrong", "missing_step", "false_group", "echoes_form"} <= set(report["lost"]["filter"])
    usage = report["usage"]["scripted"]
    assert usage["responses"] == teacher.asked.total() and usage["cost"] == pytest.approx(teacher.asked.total() * 0.15)
    text = (folder / "report.txt").read_text()
    assert "passed the filters" in text and "filter lost: " in text and "cost" in text


def test_both_ways_of_asking_are_recorded(finished: tuple[Path, ScriptedTeacher]) -> None:
    records = [json.loads(line) for line in (finished[0] / RESPONSES).read_text().splitlines()]
    shown = [record for record in records if record["purpose"] == "mine_shown"]
    blind = [record for record in records if record["purpose"] == MINE]
    assert len(shown) == len(blind) > 0
    gold = {row.uid: row.reference["answer"] for row in EXAMPLES}
    assert all(gold[record["uid"]] in record["messages"][1]["content"] for record in shown)
    content = mining_messages(EXAMPLES[1], shown=False)[1]["content"]
    assert "right answer" not in content and "C2H6O" not in content.replace("e.g. C2H6O", "")


def test_a_second_run_asks_nothing_and_changes_nothing(finished: tuple[Path, ScriptedTeacher]) -> None:
    folder, _ = finished
    before = {path.name: path.read_bytes() for path in folder.rglob("*.jsonl")}
    again = ScriptedTeacher(write)
    run_all(workplace(folder, again))
    assert not again.asked and {path.name: path.read_bytes() for path in folder.rglob("*.jsonl")} == before


@pytest.mark.parametrize("stop_after", [40, 180])
def test_a_run_that_is_interrupted_anywhere_repeats_no_request(
    stop_after: int, finished: tuple[Path, ScriptedTeacher], tmp_path: Path
) -> None:
    whole = finished[1].asked
    first = ScriptedTeacher(write, stop_after=stop_after)
    with pytest.raises(TeacherStopped):
        run_all(workplace(tmp_path, first))
    second = ScriptedTeacher(write)
    run_all(workplace(tmp_path, second))
    assert first.asked + second.asked == whole and set((first.asked + second.asked).values()) == {1}
    assert read_rows(tmp_path / SFT).rows == read_rows(finished[0] / SFT).rows, "an interruption must not change the result"


def test_an_edited_protocol_asks_again_for_its_own_task_only(finished: tuple[Path, ScriptedTeacher], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    copy_tree(finished[0], folder)
    path = folder / PROTOCOLS / "forward.yaml"
    path.write_text(path.read_text().replace("title: Leaves", "title: What leaves"))
    teacher = ScriptedTeacher(lambda request: write(request).replace("**Leaves**", "**What leaves**"))
    run_all(workplace(folder, teacher))
    tasks = {record["task"] for record in map(json.loads, (folder / RESPONSES).read_text().splitlines()) if record["key"] in teacher.asked}
    assert tasks == {"forward"} and max(teacher.asked.values()) == 1
    assert "What leaves" in path.read_text(), "merging did not undo the edit"
    assert any("**What leaves**" in row["completion"] for row in read_rows(folder / SFT).rows)


def test_mining_anew_keeps_an_edited_protocol_and_puts_the_new_one_beside_it(
    finished: tuple[Path, ScriptedTeacher], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    copy_tree(finished[0], folder)
    path = folder / PROTOCOLS / "forward.yaml"
    edited = path.read_text().replace("title: Leaves", "title: What leaves")
    path.write_text(edited)
    work = workplace(folder, ScriptedTeacher(write), questions_per_task=10)
    for name in ("mine", "verify", "extract", "cluster", "merge"):
        run_step(name, work)
    assert path.read_text() == edited and (folder / PROTOCOLS / "forward.mined.yaml").is_file()
    assert any("was edited and is kept" in line for line in said)
    assert not (folder / PROTOCOLS / "smiles2formula.mined.yaml").exists()


def test_a_protocol_that_is_no_longer_found_is_removed_unless_somebody_edited_it(
    finished: tuple[Path, ScriptedTeacher], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    copy_tree(finished[0], folder)
    edited = folder / PROTOCOLS / "forward.yaml"
    edited.write_text(edited.read_text().replace("title: Leaves", "title: What leaves"))
    work = workplace(folder, ScriptedTeacher(write))
    work.config.mining.cluster.min_support = 2.0  # no step is in so many traces
    run_step("merge", work)
    assert edited.is_file(), "a chemist's work is not thrown away"
    assert not (folder / PROTOCOLS / "smiles2formula.yaml").exists(), "traces would be synthesised along a protocol that no traces bear out"
    assert any("smiles2formula.yaml is removed" in line for line in said)


def test_a_step_whose_input_changed_is_done_again(finished: tuple[Path, ScriptedTeacher], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    copy_tree(finished[0], folder)
    work = workplace(folder, ScriptedTeacher(write))
    before = read_rows(folder / FILTERED).header["made_from"]
    work.config.mining.filter.max_chars = 40
    run_step("filter", work)
    after = read_rows(folder / FILTERED)
    assert after.header["made_from"] != before and after.header["reasons"]["too_long"] > 0


def test_a_missing_or_broken_file_says_which_step_writes_it(tmp_path: Path, finished: tuple[Path, ScriptedTeacher]) -> None:
    work = workplace(tmp_path, ScriptedTeacher(write))
    with pytest.raises(MiningInputError, match=r"mined\.jsonl does not exist; run the step"):
        run_step("verify", work)
    (tmp_path / MINED).write_text((finished[0] / MINED).read_text()[:-20])
    with pytest.raises(MiningInputError, match=r"mined\.jsonl, line \d+: is not what"):
        run_step("verify", work)
    assert not (tmp_path / VERIFIED).exists()


def test_rows_that_the_data_no_longer_have_are_named(tmp_path: Path, finished: tuple[Path, ScriptedTeacher]) -> None:
    (tmp_path / MINED).write_text((finished[0] / MINED).read_text())
    work = workplace(tmp_path, ScriptedTeacher(write))
    work.examples = EXAMPLES[:1]
    with pytest.raises(MiningInputError, match=r"the data have no row 'test/"):
        run_step("verify", work)


def test_a_folder_is_one_processs_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(MiningInputError, match="in use by process"), locked(tmp_path):
        pass


def test_the_programmatic_teacher_goes_all_the_way_too(tmp_path: Path) -> None:
    config = ChemrConfig(
        mining=MiningConfig(teacher=TeacherKind.programmatic, questions_per_task=4, samples=1, synthesis_questions_per_task=6)
    )
    run_all(Workplace(tmp_path, config, list(ROWS), said.append))
    chosen = read_rows(tmp_path / SFT)
    assert set(chosen.header["per_task"]) == {row.task for row in ROWS}
    assert read_rows(tmp_path / SYNTHESISED).header["failed"] == 0


def test_a_key_is_asked_for_only_when_something_is_to_be_asked(
    finished: tuple[Path, ScriptedTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    work = workplace(finished[0], ScriptedTeacher(write))
    work.make_teacher = None
    work.config.mining.endpoint.base_url = "http://127.0.0.1:9/v1"
    run_step("mine", work)
    with pytest.raises(MiningInputError, match="OPENAI_API_KEY"):
        asyncio.run(workplace_with_more(work))


async def workplace_with_more(work: Workplace) -> None:
    work.config.mining.samples = 3
    await STEPS["mine"](work)  # type: ignore[misc]


def passed(uid: str, sample: int, text: str, task: str = "retro") -> dict:
    return {"uid": uid, "task": task, "sample": sample, "key": f"{uid}-{sample}", "canonical": text, "reasons": []}


def test_selection_is_diverse_and_balanced() -> None:
    words = random.Random(1)
    rows = [
        passed(
            f"q{n}",
            sample,
            " ".join(words.choice(["carbon", "ring", "ester", "acid", "chain", "first", "then", "amide"]) for _ in range(20)),
        )
        for n in range(40)
        for sample in range(3)
    ]
    rows += [passed("q0", 3, rows[0]["canonical"] + ".")]
    rows += [passed(f"f{n}", 0, f"text {n}", "forward") for n in range(3)]
    difficulty = {row["uid"]: int(row["uid"][1:]) / 40 for row in rows}
    chosen, dropped = selected(rows, difficulty, SelectConfig(per_task=20, per_question=2, difficulty_bins=4), 0)
    retro = [row for row in chosen if row["task"] == "retro"]
    assert len(retro) == 20 == len({row["uid"] for row in retro}), "every question comes before any comes twice"
    bins = [sum(lo <= difficulty[row["uid"]] < lo + 0.25 for row in retro) for lo in (0.0, 0.25, 0.5, 0.75)]
    assert bins == [5, 5, 5, 5]
    assert dropped["more than the question's share"] > 0 and dropped["more than the task's share"] > 0
    few, _ = selected(rows, difficulty, SelectConfig(per_task=0, task_ratio=2.0), 0)
    assert sum(row["task"] == "retro" for row in few) == 6, "twice the three of the smallest task"


def test_near_duplicates_are_not_taken_twice() -> None:
    rows = [
        passed("q1", 0, "the chain has six atoms"),
        passed("q1", 1, "the chain has six atoms."),
        passed("q1", 2, "first count the ring bonds"),
    ]
    chosen, dropped = selected(rows, {"q1": 0.5}, SelectConfig(per_question=3), 0)
    assert [row["sample"] for row in chosen] == [0, 2] and dropped == {"nearly the same as another of its question": 1}
    assert selected([], {}, SelectConfig(), 0) == ([], {})


def copy_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())


def test_a_teacher_that_is_never_right_ends_with_a_report_and_advice(tmp_path: Path) -> None:
    work = workplace(tmp_path, ScriptedTeacher(lambda _: "I cannot say."))
    with pytest.raises(NothingMined, match="no task has a protocol"):
        run_all(work)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["lost"]["verify"] == {"no_answer": report["usage"]["scripted"]["responses"]}


def test_models_without_a_system_role_get_one_message() -> None:
    whole = mining_messages(EXAMPLES[0], shown=True)
    (one,) = without_system(whole)
    assert one["role"] == "user" and all(message["content"] in one["content"] for message in whole)
