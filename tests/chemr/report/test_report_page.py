"""The report in a real browser: it is drawn, filtered, read by keyboard and to screen readers, and fetches nothing.

Without a Chromium these tests are skipped; ``CHEMR_CHROMIUM`` names one. ``CHEMR_AXE`` is the file axe.min.js of the npm package axe-core;
``CHEMR_SCREENSHOTS`` a folder in which pictures are left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chemr.cli import main
from tests.chemr.report.headless import Browser, Page, find_chromium
from tests.chemr.report.written_run import HOSTILE, write_run

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
PHONE = 380


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("report")
    one, two = write_run(folder / "one", "one"), write_run(folder / "two", "two", shift=0.1)
    assert main(["report", str(one), "--out", str(folder / "one.html")]) == 0
    assert main(["report", str(one), str(two), "--compare", "--out", str(folder / "both.html")]) == 0
    return {"one": folder / "one.html", "both": folder / "both.html"}


@pytest.fixture
def page(browser: Browser, files: dict[str, Path]) -> Iterator[Page]:
    opened = browser.open(files["one"])
    yield opened
    complaints = opened.complaints()
    opened.close()
    assert complaints == [], "the console is not clean"


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.value(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)")
    return found


def choose(page: Page, label: str, value: str, within: str = "body") -> None:
    page.value(f"""(() => {{
        const labels = [...document.querySelectorAll({json.dumps(within + " label")})];
        const label = labels.find((one) => one.textContent.startsWith({json.dumps(label)}));
        const control = label.querySelector("select, input");
        control.value = {json.dumps(value)};
        control.dispatchEvent(new Event(control.tagName === "SELECT" ? "change" : "input"));
    }})()""")


def test_every_section_is_drawn(page: Page) -> None:
    page.show_all()
    sections = page.value("[...document.querySelectorAll('section')].map((one) => one.id)")
    wanted = ["summary", "results", "learning", "curriculum", "reasons", "timeline", "training", "speed", "weights", "histograms"]
    assert sections == [*wanted, "answers", "events", "configuration"]
    empty = page.value("[...document.querySelectorAll('.plot')].filter((one) => !one.querySelector('svg *')).length")
    assert empty == 0, f"{empty} charts are empty"
    assert "60.0 % [55.0, 65.0]" in texts(page, "#summary dd")
    assert page.value("document.querySelectorAll('#results tbody tr').length") == 4


def test_a_model_s_text_is_text(page: Page) -> None:
    page.show_all()
    assert page.value("document.title") != "taken" and page.value("document.querySelectorAll('img').length") == 0
    assert HOSTILE in texts(page, "#cards dd"), "what the model wrote is shown as it wrote it"


def test_answers_are_filtered_by_task_verdict_and_text(page: Page) -> None:
    page.show_all()
    status = "document.getElementById('found').textContent"
    assert page.value(status).startswith("36 of 36 answers")
    choose(page, "Task", "moledit_add", "#answers")
    assert page.value(status).startswith("12 of 36 answers")
    choose(page, "Verdict", "=part", "#answers")
    assert page.value(status).startswith("4 of 36 answers") and texts(page, "#cards .verdict") == ["◐ partial"] * 4
    choose(page, "Verdict", "no_answer", "#answers")
    assert texts(page, "#cards .verdict") == ["✗ no answer"] * 4
    choose(page, "Verdict", "", "#answers")
    choose(page, "Text", "nc1CCCCC1".lower(), "#answers")
    page.wait(f"{status}.startsWith('4 of 36')")
    choose(page, "Text", "nothing like it", "#answers")
    page.wait(f"{status}.startsWith('0 of 36')")
    assert "No answer passes these filters." in texts(page, "#cards p")


def test_the_worst_failures_come_first_when_asked_for(page: Page) -> None:
    page.show_all()
    choose(page, "Order", "worst", "#answers")
    assert set(texts(page, "#cards .verdict")) == {"✗ no answer"}
    page.value("[...document.querySelectorAll('#answers button')].find((one) => one.textContent === 'Next').click()")
    page.value("[...document.querySelectorAll('#answers button')].find((one) => one.textContent === 'Next').click()")
    assert set(texts(page, "#cards .verdict")) == {"✓ correct"}
    assert page.value("[...document.querySelectorAll('#answers button')].find((one) => one.textContent === 'Next').disabled") is True


def test_molecules_are_drawn_with_what_differs(page: Page) -> None:
    page.show_all()
    choose(page, "Task", "moledit_add", "#answers")
    choose(page, "Verdict", "partial", "#answers")
    captions = page.value(
        "[...document.querySelector('#cards article').querySelectorAll('.molecule figcaption')].map((one) => one.textContent)"
    )
    assert captions == [
        "asked",
        "answer, 1 atom differs from the asked one",
        "answer, 1 atom differs from the reference",
        "reference, 1 atom not in the answer",
    ]
    marked = page.value(
        "[...document.querySelector('#cards article').querySelectorAll('.molecule')]"
        ".map((one) => one.querySelectorAll('circle.differs').length)"
    )
    assert marked == [0, 1, 1, 1]
    assert "NH2" in page.value("document.querySelectorAll('#cards article .molecule')[1].textContent").replace("2H", "H2")


def test_no_label_of_an_atom_is_cut_off(page: Page) -> None:
    page.show_all()
    cut = page.value("""[...document.querySelectorAll('#cards .molecule svg')].flatMap((picture) => {
        const box = picture.viewBox.baseVal;
        return [...picture.querySelectorAll('text')].filter((text) => {
            const { x, y, width, height } = text.getBBox();
            return x < box.x || x + width > box.x + box.width || y < box.y || y + height > box.y + box.height;
        }).map((text) => text.textContent);
    })""")
    assert cut == [], f"cut off are {cut}"


def test_charts_are_read_by_keyboard_and_as_tables(page: Page) -> None:
    page.show_all()
    page.value("document.querySelector('#learning .plot').focus()")
    for key in ("ArrowRight", "End"):
        page.press(key)
    reading = page.value("document.querySelector('#learning .reading').textContent")
    assert reading.startswith("step 60: rollouts 0.") and "test 0.2" in reading, reading
    page.value("document.querySelector('#curriculum .plot').focus()")
    page.press("ArrowDown")
    assert "33.3 %" in page.value("document.querySelector('#curriculum .reading').textContent")
    page.value("document.querySelector('#timeline details').open = true")
    page.wait("document.querySelector('#timeline details table')")
    row = page.value("[...document.querySelectorAll('#timeline details tbody tr:first-child td')].map((one) => one.textContent)")
    assert row == ["0.5", "0.25", "0.25", "40.0", "10.0"]


def test_the_axis_turns_into_minutes(page: Page) -> None:
    page.show_all()
    before = page.value("document.querySelector('#learning .plot svg').outerHTML")
    choose(page, "Horizontal axis", "minutes")
    assert page.value("document.querySelector('#learning .plot svg').outerHTML") != before


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Browser, files: dict[str, Path]) -> None:
    page = browser.open(files["one"], dark=True)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.value(paper)
    for _ in range(2):  # as the system -> light -> dark
        page.value("document.getElementById('theme').click()")
        dark, light = page.value(paper), dark
    assert page.value("document.getElementById('theme').textContent") == "Theme: dark"
    page.value("document.getElementById('theme').click()")
    assert page.value(paper) == dark != light
    page.close()


def test_runs_are_overlaid_with_a_legend_and_a_column_each(browser: Browser, files: dict[str, Path]) -> None:
    page = browser.open(files["both"])
    page.show_all()
    assert texts(page, "#results thead th") == ["task", "one", "two", "difference"]
    assert texts(page, "#results tbody tr.total td")[2] == "+10.0"
    assert texts(page, "#learning figure:first-child .legend li") == ["one", "two", "rollouts", "test"]
    lines = page.value(
        "[...document.querySelectorAll('#speed figure:first-child .plot path.line')]"
        ".map((one) => [one.getAttribute('class'), one.getAttribute('stroke-dasharray')])"
    )
    assert len({tuple(line) for line in lines}) == len(lines), "two lines look alike"
    assert texts(page, "#configuration tbody th")[:2] == ["grpo.optim.lr", "run.name"], "what differs stands first"
    choose(page, "Run", "1", "#answers")
    assert page.value("document.getElementById('found').textContent").startswith("36 of 72")
    assert page.complaints() == []
    page.close()


@pytest.mark.parametrize("which", ["one", "both"])
def test_nothing_is_wider_than_a_phone(which: str, browser: Browser, files: dict[str, Path]) -> None:
    page = browser.open(files[which], width=PHONE)
    page.show_all()
    assert page.wider_than(PHONE) == []
    page.close()


@pytest.mark.parametrize(("which", "width", "dark"), [("one", 1280, False), ("one", PHONE, True), ("both", 1280, True)])
def test_axe_finds_nothing_serious(which: str, width: int, dark: bool, browser: Browser, files: dict[str, Path]) -> None:
    axe = os.environ.get("CHEMR_AXE")
    if not axe:
        pytest.skip("CHEMR_AXE does not name axe.min.js (npm package axe-core)")
    page = browser.open(files[which], width=width, dark=dark)
    page.show_all()
    serious = page.serious_findings(Path(axe))
    assert serious == [], json.dumps(serious, indent=1)
    page.close()


def test_pictures_are_left_for_people(browser: Browser, files: dict[str, Path]) -> None:
    folder = os.environ.get("CHEMR_SCREENSHOTS")
    if not folder:
        pytest.skip("CHEMR_SCREENSHOTS names no folder")
    for name, which, width, dark in (("light", "one", 1280, False), ("dark", "both", 1280, True), ("phone", "one", PHONE, False)):
        page = browser.open(files[which], width=width, dark=dark)
        page.show_all()
        page.screenshot(Path(folder) / f"report-{name}.png", whole=True)
        assert (Path(folder) / f"report-{name}.png").stat().st_size > 20_000
        page.close()
