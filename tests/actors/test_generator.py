"""The rollout generator on real vLLM and real Ray. Two actors serve the whole module, since starting one takes seconds."""

from __future__ import annotations

import copy
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from transformers import LlamaConfig, LlamaForCausalLM

from actors.engine import EngineFailedError, RequestRefusedError
from actors.generator import GeneratorHealth, ProbeMismatchError, RolloutGenerator
from actors.generator_config import GeneratorConfig
from actors.pool import auth_token
from actors.trajectory import GroupMeta, GroupRequest, GroupTokens, Sampling
from actors.weights import (
    Probe,
    PullAck,
    WeightManifest,
    WeightsCorruptError,
    content_digest,
    pack_buckets,
    probe_difference,
    tensor_bytes,
    tensor_digest,
)
from tests.patience import PATIENCE, START_S, WAIT_S

VOCABULARY, EOS = 96, 1
PROBE_IDS = tuple(range(5, 45))


def make_model(folder: Path, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        head_dim=32, max_position_embeddings=512, bos_token_id=0, eos_token_id=EOS, pad_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)  # far from uniform, so that a wrong model shows
    model.save_pretrained(folder)
    return model


def hf_logprobs(model: LlamaForCausalLM, ids: list[int], temperature: float = 1.0) -> np.ndarray[Any, Any]:
    """log π(ids[i + 1] | ids[: i + 1]), float32 [len(ids) − 1]."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].float() / temperature
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()


def manifest_of(model: LlamaForCausalLM, version: int, in_store: bool = True, with_probe: bool = True) -> WeightManifest:
    buckets = list(pack_buckets(model.named_parameters(), bucket_bytes=40_000, lasting=True))
    layout = tuple(slot for bucket in buckets for slot in bucket.slots)
    digests = [tensor_digest(part) for bucket in buckets for part in tensor_bytes(bucket.slots, [bucket.runs])]
    probe = Probe(PROBE_IDS, tuple(hf_logprobs(model, list(PROBE_IDS)).tolist())) if with_probe else None
    held = tuple(ray.put(list(bucket.runs)) if in_store else list(bucket.runs) for bucket in buckets)
    return WeightManifest(version, layout, held, content_digest(layout, digests), probe)


def a_request(
    uid: str, prompt: tuple[int, ...] = tuple(range(10, 25)), samples: int = 4, new: int = 24, temperature: float = 1.0
) -> GroupRequest:
    return GroupRequest(uid, "task", prompt, {}, {"answer": ""}, Sampling(samples, new, temperature), seed=7)


def digest(tokens: GroupTokens) -> str:
    parts = [array.tobytes() for group in (tokens.completion_ids, tokens.logprobs) for array in group]
    return hashlib.sha256(b"|".join(parts)).hexdigest()


def mismatch(tokens: GroupTokens, model: LlamaForCausalLM, temperature: float = 1.0) -> float:
    """max |engine − HF| over all tokens of the group."""
    prompt = tokens.prompt_ids.tolist()
    return max(
        float(np.abs(hf_logprobs(model, prompt + ids.tolist(), temperature)[len(prompt) - 1 :] - logprobs).max())
        for ids, logprobs in zip(tokens.completion_ids, tokens.logprobs, strict=True)
    )


class Planter(RolloutGenerator):
    """A generator that can be told to leave its caches as they are at an update, which the configuration refuses with prefix caching."""

    async def leave_caches(self, leave: bool) -> None:
        assert self._engine is not None
        self._engine._config = replace(self._config, keep_cache=leave)


@dataclass
class Actor:
    """Synchronous calls with a deadline."""

    handle: Any
    shared: Path
    name: str

    def submit(self, request: GroupRequest) -> Any:
        return self.handle.generate.remote(request)

    def generate(self, request: GroupRequest) -> tuple[GroupTokens, GroupMeta]:
        tokens, meta = ray.get(self.submit(request), timeout=WAIT_S)
        return tokens, meta

    def pull(self, manifest: WeightManifest) -> PullAck:
        ack: PullAck = ray.get(self.handle.pull.remote(manifest), timeout=WAIT_S)
        return ack

    def health(self) -> GeneratorHealth:
        health: GeneratorHealth = ray.get(self.handle.health.remote(), timeout=WAIT_S)
        return health

    def until(self, condition: Callable[[GeneratorHealth], object], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition(self.health()):
            assert time.monotonic() < deadline, f"it never happened that {what}"
            time.sleep(0.01)

    def until_sampling(self) -> None:
        """Its engine has begun to sample: keys and values are in its cache."""
        self.until(lambda health: health.running and health.cache_usage > 0.0, "the engine began to sample")

    def processes(self) -> list[psutil.Process]:
        me = psutil.Process(self.health().pid)
        return [me, *me.children(recursive=True)]


@dataclass
class Models:
    first: LlamaForCausalLM
    second: LlamaForCausalLM
    first_dir: str
    second_dir: str


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    return Models(make_model(folder / "a", 0), make_model(folder / "b", 1), str(folder / "a"), str(folder / "b"))


@pytest.fixture(scope="module")
def actors(models: Models) -> Iterator[tuple[Actor, Actor]]:
    """A generator with prefix caching, and one with small batches that keeps its cache over updates, started side by side on one node."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("RAY_AUTH_TOKEN", auth_token())  # a process has one for all its clusters
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="cr", dir="/tmp", ignore_cleanup_errors=True))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chemr-t", dir="/dev/shm", ignore_cleanup_errors=True))
        shared = Path(folder)
        stack.callback(ray.shutdown)
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=2,  # logical ones
            include_dashboard=False,
            _temp_dir=temporary,
            object_store_memory=128 << 20,
            log_to_driver=False,
        )
        common = GeneratorConfig(max_model_len=448, max_num_seqs=64, kv_cache_mb=64, start_timeout_s=START_S)
        configs = {"g0": replace(common, prefix_caching=True), "g1": replace(common, max_num_seqs=3, keep_cache=True)}
        remote = ray.remote(Planter).options(num_cpus=1)
        started = []
        for seed, (name, config) in enumerate(configs.items()):
            started.append(Actor(remote.remote(name, config, folder, seed), shared, name))
            stack.callback(ray.kill, started[-1].handle)
        ray.get([actor.handle.start.remote(models.first_dir, 3) for actor in started], timeout=START_S)
        yield started[0], started[1]


@pytest.fixture
def generator(actors: tuple[Actor, Actor], models: Models) -> Actor:
    """The first generator, back on the first model as version 3."""
    if ray.get(actors[0].handle.version.remote(), timeout=WAIT_S) != 3:
        actors[0].pull(manifest_of(models.first, 3))
    return actors[0]


def gpus_of_a_child() -> str:
    return subprocess.run([sys.executable, "-c", SHOW_GPUS], capture_output=True, text=True, check=True).stdout.strip()


SHOW_GPUS = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"


def test_the_processes_of_a_split_engine_see_the_gpus_of_their_actor_s_bundle(actors: tuple[Actor, Actor]) -> None:
    bundle = placement_group([{"CPU": 0.1, "GPU": 2.0}])
    try:
        ray.get(bundle.ready(), timeout=WAIT_S)
        place = PlacementGroupSchedulingStrategy(bundle, placement_group_bundle_index=0)
        seen = ray.remote(gpus_of_a_child).options(num_cpus=0.1, num_gpus=2.0, scheduling_strategy=place).remote()
        assert sorted(ray.get(seen, timeout=WAIT_S).split(",")) == ["0", "1"], "logical ones, on a machine without any"
    finally:
        remove_placement_group(bundle)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_the_model_after_temperature(generator: Actor, models: Models, temperature: float) -> None:
    tokens, meta = generator.generate(a_request(f"lp{temperature}", temperature=temperature))
    assert mismatch(tokens, models.first, temperature) < 1e-4, "fp32 log-probs must match transformers"
    assert (meta.oldest_version, meta.newest_version, meta.nonfinite) == (3, 3, ()), "every token carries the version it was started with"
    assert all((ids[-1] == EOS) == (end == "stop") for ids, end in zip(tokens.completion_ids, tokens.finish, strict=True)), (
        "a sample ends with the end token exactly when it stopped by itself"
    )


def test_greedy_takes_the_most_likely_token(generator: Actor, models: Models) -> None:
    tokens, _ = generator.generate(a_request("greedy", samples=2, new=8, temperature=0.0))
    assert np.array_equal(tokens.completion_ids[0], tokens.completion_ids[1]), "greedy samples are equal"
    ids = tokens.prompt_ids.tolist()
    for token in tokens.completion_ids[0].tolist():
        with torch.no_grad():
            assert int(models.first(torch.tensor([ids])).logits[0, -1].argmax()) == token, "greedy must follow transformers' argmax"
        ids.append(token)


def test_a_rollout_is_the_same_in_any_company_and_on_any_generator(actors: tuple[Actor, Actor], generator: Actor) -> None:
    request = a_request("again", prompt=tuple(3 + i % 90 for i in range(150)))
    alone, _ = actors[1].generate(request)  # three samples at a time, so the fourth runs alone
    crowd = [generator.submit(a_request(f"crowd{i}", prompt=tuple(range(5, 9 + i)), new=40)) for i in range(10)]
    together, _ = generator.generate(request)
    assert digest(together) == digest(alone), "tokens and log-probs must be bitwise equal whatever else is in the batch, on any generator"
    assert len({ids.tobytes() for ids in alone.completion_ids}) == 4, "the samples of a group must differ"
    other, _ = generator.generate(replace(request, attempt=1))
    assert digest(other) != digest(alone), "a new attempt draws new samples"
    ray.get([ref for pair in crowd for ref in pair], timeout=WAIT_S)


def test_twenty_updates_do_not_drift(generator: Actor, models: Models) -> None:
    manifests = [manifest_of(models.second, 4), manifest_of(models.first, 5)]
    for round_ in range(20):
        manifest = replace(manifests[round_ % 2], version=4 + round_)
        ack = generator.pull(manifest)
        assert ack.version == manifest.version and ack.digest == manifest.digest, "the ack names what was loaded"
        assert ack.probe_error is not None and ack.probe_error < 1e-4, f"update {round_} left the engine off by {ack.probe_error}"
    tokens, meta = generator.generate(a_request("after20"))
    assert meta.oldest_version == 23 and mismatch(tokens, models.first) < 1e-4, "the last version's weights must be in force"
    kept = [path for path in (generator.shared / "weights").iterdir() if path.name != "lock"]
    assert len(kept) == 1 and kept[0].stat().st_size < 1.1 * manifests[0].nbytes, "one weight file stays, for all generators of the node"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_a_coarser_format_than_the_engine_s_pass_the_probe(generator: Actor, models: Models, dtype: torch.dtype) -> None:
    rounded = copy.deepcopy(models.second).to(dtype)
    ack = generator.pull(manifest_of(rounded, 25))
    assert ack.probe_mean is not None and 1e-4 < ack.probe_mean < 0.15, "what rounding explains is no reason to replace an engine"
    probe = manifest_of(models.first, 26).probe
    assert probe is not None
    wrong = probe_difference(probe, hf_logprobs(models.second, list(PROBE_IDS)).tolist())
    assert wrong.mean > GeneratorConfig().tolerance([str(dtype).removeprefix("torch.")]), "other weights still are"


def test_generators_of_a_node_load_the_same_file(actors: tuple[Actor, Actor], generator: Actor, models: Models) -> None:
    manifest = manifest_of(models.second, 27)
    acks = ray.get([actor.handle.pull.remote(manifest) for actor in actors], timeout=WAIT_S)
    assert sorted("wait" in ack.seconds for ack in acks) == [False, True], "one brings it, the other waits for it"
    assert all(ack.probe_error is not None and ack.probe_error < 1e-4 for ack in acks)
    assert len([path for path in (generator.shared / "weights").iterdir() if path.name != "lock"]) == 1
    actors[1].pull(manifest_of(models.first, 3))


def test_an_update_in_flight_is_exact_on_both_sides_of_the_switch(generator: Actor, models: Models) -> None:
    manifest = manifest_of(models.second, 31)
    request = a_request("inflight", samples=8, new=400)
    pending = generator.submit(request)
    generator.until_sampling()
    ack = generator.pull(manifest)
    tokens, meta = ray.get(pending, timeout=WAIT_S)
    assert ack.probe_error is not None and ack.probe_error < 1e-4
    switched = 0
    for ids, logprobs, versions in zip(tokens.completion_ids, tokens.logprobs, tokens.versions, strict=True):
        assert set(versions.tolist()) <= {3, 31} and bool((np.diff(versions) >= 0).all()), "versions only go forward within a sample"
        everything = list(request.prompt_ids) + ids.tolist()
        old, new = (hf_logprobs(model, everything)[len(request.prompt_ids) - 1 :] for model in (models.first, models.second))
        assert np.abs(old - logprobs)[versions == 3].max(initial=0) < 1e-4, "tokens before the switch are the old model's"
        assert np.abs(new - logprobs)[versions == 31].max(initial=0) < 1e-4, "tokens after it are the new model's, on recomputed keys"
        switched += len(set(versions.tolist())) == 2
    assert switched, "the update must have met samples in flight"
    assert (meta.oldest_version, meta.newest_version) == (3, 31)
    health = generator.health()
    assert health.preemptions == 0 and 0.0 <= health.cache_usage < 1.0, "an update throws samples out, but not for want of cache"


def test_a_kept_cache_goes_on_under_new_weights_and_ends_with_its_sample(actors: tuple[Actor, Actor], models: Models) -> None:
    keeper = actors[1]
    request = a_request("kept", samples=12, new=400)  # three at a time, so the update meets some wherever it falls
    pending = keeper.submit(request)
    keeper.until_sampling()
    ack = keeper.pull(manifest_of(models.second, 31))
    tokens, _ = ray.get(pending, timeout=WAIT_S)
    assert ack.probe_error is not None and ack.probe_error < 1e-4, "the probe is computed anew"
    mixed = 0
    for ids, logprobs, versions in zip(tokens.completion_ids, tokens.logprobs, tokens.versions, strict=True):
        everything = list(request.prompt_ids) + ids.tolist()
        old, new = (hf_logprobs(model, everything)[len(request.prompt_ids) - 1 :] for model in (models.first, models.second))
        assert np.abs(old - logprobs)[versions == 3].max(initial=0) < 1e-4, "tokens before the switch are the old model's"
        if (versions == 31).any() and (versions == 3).any():
            mixed += 1
            assert np.abs(new - logprobs)[versions == 31].max() > 1e-3, "tokens after it attend to keys that the old weights computed"
    assert mixed, "the update must have met samples in flight"
    afterwards, _ = keeper.generate(replace(request, uid="fresh"))
    assert mismatch(afterwards, models.second) < 1e-4, "a sample that starts after the update is the new model's alone"
    keeper.pull(manifest_of(models.first, 3))


def test_a_sample_past_its_deadline_ends_by_length_with_what_it_has(generator: Actor) -> None:
    request = a_request("cut", samples=8, new=400)
    whole, _ = generator.generate(request)
    tokens, meta = generator.generate(replace(request, cut_after_s=0.1 * PATIENCE))
    assert meta.cut >= 1 and meta.cut == sum(
        end == "length" and len(ids) < 400 for ids, end in zip(tokens.completion_ids, tokens.finish, strict=True)
    )
    for index, ids in enumerate(tokens.completion_ids):
        assert np.array_equal(ids, whole.completion_ids[index][: len(ids)]), "a cut sample is the beginning of the whole one"
        assert np.array_equal(tokens.logprobs[index], whole.logprobs[index][: len(ids)]), "with its log-probs"
        assert len(tokens.versions[index]) == len(ids) > 0, "and a version for each token"


@pytest.mark.parametrize("careless", [False, True])
def test_a_planted_stale_prefix_is_never_used_and_would_show(generator: Actor, models: Models, careless: bool) -> None:
    prefix = tuple(3 + i % 90 for i in range(300))  # nine cache blocks
    planting, asking = (a_request(f"prefix{end}", prompt=(*prefix, end), new=8) for end in (7, 8))
    for _ in range(2):
        tokens, _ = generator.generate(planting)
        assert mismatch(tokens, models.first) < 1e-4, "a prefix cached under the same weights is used and exact"
    ray.get(generator.handle.leave_caches.remote(careless), timeout=WAIT_S)
    generator.pull(manifest_of(models.second, 40))
    ray.get(generator.handle.leave_caches.remote(False), timeout=WAIT_S)
    tokens, meta = generator.generate(asking)
    assert meta.oldest_version == 40
    if careless:
        assert mismatch(tokens, models.second) > 1e-2, "without the reset the planted keys are used: the check below would not notice any"
    else:
        assert mismatch(tokens, models.second) < 1e-4, "after an update the planted prefix must be computed anew"


def test_bad_weights_are_refused_before_they_touch_the_engine(generator: Actor, models: Models) -> None:
    good = manifest_of(models.second, 50)
    with pytest.raises(WeightsCorruptError, match="arrived with"):
        generator.pull(replace(good, digest="0" * 32))
    with pytest.raises(ValueError, match="missing"):
        generator.pull(replace(good, layout=good.layout[1:]))
    tokens, meta = generator.generate(a_request("survivor"))
    assert meta.newest_version == 3 and mismatch(tokens, models.first) < 1e-4, "the old weights must still serve"


def test_a_request_that_can_never_be_served_is_refused_and_harms_nobody(generator: Actor) -> None:
    neighbour = generator.submit(a_request("neighbour", new=100))
    with pytest.raises(RequestRefusedError, match="max_model_len = 448"):
        generator.generate(a_request("long", prompt=(5,) * 440))
    with pytest.raises(RequestRefusedError, match=r"5 \.\. 99; the model's vocabulary is 0 \.\. 95"):
        generator.generate(a_request("vocabulary", prompt=(5, VOCABULARY + 3)))
    assert ray.get(neighbour, timeout=WAIT_S)[1].lengths, "other groups go on"
    assert generator.health().alive and generator.health().running == 0


def test_cancelled_groups_leave_the_engine(generator: Actor) -> None:
    refs = generator.submit(a_request("cancelled", samples=16, new=400))
    generator.until_sampling()
    ray.cancel(refs[0])
    generator.until(lambda health: health.running == 0, "a cancelled group was aborted inside the engine")


def test_progress_can_be_read_off_the_health_counters(generator: Actor) -> None:
    before = generator.health()
    _, meta = generator.generate(a_request("counted"))
    after = generator.health()
    assert (after.groups - before.groups, after.samples - before.samples) == (1, 4)
    assert after.tokens - before.tokens == sum(meta.lengths) and after.busy_s > before.busy_s


def test_the_engines_steps_count_while_no_group_is_finished(generator: Actor) -> None:
    before = generator.health()
    prompt = tuple(3 + i % 90 for i in range(100))
    pending = generator.submit(a_request("long", prompt=prompt, samples=32, new=340))
    seen, deadline = [before.steps], time.monotonic() + WAIT_S
    while len(seen) < 5 and time.monotonic() < deadline:
        now = generator.health()
        if now.groups != before.groups:
            break
        if now.steps > seen[-1]:
            assert now.working and now.tokens == before.tokens, "what is finished is no sign of life yet"
            seen.append(now.steps)
    assert len(seen) >= 3, f"the engine's steps did not move under a group in flight: {seen}"
    _, meta = ray.get(pending, timeout=WAIT_S)
    after = generator.health()
    assert after.steps - before.steps >= max(meta.lengths), "every token of the longest sample took a step"
    assert not after.working and generator.health().steps == after.steps, "an idle engine makes none"


def test_an_engine_knows_what_its_decoding_steps_cost(generator: Actor) -> None:
    _, meta = generator.generate(a_request("paced", samples=16, new=200))
    pace = generator.health().pace
    assert pace is not None, "hundreds of steps were done"
    assert 0.0 < pace.mean_s < meta.seconds and 1.0 <= pace.samples <= 32.0, f"of a step: {pace}"
    assert min(pace.step_s, pace.sample_s, pace.prompt_token_s) >= 0.0 < pace.step_s + pace.sample_s


def test_a_killed_engine_process_is_a_typed_error_at_once(actors: tuple[Actor, Actor]) -> None:
    victim = actors[1]
    core = max(victim.processes()[1:], key=lambda process: process.memory_info().rss)
    refs = victim.submit(a_request("doomed", samples=64, new=400))
    victim.until_sampling()
    core.send_signal(signal.SIGKILL)
    with pytest.raises(EngineFailedError):
        ray.get(refs, timeout=WAIT_S)
    with pytest.raises(EngineFailedError, match="must be replaced"):
        victim.generate(a_request("later"))
    assert not victim.health().alive, "health must say so without touching the engine"


def test_stopping_leaves_no_process_and_no_file_even_after_a_failure(actors: tuple[Actor, Actor]) -> None:
    victim = actors[1]
    children = [process for process in victim.processes()[1:] if "resource_tracker" not in " ".join(process.cmdline())]
    ray.get(victim.handle.stop.remote(), timeout=WAIT_S)
    assert not psutil.wait_procs(children, timeout=WAIT_S)[1], "no process of the engine may be left"
    assert not (victim.shared / victim.name).exists(), "nothing may be left in shared memory"
    with pytest.raises(RuntimeError):
        victim.generate(a_request("stopped"))


def test_an_engine_that_computes_something_else_does_not_acknowledge(generator: Actor, models: Models) -> None:
    wrong = manifest_of(models.second, 60)
    assert wrong.probe is not None
    shifted = Probe(wrong.probe.token_ids, tuple(value - 0.01 for value in wrong.probe.logprobs))
    with pytest.raises(
        ProbeMismatchError, match=r"off by 0\.01 in the mean and 0\.01 at most \(limits 0\.0001.*weights are float32.*dtype is"
    ):
        generator.pull(replace(wrong, probe=shifted))
    with pytest.raises(EngineFailedError, match="must be replaced"):
        generator.generate(a_request("unproven"))


def test_a_killed_actor_takes_its_engine_with_it(actors: tuple[Actor, Actor]) -> None:
    processes = actors[0].processes()
    assert len(processes) >= 2, "there must be an engine process that could outlive the actor"
    os.kill(processes[0].pid, signal.SIGKILL)
    alive = psutil.wait_procs(processes, timeout=WAIT_S)[1]
    assert not alive, f"{alive} outlived the actor that was killed"
