"""A model folder as a teacher, with a scripted fleet: what is asked, what is counted, what a person is told.

A real engine writes for a teacher in tests/actors/test_pool.py.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from actors import pool as pool_module
from actors.failures import FleetTooSmallError, GroupDropped
from actors.placement import PoolStartError
from actors.pool_config import PoolConfig
from actors.trajectory import GroupMeta, GroupRequest, GroupTokens, Sampling, sample_seed
from chemr.config import ChemrConfig, ConfigError, load
from chemr.data.example import Example
from chemr.mining.asking import Asked, ask_all
from chemr.mining.config import PoolTeacherConfig, TeacherKind
from chemr.mining.errors import MiningInputError, TeacherStopped
from chemr.mining.pool_teacher import PoolTeacher, model_folder, model_name, read_model, start_pool_teacher
from chemr.mining.responses import ResponseStore
from chemr.mining.teacher import ChatRequest, ChatSampling, RequestFailed
from chemr.mining.workplace import Workplace
from chemr.tokenization import ChatTokenizer, train_tokenizer

EXAMPLE = Example("t/1", "smiles2formula", {"smiles": "C"}, {"answer": "CH4"}, 0.0, "tests", "Apache-2.0")
SAMPLING = ChatSampling(0.8, 0.9, 40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that nobody loads: its tokenizer is real, its weights are bytes."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    train_tokenizer(["the formula of methane is CH4"] * 3, folder, 320)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40_000)
    return folder


@pytest.fixture
def tokenizer(model: Path) -> ChatTokenizer:
    return ChatTokenizer.load(model)


def requests(count: int, samples: int = 1, sampling: ChatSampling = SAMPLING) -> list[ChatRequest]:
    return [
        ChatRequest(({"role": "user", "content": f"question {number}"},), sampling, sample, EXAMPLE, "mine")
        for number in range(count)
        for sample in range(samples)
    ]


class ScriptedFleet:
    """Writes the seed of each sample as its text."""

    def __init__(self, tokenizer: ChatTokenizer, fail: Exception | None = None, hang: bool = False) -> None:
        self._tokenizer, self._fail, self._hang = tokenizer, fail, hang
        self.seen: list[GroupRequest] = []
        self.in_flight = self.most_in_flight = 0

    async def write(self, request: GroupRequest) -> tuple[GroupTokens, GroupMeta]:
        self.seen.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(3600 if self._hang else 0)
        finally:
            self.in_flight -= 1
        if self._fail is not None:
            raise self._fail
        ids = np.array(self._tokenizer.encode_completion(str(sample_seed(request.seed, request.uid, 0, 0))), np.int32)
        tokens = GroupTokens(request.uid, np.array(request.prompt_ids, np.int32), [ids], [], [], ["stop"])
        return tokens, GroupMeta(request.uid, "generator-0", (len(ids),), len(request.prompt_ids), 0, 0, 0, (), 0.1)


def ask(path: Path, teacher: PoolTeacher, wanted: list[ChatRequest], give_up_after: int = 5) -> tuple[Asked, list[str], ResponseStore]:
    store = ResponseStore(path)
    try:
        asked = asyncio.run(ask_all(teacher, store, wanted, 4, give_up_after))
        return asked, [store.reply(key).text for key in asked.keys if key is not None], store
    finally:
        store.close()


def test_texts_come_back_with_their_usage_and_a_second_start_asks_nothing(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    wanted = requests(6, samples=2)
    fleet = ScriptedFleet(tokenizer)
    asked, texts, store = ask(tmp_path / "r.jsonl", PoolTeacher(fleet, tokenizer, "teacher@1", 128), wanted)
    assert asked.new == 12 and len(set(texts)) == 12, "every sample of every question has a seed of its own"
    assert fleet.most_in_flight == 4, "the fleet decides which engine takes what; asking keeps to the concurrency"
    assert {request.sampling for request in fleet.seen} == {Sampling(1, 40, 0.8, 0.9, tokenizer.end_ids)}
    usage = store.usage["teacher@1"]
    assert usage.responses == 12 and usage.prompt_tokens == sum(len(r.prompt_ids) for r in fleet.seen)
    assert usage.completion_tokens == sum(len(text) + 1 for text in texts), "digits are a token each, the end token counts"
    again = ScriptedFleet(tokenizer)
    second, same, _ = ask(tmp_path / "r.jsonl", PoolTeacher(again, tokenizer, "teacher@1", 128), wanted)
    assert second.new == 0 and not again.seen and same == texts
    _, repeated, _ = ask(tmp_path / "elsewhere.jsonl", PoolTeacher(again, tokenizer, "teacher@1", 128), wanted)
    assert repeated == texts, "a request has the same seed in every folder"
    _, others, _ = ask(tmp_path / "r.jsonl", PoolTeacher(again, tokenizer, "teacher@2", 128), wanted)
    assert not set(others) & set(texts), "other weights are another model: everything is asked, with other seeds"


def test_a_prompt_that_does_not_fit_fails_alone_and_says_what_to_change(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    fleet = ScriptedFleet(tokenizer)
    long = replace(requests(1)[0], messages=({"role": "user", "content": "C" * 100},))
    asked, texts, _ = ask(tmp_path / "r.jsonl", PoolTeacher(fleet, tokenizer, "m", 128), [long, *requests(2)])
    assert len(texts) == 2 and asked.keys[0] is None
    (reason,) = asked.failures
    assert "mining.max_tokens=40 do not fit mining.pool.engine.max_model_len=128" in reason
    with pytest.raises(TeacherStopped, match="do not fit"):
        ask(tmp_path / "r.jsonl", PoolTeacher(fleet, tokenizer, "m", 128), [replace(long, sample=n) for n in range(3)], give_up_after=3)


def test_a_dropped_group_is_asked_again_by_the_next_start_and_a_fleet_that_is_gone_ends_the_asking(
    tmp_path: Path, tokenizer: ChatTokenizer
) -> None:
    dropping = ScriptedFleet(tokenizer, GroupDropped("u", "straggler", "too slow"))
    asked, _, _ = ask(tmp_path / "r.jsonl", PoolTeacher(dropping, tokenizer, "m", 128), requests(2))
    assert asked.new == 0 and "straggler" in next(iter(asked.failures))
    gone = ScriptedFleet(tokenizer, FleetTooSmallError("waited 1800 s in vain"))
    with pytest.raises(TeacherStopped, match="in vain; what was answered is kept"):
        ask(tmp_path / "r.jsonl", PoolTeacher(gone, tokenizer, "m", 128), requests(2))
    asked, _, _ = ask(tmp_path / "r.jsonl", PoolTeacher(ScriptedFleet(tokenizer), tokenizer, "m", 128), requests(2))
    assert asked.new == 2


def test_when_the_supervision_ends_no_answer_waits_for_ever(tokenizer: ChatTokenizer) -> None:
    async def main() -> None:
        async def broken() -> None:
            await asyncio.sleep(0.01)
            raise RuntimeError("a generator could not be replaced")

        fleet, ended = ScriptedFleet(tokenizer, hang=True), []

        async def end() -> None:
            ended.append(True)

        teacher = PoolTeacher(fleet, tokenizer, "m", 128, asyncio.create_task(broken()), end)
        with pytest.raises(RuntimeError, match="could not be replaced"):
            await asyncio.wait_for(teacher.answer(requests(1)[0]), 5)
        assert fleet.in_flight == 0, "the request left the fleet"
        await teacher.close()
        await teacher.close()
        assert ended == [True], "the pool is ended once"

    asyncio.run(main())


def test_a_conversation_that_the_template_refuses_fails_alone(tokenizer: ChatTokenizer) -> None:
    teacher = PoolTeacher(ScriptedFleet(tokenizer), tokenizer, "m", 128)
    with pytest.raises(RequestFailed, match="'tool' is not known"):
        asyncio.run(teacher.answer(replace(requests(1)[0], messages=({"role": "tool", "content": "x"},))))


def test_a_models_name_follows_from_what_is_in_its_folder(model: Path, tmp_path: Path) -> None:
    name = model_name(model)
    assert name.startswith("teacher@") and name == model_name(model)
    copy = tmp_path / "teacher"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert model_name(copy) == name, "where the folder lies does not matter"
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[: len(weights)] = bytes(1) + weights[:-1]
    (copy / "model.safetensors").write_bytes(weights)
    assert model_name(copy) != name, "other weights of the same size"
    (copy / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert model_name(copy) != name, "another chat template"


def variant(model: Path, folder: Path, **changes: str | None) -> str:
    """A copy of the model's folder with other contents of some files; None leaves one out."""
    folder.mkdir()
    for path in model.iterdir():
        content = changes.get(path.name.replace(".", "_"), path.read_text("latin-1"))
        if content is not None:
            (folder / path.name).write_text(content, "latin-1")
    return str(folder)


def test_what_is_wrong_with_a_folder_is_said_before_anything_starts(model: Path, tmp_path: Path) -> None:
    plain = {"config_json": (model / "config.json").read_text()}
    bare = json.loads((model / "tokenizer.json").read_text())
    bare["added_tokens"] = [token for token in bare["added_tokens"] if token["content"] != "<|user|>"]
    bare["model"]["vocab"] = {name if name != "<|user|>" else "user": index for name, index in bare["model"]["vocab"].items()}
    cases: list[tuple[PoolTeacherConfig, str]] = [
        (PoolTeacherConfig(), "mining.pool.model is not set"),
        (PoolTeacherConfig(model=str(tmp_path / "nowhere")), "it has no config.json"),
        (PoolTeacherConfig(model=variant(model, tmp_path / "a", **plain, model_safetensors=None)), "holds no weights"),
        (PoolTeacherConfig(model=variant(model, tmp_path / "b", tokenizer_json=None)), "cannot be asked: no tokenizer at"),
        (
            PoolTeacherConfig(model=variant(model, tmp_path / "c", tokenizer_json=json.dumps(bare), tokenizer_config_json="{}")),
            "has no chat template: save one as chat_template.jinja",
        ),
        (PoolTeacherConfig(model=str(model)), "set mining.pool.system_role=false"),
        (
            PoolTeacherConfig(model=variant(model, tmp_path / "d", config_json='{"max_position_embeddings": 512}'), system_role=False),
            "max_model_len=4096 exceeds the 512 tokens",
        ),
    ]
    for config, said in cases:
        with pytest.raises(MiningInputError) as caught:
            read_model(config)
        assert said in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value), "one line"
    folder, _ = read_model(PoolTeacherConfig(model=str(model), system_role=False))
    assert folder == model_folder(PoolTeacherConfig(model=str(model))) == model.resolve()


class ScriptedPool:
    """In the place of the actor pool."""

    refuse: Exception | None = None
    made: ClassVar[list[ScriptedPool]] = []

    def __init__(self, config: PoolConfig) -> None:
        config.validate()
        self.config = config
        self.fleet = SimpleNamespace(supervise=self._supervise)
        self.closed = 0
        ScriptedPool.made.append(self)

    async def start(self, model_dir: Path) -> None:
        self.model_dir = model_dir
        if self.refuse is not None:
            raise self.refuse

    async def _supervise(self) -> None:
        await asyncio.sleep(3600)

    async def close(self) -> None:
        self.closed += 1


def test_the_pool_is_what_the_section_says_and_ends_with_the_teacher(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ActorPool", ScriptedPool)
    settings = ["mining.pool.generators=2", "mining.pool.engine.device=cuda", "mining.pool.engine.tensor_parallel=4"]
    config, _ = load([f"mining.pool.model={model}", "mining.pool.system_role=false", "mining.pool.generator_gpus=4", *settings])

    async def main() -> PoolTeacher:
        teacher = await start_pool_teacher(config.mining.pool, config.pool, tmp_path)
        await teacher.close()
        return teacher

    teacher = asyncio.run(main())
    pool = ScriptedPool.made[-1]
    assert teacher.model == model_name(model) and pool.model_dir == model.resolve() and pool.closed == 1
    generators = pool.config.generators
    assert (generators.count, generators.gpus, generators.engine.tensor_parallel) == (2, 4.0, 4) and generators.engine.prefix_caching
    assert pool.config.learner is None and pool.config.rewards.count == 0 and pool.config.run_dir == tmp_path
    for refused in (PoolStartError("needs 4 GPU on one node"), ValueError("generator.dtype is odd")):
        monkeypatch.setattr(ScriptedPool, "refuse", refused)
        with pytest.raises(MiningInputError, match=r"the pool for mining\.pool\.model=.* did not start: "):
            asyncio.run(main())
    monkeypatch.setattr(ScriptedPool, "refuse", KeyError("a bug"))
    with pytest.raises(KeyError):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("mining.pool.engine.max_model_len=2048", "mining.max_tokens=2048 leaves no room for a prompt"),
        ("mining.pool.engine.dtype=int4", "mining.pool.engine.dtype is 'int4'"),
        ("mining.pool.concurrency=0", "mining.pool.concurrency=0 must be at least 1"),
        ("mining.pool.engine.device=cuda", "set mining.pool.generator_gpus=1"),
        ("mining.pool.generator_cpus=-1", "mining.pool.generator_cpus=-1.0 is negative"),
    ],
)
def test_settings_that_cannot_be_are_named(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["mining.teacher=pool", setting])
    assert said in str(caught.value)


def test_the_sections_of_other_teachers_do_not_reach_the_pools_requests(model: Path, tmp_path: Path) -> None:
    config = ChemrConfig()
    config.mining.teacher = TeacherKind.pool
    config.mining.pool.model = str(model)
    config.mining.endpoint.extra_body = {"chat_template_kwargs": {"enable_thinking": False}}
    config.mining.endpoint.system_role = False
    work = Workplace(tmp_path, config, [EXAMPLE])
    assert work.model == model_name(model) and not work.sampling.extra
    assert work.asking is config.mining.pool and work.asking.system_role


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from chemr.cli import main
    from chemr.data import loading
    from chemr.data.task_data import TaskData

    monkeypatch.setattr(loading, "load_starter", lambda *_: TaskData(train=[EXAMPLE], validation=[EXAMPLE], test=[EXAMPLE]))
    arguments: list[Any] = ["protocols", "mine", str(tmp_path / "m"), "mining.teacher=pool", "data.tasks=[smiles2formula]"]
    assert main(arguments) == 2
    assert (
        capsys.readouterr().err == "chemr protocols: mining.pool.model is not set; mining.teacher=pool needs a Hugging Face model folder\n"
    )
