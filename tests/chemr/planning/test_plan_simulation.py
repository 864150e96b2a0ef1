"""The simulation against cases that can be computed by hand, and against what must always hold."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.pool_config import FleetTiming, OnStraggler
from actors.staleness import max_age
from chemr.planning.core_sharing import deal, shares
from chemr.planning.errors import PlanError
from chemr.planning.scenario import Setup, SharedCores
from chemr.planning.simulation import aggregated, simulate
from chemr.planning.speedup_bound import bound
from chemr.planning.throughput import EngineSpeed, LearnerSpeed
from chemr.planning.workload import Lengths, Workload

ENGINE = EngineSpeed(0.0, 0.0, 0.0, constant_s=0.01, sample_s=0.0, prefill_s=0.0, most_samples=64, update_s=0.0, pull_s=0.2)
LEARNER = LearnerSpeed(train_s=0.5, publish_s=0.1, computing_s=0.0)
ONE = Workload(1, 1, 0, 0.5, Lengths(100.0, 0.0, 100), prompt_tokens=0.0, reward_s=0.0)
VARIED = Workload(8, 4, 1, 0.5, Lengths(100.0, 0.8, 1000), prompt_tokens=20.0, trivial=0.2, reward_s=0.01)


def test_one_engine_and_one_sample_in_turns_take_the_sum_of_everything():
    found = simulate(Setup(1, ENGINE, LEARNER, ONE), steps=20)
    assert found.step_s == pytest.approx(1.0 + 0.5 + 0.1 + 0.2), "100 tokens of 10 ms, training, publication, pull"
    assert found.wait_s == pytest.approx(1.0 + 0.2) or found.wait_s == pytest.approx(1.0)
    assert (found.age_mean, found.age_max) == (0.0, 0)


def test_two_slots_share_the_time_of_a_slots_way_around():
    found = simulate(Setup(1, ENGINE, LEARNER, replace(ONE, off_policy_steps=1)), steps=40)
    assert found.step_s == pytest.approx((1.0 + 0.5 + 0.1 + 0.2) / 2), "two groups under way, each 1.8 s"


def test_the_learner_is_the_limit_when_there_is_enough_to_train_on():
    found = simulate(Setup(4, ENGINE, LEARNER, replace(ONE, off_policy_steps=6)), steps=60)
    assert found.step_s == pytest.approx(0.6, rel=1e-6), "training and publication"
    assert found.overlap_efficiency >= 0.5 / 0.6 - 1e-9


def test_an_engine_that_slows_down_with_its_samples_gives_a_constant_rate():
    engine = replace(ENGINE, constant_s=0.0, sample_s=0.001, pull_s=0.0)
    work = replace(ONE, groups_per_step=8, off_policy_steps=3)
    found = simulate(Setup(1, engine, LearnerSpeed(0.01, 0.0, 0.0), work), steps=40)
    assert found.step_s == pytest.approx(8 * 100 * 0.001, rel=0.02), "800 tokens a step at 1,000 tokens/s"


def test_prompts_cost_what_reading_them_takes():
    engine = replace(ENGINE, prefill_s=0.001)
    found = simulate(Setup(1, engine, LEARNER, replace(ONE, prompt_tokens=300.0)), steps=20)
    assert found.step_s == pytest.approx(1.8 + 0.3)


def test_a_sample_that_ends_holds_the_others_up():
    work = replace(ONE, samples_per_group=4)
    found = simulate(Setup(1, replace(ENGINE, end_s=0.05), LEARNER, replace(work, lengths=Lengths(100.0, 0.3, 200))), steps=200)
    plain = simulate(Setup(1, ENGINE, LEARNER, replace(work, lengths=Lengths(100.0, 0.3, 200))), steps=200)
    assert found.step_s - plain.step_s == pytest.approx(3 * 0.05, rel=0.1), "the longest waits for the three others' ends, not its own"


def test_what_passes_between_the_processes_is_part_of_the_way_around():
    found = simulate(Setup(1, ENGINE, LEARNER, ONE, latency_s=0.25), steps=20)
    assert found.step_s == pytest.approx(1.8 + 0.25)
    assert (found.rollout_s, found.turnaround_s) == pytest.approx((1.0, 1.25)), "generation, and from submission to the verdicts"


def test_what_serves_an_engine_leaves_less_for_the_learner_and_follows_the_engines_speed():
    machine = SharedCores(2.0, 1, 10, service=0.4)
    assert deal(machine, (True,), True) == ((1.0,), pytest.approx(0.6, abs=1e-3)), "one core, four tenths of the other, and what is left"
    assert deal(machine, (False,), True) == ((0.0,), 1.0), "an engine that waits needs no service"
    (first, second), learner = deal(machine, (True, True), True)
    assert first == second < 1.0 and first + second + 0.4 * (first + second) + learner == pytest.approx(2.0, abs=0.01)


def test_slow_rewards_hold_a_step_up():
    found = simulate(Setup(1, ENGINE, LEARNER, replace(ONE, reward_s=2.0)), steps=20)
    assert found.step_s == pytest.approx(1.8 + 2.0)


def test_on_shared_cores_training_and_generation_take_turns_by_niceness():
    work = replace(ONE, off_policy_steps=1)
    apart = simulate(Setup(1, ENGINE, LEARNER, work), steps=40)
    shared = simulate(Setup(1, ENGINE, LEARNER, work, cores=SharedCores(1.0, 1)), steps=40)
    plenty = simulate(Setup(1, ENGINE, LEARNER, work, cores=SharedCores(8.0, 1)), steps=40)
    assert plenty.step_s == pytest.approx(apart.step_s) and shared.step_s > apart.step_s
    assert shared.step_s <= 1.0 + 0.5 + 0.3 + 1e-6, "a core is never idle while both want it"
    assert shares(2.0, [(1.0, 0), (1.0, 10), (1.0, 10)]) == pytest.approx([1.0, 0.5, 0.5])
    assert shares(1.0, [(1.0, 0), (1.0, 0)]) == pytest.approx([0.5, 0.5])
    assert shares(4.0, [(1.0, 0), (0.0, 0)]) == [1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 12),
    samples=st.integers(1, 6),
    off_policy=st.integers(0, 4),
    window=st.floats(0.05, 1.0),
    sigma=st.floats(0.0, 2.0),
    engines=st.integers(1, 6),
    trivial=st.floats(0.0, 0.7),
    seed=st.integers(0, 1000),
    cut=st.booleans(),
    failures=st.sampled_from([0.0, 200.0]),
)
def test_whatever_happens_ages_are_bounded_and_every_group_is_accounted_for(
    groups, samples, off_policy, window, sigma, engines, trivial, seed, cut, failures
):
    work = Workload(groups, samples, off_policy, window, Lengths(100.0, sigma, 2000), 10.0, trivial, 0.01)
    timing = FleetTiming(
        OnStraggler.cut if cut else OnStraggler.replace, straggler_floor_s=2.0, straggler_multiple=1.5, straggler_ceiling_s=30.0
    )
    found = simulate(Setup(engines, ENGINE, LEARNER, work, timing=timing, failures_per_hour=failures, restart_s=5.0), steps=24, seed=seed)
    assert found.age_bound == max_age(groups, off_policy, window), "the bound is the one that is proved"
    assert 0 <= found.age_mean <= found.age_max <= found.age_bound
    assert found.submitted == found.trained + sum(found.dropped.values()) + found.in_flight, f"a group was lost: {found}"
    assert found.step_s > 0.0 and 0.0 < found.overlap_efficiency <= 1.0 + 1e-9
    if off_policy == 0:
        assert found.age_max == 0, "S = 0 is synchronous"


def test_ages_reach_the_bound_where_generation_is_what_a_step_waits_for():
    found = simulate(Setup(1, replace(ENGINE, sample_s=0.01), LEARNER, VARIED), steps=80)
    assert found.age_max == found.age_bound, f"{found.age_max} of {found.age_bound}: the bound is tight"


@pytest.mark.parametrize("off_policy", [0, 1, 3])
def test_more_engines_a_faster_learner_or_shorter_answers_are_never_slower(off_policy: int):
    engine = replace(ENGINE, sample_s=0.002)
    base = Setup(1, engine, LEARNER, replace(VARIED, off_policy_steps=off_policy))
    steps = [simulate(replace(base, engines=count), steps=60).step_s for count in (1, 2, 4, 8)]
    assert all(more <= fewer * 1.02 for fewer, more in itertools.pairwise(steps)), f"more engines were slower: {steps}"
    slow = simulate(base, steps=60).step_s
    assert simulate(replace(base, learner=replace(LEARNER, train_s=0.1)), steps=60).step_s <= slow * 1.02
    shorter = replace(base.workload, lengths=replace(base.workload.lengths, cap=100))
    assert simulate(replace(base, workload=shorter), steps=60).step_s < slow


def test_a_large_cluster_is_simulated_by_a_smaller_one_with_the_same_result():
    setup = Setup(32, replace(ENGINE, sample_s=0.0005), LEARNER, replace(VARIED, groups_per_step=128), reward_servers=16)
    smaller, scale = aggregated(setup, 32)
    assert (smaller.engines, smaller.workload.groups_per_step, scale) == (8, 32, 4.0)
    assert aggregated(setup, 128) == (setup, 1.0)
    whole, part = simulate(setup, steps=40), simulate(setup, steps=40, most_groups=32)
    assert part.aggregated == 4.0 and part.step_s == pytest.approx(whole.step_s, rel=0.15)
    assert part.trained_tokens_per_s == pytest.approx(whole.trained_tokens_per_s, rel=0.15), "rates are of the whole cluster"
    assert abs(part.age_mean - whole.age_mean) < 0.3


def test_stragglers_are_given_up_or_cut():
    work = replace(VARIED, lengths=Lengths(100.0, 1.5, 5000, between=0.0), trivial=0.0)
    timing = FleetTiming(straggler_floor_s=1.0, straggler_multiple=1.01, straggler_ceiling_s=6.0)
    replaced = simulate(Setup(2, ENGINE, LEARNER, work, timing=timing), steps=40)
    cut = simulate(Setup(2, ENGINE, LEARNER, work, timing=replace(timing, on_straggler=OnStraggler.cut)), steps=40)
    assert replaced.dropped.get("straggler", 0) > 0, "a group that straggles twice is given up"
    assert not cut.dropped and cut.rollout_s <= 6.0 + 1e-6, "cut groups are trained on"


def test_lost_engines_cost_time_and_lose_no_group():
    setup = Setup(2, ENGINE, LEARNER, VARIED)
    calm, stormy = simulate(setup, steps=80), simulate(replace(setup, failures_per_hour=120.0, restart_s=30.0), steps=80)
    assert stormy.step_s > calm.step_s * 1.1
    assert stormy.submitted == stormy.trained + sum(stormy.dropped.values()) + stormy.in_flight


def test_the_same_seed_gives_the_same_prediction():
    once, again = (simulate(Setup(2, ENGINE, LEARNER, VARIED), seed=3).figures() for _ in range(2))
    assert once == again and simulate(Setup(2, ENGINE, LEARNER, VARIED), seed=4).figures() != once


def test_a_plan_in_which_no_step_gets_full_says_so():
    timing = FleetTiming(straggler_floor_s=0.1, straggler_multiple=1.5, straggler_ceiling_s=0.2)
    with pytest.raises(PlanError, match=r"no step gets full.*straggler"):
        simulate(Setup(1, ENGINE, LEARNER, ONE, timing=timing))
    with pytest.raises(PlanError, match="0 engines"):
        Setup(0, ENGINE, LEARNER, ONE)


def test_the_bound_on_the_gain_of_asynchrony_is_one_without_generation_or_spread():
    assert bound(0.0, 7.0) == bound(0.5, 1.0) == 1.0 and bound(0.5, 3.0) == 2.0
