"""Teachers write numbered steps in many dialects; all are read, and come out in one."""

from __future__ import annotations

import pytest

from chemr.mining.teacher import ChatReply
from chemr.mining.trace_text import completion_of, found_steps, written_out
from chemr.protocols.steps import Step, read_steps


@pytest.mark.parametrize(
    "text",
    [
        "1. **Heavy atoms**: C2O\n2. **Hydrogens**: 6",
        "1. **Heavy atoms:** C2O\n2. **Hydrogens:** 6",
        "**1. Heavy atoms**: C2O\n**2. Hydrogens**: 6",
        "**Step 1: Heavy atoms**\nC2O\n**Step 2: Hydrogens**\n6",
        "### Step 1: Heavy atoms\nC2O\n\n### Step 2: Hydrogens\n6",
        "1) Heavy atoms: C2O\n2) Hydrogens: 6",
        "Let us begin.\n\n1. **Heavy atoms** - C2O\n\n2. **Hydrogens** – 6\n",
        "Step 1. Heavy atoms: C2O\nStep 2. Hydrogens: 6",
        "**1. Heavy atoms: C2O**\n**2. Hydrogens: 6**",
    ],
)
def test_dialects_of_numbered_steps(text: str) -> None:
    assert [(step.title, step.claim.strip("* ")) for step in found_steps(text)] == [("Heavy atoms", "C2O"), ("Hydrogens", "6")]


def test_lists_within_a_step_belong_to_it() -> None:
    text = "1. **Atoms**: they are\n1. C: six\n2. H: six\n2. **Formula**: C6H6\n- so be it"
    assert [step.title for step in found_steps(text)] == ["Atoms", "Formula"] and "C: six" in found_steps(text)[0].claim
    assert found_steps(text)[1].claim == "C6H6\n- so be it"


def test_signs_at_the_beginning_of_a_claim_stay() -> None:
    assert [step.claim for step in found_steps("1. **Bonds in order**: --=-\n2. **Group**: -OH")] == ["--=-", "-OH"]


@pytest.mark.parametrize("text", ["", "no steps here", "The ring has 6 atoms.", "2026 was a year", "1.", "1. **", "12 C atoms"])
def test_text_without_steps_has_none(text: str) -> None:
    assert found_steps(text) == []


def test_a_degenerate_text_is_read_in_no_time() -> None:
    assert found_steps("1. **" * 20_000) == [] and found_steps("\n" * 200_000) == []


def test_steps_are_written_in_the_projects_form() -> None:
    steps = found_steps("Hm.\n**Step 1: Atoms**\nthere are\nsix\n**Step 2: Formula**\nC6")
    text = written_out([(step.title, step.claim) for step in steps])
    assert read_steps(text) == [Step("Atoms", "there are six"), Step("Formula", "C6")]


def test_replies_become_completions() -> None:
    whole = "<think>1. **A**: b</think><answer>C</answer>"
    assert completion_of(ChatReply(f" {whole}\n")) == whole
    assert completion_of(ChatReply("1. **A**: b\n<answer>C</answer>")) == whole, "reasoning without tags"
    assert completion_of(ChatReply("<answer>C</answer>", reasoning="1. **A**: b")) == whole, "reasoning that the server set apart"
    assert completion_of(ChatReply("I do not know")) == "I do not know"
    twice = "x <answer>C</answer> or <answer>N</answer>"
    assert completion_of(ChatReply(twice)) == twice, "two answers stay two, and are refused by the scorers"
