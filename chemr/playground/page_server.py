"""``chemr chat MODEL --page``: the playground for browsers of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from chemr.local_page import Exchange, LocalServer, RefusedError, say_address
from chemr.playground.errors import QuestionError
from chemr.playground.model import Sampling
from chemr.playground.questions import ASKED
from chemr.playground.session import Playground, drawings
from chemr.prompts import render_prompt
from chemr.report.page import render
from chemr.tasks import TASKS

SCRIPTS = ("dom.js", "molecules.js", "chat.js")


class ChatPage:
    """The page and its questions; one is answered at a time."""

    def __init__(self, playground: Playground, model: Path, sampling: Sampling) -> None:
        self._playground = playground
        self._sampling = sampling
        self._answering = threading.Lock()
        tasks = [{"task": task, "title": TASKS[task].title, **asdict(asked)} for task, asked in ASKED.items()]
        data = {
            "runs": [],
            "gallery": {"molecules": []},
            "live": "",
            "model": str(model),
            "device": playground.model.device,
            "tasks": tasks,
            "sampling": asdict(sampling),
            "names": playground.names.why_not,
        }
        self._page = render(data, SCRIPTS, f"chemr chat: {model}")

    def page(self, exchange: Exchange) -> None:
        exchange.send(self._page, "text/html")

    def ask(self, exchange: Exchange) -> None:
        """A line for every piece of the answer, then one with all that was found out about it.

        Raises:
            RefusedError: what was sent is no question; or another one is being answered.
        """
        body = exchange.body()
        if not self._answering.acquire(blocking=False):
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "another question is being answered; wait for it, or stop it")
        try:
            sampling = sampling_of(body, self._sampling)
            asked = self._playground.question(_text(body, "task"), _text(body, "text"), _settings(body))
        except QuestionError as error:
            self._answering.release()
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except BaseException:
            self._answering.release()
            raise
        try:
            self._answer(exchange.begin_lines(), asked, sampling)
        finally:
            self._answering.release()

    def _answer(self, line: Callable[[Any], None], asked: Any, sampling: Sampling) -> None:
        gone = False

        def send(content: Any) -> None:
            nonlocal gone
            try:
                line(content)
            except OSError:  # the person stopped it, or closed the page
                gone = True

        send({"question": render_prompt(asked.example), "notes": list(asked.notes)})
        try:
            reply = self._playground.answer(asked, sampling, lambda text: send({"text": text}), lambda: gone)
            send({"reply": reply.as_json() | {"drawings": drawings(reply)}})
        except QuestionError as error:
            send({"error": str(error)})


def sampling_of(body: dict[str, Any], otherwise: Sampling) -> Sampling:
    """What the person set. Raises QuestionError."""
    seed, temperature, tokens = (body.get(name, getattr(otherwise, name)) for name in ("seed", "temperature", "max_new_tokens"))
    for name, value, kinds in (("seed", seed, int), ("temperature", temperature, (int, float)), ("max_new_tokens", tokens, int)):
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise QuestionError(f"{name.replace('_', ' ')}: a number was expected, found {str(value)[:40]!r}")
    try:
        sampling = Sampling(seed, float(temperature), tokens)
    except OverflowError:  # JSON's numbers have no end
        raise QuestionError("temperature: a number from 0 to 10 was expected, found one that is far larger") from None
    sampling.check()
    return sampling


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise QuestionError(f"{name}: text was expected")
    return value


def _settings(body: dict[str, Any]) -> dict[str, str]:
    found = body.get("settings", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise QuestionError("settings: texts by name were expected")
    return found


def chat_server(playground: Playground, model: Path, sampling: Sampling, port: int) -> LocalServer:
    """The server, which does not serve yet. Raises OSError for a port that is taken."""
    shown = ChatPage(playground, model, sampling)
    return LocalServer({("GET", "/"): shown.page, ("POST", "/ask"): shown.ask}, port)


def serve_chat(playground: Playground, model: Path, sampling: Sampling, port: int) -> None:
    """Until Ctrl-C."""
    server = chat_server(playground, model, sampling, port)
    say_address(server, f"{model}, to be asked")
    server.serve()
