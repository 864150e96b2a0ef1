"""The pool with everything real: Ray, vLLM, DeepSpeed, reward processes. One start serves all tests of this module, in order."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
import ray
from transformers import AutoModelForCausalLM

from actors.failures import LearnerLost
from actors.generator_config import GeneratorConfig
from actors.learner_worker import TrainGroup
from actors.leftovers import NOTE, POOL_ID_VARIABLE, RunDirectoryBusyError, processes_of, sweep
from actors.pool import ActorPool
from actors.pool_config import FleetTiming, GeneratorActors, LearnerActors, PoolConfig, RewardActors
from actors.trajectory import GroupRequest, Sampling, ScoredGroup
from chemr.data.example import Example
from chemr.mining.asking import Asked, ask_all
from chemr.mining.pool_teacher import PoolTeacher, model_name
from chemr.mining.responses import ResponseStore
from chemr.mining.teacher import ChatRequest, ChatSampling
from chemr.tokenization import ChatTokenizer
from learner.config import GrpoConfig, LearnerConfig, OptimConfig, Schedule
from learner.sealed_files import seal_folder
from rewards.job import ScoreJob
from tests.actors.test_generator import mismatch
from tests.listening import beyond_the_machine, listeners
from tests.patience import START_S, WAIT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

EOS, PAD, VOCAB = 1, 2, 64
PROBE = tuple(range(5, 21))
TIMING = FleetTiming(health_period_s=0.5, start_s=START_S)


def write_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, models

    letters = {chr(ord("0") + index): index for index in range(VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="0"))
    tokenizer.add_special_tokens([AddedToken(chr(ord("0") + EOS), special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))


def make_model(folder: Path, seed: int) -> None:
    from learner.config import ModelConfig
    from learner.policy import create_model

    shape = ModelConfig(hidden_size=64, layers=2, heads=2, intermediate_size=64, max_position_embeddings=128)
    create_model(folder, shape, VOCAB, {"bos": 0, "eos": EOS, "pad": PAD}, seed=seed)
    write_tokenizer(folder)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, seed=0)
    return folder


def pool_config(model_dir: Path, run_dir: Path, ranks: int = 2) -> PoolConfig:
    engine = GeneratorConfig(max_model_len=128, kv_cache_mb=32, max_num_seqs=32, start_timeout_s=START_S)
    return PoolConfig(
        run_dir=run_dir,
        generators=GeneratorActors(count=1, engine=engine),
        rewards=RewardActors(tokenizer_dir=model_dir, workers=1),
        learner=LearnerActors(LearnerConfig(), ranks=ranks, cpus=0.5, start_timeout_s=START_S),
        timing=TIMING,
    )


@asynccontextmanager
async def started_pool(config: PoolConfig, model_dir: Path) -> AsyncIterator[ActorPool]:
    """With a model and a stage begun; closed whatever fails."""
    async with AsyncExitStack() as stack:
        pool = ActorPool(config)
        stack.push_async_callback(pool.close)
        await pool.start(model_dir)
        assert pool.learner is not None
        await pool.learner.begin_stage(OptimConfig(lr=1e-2), total_steps=20, seed=0)
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ActorPool]:
    # One CPU more than the members need: a replacement or a newcomer starts beside them.
    async with started_pool(replace(pool_config(model_dir, tmp_path_factory.mktemp("run")), num_cpus=4), model_dir) as pool:
        supervisor = asyncio.create_task(pool.fleet.supervise(), name="supervise")
        yield pool
        supervisor.cancel()


def request(uid: str, samples: int = 4, max_new_tokens: int = 12) -> GroupRequest:
    return GroupRequest(
        uid, "smiles2formula", (0, 7, 9, 11), {"smiles": "CCO"}, {"answer": "C2H6O"}, Sampling(samples, max_new_tokens), seed=3
    )


async def groups_of(pool: ActorPool, *uids: str) -> list[ScoredGroup]:
    return list(await asyncio.gather(*(pool.fleet.run_group(request(uid), want_texts=True) for uid in uids)))


async def gone(pid: int, seconds: float = WAIT_S) -> None:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not psutil.pid_exists(pid), f"process {pid} is still there"


async def until(condition: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"within {seconds:.0f} s it did not happen that {what}") from None


def member(pool: ActorPool, name: str) -> dict[str, object]:
    return next((entry for entry in pool.fleet.snapshot() if entry["name"] == name), {})


async def test_pids_name_every_process_of_the_pool(pool: ActorPool) -> None:
    expected = {"generator-0", "generator-0/engine", "reward-0", "reward-0/zygote", "reward-0/worker-0", "learner-0", "learner-1"}
    assert set(pool.pids()) == expected
    assert len(set(pool.pids().values())) == len(expected)


async def test_nobody_outside_this_machine_reaches_a_process_of_the_pool(pool: ActorPool) -> None:
    me = psutil.Process()
    processes = [me, *me.children(recursive=True)]
    assert len(listeners(processes)) > 5, "Ray's processes, the ranks and the engine listen somewhere, or this test sees nothing"
    assert beyond_the_machine(processes) == {}


async def test_nobody_else_on_this_machine_may_enter_the_folder_of_rays_session(pool: ActorPool) -> None:
    assert pool._private is not None
    assert pool._private.path.stat().st_mode & 0o777 == 0o700
    assert next(pool._private.session.glob("session_*/sockets")).is_dir(), "Ray's session is in it"


async def test_only_what_the_pool_starts_carries_its_id(pool: ActorPool) -> None:
    """What starts meanwhile beside it (W&B's service does) would be killed with it."""
    assert POOL_ID_VARIABLE not in os.environ
    environment = subprocess.run(["env"], capture_output=True, text=True, timeout=WAIT_S, check=True).stdout
    assert pool._pool_id not in environment


async def test_a_step_goes_from_prompts_to_new_weights_that_the_generator_proves_to_have(pool: ActorPool) -> None:
    learner = pool.learner
    assert learner is not None
    groups = await groups_of(pool, "a", "b")
    for group in groups:
        assert len(group.verdicts) == len(group.texts) == 4
        assert all(verdict.value == 0.0 for verdict in group.verdicts), "a random model was rewarded"
    advantages = (1.0, -1.0, 0.5, -0.5)
    train = [TrainGroup(group.tokens_ref, advantages, (True, True, True, False)) for group in groups]
    metrics = await learner.grpo_step(train, GrpoConfig())
    assert np.isfinite(metrics["train/loss"]) and metrics["train/grad_norm"] > 0
    assert metrics["train/mismatch_kl"] < 1e-6, "learner and engine disagree about the log-probs of the very same weights"
    assert metrics["train/mismatch_mean"] <= metrics["train/mismatch_p99"] < 1e-4, "fp32 against float32 is rounding"
    serving = [(generator.name, generator.pid) for generator in pool.fleet.serving_generators()]
    manifest = await learner.publish(1, PROBE, receivers=serving, receive_s=WAIT_S)
    (ack,) = await pool.fleet.update_weights(manifest)
    assert ack.version == 1 and ack.probe_error is not None and ack.probe_error < 1e-4
    assert not ack.fallback and "receive" in ack.seconds, "one generator can be broadcast to as well"
    (group,) = await groups_of(pool, "c")
    assert (group.meta.oldest_version, group.meta.newest_version) == (1, 1)


async def test_supervised_steps_name_pairs_by_index_and_lower_the_loss(pool: ActorPool) -> None:
    learner = pool.learner
    assert learner is not None
    pairs = [(np.array([0, 5 + n], np.int32), np.array([9, 10 + n, EOS], np.int32)) for n in range(8)]
    await learner.load_dataset(pairs)
    losses = [(await learner.sft_step(range(8)))["train/loss"] for _ in range(6)]
    assert losses[-1] < losses[0]
    (logprobs, _) = await learner.logprobs(pairs[:2])
    assert logprobs.shape == (3,)


async def test_texts_are_scored_without_a_generator(pool: ActorPool) -> None:
    jobs = [ScoreJob("smiles2formula", f"<answer>{text}</answer>", {"smiles": "CCO"}, {"answer": "C2H6O"}) for text in ("C2H6O", "CH4")]
    verdicts = await pool.fleet.score_texts(jobs, chunk=1)
    assert verdicts[0].value == 1.0 and verdicts[1].value is not None and verdicts[1].value < 1.0


@pytest.mark.parametrize("victim", ["generator-0/engine", "generator-0"])
async def test_killing_a_generator_changes_neither_the_groups_nor_their_weights(pool: ActorPool, victim: str) -> None:
    before = await groups_of(pool, "same-1", "same-2")
    await pool.fleet.update_weights(await pool.learner.publish(2, PROBE))
    reference = await groups_of(pool, "same-1", "same-2")
    assert [group.texts for group in before] != [group.texts for group in reference] or before[0].meta.oldest_version == 2
    running = asyncio.create_task(groups_of(pool, "same-1", "same-2", *(f"load-{victim}-{n}" for n in range(20))))
    await asyncio.sleep(0.02)
    actor, engine = pool.pids()["generator-0"], pool.pids()["generator-0/engine"]
    os.kill(pool.pids()[victim], signal.SIGKILL)
    again = await asyncio.wait_for(running, START_S)
    assert [group.texts for group in again[:2]] == [group.texts for group in reference], "the retry changed the rollouts"
    assert all(group.meta.oldest_version == 2 for group in again[2:]), "a replaced generator served older weights"
    await gone(actor)
    await gone(engine)


@pytest.mark.parametrize("victim", ["reward-0/worker-0", "reward-0/zygote", "reward-0"])
async def test_killing_a_reward_process_or_worker_is_not_noticed_by_callers(pool: ActorPool, victim: str) -> None:
    os.kill(pool.pids()[victim], signal.SIGKILL)
    text = f"<answer>C2H6O</answer>{' ' * len(victim)}"
    verdicts = await pool.fleet.score_texts([ScoreJob("smiles2formula", text, {"smiles": "OCC" + "C" * len(victim)}, {"answer": "C2H6O"})])
    assert verdicts[0].value is not None
    (group,) = await groups_of(pool, f"after-{victim}")
    assert not any(verdict.failed for verdict in group.verdicts)


async def test_a_member_that_gets_sigterm_is_drained_and_replaced_and_no_group_notices(pool: ActorPool) -> None:
    before, counters = await groups_of(pool, "a", "b"), pool.fleet.stats()
    generator, reward = pool.pids()["generator-0"], pool.pids()["reward-0"]
    running = asyncio.create_task(groups_of(pool, "a", "b", *(f"load-{n}" for n in range(20))))
    await asyncio.sleep(0.02)
    os.kill(generator, signal.SIGTERM)
    os.kill(reward, signal.SIGTERM)
    groups = await asyncio.wait_for(running, START_S)
    assert [group.texts for group in groups[:2]] == [group.texts for group in before]
    await until(lambda: member(pool, "generator-0").get("pid") not in (None, generator), "the generator's seat was filled again")
    await until(lambda: member(pool, "reward-0").get("pid") not in (None, reward), "the reward worker's seat was filled again")
    await gone(generator)
    await gone(reward)
    after = pool.fleet.stats()
    assert all(after[f"drains/{role}"] == counters[f"drains/{role}"] + 1 for role in ("generator", "reward"))
    assert all(after[f"restarts/{role}"] == counters[f"restarts/{role}"] for role in ("generator", "reward")), "a notice is not a failure"
    assert [group.texts for group in await groups_of(pool, "a", "b")] == [group.texts for group in before]


async def test_a_second_generator_joins_takes_its_share_and_leaves(pool: ActorPool) -> None:
    with pytest.raises(ValueError, match="private cluster was started with 4"):
        pool.fleet.scale("generators", 3)
    pool.fleet.scale("generators", 2)
    assert member(pool, "generator-1")["state"] == "starting"
    await groups_of(pool, "meanwhile")
    await until(lambda: member(pool, "generator-1")["state"] == "serving", "the newcomer served")
    groups = await groups_of(pool, *(f"shared-{n}" for n in range(8)))
    assert {group.meta.generator for group in groups} == {"generator-0", "generator-1"}
    newcomer, restarts = pool.pids()["generator-1"], pool.fleet.stats()["restarts/generator"]
    pool.fleet.scale("generators", 1)
    groups = await groups_of(pool, *(f"after-{n}" for n in range(4)))
    assert {group.meta.generator for group in groups} == {"generator-0"}
    await until(lambda: not member(pool, "generator-1"), "it left")
    await gone(newcomer)
    assert pool.fleet.stats()["restarts/generator"] == restarts


async def test_losing_a_learner_rank_is_one_error_and_a_restart_continues_from_the_checkpoint(pool: ActorPool, tmp_path: Path) -> None:
    learner = pool.learner
    assert learner is not None
    others = {name: pid for name, pid in pool.pids().items() if not name.startswith("learner")}
    sealed = await learner.save(tmp_path / "step-1")
    assert sorted(sealed, key=lambda file: file.name) == seal_folder(tmp_path / "step-1"), "both ranks say what they wrote"
    assert {"state-0-0.safetensors", "state-1-0.safetensors", "learner.json"} <= {file.name for file in sealed}
    expected = (await learner.sft_step(range(8)))["train/loss"]
    os.kill(pool.pids()["learner-1"], signal.SIGKILL)
    with pytest.raises(LearnerLost):
        await learner.sft_step(range(8))
    with pytest.raises(LearnerLost, match="restart"):
        await learner.publish(3)
    await learner.restart(tmp_path / "step-1")
    assert (await learner.sft_step(range(8)))["train/loss"] == pytest.approx(expected, abs=1e-7)
    assert {name: pid for name, pid in pool.pids().items() if not name.startswith("learner")} == others, "the restart touched the rest"
    assert {"learner-0", "learner-1"} <= set(pool.pids())
    (ack,) = await pool.fleet.update_weights(await learner.publish(3, PROBE))
    assert ack.version == 3


async def test_storage_that_fails_under_one_rank_costs_no_rank_its_life(pool: ActorPool, tmp_path: Path) -> None:
    learner = pool.learner
    assert learner is not None
    pids = learner.pids()
    with pytest.raises(OSError, match="learner rank 0") as caught:
        await learner.save(tmp_path / ("x" * 250))  # rank 0 makes the folder aside, whose name is too long
    assert caught.value.errno == errno.ENAMETOOLONG
    assert learner.pids() == pids and (await learner.sft_step([0, 1]))["train/loss"] > 0, "the ranks are still in step"


async def test_a_checkpoint_goes_on_under_new_settings_also_after_a_loss(pool: ActorPool, tmp_path: Path) -> None:
    learner = pool.learner
    assert learner is not None
    await learner.save(tmp_path / "step")
    new = OptimConfig(lr=3e-4, schedule=Schedule.constant)
    await learner.load(tmp_path / "step", new, 40)
    assert (await learner.sft_step([0, 1]))["train/lr"] == 3e-4
    await learner.restart(tmp_path / "step")
    assert (await learner.sft_step([0, 1]))["train/lr"] == 3e-4, "a lost learner comes back to the settings that hold now"


async def test_a_mistake_of_the_caller_is_raised_as_it_is_and_costs_nobody_their_life(pool: ActorPool) -> None:
    learner = pool.learner
    assert learner is not None
    with pytest.raises(ValueError, match="empty"):
        await learner.logprobs([(np.array([], np.int32), np.array([3], np.int32))])
    assert (await learner.sft_step([0, 1]))["train/loss"] > 0


@pytest.fixture(scope="module")
def teacher_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, with a chat template: its answers are letters, one a token."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    folder = tmp_path_factory.mktemp("teacher")
    make_model(folder, seed=5)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "1"}')
    (folder / "chat_template.jinja").write_text("{% for message in messages %}<{{ message.content }}>{% endfor %}=")
    return folder


async def test_another_model_is_loaded_inside_the_live_actors(pool: ActorPool, teacher_dir: Path) -> None:
    before = pool.pids()
    await pool.fleet.set_model(str(teacher_dir), version=7)
    (group,) = await groups_of(pool, "retasked")
    assert group.meta.oldest_version == 7, "the second model must serve under its version"
    second = AutoModelForCausalLM.from_pretrained(teacher_dir).eval()
    assert mismatch(ray.get(group.tokens_ref), second) < 1e-4, "and it must be the second model"
    after = pool.pids()
    assert after["generator-0"] == before["generator-0"], "the actor stays"
    assert after["generator-0/engine"] != before["generator-0/engine"], "the engine is new"
    await gone(before["generator-0/engine"])


async def test_a_retasked_generator_is_a_teacher_that_is_asked_once(pool: ActorPool, teacher_dir: Path, tmp_path: Path) -> None:
    sampling = ChatSampling(1.0, 0.9, 20)
    asked = [a_question(number, sample, sampling) for number in range(4) for sample in range(3)]
    counters = pool.fleet.stats()
    written, texts = await ask_teacher(pool, teacher_dir, tmp_path / "first.jsonl", asked)
    assert written.new == 12 and len(set(texts)) > 4, f"a random model writes many things: {texts}"
    after = pool.fleet.stats()
    assert after["groups"] - counters["groups"] == 12, "every request is one group of one sample"
    store = ResponseStore(tmp_path / "first.jsonl")
    (usage,) = store.usage.values()
    store.close()
    assert usage.responses == 12 and usage.prompt_tokens == 12 * len("<HOW@0>="), "the template's tokens are counted"
    assert usage.completion_tokens == after["tokens"] - counters["tokens"], "and every token that was generated"
    again, same = await ask_teacher(pool, teacher_dir, tmp_path / "first.jsonl", asked)
    assert again.new == 0 and same == texts and pool.fleet.stats()["groups"] == after["groups"], "a second start asks nothing again"
    _, repeated = await ask_teacher(pool, teacher_dir, tmp_path / "second.jsonl", asked)
    assert repeated == texts, "seeds repeat: the same requests have the same answers"
    narrow = [a_question(0, sample, ChatSampling(1.0, 1e-6, 20)) for sample in range(3)]
    _, greedy = await ask_teacher(pool, teacher_dir, tmp_path / "narrow.jsonl", narrow)
    assert len(set(greedy)) == 1, f"with hardly any of the distribution left, only the likeliest token can be drawn: {greedy}"


def a_question(number: int, sample: int, sampling: ChatSampling) -> ChatRequest:
    example = Example(f"t/{number}", "smiles2formula", {"smiles": "C"}, {"answer": "CH4"}, 0.0, "tests", "Apache-2.0")
    return ChatRequest(({"role": "user", "content": f"HOW@{number}"},), sampling, sample, example, "mine")


async def ask_teacher(pool: ActorPool, folder: Path, responses: Path, asked: list[ChatRequest]) -> tuple[Asked, list[str]]:
    teacher = PoolTeacher(pool.fleet, ChatTokenizer.load(folder), model_name(folder), longest=128)
    store = ResponseStore(responses)
    try:
        outcome = await ask_all(teacher, store, asked, concurrency=8, give_up_after=2)
        return outcome, [store.reply(key).text for key in outcome.keys if key is not None]
    finally:
        store.close()


async def test_closing_leaves_no_process_and_no_shared_memory(pool: ActorPool) -> None:
    supervisor = [task for task in asyncio.all_tasks() if task.get_name() == "supervise"]
    assert supervisor and supervisor[0].cancel(), "the supervisor ended during the tests"
    pids, pool_id = list(pool.pids().values()), pool._pool_id
    assert pool._private is not None
    folders = [Path(pool._shared_memory_dir), pool._private.path]
    known = {process.pid for process in processes_of(pool_id)}
    assert set(pids) <= known, "some of the pool's processes do not carry its id: a crash would leave them behind"
    bystander = subprocess.Popen(["sleep", "1000"])
    await pool.close()
    for pid in pids:
        await gone(pid)
    assert processes_of(pool_id) == []
    assert bystander.poll() is None, "the driver's other children (W&B's service is one) are not the pool's to end"
    bystander.kill()
    bystander.wait()
    assert not any(folder.exists() for folder in folders)
    assert not (pool.config.run_dir / NOTE).exists()
    assert "RAY_AUTH_TOKEN" not in os.environ


DRIVER = """
import asyncio, sys
from pathlib import Path
from actors.pool import ActorPool
from actors.pool_config import GeneratorActors, PoolConfig, RewardActors

async def main():
    pool = ActorPool(PoolConfig(Path(sys.argv[1]), RewardActors(Path(sys.argv[2])), GeneratorActors(count=0)))
    await pool.start()
    print(pool._pool_id, pool._private.path, pool._shared_memory_dir, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_what_a_killed_driver_leaves_is_swept_by_the_next_start(model_dir: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), str(model_dir)], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pool_id, *folders = (await asyncio.to_thread(driver.stdout.readline)).split()
        assert processes_of(pool_id)
        with pytest.raises(RunDirectoryBusyError, match=str(driver.pid)):
            sweep(tmp_path)
        driver.kill()
    sweep(tmp_path)
    assert processes_of(pool_id) == []
    assert not any(Path(folder).exists() for folder in folders)
    assert not (tmp_path / NOTE).exists()
