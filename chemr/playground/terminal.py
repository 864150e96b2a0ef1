"""Questions and answers in the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chemr.playground.checks import Claim, Score
from chemr.playground.errors import QuestionError
from chemr.playground.model import Sampling
from chemr.playground.questions import ASKED, Asked, setting_form
from chemr.playground.session import Playground, Reply
from chemr.prompts import render_prompt
from chemr.tasks import TASKS

FIRST_TASK = "smiles2formula"
HELP = """\
Type a molecule (SMILES, or a name where Java is), or what the task asks for. Commands:
  /tasks              all tasks and what they ask for
  /task NAME          another task
  /set NAME=VALUE     a further field of the task, e.g. /set add=amine
  /seed N   /temperature T   /tokens N
  /quit               or Ctrl-D; Ctrl-C ends an answer"""


class Terminal:
    """A conversation of single questions: the model sees one question at a time, as in training."""

    def __init__(self, playground: Playground, model: Path, sampling: Sampling, console: Console | None = None) -> None:
        self._playground = playground
        self._sampling = sampling
        self._console = console or Console(highlight=False)
        self._task = FIRST_TASK
        self._settings: dict[str, str] = {}
        self._model = model

    def run(self) -> None:
        """Until /quit or the end of the input."""
        self._console.print(f"{self._model} on {self._playground.model.device}. /help says what can be typed.", markup=False)
        self._say_task()
        while True:
            try:
                line = input(f"{self._task}> ").strip()
            except EOFError:
                self._console.print()
                return
            except KeyboardInterrupt:
                self._console.print()
                continue
            if line in ("/quit", "/exit"):
                return
            try:
                self.take(line)
            except QuestionError as error:
                self._console.print(Text(str(error), style="yellow"))

    def take(self, line: str) -> None:
        """One line of the person. Raises QuestionError."""
        command, _, value = line.partition(" ")
        value = value.strip()
        match command:
            case "":
                return
            case "/help":
                self._console.print(HELP, markup=False)
            case "/tasks":
                for task, asked in ASKED.items():
                    self._console.print(f"  {task:<26} {TASKS[task].title}: {asked.label}, e.g. {asked.example}", markup=False)
            case "/task":
                if value not in ASKED:
                    raise QuestionError(f"there is no task {value!r}; /tasks lists them")
                self._task, self._settings = value, {}
                self._say_task()
            case "/set":
                name, equals, setting = value.partition("=")
                if not equals:
                    raise QuestionError("NAME=VALUE was expected, e.g. /set add=amine")
                self._settings[name.strip()] = setting.strip()
            case "/seed" | "/temperature" | "/tokens":
                self._sampling = _changed(self._sampling, command.removeprefix("/"), value)
            case _ if command.startswith("/"):
                raise QuestionError(f"there is no command {command}; /help lists them")
            case _:
                self._ask(line)

    def _ask(self, text: str) -> None:
        asked = self._playground.question(self._task, text, self._settings)
        self._console.print(Text(render_prompt(asked.example), style="bold"))
        ended = False

        def stopped() -> bool:
            return ended

        def piece(text: str) -> None:
            nonlocal ended
            try:
                self._console.file.write(printable(text))
                self._console.file.flush()
            except KeyboardInterrupt:
                ended = True

        reply = self._playground.answer(asked, self._sampling, piece, stopped)
        self._console.print()
        show(self._console, reply, with_question=False)

    def _say_task(self) -> None:
        asked: Asked = ASKED[self._task]
        self._console.print(Text(f"{TASKS[self._task].title}: {asked.label}, e.g. {asked.example}", style="dim"))
        for name in asked.settings:
            self._console.print(Text(f"  /set {name}=… ({setting_form(self._task, name)})", style="dim"))


def show(console: Console, reply: Reply, with_question: bool = True) -> None:
    """The reasoning step by step, what is true of it, the answer and its score."""
    if with_question:
        console.print(Text(render_prompt(reply.asked.example), style="bold"))
    for note in reply.asked.notes:
        console.print(Text(note, style="dim"))
    for place, step in enumerate(reply.steps):
        head = f"{step.number}. {step.title}: " if step.title else ""
        console.print(Text.assemble((head, "bold"), printable(step.claim)))
        for claim in reply.claims:
            if claim.step == place:
                console.print(Text.assemble("   ", mark(claim)))
    if reply.answer is None:
        console.print(Text(f"no answer in the form <answer>…</answer> (ended {reply.written.ended})", style="yellow"))
    else:
        console.print(Text.assemble(("answer: ", "bold"), (printable(reply.answer), "bold cyan")))
    console.print(Text(score_text(reply.score), style="dim"))
    console.print(Text(f"{reply.written.tokens} tokens in {reply.written.seconds:.1f} s, ended {reply.written.ended}", style="dim"))


def mark(claim: Claim) -> Text:
    """``✓ ester, in the question`` and the like: sign, words and colour say the same."""
    sign, style = {True: ("✓ true", "green"), False: ("✗ false", "red"), None: ("? cannot be told", "yellow")}[claim.true]
    return Text(f"{sign}: {claim_text(claim)}", style=style)


def claim_text(claim: Claim) -> str:
    """What is claimed, and of what it is true."""
    what = claim.what.replace("_", " ")
    named = {"group": f"has the group {what}", "formula": f"formula {what}", "rings": f"{what} rings"}.get(
        claim.kind, "what this step says"
    )
    where = {"both": ", of question and answer", "": ""}.get(claim.of, f", of the {claim.of}")
    return named + where


def score_text(score: Score) -> str:
    if score.value is None:
        return score.why
    return f"score {score.value:.2f} ({score.reason.replace('_', ' ')}), {score.why}"


def printable(text: str) -> str:
    """A model's text without control characters, which could steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def _changed(sampling: Sampling, name: str, value: str) -> Sampling:
    """Raises QuestionError."""
    try:
        match name:
            case "temperature":
                changed = replace(sampling, temperature=float(value))
            case "seed":
                changed = replace(sampling, seed=int(value))
            case _:
                changed = replace(sampling, max_new_tokens=int(value))
    except ValueError:
        raise QuestionError(f"/{name} takes a number, found {value!r}") from None
    changed.check()
    return changed
