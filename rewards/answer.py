"""Finds the answer in a completion: the one normaliser that training, evaluation and verification share.

Only ``str.find`` and ``str.count`` touch the whole text. The regular expressions of published graders take minutes on degenerate
rollouts (REWARDS T1-T3); these calls are linear.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewards.verdict import Reason, Verdict

MAX_COMPLETION_CHARS = 64 * 1024
MAX_ANSWER_CHARS = 6_000  # the longest caption of the test sets has 5,844; SMILES, names and formulas have limits of their own

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"

_BLANKS = " \t\r\n"  # ASCII only: str.strip() would also take off no-break spaces and other unicode blanks


@dataclass(frozen=True, slots=True)
class Answer:
    """The text between the answer tags, without surrounding ASCII blanks. At most :data:`MAX_ANSWER_CHARS` characters, not empty."""

    text: str


def extract(completion: str) -> Answer | Verdict:
    """The answer of a completion, or a verdict of value 0 that says which rule of the format it broke.

    The format is ``[<think>…</think>] … <answer>…</answer>`` and then nothing but blanks. Each tag occurs at most once, in this order,
    except that the thinking may speak of answer tags: they count after it only. The thinking part may be missing, but once opened it has to
    be closed before the answer. Thinking that is closed without having been opened was opened by the prompt (many chat templates end in
    ``<think>``): all before ``</think>`` belongs to it.
    """
    if len(completion) > MAX_COMPLETION_CHARS:
        return Verdict(0.0, Reason.TOO_LONG)
    after = _thinking_end(completion)
    start = completion.find(ANSWER_OPEN, after)
    end = completion.find(ANSWER_CLOSE, start + len(ANSWER_OPEN))
    if start < 0 or end < 0:
        return Verdict(0.0, Reason.BAD_FORMAT if ANSWER_OPEN in completion[:after] else Reason.NO_ANSWER)
    if completion.count(ANSWER_OPEN, after) != 1 or completion.count(ANSWER_CLOSE, after) != 1:
        return Verdict(0.0, Reason.BAD_FORMAT)
    if completion[end + len(ANSWER_CLOSE) :].strip(_BLANKS) or not _thinking_is_closed(completion, before=start):
        return Verdict(0.0, Reason.BAD_FORMAT)
    text = completion[start + len(ANSWER_OPEN) : end].strip(_BLANKS)
    if not text:
        return Verdict(0.0, Reason.NO_ANSWER)
    if len(text) > MAX_ANSWER_CHARS:
        return Verdict(0.0, Reason.TOO_LONG)
    return Answer(text)


def _thinking_end(completion: str) -> int:
    """Where the text after the thinking begins; 0 when there is none."""
    closed = completion.find(THINK_CLOSE)
    return 0 if closed < 0 else closed + len(THINK_CLOSE)


def _thinking_is_closed(completion: str, before: int) -> bool:
    opened, closed = completion.count(THINK_OPEN), completion.count(THINK_CLOSE)
    if closed == 0:
        return opened == 0
    return closed == 1 and opened <= 1 and completion.find(THINK_OPEN) < completion.find(THINK_CLOSE) < before


def thinking(completion: str) -> str:
    """The text between the thinking tags; from the beginning on where the prompt has opened it; empty when there is none.

    Args:
        completion: at most :data:`MAX_COMPLETION_CHARS` characters; of a longer one nothing is read.
    """
    start, end = completion.find(THINK_OPEN), completion.find(THINK_CLOSE)
    if len(completion) > MAX_COMPLETION_CHARS or end < max(start, 0):
        return ""
    return completion[start + len(THINK_OPEN) if start >= 0 else 0 : end]


def in_full_form(completion: str) -> bool:
    """Whether it is exactly ``<think>…</think><answer>…</answer>``: each tag once, blanks outside of them, something inside of them.

    Stricter than :func:`extract`, which also takes an answer without reasoning, and text around the reasoning. Where the prompt has
    opened the thinking, put what it has written before the completion.
    """
    if isinstance(extract(completion), Verdict):
        return False
    opened, closed = completion.find(THINK_OPEN), completion.find(THINK_CLOSE)
    if opened < 0:
        return False
    outside = completion[:opened] + completion[closed + len(THINK_CLOSE) : completion.find(ANSWER_OPEN, closed)]
    return not outside.strip(_BLANKS) and bool(completion[opened + len(THINK_OPEN) : closed].strip(_BLANKS))
