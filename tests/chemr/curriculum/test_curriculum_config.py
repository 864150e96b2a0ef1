"""Settings that cannot be are refused before anything runs, in words that say what to do."""

from __future__ import annotations

from typing import Any

import pytest

from chemr.config import ConfigError, Stage, load
from chemr.config_checks import check_curriculum_tasks
from chemr.curriculum.config import AlertsConfig, CurriculumConfig, PromptsConfig, UnlockRule
from chemr.data.example import Example
from chemr.data.task_data import TaskData


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"floors": {"retro": 1.5}}, "floors.retro=1.5"),
        ({"floors": {"retro": 0.6, "forward": 0.6}}, "floors sum to 1.2"),
        ({"caps": {"retro": 0.0}}, "caps.retro=0"),
        ({"floors": {"retro": 0.5}, "caps": {"retro": 0.4}}, "below grpo.curriculum.floors.retro=0.5"),
        ({"unlock": {"retro": UnlockRule([])}}, "unlock.retro.after is empty"),
        ({"unlock": {"retro": UnlockRule(["forward"], success=0.0)}}, "unlock.retro.success=0"),
        ({"unlock": {"retro": UnlockRule(["forward"], plateau=1)}}, "unlock.retro.plateau=1"),
        ({"unlock": {"retro": UnlockRule(["forward"], plateau_gain=-1.0)}}, "unlock.retro.plateau_gain=-1"),
        ({"unlock": {"retro": UnlockRule(["retro"])}}, "retro after retro"),
        ({"unlock": {"a": UnlockRule(["b"]), "b": UnlockRule(["x", "c"]), "c": UnlockRule(["a"])}}, "a after b after c after a"),
        ({"prompts": PromptsConfig(epsilon=1.5)}, "prompts.epsilon=1.5"),
        ({"prompts": PromptsConfig(rate=0.0)}, "prompts.rate=0"),
        ({"prompts": PromptsConfig(buffer=0)}, "prompts.buffer=0"),
        ({"prompts": PromptsConfig(width=0.0)}, "prompts.width=0"),
        ({"alerts": AlertsConfig(window=3)}, "alerts.window=3"),
        ({"alerts": AlertsConfig(stall_below=2.0)}, "alerts.stall_below=2"),
        ({"alerts": AlertsConfig(mastered=0.1, drop=0.2)}, "alerts.drop=0.2 is not below"),
        ({"alerts": AlertsConfig(turns=1)}, "alerts.turns=1"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        CurriculumConfig(**settings).validate()
    assert words in str(caught.value), f"the message should contain {words!r}; it is:\n{caught.value}"


def test_a_graph_with_branches_that_meet_again_is_no_circle() -> None:
    CurriculumConfig(unlock={"d": UnlockRule(["b", "c"]), "b": UnlockRule(["a"]), "c": UnlockRule(["a"])}).validate()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CurriculumConfig(floors={"retor": 0.1}), ["floors names 'retor'", "did you mean 'retro'"]),
        (CurriculumConfig(caps={"nosuch": 0.1}), ["caps names 'nosuch'", "its tasks: forward, retro"]),
        (CurriculumConfig(unlock={"nosuch": UnlockRule(["retro"])}), ["unlock names 'nosuch'"]),
        (CurriculumConfig(unlock={"retro": UnlockRule(["nosuch"])}), ["unlock.retro.after names 'nosuch'"]),
        (CurriculumConfig(caps={"retro": 0.3, "forward": 0.3}), ["caps allow the 2 tasks (forward, retro) only 0.6"]),
        (CurriculumConfig(caps={"forward": 0.3}, unlock={"retro": UnlockRule(["forward"])}), ["1 tasks that are open at the beginning"]),
    ],
)
def test_settings_that_do_not_fit_the_tasks_are_refused(config: CurriculumConfig, words: list[str]) -> None:
    config.validate()
    with pytest.raises(ValueError) as caught:
        config.check_tasks(["retro", "forward"])
    for word in words:
        assert word in str(caught.value), f"the message should contain {word!r}; it is:\n{caught.value}"


def test_a_graph_in_a_configuration_gets_its_types() -> None:
    config, _ = load(["experiment=starter", "grpo.curriculum.unlock={forward: {after: [iupac2smiles], success: 0.4, plateau: 50}}"])
    assert config.grpo.curriculum.unlock == {"forward": UnlockRule(["iupac2smiles"], success=0.4, plateau=50)}
    config, _ = load(["experiment=starter", "grpo.curriculum.floors={forward: 0.2}", "grpo.curriculum.prompts.sampling=replay"])
    assert config.grpo.curriculum.floors == {"forward": 0.2}
    entries = ["unlock.retro.after=[forward]", "unlock.retro.success=0.3", "floors.retro=0.1", "floors.forward=0.2"]
    config, _ = load(["experiment=starter", *(f"grpo.curriculum.{entry}" for entry in entries)])
    assert config.grpo.curriculum.unlock == {"retro": UnlockRule(["forward"], success=0.3)}
    assert config.grpo.curriculum.floors == {"retro": 0.1, "forward": 0.2}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("grpo.curriculum.floors={forwrad: 0.2}", ["floors names 'forwrad'", "did you mean 'forward'"]),
        ("grpo.curriculum.floors={property_hiv: 0.2}", ["no task of this run"]),
        ("grpo.curriculum.floors.forwrad=0.2", ["floors names 'forwrad'"]),
        ("grpo.curriculum.floors.forward=high", ["high"]),
        ("grpo.curriculum.unlock={forward: {afer: [retro]}}", ["afer"]),
        ("grpo.curriculum.prompts.sampling=best", ["best"]),
    ],
)
def test_a_wrong_setting_stops_at_load(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["experiment=starter", override])
    for word in words:
        assert word in str(caught.value), f"the message for {override!r} should contain {word!r}; it is:\n{caught.value}"


def test_a_task_that_grpo_has_no_rows_of_is_refused_before_the_first_stage() -> None:
    config, _ = load(["experiment=starter", "data.grpo_share=0", "grpo.curriculum.floors.forward=0.1"])
    row = Example("test/retro/1", "retro", {"product": "CCO"}, {"answer": "CC"}, 0.0, "test", "MIT")
    with pytest.raises(ConfigError, match="floors names 'forward', which is no task of this run"):
        check_curriculum_tasks(config, TaskData([row], [row], [row]))
    config.stages = [Stage.foundation]
    check_curriculum_tasks(config, TaskData([row], [row], [row]))  # without GRPO there is no curriculum
