"""Yes/No tasks: property prediction and yield prediction (re-implementation of ChemLLMBench). No chemistry, so no child process."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.figures import Figure
from rewards.benchmark.request import Evaluation, share

_Pair = tuple[bool, bool]  # gold, prediction; True is Yes


def properties(evaluation: Evaluation) -> list[Figure]:
    """The published accuracy and F1, and what they would be without their two faults.

    The published lists are not emptied between the samples, so sample k stands for samples 1 to k together; and answers other than
    Yes or No are left out, which lifts the figures. Ours: each sample alone; and each unreadable answer counted as the wrong one.
    """
    golds = _golds(evaluation)
    alone = [_readable(golds, texts) for texts in evaluation.samples]
    together = [[pair for pairs in alone[: k + 1] for pair in pairs] for k in range(len(alone))]
    evaluation.details["answers_dropped_as_unreadable"] = [len(golds) - len(pairs) for pairs in alone]
    if len(alone) > 1:
        evaluation.notes.append(
            "accuracy, f1: the published code does not empty its lists; sample k is the figure of samples 1 to k together"
        )
    evaluation.notes.append("accuracy, f1: the published code leaves out answers other than Yes or No")
    return [
        Figure("accuracy", tuple(map(_accuracy, together))),
        Figure("f1", tuple(map(_f1, together))),
        Figure("accuracy_each_sample_alone", tuple(map(_accuracy, alone)), published=False),
        Figure("f1_each_sample_alone", tuple(map(_f1, alone)), published=False),
        Figure("mcc_each_sample_alone", tuple(map(_mcc, alone)), published=False),
        *_counted_wrong(evaluation, golds),
    ]


def yields(evaluation: Evaluation) -> list[Figure]:
    """Accuracy: stripped texts are equal, case counts. Ours: F1 and MCC, unreadable answers counted as the wrong one."""
    golds = evaluation.golds()
    accuracy = tuple(share([text.strip() == gold.strip() for text, gold in zip(texts, golds, strict=True)]) for texts in evaluation.samples)
    return [Figure("accuracy", accuracy), *_counted_wrong(evaluation, _golds(evaluation))]


def _counted_wrong(evaluation: Evaluation, golds: Sequence[bool]) -> list[Figure]:
    filled = []
    for texts in evaluation.samples:
        answers = map(_answer, texts)
        filled.append([(gold, not gold if answer is None else answer) for gold, answer in zip(golds, answers, strict=True)])
    return [
        Figure("accuracy_unreadable_counted_wrong", tuple(map(_accuracy, filled)), published=False),
        Figure("f1_unreadable_counted_wrong", tuple(map(_f1, filled)), published=False),
        Figure("mcc_unreadable_counted_wrong", tuple(map(_mcc, filled)), published=False),
    ]


def _golds(evaluation: Evaluation) -> list[bool]:
    answers = [_answer(gold) for gold in evaluation.golds()]
    for number, answer in enumerate(answers):
        if answer is None:
            raise BenchmarkInputError(f"test row {number}: the answer should be Yes or No, found {evaluation.rows[number].gold()!r}")
    return [bool(answer) for answer in answers]


def _answer(text: str) -> bool | None:
    return {"Yes": True, "No": False}.get(text.strip())


def _readable(golds: Sequence[bool], texts: Sequence[str]) -> list[_Pair]:
    answers = map(_answer, texts)
    return [(gold, answer) for gold, answer in zip(golds, answers, strict=True) if answer is not None]


def _accuracy(pairs: Sequence[_Pair]) -> float | None:
    return share([gold == answer for gold, answer in pairs]) if pairs else None


def _f1(pairs: Sequence[_Pair]) -> float | None:
    """Of the class Yes; 0 where there is no Yes at all, as in scikit-learn."""
    hits, misses, alarms, _ = _confusion(pairs)
    return (2 * hits / (2 * hits + misses + alarms) if hits else 0.0) if pairs else None


def _mcc(pairs: Sequence[_Pair]) -> float | None:
    """Matthews' correlation; 0 where a row or column of the table is empty, as in scikit-learn."""
    if not pairs:
        return None
    hits, misses, alarms, rejections = _confusion(pairs)
    product = (hits + misses) * (hits + alarms) * (rejections + misses) * (rejections + alarms)
    return (hits * rejections - misses * alarms) / math.sqrt(product) if product else 0.0


def _confusion(pairs: Iterable[_Pair]) -> tuple[int, int, int, int]:
    table = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for pair in pairs:
        table[pair] += 1
    return table[True, True], table[True, False], table[False, True], table[False, False]
