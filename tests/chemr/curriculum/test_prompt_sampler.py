"""Which prompt of a task: whatever the sampling, task weights and equal classes hold, and outcomes find their prompt."""

from __future__ import annotations

from collections import Counter

import pytest

from chemr.class_balance import BalancedCursor
from chemr.curriculum.config import CurriculumConfig, PromptSampling, PromptsConfig
from chemr.curriculum.outcome import REPLAYED, Outcome, prompt_of
from chemr.curriculum.prompt_sampler import PromptSampler
from chemr.data.example import Example


def row(task: str, number: int, answer: str) -> Example:
    return Example(f"test/{task}/{number}", task, {"smiles": "CCO"}, {"answer": answer}, 0.0, "test", "MIT")


def rows() -> dict[str, list[Example]]:
    return {
        "property_hiv": [row("property_hiv", n, "Yes" if n % 20 == 0 else "No") for n in range(100)],
        "smiles2formula": [row("smiles2formula", n, "C2H6O") for n in range(30)],
    }


def sampler(sampling: PromptSampling, epsilon: float = 0.5) -> PromptSampler:
    return PromptSampler(rows(), CurriculumConfig(prompts=PromptsConfig(sampling=sampling, epsilon=epsilon)), seed=3)


def outcome(prompt: str, number: int, success: float = 0.5, trivial: bool | None = False) -> Outcome:
    return Outcome(f"{prompt}#{number}", prompt_of(f"{prompt}#0").split("/")[1], success, 0.5, 0, trivial)


def test_a_uniform_sampler_deals_the_deck_as_before() -> None:
    plain, cursor, by_task = sampler(PromptSampling.uniform), BalancedCursor(rows(), 3), rows()
    for number in range(60):
        task = ("property_hiv", "smiles2formula")[number % 2]
        drawn = plain.draw(task)
        assert drawn == by_task[task][cursor.draw(task)].uid
        plain.observe(outcome(drawn, number), age=0)
    assert plain.metrics() == {} and plain.state_dict() == {"draws": 0}


@pytest.mark.parametrize("sampling", [PromptSampling.replay, PromptSampling.gaussian])
def test_prompts_asked_again_are_marked_and_of_the_task_and_class_whose_turn_it_is(sampling: PromptSampling) -> None:
    prompts, by_uid = sampler(sampling), {example.uid: example for each in rows().values() for example in each}
    again, answers = 0, []
    for number in range(300):
        drawn = prompts.draw("property_hiv")
        again += drawn.endswith(REPLAYED)
        answers.append(by_uid[drawn.removesuffix(REPLAYED)].reference["answer"])
        prompts.observe(outcome(drawn, number, success=(number % 9) / 8), age=0)
    assert again > 60, "half of the draws may take a prompt again"
    assert Counter(answers) == {"Yes": 150, "No": 150}, "classes stay in equal shares"
    assert all(set(answers[n : n + 2]) == {"Yes", "No"} for n in range(0, 300, 2))


def test_a_group_that_says_nothing_about_triviality_is_not_kept() -> None:
    prompts = sampler(PromptSampling.replay, epsilon=1.0)
    for number in range(20):
        drawn = prompts.draw("smiles2formula")
        assert not drawn.endswith(REPLAYED)
        prompts.observe(outcome(drawn, number, trivial=None), age=0)


def test_a_name_tells_its_prompt_its_number_and_whether_it_was_replayed() -> None:
    fresh, again = outcome("test/smiles2formula/7", 12), outcome("test/smiles2formula/7" + REPLAYED, 13)
    assert fresh.prompt == again.prompt == "test/smiles2formula/7"
    assert (fresh.number, again.number) == (12, 13) and (fresh.replayed, again.replayed) == (False, True)


def test_another_sampling_takes_over_a_checkpoint_and_begins_its_memory_anew() -> None:
    replaying = sampler(PromptSampling.replay)
    for number in range(50):
        replaying.observe(outcome(replaying.draw("smiles2formula"), number), age=0)
    weighing = sampler(PromptSampling.gaussian)
    weighing.load_state_dict(replaying.state_dict())
    weighing.cursor.load_state_dict(replaying.cursor.state_dict())
    assert weighing.metrics() == {"curriculum/prompts/seen": 0.0}
    assert not weighing.draw("smiles2formula").endswith(REPLAYED)
