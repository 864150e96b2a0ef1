"""The playground's page in a real browser, with a model that says what it is told to."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chemr.local_page import LocalServer
from chemr.playground.errors import QuestionError
from chemr.playground.model import Sampling
from chemr.playground.names import Names
from chemr.playground.page_server import chat_server, sampling_of
from chemr.playground.session import Playground
from rewards.opsin import OpsinMode
from tests.chemr.playground.scripted import ENDLESS, FORMULA, HOSTILE, PROSE, ScriptedModel
from tests.chemr.report.headless import Browser, Page, find_chromium

CHROMIUM = find_chromium()
PHONE = 380
READY = "document.getElementById('task')"
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def model() -> ScriptedModel:
    return ScriptedModel("")


@pytest.fixture(scope="module")
def server(model: Any) -> Iterator[LocalServer]:
    with closing(Playground(model, Names(OpsinMode.NEVER))) as playground:
        with closing(chat_server(playground, Path("runs/mine/model"), Sampling(), 0)) as started:
            thread = threading.Thread(target=started.serve, daemon=True)
            thread.start()
            yield started
        thread.join(5.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: LocalServer) -> Iterator[Page]:
    opened = browser.open(server.address, ready=READY)
    yield opened
    complaints = opened.complaints()
    opened.close()
    assert complaints == [], "the console is not clean"


def post(server: LocalServer, **body: Any) -> tuple[int, list[dict[str, Any]]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    connection.request("POST", urlsplit(server.address).path + "ask", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, [json.loads(line) for line in answer.read().splitlines()]


def ask(page: Page, model: ScriptedModel, written: str, task: str, text: str, **settings: str) -> None:
    """Fills in the form and waits for the whole answer."""
    model.text = written
    set_value = "(id, value) => { const one = document.querySelector(id); one.value = value; one.dispatchEvent(new Event('change')); }"
    for selector, value in (("#task", task), ("#text", text), *((f"#settings [name={name}]", value) for name, value in settings.items())):
        page.value(f"({set_value})({json.dumps(selector)}, {json.dumps(value)})")
    page.value("document.querySelector('#ask form').requestSubmit()")
    page.wait("document.getElementById('answers').getAttribute('aria-busy') === 'false'")


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.value(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)")
    return found


def test_an_answer_comes_in_pieces_and_then_checked(server: LocalServer, model: ScriptedModel) -> None:
    model.text = FORMULA
    status, lines = post(server, task="smiles2formula", text="CCC(=O)O")
    assert status == 200 and lines[0] == {"question": "Formula of CCC(=O)O", "notes": []}
    assert "".join(line["text"] for line in lines if "text" in line) == FORMULA
    reply = lines[-1]["reply"]
    assert reply["score"]["value"] == 1.0 and [claim["true"] for claim in reply["claims"]] == [True, False]
    assert len(reply["drawings"]["molecules"]) == 1 and reply["drawings"]["answer"] is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"task": "smiles2formula", "text": "C1CC"}, "is no molecule"),
        ({"task": 3, "text": "C"}, "task: text was expected"),
        ({"task": "smiles2formula"}, "text: text was expected"),
        ({"task": "smiles2formula", "text": "C", "seed": "x"}, "seed: a number was expected"),
        ({"task": "smiles2formula", "text": "C", "temperature": 99}, "temperature 99"),
        ({"task": "smiles2formula", "text": "C", "settings": ["add"]}, "texts by name"),
    ],
)
def test_what_is_no_question_is_a_sentence(body: dict[str, Any], said: str, server: LocalServer) -> None:
    status, lines = post(server, **body)
    assert status == 400 and said in lines[0]["error"]


@in_browser
def test_claims_are_marked_and_the_answer_is_drawn_and_scored(page: Page, model: ScriptedModel) -> None:
    ask(page, model, PROSE, "moledit_add", "CC(=O)OCC", add="hydroxyl")
    assert model.asked[-1] == "Add hydroxyl to CC(=O)OCC", "the wording is that of training"
    assert texts(page, ".claims li") == [
        "✓ true has the group ester, of question and answer",
        "✗ false 2 rings",
        "✓ true formula C4H8O2, of the question",
        "✓ true has the group hydroxyl, of the answer",
    ]
    assert texts(page, ".steps strong") == ["1. Look: ", "2. Edit: "]
    assert texts(page, ".card header span") == ["MolEdit, add a group", "3 of 4 checked claims true, 1 false"]
    assert texts(page, ".molecule figcaption") == ["asked", "answer, marked: what differs"]
    assert page.value("document.querySelectorAll('.molecule .differs').length") > 0
    assert texts(page, ".answer strong") == ["CC(=O)OCCO"] and "score" in texts(page, ".score")[0]
    ask(page, model, FORMULA, "smiles2formula", "CCC(=O)O")
    assert texts(page, ".card h2") == ["Formula of CCC(=O)O", "Add hydroxyl to CC(=O)OCC"], "the newest answer stands first"


@in_browser
def test_a_model_s_text_is_text(page: Page, model: ScriptedModel) -> None:
    ask(page, model, HOSTILE, "smiles2formula", "CCO")
    assert page.value("document.title") != "taken" and page.value("document.querySelectorAll('img').length") == 0
    assert "No answer in the form" in texts(page, ".answer")[0] and "onerror" in texts(page, ".said")[0]


@in_browser
def test_what_is_no_molecule_is_a_sentence_and_an_answer_can_be_stopped(
    browser: Browser, server: LocalServer, model: ScriptedModel
) -> None:
    page = browser.open(server.address, ready=READY)
    ask(page, model, FORMULA, "smiles2formula", "ethanol")
    assert "names cannot be read here" in texts(page, "#problem")[0] and texts(page, ".card") == []
    assert "OPSIN is off" in texts(page, "#hint")[0]
    model.text = ENDLESS
    page.value("document.getElementById('text').value = 'CCO'")
    page.value("document.querySelector('#ask form').requestSubmit()")
    page.wait("document.querySelector('.draft').textContent.includes('more more')")
    assert post(server, task="smiles2formula", text="C")[0] == 503, "one question at a time"
    page.value("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Stop').click()")
    page.wait("document.querySelector('.draft').textContent.includes('(stopped)')")
    ask_until_free(page, model)
    # What a page is refused with a status is in the browser's log, and nothing else is.
    assert all("status of" in complaint for complaint in page.complaints()), page.complaints()
    page.close()


def ask_until_free(page: Page, model: ScriptedModel) -> None:
    page.wait("true")
    for _ in range(50):
        if model.stopped:
            break
        page.value("new Promise((done) => setTimeout(done, 50))")
    assert model.stopped, "the model goes on writing for nobody"
    ask(page, model, FORMULA, "smiles2formula", "CCO")
    assert texts(page, ".card h2")[0] == "Formula of CCO"


@in_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (PHONE, True)])
def test_it_fits_a_phone_and_is_accessible(width: int, dark: bool, browser: Browser, server: LocalServer, model: ScriptedModel) -> None:
    page = browser.open(server.address, width=width, dark=dark, ready=READY)
    ask(page, model, PROSE, "moledit_sub", "CC(=O)OCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCBr", remove="halo", add="hydroxyl")
    page.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.wider_than(width) == []
    if os.environ.get("CHEMR_AXE"):
        assert page.serious_findings(Path(os.environ["CHEMR_AXE"])) == []
    page.close()


@in_browser
def test_pictures_are_left_for_people(browser: Browser, server: LocalServer, model: ScriptedModel) -> None:
    folder = os.environ.get("CHEMR_SCREENSHOTS")
    if not folder:
        pytest.skip("CHEMR_SCREENSHOTS names no folder")
    for name, width, dark in (("chat-light", 1280, False), ("chat-dark", 1280, True), ("chat-phone", PHONE, False)):
        page = browser.open(server.address, width=width, dark=dark, ready=READY)
        page.screenshot(Path(folder) / f"{name}-empty.png")
        ask(page, model, HOSTILE, "smiles2formula", "CCO")
        ask(page, model, FORMULA, "smiles2formula", "CCC(=O)O")
        ask(page, model, PROSE, "moledit_add", "CC(=O)OCC", add="hydroxyl")
        page.screenshot(Path(folder) / f"{name}.png", whole=True)
        page.close()


HUGE = 10**400


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": HUGE},
        {"temperature": -HUGE},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"seed": HUGE},
        {"seed": 10**4200},
        {"max_new_tokens": HUGE},
        {"temperature": True},
        {"seed": 1.5},
    ],
)
def test_a_number_without_end_is_a_sentence(body: dict[str, Any]) -> None:
    with pytest.raises(QuestionError) as caught:
        sampling_of(body, Sampling())
    assert len(str(caught.value)) < 200
