"""A model folder as a teacher: generators of chemr's own pool write its texts, without a server and without scoring.

The fleet does what it does for rollouts: it replaces what dies, gives each engine as much as it can take, and asks again elsewhere with the
same seeds. A text is a function of the weights, the conversation, the sampling and the sample's number.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import xxhash

from actors.failures import FailureKind, FleetTooSmallError, GroupDropped, classify
from actors.trajectory import GroupMeta, GroupRequest, GroupTokens, Sampling
from chemr.mining.config import PoolTeacherConfig
from chemr.mining.errors import MiningInputError, TeacherStopped
from chemr.mining.teacher import ChatReply, ChatRequest, RequestFailed
from chemr.tokenization import ChatTokenizer

if TYPE_CHECKING:
    from actors.pool import ActorPool
    from actors.pool_config import PoolConfig
    from chemr.config import PoolSection

_BLOCKS, _BLOCK_BYTES = 64, 1 << 16  # of every file of weights, for the model's name
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class Writer(Protocol):
    """What a teacher needs of a fleet (:class:`actors.fleet.RolloutFleet`)."""

    async def write(self, request: GroupRequest) -> tuple[GroupTokens, GroupMeta]: ...


class PoolTeacher:
    """One model behind a fleet whose generators serve it.

    Args:
        fleet: of the pool.
        tokenizer: the model's own, with its chat template.
        model: the name under which answers are stored (:func:`model_name`).
        longest: tokens of a prompt and its answer that the engines take.
        supervision: runs beside the fleet, and ends only by an error; None = somebody else looks after it.
        end: called by :meth:`close`.
    """

    def __init__(
        self,
        fleet: Writer,
        tokenizer: ChatTokenizer,
        model: str,
        longest: int,
        supervision: asyncio.Task[None] | None = None,
        end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._fleet = fleet
        self._tokenizer = tokenizer
        self._model = model
        self._longest = longest
        self._supervision = supervision
        self._end = end

    @property
    def model(self) -> str:
        return self._model

    async def answer(self, request: ChatRequest) -> ChatReply:
        """Raises RequestFailed or TeacherStopped (:class:`chemr.mining.teacher.ChatTeacher`)."""
        sampling, key = request.sampling, request.key(self._model)
        try:
            prompt = self._tokenizer.encode_prompt(request.messages)
        except ValueError as error:
            raise RequestFailed(str(error)) from error
        if len(prompt) + sampling.max_tokens > self._longest:
            raise RequestFailed(
                f"a prompt of {len(prompt)} tokens and mining.max_tokens={sampling.max_tokens} do not fit "
                f"mining.pool.engine.max_model_len={self._longest}; raise the one or lower the other"
            )
        wanted = Sampling(1, sampling.max_tokens, sampling.temperature, sampling.top_p, self._tokenizer.end_ids)
        group = GroupRequest(key, request.example.task, tuple(prompt), {}, {}, wanted, request.seed(self._model))
        try:
            tokens, meta = await self._supervised(self._fleet.write(group))
        except GroupDropped as failure:
            raise RequestFailed(str(failure)) from failure
        except FleetTooSmallError as failure:
            raise TeacherStopped(f"{failure}; what was answered is kept, the same command continues") from failure
        text = self._tokenizer.decode_completion(tokens.answer_ids()[0])
        return ChatReply(text, "", tokens.finish[0], meta.prompt_length, meta.lengths[0], self._model)

    async def _supervised(self, work: Awaitable[tuple[GroupTokens, GroupMeta]]) -> tuple[GroupTokens, GroupMeta]:
        """Raises what ended the supervision, if that comes first: nobody would replace a lost generator any more."""
        writing = asyncio.ensure_future(work)
        try:
            await asyncio.wait({writing, *([self._supervision] if self._supervision else [])}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done() and self._supervision is not None:
                self._supervision.result()
            return await writing
        finally:
            writing.cancel()

    async def close(self) -> None:
        """Ends the supervision and the pool, once; an error that ended the supervision has been raised by the answers."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
        end, self._end = self._end, None
        if end is not None:
            await end()


async def start_pool_teacher(config: PoolTeacherConfig, section: PoolSection, folder: Path) -> PoolTeacher:
    """Starts a pool of generators on ``config.model``; ``folder`` keeps its note of what to sweep after a crash, and its logs.

    Raises:
        MiningInputError: the model cannot be used (:func:`read_model`), or its pool did not start, with everything ended again.
    """
    model, tokenizer = read_model(config)
    try:
        from actors.pool import ActorPool
    except ImportError as error:
        raise MiningInputError(f"mining.teacher=pool needs Ray and vLLM ({error}); install chemr[cpu] or chemr[gpu]") from error
    pool = ActorPool(_pool_config(config, section, model, folder))
    await _start(pool, model)
    supervision = asyncio.create_task(pool.fleet.supervise(), name="fleet")
    return PoolTeacher(pool.fleet, tokenizer, model_name(model), config.engine.max_model_len, supervision, pool.close)


async def _start(pool: ActorPool, model: Path) -> None:
    from actors.leftovers import RunDirectoryBusyError
    from actors.placement import PoolStartError

    try:
        await pool.start(model)
    except Exception as error:
        if not isinstance(error, PoolStartError | RunDirectoryBusyError | FileNotFoundError) and classify(error) is FailureKind.BUG:
            raise
        cause = getattr(error, "cause", None) or error  # out of Ray's wrapping, which quotes a traceback
        raise MiningInputError(f"the pool for mining.pool.model={model} did not start: {cause}") from error


def _pool_config(config: PoolTeacherConfig, section: PoolSection, model: Path, folder: Path) -> PoolConfig:
    from actors.pool_config import GeneratorActors, PoolConfig, RewardActors

    return PoolConfig(
        run_dir=folder.resolve(),
        rewards=RewardActors(tokenizer_dir=model, count=0),
        generators=GeneratorActors(config.generators, config.generator_cpus, config.generator_gpus, config.engine),
        timing=section.timing,
        address=section.address,
        num_cpus=section.num_cpus,
        object_store_mb=section.object_store_mb,
    )


def model_folder(config: PoolTeacherConfig) -> Path:
    """Raises MiningInputError when ``mining.pool.model`` is not set, no model folder, or one without weights."""
    if not config.model:
        raise MiningInputError("mining.pool.model is not set; mining.teacher=pool needs a Hugging Face model folder")
    folder = Path(config.model).resolve()
    if not (folder / "config.json").is_file():
        raise MiningInputError(f"mining.pool.model={config.model} is not a Hugging Face model folder: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise MiningInputError(f"mining.pool.model={config.model} holds no weights: there is no *.safetensors in it")
    return folder


def read_model(config: PoolTeacherConfig) -> tuple[Path, ChatTokenizer]:
    """The folder and its tokenizer, after a look at what would otherwise show when the engines are up, or in every answer.

    Raises:
        MiningInputError: no model folder; no tokenizer or chat template; the template has no system role; a shorter context.
    """
    folder = model_folder(config)
    try:
        tokenizer = ChatTokenizer.load(folder)
    except (FileNotFoundError, ValueError) as error:
        raise MiningInputError(f"mining.pool.model={config.model} cannot be asked: {error}") from error
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    try:
        tokenizer.encode_prompt(conversation if config.system_role else conversation[1:])
    except ValueError as error:
        hint = "; set mining.pool.system_role=false, so that instructions and question are one message" if config.system_role else ""
        raise MiningInputError(f"mining.pool.model={config.model}: {error}{hint}") from error
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    context = facts.get("max_position_embeddings")
    if isinstance(context, int) and not facts.get("rope_scaling") and config.engine.max_model_len > context:
        raise MiningInputError(
            f"mining.pool.engine.max_model_len={config.engine.max_model_len} exceeds the {context} tokens that {config.model} was made for "
            f"(max_position_embeddings in its config.json); set it to {context} or less"
        )
    return folder, tokenizer


def model_name(folder: Path) -> str:
    """The folder's name and 12 hex digits of what is in it: other weights, another tokenizer or another template have another name.

    Of weights, the sizes and 64 blocks spread over each file are read, so that a large model has its name at once.
    """
    digest = xxhash.xxh3_128()
    for path in sorted([*folder.glob("*.safetensors"), *(folder / name for name in _SMALL_FILES)]):
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            if path.name in _SMALL_FILES or size <= _BLOCKS * _BLOCK_BYTES:
                digest.update(file.read())
                continue
            for block in range(_BLOCKS):
                file.seek((size - _BLOCK_BYTES) * block // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return f"{folder.name}@{digest.hexdigest()[:12]}"
