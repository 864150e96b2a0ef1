"""Rows that fit the model: a prompt that leaves no room for an answer, or an answer that cannot be written out, is left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.prompts import completion_direct, messages
from chemr.tokenization import ChatTokenizer


def leave_out_too_long(data: TaskData, tokenizer: ChatTokenizer, max_model_len: int, max_new_tokens: int) -> tuple[TaskData, list[str]]:
    """The rows whose prompt has at most ``max_model_len - max_new_tokens`` tokens and, in training rows, whose prompt and direct answer
    have at most ``max_model_len`` together; and a line for people for each split that lost any.

    Raises:
        ValueError: nothing is left of the training, validation or test rows.
    """
    longest = max_model_len - max_new_tokens
    notes: list[str] = []

    def fitting(split: str, rows: Sequence[Example], *, with_answer: bool) -> list[Example]:
        kept: list[Example] = []
        left_out: Counter[str] = Counter()
        for example in rows:
            prompt = len(tokenizer.encode_prompt(messages(example)))
            total = prompt + (len(tokenizer.encode_completion(completion_direct(example))) if with_answer else 0)
            if prompt <= longest and total <= max_model_len:
                kept.append(example)
            else:
                left_out[example.task] += 1
        if left_out:
            each = ", ".join(f"{task} {count}" for task, count in sorted(left_out.items()))
            notes.append(
                f"{left_out.total()} of {len(rows)} {split} rows are too long for generator.max_model_len={max_model_len} with "
                f"{max_new_tokens} new tokens and are left out: {each}"
            )
        if not kept:
            raise ValueError(f"no {split} row fits generator.max_model_len={max_model_len}; raise it, or name other data.tasks")
        return kept

    fitted = TaskData(
        train=fitting("training", data.train, with_answer=True),
        validation=fitting("validation", data.validation, with_answer=True),
        test=fitting("test", data.test, with_answer=False),
    )
    return fitted, notes
