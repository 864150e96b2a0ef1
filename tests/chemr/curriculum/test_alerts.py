"""A task that learns badly is told of once per episode, and a task that learns is not."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from chemr.curriculum.alerts import TaskWatch
from chemr.curriculum.config import AlertsConfig, CurriculumConfig
from chemr.curriculum.estimates import rise, turns
from chemr.curriculum.task_curriculum import TaskCurriculum

CONFIG = AlertsConfig(window=40)


def begun(values: Iterable[float], config: AlertsConfig = CONFIG) -> list[tuple[int, str]]:
    """(index, kind) of the alerts of a course."""
    watch, course = TaskWatch(), []
    alerts = []
    for index, value in enumerate(values):
        course.append(value)
        alerts += [(index, str(alert.kind)) for alert in watch.observe(course, config)]
    return alerts


def test_a_task_that_never_rises_stalls_once_when_the_window_is_full() -> None:
    assert begun([0.05] * 300) == [(39, "stall")]


def test_a_task_that_rises_slowly_does_not_stall() -> None:
    assert begun(0.001 * step for step in range(190)) == [], "0.04 in a window of 40 is progress"


def test_a_task_that_stands_still_at_a_good_level_does_not_stall() -> None:
    assert begun([0.6] * 300) == []


def test_a_stall_that_ends_can_begin_again_after_a_whole_window() -> None:
    course = [0.05] * 60 + [0.05 + 0.01 * step for step in range(30)] + [0.1] * 100
    kinds = begun(course)
    assert [kind for _, kind in kinds] == ["stall", "stall"]
    assert kinds[1][0] - 60 >= CONFIG.window, "a trembling estimate must not be told of again and again"


def test_a_fall_after_mastery_is_told_once_until_it_is_mastered_again() -> None:
    up, down = [0.85] * 10, [0.6] * 30
    assert [kind for _, kind in begun(up + down)] == ["regression"]
    assert [kind for _, kind in begun(up + down + up + down)] == ["regression", "regression"]
    assert begun([0.79] * 10 + down) == [], "it was never mastered"
    assert begun(up + [0.7] * 30) == [], "0.7 is not yet 0.15 below 0.8"


def test_swings_are_an_oscillation_and_noise_is_not() -> None:
    swings = [0.5 + 0.2 * math.sin(step * math.pi / 4) for step in range(80)]
    kinds = [kind for _, kind in begun(swings)]
    assert kinds == ["oscillation"], "one episode is told of once"
    noise = random.Random(0)
    assert begun(0.5 + noise.uniform(-0.06, 0.06) for _ in range(300)) == []


def test_turns_count_changes_of_direction_of_a_size() -> None:
    assert turns([0.0, 1.0, 0.0, 1.0], 0.5) == 2
    assert turns([0.0, 1.0, 0.9, 1.0, 0.9], 0.5) == 0, "small moves do not count"
    assert turns([0.0, 0.3, 0.6, 1.0], 0.5) == turns([], 0.5) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.05, 0.5))
@settings(max_examples=200, deadline=None)
def test_turns_do_not_depend_on_which_way_up_or_round_a_course_is_seen(course: list[float], swing: float) -> None:
    coarse = [round(8 * value) / 8 for value in course]  # so that mirroring does not round
    assert turns(coarse, swing) == turns([1.0 - value for value in coarse], swing), "up and down are alike"


def test_rise_of_a_line_is_its_rise_and_of_noise_next_to_nothing() -> None:
    line = [0.2 + 0.01 * step for step in range(40)]
    assert math.isclose(rise(line), 0.4), "40 steps of 0.01"
    assert rise([0.3]) == 0.0, "one value has not risen"
    noise = random.Random(1)
    level = [0.5 + noise.uniform(-0.1, 0.1) for _ in range(200)]
    assert abs(rise(level)) < 0.05, "noise around a level is no rise"


def test_alerts_are_metrics_while_they_last_and_survive_a_checkpoint() -> None:
    config = CurriculumConfig(alerts=CONFIG)
    original = TaskCurriculum(("easy", "hopeless"), config, seed=0)
    notices = [n for _ in range(100) for n in original.update("hopeless", success=0.0, abs_advantage=0.0, age=0)]
    assert [(n.task, n.kind) for n in notices] == [("hopeless", "stall")] and "hopeless stalls at 0.00" in notices[0].text
    assert original.metrics()["curriculum/alert/hopeless/stall"] == 1.0
    restored = TaskCurriculum(("easy", "hopeless"), config, seed=0)
    restored.load_state_dict(json.loads(json.dumps(original.state_dict())))
    assert restored.update("hopeless", success=0.0, abs_advantage=0.0, age=0) == [], "a resumed run does not tell it again"
    for _ in range(100):
        restored.update("hopeless", success=0.9, abs_advantage=0.0, age=0)
    assert "curriculum/alert/hopeless/stall" not in restored.metrics(), "the episode is over"


def test_alerts_can_be_switched_off() -> None:
    curriculum = TaskCurriculum(("hopeless",), CurriculumConfig(alerts=AlertsConfig(enabled=False, window=20)), seed=0)
    assert not any(curriculum.update("hopeless", success=0.0, abs_advantage=0.0, age=0) for _ in range(100))
