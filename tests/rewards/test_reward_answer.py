"""The answer normaliser: what counts as an answer, and attacks T1-T4, T8 on its speed and honesty (REWARDS §4.1)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.answer import MAX_ANSWER_CHARS, MAX_COMPLETION_CHARS, Answer, extract, in_full_form, thinking
from rewards.verdict import Reason, Verdict


@pytest.mark.parametrize(
    "completion",
    [
        "<answer>CCO</answer>",
        "<answer> CCO\n</answer>\n",
        "<think>1. **Atoms**: C2 O1</think><answer>CCO</answer>",
        "so <answer>CCO</answer>",
    ],
)
def test_the_answer_is_the_text_between_the_tags(completion):
    assert extract(completion) == Answer("CCO"), f"{completion!r} holds exactly one answer"


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("", Reason.NO_ANSWER),
        ("CCO", Reason.NO_ANSWER),
        ("<answer>CCO", Reason.NO_ANSWER),
        ("</answer>CCO<answer>", Reason.NO_ANSWER),
        ("<answer></answer>", Reason.NO_ANSWER),
        ("<answer> \n\t</answer>", Reason.NO_ANSWER),
        ("<answer>" + "C" * (MAX_ANSWER_CHARS + 1) + "</answer>", Reason.TOO_LONG),
        (" " * (MAX_COMPLETION_CHARS + 1), Reason.TOO_LONG),
    ],
)
def test_no_answer_is_zero_with_a_reason(completion, reason):
    assert extract(completion) == Verdict(0.0, reason)


@pytest.mark.parametrize(
    "completion",
    [
        "<answer>CCO</answer><answer>CCN</answer>",
        "<answer>CCN</answer> no: <answer>CCO</answer>",
        "<answer><answer>CCO</answer></answer>",
        "<answer>CCO</answer></answer>",
        "<answer>CCO</answer> is my answer",
        "<answer>CCO</answer>\u00a0",
        "<answer>CCO</answer>\u200b",
        "<think><answer>CCN</answer></think><answer>CCO</answer><answer>CCN</answer>",
        "<think>a</think><answer>CCN</answer></think><answer>CCO</answer>",
    ],
)
def test_t4_two_answers_or_text_after_the_answer_are_bad_format(completion):
    assert extract(completion) == Verdict(0.0, Reason.BAD_FORMAT), "guessing several times must not pay"


@pytest.mark.parametrize("thought", ["it ends in an <answer>", "</answer>", "<answer>CCN</answer>", "<answer>, then <answer>"])
def test_the_thinking_may_speak_of_answers_and_only_what_follows_it_counts(thought):
    for completion in (f"<think>{thought}</think><answer>CCO</answer>", f"{thought}</think>\n<answer>CCO</answer>"):
        assert extract(completion) == Answer("CCO")
    assert in_full_form(f"<think>{thought}</think><answer>CCO</answer>")


@pytest.mark.parametrize("completion", ["a step</think><answer>CCO</answer>", "\na step\n</think>\n\n<answer> CCO </answer>\n"])
def test_thinking_may_have_been_opened_by_the_prompt(completion):
    assert extract(completion) == Answer("CCO")
    assert thinking(completion).strip() == "a step"
    assert not in_full_form(completion), "what is written is not the full form"
    assert in_full_form("<think>\n" + completion), "with what the prompt has written it is"


@pytest.mark.parametrize(
    "completion",
    [
        "<think>never closed <answer>CCO</answer>",
        "opened by the prompt</think> and again</think><answer>CCO</answer>",
        "<answer>CCO</answer></think>",
        "<answer>CC</think>O</answer>",
        "<think>a</think><think>b</think><answer>CCO</answer>",
        "</think>a<think><answer>CCO</answer>",
    ],
)
def test_thinking_once_opened_has_to_be_closed_before_the_answer(completion):
    assert extract(completion) == Verdict(0.0, Reason.BAD_FORMAT)


@pytest.mark.parametrize(
    "completion",
    ["<answer>" * 8000, "<answer>" + "\n" * 60_000, "<think>" * 9000, "</answer>" * 7000 + "<answer>", "<" * 65_000, "<answer>\n" * 7000],
    ids=["t1-unclosed-tags", "t2-newlines", "think-tags", "closing-tags", "angle-brackets", "tags-and-newlines"],
)
def test_t1_t2_degenerate_rollouts_are_read_in_linear_time(completion):
    started = time.process_time()
    assert isinstance(extract(completion), Verdict)
    assert time.process_time() - started < 0.05, "one pass over 64 kB takes well under a millisecond; this was not one pass"


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_t8_any_text_with_lone_surrogates_too_is_an_answer_or_a_zero(text):
    found = extract(text)
    assert isinstance(found, Answer) or found.value == 0.0
    inside = extract(f"<answer>{text}</answer>")
    assert isinstance(inside, Answer) or inside.value == 0.0


@given(st.text(st.characters(exclude_characters="<>"), min_size=1, max_size=100))
def test_an_answer_is_never_changed_apart_from_outer_blanks(text):
    found = extract(f"<answer>{text}</answer>")
    if isinstance(found, Answer):
        assert found.text == text.strip(" \t\r\n")


@pytest.mark.parametrize(
    ("completion", "full"),
    [
        ("<think>a</think><answer>CCO</answer>", True),
        (" \n<think>a</think>\n<answer> CCO </answer>\n", True),
        ("<answer>CCO</answer>", False),
        ("<think> \n</think><answer>CCO</answer>", False),
        ("so <think>a</think><answer>CCO</answer>", False),
        ("<think>a</think> so <answer>CCO</answer>", False),
        ("<think>a</think><answer>CCO</answer> so", False),
        ("<think>a</think><think>b</think><answer>CCO</answer>", False),
        ("<think>a</think><answer>CCO</answer><answer>CCO</answer>", False),
        ("<answer>CCO</answer><think>a</think>", False),
        ("<think>a</think><answer></answer>", False),
        ("<think>a<answer>CCO</answer>", False),
        ("", False),
    ],
)
def test_the_full_form_is_reasoning_then_an_answer_each_once_and_nothing_else(completion, full):
    assert in_full_form(completion) is full
