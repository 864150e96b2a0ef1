"""Question-blind policies: what is fitted to training rows, and that the answers read nothing of a question but its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rewards.blind import BlindPolicies


@dataclass(frozen=True)
class Row:
    task: str
    reference: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)


def test_every_fixed_answer_of_a_task_of_choice_is_a_policy() -> None:
    blind = BlindPolicies.fitted([Row("hiv", {"answer": "No"})] * 9 + [Row("hiv", {"answer": "Yes"})])
    assert blind.answers("hiv", {"smiles": "CCO"}) == {"always No": "No", "always Yes": "Yes"}


def test_the_commonest_answer_is_given_always_and_of_all_different_ones_that_of_median_length() -> None:
    golds = ["CO", "CCO", "CCO", "CCCO", "CCCCO", "C"]
    assert BlindPolicies.fitted([Row("t", {"answer": gold}) for gold in golds]).answers("t", {}) == {"always CCO": "CCO"}
    different = [Row("t", {"answer": "C" * length}) for length in (1, 2, 3, 40, 50)]
    assert BlindPolicies.fitted(different).answers("t", {}) == {"always CCC": "CCC"}


def test_a_favourite_is_the_candidate_that_is_right_most_often_where_it_is_listed() -> None:
    rows = [
        *[Row("sel", {"answer": "P"}, {"candidates": ["N", "P"]})] * 3,
        Row("sel", {"answer": "N"}, {"candidates": ["N", "P"]}),
        *[Row("sel", {"answer": "N"}, {"candidates": ["N", "S"]})] * 4,
        Row("sel", {"answer": "O"}, {"candidates": ["O", "S"]}),
    ]
    blind = BlindPolicies.fitted(rows)
    assert blind.answers("sel", {"candidates": ["N", "P"]}) == {"first candidate": "N", "favourite candidate": "P"}
    assert blind.answers("sel", {"candidates": ["B", "O"]})["favourite candidate"] == "O"


def test_a_task_without_training_rows_has_no_policies_and_open_rows_teach_none() -> None:
    assert BlindPolicies.fitted([Row("open", {})]).answers("open", {"smiles": "C"}) == {}
