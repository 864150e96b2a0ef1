"""Reward shaping: the formulas against independent code, and nothing changes for who does not ask for it."""

from __future__ import annotations

import math
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.completion_traits import FORMAT, REPETITION, CompletionTraits
from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.config import ChemrConfig, ConfigError, load, pool_config
from chemr.graded_group import GradedGroup, grade, orders_of_step
from chemr.reward_shaping import (
    Mix,
    ShapingConfig,
    TermWeights,
    decoupled_advantages,
    normalised_over_step,
    overlong_penalty,
    shape,
)
from chemr.stages.grpo_metrics import _reward_metrics
from learner.advantages import group_advantages
from learner.config import Advantage, GrpoConfig
from rewards.verdict import Reason, Verdict

CAP = 100


def judged(value: float | None, **parts: float) -> Verdict:
    reason = Reason.TIMEOUT if value is None else Reason.CORRECT if value >= 1.0 else Reason.PARTIAL if value > 0.0 else Reason.WRONG
    return Verdict(value, reason, {name.replace("__", "/"): part for name, part in parts.items()})


def group_of(
    verdicts: list[Verdict], lengths: list[int] | None = None, task: str = "forward", nonfinite: tuple[int, ...] = ()
) -> ScoredGroup:
    lengths = lengths or [10] * len(verdicts)
    request = GroupRequest("p#0", task, (1,), {}, {}, Sampling(len(verdicts), CAP), seed=0)
    return ScoredGroup(request, GroupMeta("p#0", "g", tuple(lengths), 1, 5, 6, 0, nonfinite, 0.1), verdicts, tokens_ref=None)


def gdpo_by_hand(weights: dict[str, float], terms: dict[str, list[float]]) -> list[float]:
    """The published formula, with lists and statistics instead of arrays."""
    total = [0.0] * len(next(iter(terms.values())))
    for name, weight in weights.items():
        centre, spread = fmean(terms[name]), pstdev(terms[name])
        total = [so_far + weight * (value - centre) / (spread + 1e-6) for so_far, value in zip(total, terms[name], strict=True)]
    return total


values_st = st.lists(st.none() | st.floats(0.0, 1.0), min_size=1, max_size=8)


@settings(deadline=None)
@given(values_st, st.sampled_from(list(Advantage)), st.booleans())
def test_without_shaping_grading_is_what_it_was_to_the_bit(values: list[float | None], kind: Advantage, drop_first: bool) -> None:
    scored = group_of([judged(value) for value in values], nonfinite=(0,) if drop_first else ())
    algo = GrpoConfig(advantage=kind)
    rewards = [None if drop_first and index == 0 else value for index, value in enumerate(values)]
    plain = group_advantages(rewards, kind)
    for shaping in (None, ShapingConfig()):
        found = grade(scored, algo, shaping)
        assert found.shaped is None and found.untrainable == plain.reason
        assert np.array_equal(found.advantages.values, plain.values, equal_nan=True), "the default must not change a bit"
        assert found.for_training() == orders_of_step([found], ShapingConfig())[0]
    # The same for a task with plain weights beside tasks that are shaped: one times the value is the value.
    beside = grade(scored, algo, ShapingConfig(tasks={"retro": TermWeights(exact=1.0)}))
    assert np.array_equal(beside.advantages.values, plain.values, equal_nan=True)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(1, CAP), st.booleans(), st.floats(0.0, 0.9)), min_size=2, max_size=8),
    st.lists(st.floats(0.1, 2.0), min_size=6, max_size=6),
    st.integers(1, CAP),
)
def test_the_shaped_reward_is_the_weighted_sum_of_its_terms(samples: list[Any], weights: list[float], margin: int) -> None:
    verdicts = [
        judged(value, completion__format=float(good), completion__repetition=repeated, fabricated=repeated)
        for value, _, good, repeated in samples
    ]
    config = ShapingConfig(TermWeights(*weights), length_margin=margin)
    shaped = shape([v.value for v in verdicts], verdicts, [length for _, length, _, _ in samples], CAP, "forward", config)
    for (value, length, good, repeated), total in zip(samples, shaped.totals, strict=True):
        over = max(0.0, length - (CAP - margin)) / margin
        parts = (float(value == 1.0), value, float(good), 1 - repeated, -over, -repeated)
        assert total == pytest.approx(math.fsum(w * p for w, p in zip(weights, parts, strict=True)), rel=1e-12, abs=1e-12)


def test_the_overlong_punishment_is_equation_13_of_dapo() -> None:
    assert [overlong_penalty(length, 100, 20) for length in (1, 79, 80, 85, 90, 100)] == [0.0, 0.0, 0.0, -0.25, -0.5, -1.0]
    assert overlong_penalty(130, 100, 20) == -1.0, "never more than the whole punishment"


def test_a_failure_stays_a_failure_whatever_its_terms_would_be() -> None:
    verdicts = [judged(None, completion__format=1.0), judged(1.0, completion__format=1.0), judged(0.0, completion__format=0.0)]
    group = grade(group_of(verdicts), GrpoConfig(), ShapingConfig(TermWeights(partial=1.0, format=0.5)))
    assert group.shaped is not None
    assert group.shaped.totals == (None, 1.5, 0.0) and group.shaped.terms["format"][0] is None
    assert group.for_training().keep == (False, True, True)
    assert group.for_training().advantages == pytest.approx((0.0, 0.75, -0.75)), "the failure must not pull the baseline"


def test_a_group_teaches_by_its_shaped_rewards_and_succeeds_by_its_verdicts() -> None:
    verdicts = [judged(1.0), judged(1.0)]
    config = ShapingConfig(TermWeights(length_penalty=1.0), length_margin=50)
    group = grade(group_of(verdicts, [60, 100]), GrpoConfig(), config)
    assert not group.untrainable, "equal verdicts, but one answer is too long"
    assert group.success == 1.0, "the curriculum sees the pass rate, not the punishment"
    assert grade(group_of(verdicts, [60, 60]), GrpoConfig(), config).untrainable == "zero_variance"
    exact = ShapingConfig(TermWeights(exact=1.0, partial=0.0))
    assert grade(group_of([judged(0.2), judged(0.4)]), GrpoConfig(), exact).untrainable == "zero_variance", "no partial credit asked for"


def test_the_grounded_term_needs_an_answer_and_costs_only_what_is_known_to_be_false() -> None:
    verdicts = [judged(0.0, fabricated=0.25), judged(1.0), Verdict(0.0, Reason.NO_ANSWER), Verdict(0.0, Reason.BAD_FORMAT)]
    config = ShapingConfig(TermWeights(partial=0.0, grounded=1.0))
    assert shape([0.0, 1.0, 0.0, 0.0], verdicts, [1] * 4, CAP, "forward", config).totals == (0.75, 1.0, 0.0, 0.0)


def test_a_term_that_the_reward_workers_did_not_report_is_no_zero() -> None:
    for weights, name in ((TermWeights(format=1.0), FORMAT), (TermWeights(repetition_penalty=1.0), REPETITION)):
        with pytest.raises(ValueError, match=name):
            shape([1.0], [judged(1.0)], [1], CAP, "forward", ShapingConfig(weights))


def test_gdpo_tells_apart_what_the_sum_confuses() -> None:
    """Two rewards, exact and format: one sample has the rare one, another the common one. The sum pays both the same."""
    verdicts = [judged(1.0, completion__format=0.0)] + [judged(0.0, completion__format=1.0)] * 3 + [judged(0.0, completion__format=0.0)] * 4
    weights = TermWeights(exact=1.0, partial=0.0, format=1.0)
    algo = GrpoConfig(advantage=Advantage.mean_std)
    summed = grade(group_of(verdicts), algo, ShapingConfig(weights)).for_training().advantages
    assert summed[0] == summed[1], "the sum cannot tell a right answer from a well-formed one"
    gdpo = ShapingConfig(weights, mix=Mix.gdpo)
    group = grade(group_of(verdicts), algo, gdpo)
    (order,) = orders_of_step([group], gdpo)
    assert order.advantages[0] > order.advantages[1] + 0.5, "the rarer success counts for more"
    terms = {"exact": [1.0] + [0.0] * 7, "format": [0.0] + [1.0] * 3 + [0.0] * 4}
    by_hand = gdpo_by_hand({"exact": 1.0, "format": 1.0}, terms)
    scale = pstdev(by_hand) + 1e-6
    assert order.advantages == pytest.approx([(value - fmean(by_hand)) / scale for value in by_hand], rel=1e-12, abs=1e-12)


number_st = st.floats(-1.0, 1.0).map(lambda value: round(value, 3))


@settings(deadline=None)
@given(st.integers(2, 8).flatmap(lambda size: st.tuples(*[st.lists(number_st, min_size=size, max_size=size)] * 3)))
def test_gdpo_equals_the_published_formula(columns: tuple[list[float], ...]) -> None:
    terms = dict(zip(("a", "b", "c"), columns, strict=True))
    weights = {"a": 1.0, "b": 0.5, "c": 2.0}
    by_hand = gdpo_by_hand(weights, terms)
    found = decoupled_advantages(weights, terms)
    if max(by_hand) - min(by_hand) < 1e-8:
        return  # whether rounding is a signal is tested below
    assert found.reason == "" and found.keep.all()
    assert found.values == pytest.approx(by_hand, rel=1e-9, abs=1e-9)


def test_gdpo_groups_without_a_signal_say_why() -> None:
    weights = {"a": 1.0, "b": 1.0}
    assert decoupled_advantages(weights, {"a": [1.0, 1.0], "b": [0.5, 0.5]}).reason == "zero_variance"
    cancelled = decoupled_advantages(weights, {"a": [1.0, 0.0, 0.3], "b": [0.0, 1.0, 0.7]})
    assert cancelled.reason == "zero_variance" and not cancelled.keep.any(), "terms that cancel each other leave rounding, not a signal"
    assert decoupled_advantages(weights, {"a": [1.0, None], "b": [0.5, None]}).reason == "too_few"
    alone = decoupled_advantages(weights, {"a": [1.0, 0.0], "b": [0.5, 0.5]})
    assert alone.values == pytest.approx([0.5 / (0.5 + 1e-6), -0.5 / (0.5 + 1e-6)]), "a term that is alike for all contributes nothing"


def test_the_step_is_normalised_over_the_samples_that_are_trained_on() -> None:
    gdpo = ShapingConfig(TermWeights(exact=2.0, partial=1.0), mix=Mix.gdpo)
    algo = GrpoConfig(advantage=Advantage.mean_std)
    groups = [grade(group_of([judged(v) for v in values]), algo, gdpo) for values in ([1.0, 0.2, None], [0.0, 0.1, 0.9], [1.0, 0.0, 0.0])]
    orders = orders_of_step(groups, gdpo)
    kept = [a for order in orders for a, keep in zip(order.advantages, order.keep, strict=True) if keep]
    assert len(kept) == 8 and orders[0].keep == (True, True, False)
    assert fmean(kept) == pytest.approx(0.0, abs=1e-12) and pstdev(kept) == pytest.approx(1.0, rel=1e-5)
    assert groups[0].for_training().advantages != orders[0].advantages, "the groups themselves stay as they were graded"
    assert normalised_over_step([]) == []


def record_of(*groups: GradedGroup) -> dict[str, float]:
    return _reward_metrics(groups)


def test_every_term_is_in_the_metrics_and_only_where_there_is_one() -> None:
    config = ShapingConfig(TermWeights(partial=1.0, format=0.5), tasks={"retro": TermWeights(exact=1.0, partial=0.0)})
    algo = GrpoConfig()
    forward = [judged(1.0, completion__format=1.0), judged(0.5, completion__format=0.0), judged(None)]
    retro = [judged(1.0), judged(0.5)]
    record = record_of(grade(group_of(forward), algo, config), grade(group_of(retro, task="retro"), algo, config))
    assert {name: value for name, value in record.items() if "term" in name} == {
        "reward/forward/term/partial": 0.75,
        "reward/forward/term/format": 0.5,
        "reward/retro/term/exact": 0.5,
    }
    assert record["reward/shaped_mean"] == pytest.approx(fmean([1.5, 0.5, 1.0, 0.0]))
    assert record["reward/forward/mean"] == 0.75 and record["reward/retro/mean"] == 0.75, "the verdicts' own figures stay"
    plain = record_of(grade(group_of(forward), algo, ShapingConfig()))
    assert not [name for name in plain if "term" in name or "shaped" in name], "without shaping there is nothing to add"


LENGTH = "grpo.shaping.default.length_penalty=1"
SHAPED = ["experiment=smoke", "grpo.shaping.default.format=0.1"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["grpo.shaping.default.exact=-1"], ["grpo.shaping.default.exact=-1", "negative by themselves"]),
        (["grpo.shaping.default.partial=inf"], ["grpo.shaping.default.partial=inf"]),
        (["grpo.shaping.default.partial=0"], ["grpo.shaping.default rewards nothing", "exact"]),
        (["+grpo.shaping.tasks={forward: {partial: 0.0, length_penalty: 1.0}}"], ["grpo.shaping.tasks.forward rewards nothing"]),
        (["+grpo.shaping.tasks={foward: {exact: 1.0}}"], ["grpo.shaping.tasks", "foward", "did you mean 'forward'"]),
        (["+grpo.shaping.tasks={forward: {exakt: 1.0}}"], ["exakt"]),
        (["grpo.shaping.default.length_penalty=1"], ["grpo.shaping.length_margin=null", "before the cap"]),
        (["grpo.shaping.length_margin=8"], ["grpo.shaping.length_margin=8", "no effect"]),
        (["grpo.shaping.length_margin=0", LENGTH], ["grpo.shaping.length_margin=0", "at least 1"]),
        (["grpo.shaping.length_margin=41", LENGTH], ["grpo.shaping.length_margin=41", "grpo.max_new_tokens=40"]),
        (["grpo.shaping.repetition_ngram=0"], ["grpo.shaping.repetition_ngram=0"]),
        (["grpo.shaping.repetition_ngram=5"], ["grpo.shaping.repetition_ngram=5", "no effect"]),
        (["grpo.shaping.mix=gdpo"], ["grpo.shaping.mix=gdpo", "grpo.algo.advantage=mean", "mean_std"]),
        (["grpo.shaping.mix=product"], ["product"]),
        (["grpo.shaping.default.grounded=1", "rewards.grounding=0.5"], ["rewards.grounding=0.5", "count twice"]),
    ],
)
def test_a_wrong_shaping_is_refused_in_words_that_name_field_value_and_remedy(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["experiment=smoke", *overrides])
    for word in words:
        assert word in str(caught.value), f"the message for {overrides} should contain {word!r}; it is:\n{caught.value}"


def test_weights_of_single_tasks_come_from_overrides_and_from_files(tmp_path: Any) -> None:
    config, _ = load(["experiment=smoke", "+grpo.shaping.tasks={forward: {exact: 1.0}}", "grpo.shaping.default.format=0.1"])
    shaping = config.grpo.shaping
    assert shaping.active and shaping.weights("forward") == TermWeights(exact=1.0) and shaping.weights("retro") == TermWeights(format=0.1)
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\ngrpo:\n  shaping: {default: {format: 0.1}, tasks: {forward: {exact: 1.0}}}\n")
    again, _ = load(["experiment=mine"], config_dir=tmp_path)
    assert again.grpo.shaping == shaping


def asked_of_reward_workers(config: ChemrConfig, tmp_path: Any, **how: bool) -> tuple[bool, CompletionTraits]:
    actors = pool_config(config, tmp_path, tmp_path, **how).rewards
    return actors.claims, actors.traits


def test_reward_workers_are_asked_for_what_is_weighed_and_for_nothing_else(tmp_path: Any) -> None:
    nothing = (False, CompletionTraits())
    plain, _ = load(["experiment=smoke"])
    assert asked_of_reward_workers(plain, tmp_path) == nothing
    overrides = [*SHAPED, "+grpo.shaping.tasks={forward: {grounded: 1.0, repetition_penalty: 0.5}}", "grpo.shaping.repetition_ngram=3"]
    shaped, _ = load(overrides)
    assert asked_of_reward_workers(shaped, tmp_path) == (True, CompletionTraits(format=True, repetition_ngram=3))
    assert asked_of_reward_workers(shaped, tmp_path, with_learners=False) == nothing, "an evaluation is never shaped"
    supervised, _ = load([*overrides, "stages=[foundation]"])
    assert asked_of_reward_workers(supervised, tmp_path) == nothing
