"""Reading what a teacher wrote: its completion in our form, and the steps in it.

Teachers write numbered bold steps in many dialects (``1. **Title**: …``, ``**1. Title:** …``, ``### Step 1 - Title``); all are read here,
line by line, without regular expressions that a degenerate text could slow down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chemr.mining.teacher import ChatReply
from chemr.prompts import TAGS
from chemr.protocols.steps import Step, write_steps
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, MAX_COMPLETION_CHARS, THINK_CLOSE, THINK_OPEN, thinking

MAX_TITLE_CHARS = 60  # as in chemr.protocols.steps
_MAX_HEADER_CHARS = 200  # of a line's beginning that is looked at for a header

_NUMBER = re.compile(r"(?:step\s{0,3}(\d{1,2})\b|(\d{1,2})(?=[.):]))[.):]?", re.IGNORECASE)
_DECORATION = "#*_ \t"


@dataclass(frozen=True, slots=True)
class FoundStep:
    """A step as the teacher wrote it. ``claim`` keeps the line breaks."""

    number: int
    title: str
    claim: str


def completion_of(reply: ChatReply) -> str:
    """The reply as a completion ``<think>…</think><answer>…</answer>``, if it can be read as one; else its text, which scorers refuse.

    Reasoning that the server set apart, or that stands before the answer without tags, is put between the thinking tags.
    """
    text = reply.text.strip()
    if THINK_CLOSE in text and THINK_OPEN not in text:  # the prompt of its server has opened the thinking
        return THINK_OPEN + text
    if len(text) > MAX_COMPLETION_CHARS or THINK_OPEN in text or THINK_CLOSE in text or text.count(ANSWER_OPEN) != 1:
        return text
    before, _, rest = text.partition(ANSWER_OPEN)
    reasoning = before.strip() or reply.reasoning.strip()
    if not reasoning or any(tag in reasoning for tag in TAGS):
        return text
    return f"{THINK_OPEN}{reasoning}{THINK_CLOSE}{ANSWER_OPEN}{rest}"


def thinking_of(completion: str) -> str:
    """The text between the thinking tags; empty when there is none."""
    return thinking(completion).strip()


def answer_of(completion: str) -> str:
    """The text between the answer tags; empty when there is none."""
    start = completion.rfind(ANSWER_OPEN)
    end = completion.find(ANSWER_CLOSE, start)
    return completion[start + len(ANSWER_OPEN) : end].strip() if 0 <= start < end else ""


def found_steps(thinking: str) -> list[FoundStep]:
    """The steps of a trace, in order. Text before the first one belongs to none; all other lines to the step above them."""
    steps: list[FoundStep] = []
    lines: list[str] = []
    bold = False

    def close() -> None:
        if steps:
            last = steps[-1]
            steps[-1] = FoundStep(last.number, last.title, "\n".join([last.claim, *lines]).strip())
        lines.clear()

    for line in thinking.split("\n"):
        nested = bool(steps) and line.startswith(("  ", "\t"))  # a list within a step
        header = None if nested else _header(line)
        if header is not None and not steps:
            bold = _is_bold(line)
        # Bold steps may be numbered anew or leave a number out; plain ones have to count on, and a plain list in a bold step is none.
        if header is not None and (_is_bold(line) if bold else header.number == (steps[-1].number + 1 if steps else 1)):
            close()
            steps.append(header)
        else:
            lines.append(line)
    close()
    return steps


def _is_bold(line: str) -> bool:
    return "**" in line[:_MAX_HEADER_CHARS] or line.lstrip().startswith("#")


def _header(line: str) -> FoundStep | None:
    """The line as the beginning of a step: a number, a title and, after a colon or dash, what the step says."""
    head = line[:_MAX_HEADER_CHARS].lstrip(_DECORATION)
    match = _NUMBER.match(head)
    if match is None:
        return None
    rest = line.lstrip(_DECORATION)[match.end() :].lstrip(" \t.):-–—")
    if rest.startswith("**") or (_is_bold(line) and "**" in rest[:_MAX_HEADER_CHARS]):
        title, closed, claim = rest.removeprefix("**").partition("**")
        if not closed:
            return None
        if title.rstrip().endswith(":"):  # **Title:** claim
            claim = claim.strip()
        elif ":" in title:  # **1. Title: claim** in bold as a whole
            title, _, first = title.partition(":")
            claim = f"{first.strip()} {claim.strip()}".strip()
        else:
            claim = _after_separator(claim)
    else:
        title, colon, claim = rest.partition(":")
        if not colon and not line.lstrip().startswith("#"):
            return None
    title = " ".join(title.strip(_DECORATION + ":.").split())
    if not title or len(title) > MAX_TITLE_CHARS or "*" in title or not any(char.isalpha() for char in title):
        return None
    return FoundStep(int(match.group(1) or match.group(2)), title, claim.strip())


def _after_separator(text: str) -> str:
    """Without the colon or dash after a title, and only that: a claim may begin with bonds (``--=``) or a group (``-OH``)."""
    text = text.strip()
    if text.startswith(":"):
        return text[1:].strip()
    return text[1:].strip() if text[:2] in ("- ", "– ", "— ") else text


def written_out(steps: Sequence[tuple[str, str]]) -> str:
    """(title, claim) pairs as a trace in the project's own form: each step one line."""
    return write_steps([Step(title, " ".join(claim.split())) for title, claim in steps])
