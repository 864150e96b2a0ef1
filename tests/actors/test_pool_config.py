"""The pool's configuration is checked before anything starts, and says what is short."""

import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.generator_config import GeneratorConfig
from actors.leftovers import NOTE, PoolNote, RunDirectoryBusyError, start_ticks, sweep
from actors.pool import ActorPool
from actors.pool_config import GeneratorActors, LearnerActors, OnStraggler, PoolConfig, RewardActors, WeightsConfig, infeasible
from actors.private_folder import LOCK
from learner.config import LearnerConfig


@pytest.fixture
def config(tmp_path: Path) -> PoolConfig:
    (tmp_path / "tokenizer.json").write_text("{}")
    return PoolConfig(
        run_dir=tmp_path,
        rewards=RewardActors(tokenizer_dir=tmp_path, count=2, cpus=0.5),
        generators=GeneratorActors(count=2, cpus=1.0),
        learner=LearnerActors(LearnerConfig(), ranks=2, cpus=1.5),
    )


def test_every_actor_has_its_named_bundle_and_the_private_cluster_is_large_enough(config: PoolConfig) -> None:
    config.validate()
    assert list(config.bundles()) == ["generator-0", "generator-1", "reward-0", "reward-1", "learner-0", "learner-1"]
    assert config.logical_cpus() == 6
    assert replace(config, num_cpus=64).logical_cpus() == 64, "logical CPUs may exceed the physical ones"
    assert infeasible(config.bundles(), [{"CPU": 6.0}]) is None


def test_too_few_cpus_are_refused_with_the_sums(config: PoolConfig) -> None:
    with pytest.raises(ValueError, match=r"num_cpus is 4 but the actors ask for 6 \(generators 2, rewards 1, learners 3\)"):
        replace(config, num_cpus=4).validate()


def test_a_transport_must_exist_and_leave_time_for_the_store() -> None:
    WeightsConfig("collective", timeout_s=30.0).validate(pull_s=120.0)
    with pytest.raises(ValueError, match=r"pool\.weights\.transport=nccl is none of store, collective, direct"):
        WeightsConfig("nccl").validate(pull_s=120.0)
    for transport, seconds in itertools.product(("collective", "direct"), (0.0, 120.0)):
        with pytest.raises(ValueError, match=rf"timeout_s={seconds} must be above 0 and below pool\.timing\.pull_s=120"):
            WeightsConfig(transport, timeout_s=seconds).validate(pull_s=120.0)
    WeightsConfig("store", timeout_s=120.0).validate(pull_s=120.0)


def test_a_private_cluster_has_cpus_for_the_largest_fleet(config: PoolConfig) -> None:
    assert replace(config, max_generators=4).logical_cpus() == 8
    with pytest.raises(ValueError, match="num_cpus is 6 but the actors ask for 8"):
        replace(config, max_generators=4, num_cpus=6).validate()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_generators": 3}, "pool.min_generators is 3; it must be at least 1 and at most pool.generators, which is 2"),
        ({"min_reward_workers": 0}, "pool.min_reward_workers is 0"),
        ({"max_generators": 1}, "pool.max_generators is 1, below pool.generators = 2"),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(config: PoolConfig, fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **fields).validate()


def test_what_happens_at_the_rollout_deadline_is_chosen_by_name() -> None:
    from chemr.config import load

    assert load(["pool.timing.on_straggler=cut"])[0].pool.timing.on_straggler is OnStraggler.cut
    assert load([])[0].pool.timing.on_straggler is OnStraggler.replace


def test_a_missing_tokenizer_is_named(config: PoolConfig, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"there is no tokenizer\.json"):
        config.validate()


def test_a_cluster_that_is_too_small_or_too_scattered_is_reported_with_the_shortfall(config: PoolConfig) -> None:
    assert "short of 2 CPU and" in (infeasible(config.bundles(), [{"CPU": 4.0}]) or "").replace(", 0 GPU", " and")
    scattered = infeasible({"learner-0": {"CPU": 4.0}}, [{"CPU": 3.0}, {"CPU": 3.0}])
    assert scattered is not None and "learner-0 needs 4 CPU on one node" in scattered
    assert "1 GPU" in (infeasible({"learner-0": {"CPU": 1.0, "GPU": 1.0}}, [{"CPU": 8.0}]) or "")


def test_an_actor_without_cpus_still_gets_a_bundle(config: PoolConfig) -> None:
    free_riders = replace(config, rewards=replace(config.rewards, cpus=0.0))
    assert free_riders.bundles()["reward-0"] == {"CPU": 0.001}


def test_a_note_of_a_dead_driver_whose_pid_was_given_to_somebody_else_is_swept(tmp_path: Path) -> None:
    leftover = tmp_path / "chemr-leftover"
    leftover.mkdir()
    (leftover / LOCK).write_text(json.dumps({"pool_id": "0" * 16}))  # free: its driver is gone
    PoolNote("0" * 16, os.getpid(), start_ticks(os.getpid()) - 1000, (str(leftover),)).write(tmp_path)
    assert json.loads((tmp_path / NOTE).read_text())["driver_pid"] == os.getpid()
    assert sweep(tmp_path) == []
    assert not leftover.exists() and not (tmp_path / NOTE).exists()


def test_the_note_of_a_live_driver_keeps_others_out(tmp_path: Path) -> None:
    PoolNote("0" * 16, os.getpid(), start_ticks(os.getpid()), ()).write(tmp_path)
    with pytest.raises(RunDirectoryBusyError, match="live driver"):
        sweep(tmp_path)
    assert start_ticks(2**22 + 1) is None, "a pid that cannot exist has not started"


@pytest.fixture
def short_folder() -> Iterator[str]:
    """For sockets; pytest's own is too long for them."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as folder:
        yield folder


@pytest.mark.parametrize("late", ["The current node timed out during startup.", "Timed out waiting for file /tmp/ray/gcs_server_port_1"])
def test_a_private_cluster_that_is_late_is_started_once_more_and_other_errors_are_not_hidden(
    config: PoolConfig, short_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    failures = [Exception(late)]
    attempts: list[dict[str, object]] = []

    def init(**settings: object) -> None:
        attempts.append(settings)
        if failures:
            raise failures.pop()

    monkeypatch.setattr("actors.pool.ray.init", init)
    monkeypatch.setattr("actors.pool.ActorPool._set_environment", lambda self, variables: None)
    monkeypatch.setattr("actors.private_folder.tempfile.gettempdir", lambda: short_folder)
    pool, other = ActorPool(config), ActorPool(config)
    pool._shared_memory_dir, other._shared_memory_dir = str(tmp_path / "first"), str(tmp_path / "second")
    pool._start_ray()
    assert len(attempts) == 2 and attempts[0] == attempts[1], "a busy machine is given a second chance"
    failures.append(Exception("no such port"))
    with pytest.raises(Exception, match="no such port"):
        other._start_ray()
    assert len(attempts) == 3, "anything else is an error at once"


def test_actors_go_to_nodes_with_the_label_of_their_role(config: PoolConfig) -> None:
    bundles = {"generator-0": {"CPU": 1.0}, "learner-0": {"CPU": 2.0}, "reward-0": {"CPU": 0.5}}
    nodes = [{"CPU": 2.0}, {"CPU": 2.0}]
    learner, others = {"chemr-learner": "true"}, {"chemr-generator": "true", "chemr-reward": "true"}
    assert infeasible(bundles, nodes, [learner, others]) is None
    small = infeasible(bundles, [{"CPU": 2.0}, {"CPU": 0.5}], [learner, others])
    assert "generator-0" in (small or ""), "the node of the learner has room, and not the label"
    assert "chemr-learner=true" in (infeasible(bundles, nodes, [{}, others]) or ""), "a label that no node has should be named"
    assert config.node_labels("learner-3") == {}, "without role_labels any node will do"
    labelled = replace(config, role_labels=True, address="auto")
    assert labelled.node_labels("learner-3") == {"chemr-learner": "true"}
    with pytest.raises(ValueError, match=r"pool\.address is null"):
        replace(config, role_labels=True).validate()


@pytest.mark.parametrize(("split", "gpus", "fits"), [(1, 0, False), (1, 0.5, True), (2, 1, False), (2, 2, True), (2, 4, False)])
def test_an_engine_on_gpus_has_as_many_in_its_one_bundle_as_it_is_split_over(split: int, gpus: float, fits: bool) -> None:
    actors = GeneratorActors(gpus=gpus, engine=GeneratorConfig(device="cuda", tensor_parallel=split))
    if fits:
        actors.validate()
    else:
        with pytest.raises(ValueError, match=f"pool.generator_gpus is {gpus:g} .* set pool.generator_gpus={split}"):
            actors.validate()
    config = PoolConfig(run_dir=Path("run"), rewards=RewardActors(Path("model")), generators=actors)
    assert config.bundles()["generator-0"].get("GPU", 0.0) == gpus
    short = infeasible({"generator-0": {"CPU": 1.0, "GPU": 2.0}}, [{"CPU": 8.0, "GPU": 1.0}] * 4)
    assert short is not None and "2 GPU on one node" in short, "four nodes of one GPU hold no engine of two"
