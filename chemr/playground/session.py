"""One question from a person to a checked answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chemr.mining.trace_text import FoundStep, found_steps
from chemr.playground.checks import Checks, Claim, Score
from chemr.playground.model import ChatModel, Sampling, Written
from chemr.playground.names import Names
from chemr.playground.questions import Question, question
from chemr.prompts import messages, render_prompt
from chemr.report.gallery import split_completion
from chemr.report.molecules import EDITED_TASKS, MoleculeTable, answer_is_molecule, asked_texts
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN


@dataclass(frozen=True, slots=True)
class Reply:
    """A question with its answer and all that was found out about it. ``steps`` hold the reasoning; ``answer`` is None without one."""

    asked: Question
    written: Written
    sampling: Sampling
    steps: list[FoundStep]
    answer: str | None
    claims: list[Claim]
    score: Score

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        row = self.asked.example
        return {
            "task": row.task,
            "question": render_prompt(row),
            "inputs": dict(row.inputs),
            "notes": list(self.asked.notes),
            "sampling": asdict(self.sampling),
            "completion": self.written.text,
            "tokens": self.written.tokens,
            "prompt_tokens": self.written.prompt_tokens,
            "ended": self.written.ended,
            "seconds": round(self.written.seconds, 3),
            "steps": [asdict(step) for step in self.steps],
            "claims": [asdict(claim) for claim in self.claims],
            "answer": self.answer,
            "score": asdict(self.score),
        }


class Playground:
    """A model, the checks and the name reader. One question at a time."""

    def __init__(self, model: ChatModel, names: Names) -> None:
        """Raises QuestionError when answers cannot be checked on this machine."""
        self.model = model
        self.names = names
        self.checks = Checks(names)

    def close(self) -> None:
        self.checks.close()

    def question(self, task: str, text: str, settings: Mapping[str, str]) -> Question:
        """Raises QuestionError."""
        return question(task, text, settings, self.names)

    def answer(
        self,
        asked: Question,
        sampling: Sampling,
        on_text: Callable[[str], None] = lambda text: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Reply:
        """Raises QuestionError when it cannot be asked or checked."""
        sampling.check()
        written = self.model.answer(messages(asked.example), sampling, on_text, stopped)
        steps, answer = read_completion(written.text)
        claims = self.checks.claims(asked, steps, answer)
        return Reply(asked, written, sampling, steps, answer, claims, self.checks.score(asked, written.text, answer))


def read_completion(text: str) -> tuple[list[FoundStep], str | None]:
    """(steps of the reasoning, answer). Text before the first step, or without steps, is a step of number 0 without a title."""
    reasoning, answer = split_completion(text)
    if answer is None:
        # Broken form: whatever is there is shown, without the tags.
        for tag in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE):
            reasoning = reasoning.replace(tag, "\n")
    reasoning = reasoning.strip()
    steps = found_steps(reasoning)
    if not steps:
        return ([FoundStep(0, "", reasoning)] if reasoning else []), answer
    before = _before_steps(reasoning)
    return ([FoundStep(0, "", before)] if before else []) + steps, answer


def _before_steps(reasoning: str) -> str:
    """What stands before the first step."""
    lines = reasoning.split("\n")
    first = next((place for place in range(len(lines)) if found_steps("\n".join(lines[: place + 1]))), 0)
    return "\n".join(lines[:first]).strip()


def drawings(reply: Reply) -> dict[str, Any]:
    """What the page draws: ``molecules``; ``asked`` and ``answer``, places in it; ``difference`` of an edit: [atoms of the answer, atoms
    of the asked molecule]."""
    table, row = MoleculeTable(), reply.asked.example
    texts = asked_texts(row.inputs) or ([reply.asked.molecules[0]] if row.task == "iupac2smiles" and reply.asked.molecules else [])
    asked = [place for text in texts if (place := table.place(text)) is not None]
    drawn = table.place(reply.answer) if reply.answer is not None and answer_is_molecule(row.task) else None
    edits = drawn is not None and bool(asked) and row.task in EDITED_TASKS
    difference = table.difference(drawn, asked[0]) if edits and drawn is not None else None
    return {"molecules": table.drawings, "asked": asked, "answer": drawn, "difference": difference}
