"""One vLLM engine: starting, sampling, changing its weights in flight, proving what it computes, stopping. No Ray here.

The engine's computation runs in processes of its own (vLLM's EngineCore); this side only sends requests and receives finished samples.
vLLM is imported by :meth:`Engine.start`, after the environment is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from actors.collective import CollectiveError, Offer
from actors.end_tokens import end_tokens, read_json
from actors.engine_load import LOAD_KEY, STEPS_FILE, EngineLoad, StepCounter, stat_logger
from actors.failure_signs import FailureKind
from actors.generator_config import GeneratorConfig, engine_arguments, engine_environment
from actors.node_folder import remove_engine
from actors.rollout_assembly import Sample
from actors.weight_file import RECEIVED, WeightFile, layout_message
from learner.model_files import check_model_files

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.logprobs import FlatLogprobs
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

    from actors.weights import TensorSlot

T = TypeVar("T")
# Of actors.sampler and actors.rollout_scheduler, which import vLLM and so cannot be imported here.
CUT_KEY = "cut_at"
SEED_KEY = "sample_seed"
SPANS_KEY = "weight_spans"
SHUTDOWN_SECONDS = 10.0
BROADCAST_POLL_SECONDS = 0.01
BROADCAST_GRACE_SECONDS = 5.0


class EngineFailedError(RuntimeError):
    """The engine is dead, hung or in an unknown state. Its actor serves nothing any more and has to be replaced."""

    kind = FailureKind.INFRASTRUCTURE


class RequestRefusedError(ValueError):
    """This request can never be served by this engine (too long, ids outside the vocabulary, …); others are not affected."""


class Engine:
    """A running vLLM engine. Build one with :meth:`start`; every method but :meth:`stop` raises EngineFailedError once it has failed."""

    def __init__(self, llm: AsyncLLM, config: GeneratorConfig, engine_dir: Path, facts: ModelFacts, version: int, load: EngineLoad) -> None:
        self.load_seen = load  # as of the last finished sample
        self.paused = False
        self._counter = StepCounter(engine_dir / STEPS_FILE) if config.own_sampling else None
        self._llm = llm
        self._config = config
        self._engine_dir = engine_dir
        self._facts = facts
        self._request_ids = itertools.count()
        self._versions = [version]  # by number of updates before
        self._update: asyncio.Future[Any] | None = None  # the newest one

    @classmethod
    async def start(cls, config: GeneratorConfig, model_dir: Path, engine_dir: Path, engine_seed: int, version: int) -> Engine:
        """Starts the engine's processes and stamps the weights of ``model_dir`` as ``version`` before anything is served.

        Raises:
            ValueError: for a bad configuration, or a folder with what could run code (:mod:`learner.model_files`).
            FileNotFoundError: when ``model_dir`` is not a model folder.
            EngineFailedError: when the engine does not come up before ``config.start_timeout_s``.
        """
        config.validate()
        facts = ModelFacts.read(model_dir)
        check_model_files(model_dir)
        remove_engine(engine_dir)  # an earlier engine of this name that was killed
        engine_dir.mkdir(mode=0o700, parents=True)
        os.environ.update(engine_environment(config, engine_dir))
        load = EngineLoad()
        llm = await _within(config.start_timeout_s, "starting the engine", asyncio.to_thread(_create, config, model_dir, engine_seed, load))
        engine = cls(llm, config, engine_dir, facts, version, load)
        if config.own_sampling:
            await _within(config.update_timeout_s, "installing the sampler", llm.collective_rpc("use_counter_sampler"))
        await _within(config.update_timeout_s, "stamping the first version", llm.update_weight_version(str(version)))
        return engine

    async def sample(
        self,
        prompt_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        seed: int,
        cut_at: float | None = None,
        top_p: float = 1.0,
        end_ids: Sequence[int] = (),
    ) -> Sample:
        """One completion, with the log-prob (after temperature and top_p) and weight version of every token.

        It ends at any token that the model folder or ``end_ids`` names as an end.

        It is a function of weights, prompt, temperature, top_p and seed alone: the company in the batch does not matter (at float32).
        Past ``cut_at`` (seconds of ``time.monotonic()``) it ends at the next token with finish "length"; its beginning stays that function.

        Raises:
            RequestRefusedError: see there.
            EngineFailedError: see there.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._require_servable(prompt_ids, max_new_tokens)
        own = self._config.own_sampling
        params = SamplingParams(
            max_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=None if own else seed,
            extra_args={SEED_KEY: seed, CUT_KEY: cut_at} if own else None,
            logprobs=0,  # of the sampled token only
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            stop_token_ids=sorted({*self._facts.stop_ids, *end_ids}),
            skip_clone=True,
        )
        finished = await self._finished(prompt_ids, params, None if own else cut_at)
        output = finished.outputs[0]
        if self._update is not None and (not self._update.done() or self._update.exception() is not None):
            await _within(self._config.update_timeout_s, "an update of the weights", asyncio.shield(self._update))
        return Sample(
            token_ids=output.token_ids,
            logprobs=cast("FlatLogprobs", output.logprobs).logprobs,  # one entry per token
            spans=self._spans(finished),
            finish="length" if output.finish_reason == "abort" else str(output.finish_reason),  # nothing but cut_at aborts
        )

    async def score(self, token_ids: Sequence[int]) -> list[float]:
        """log π(token_ids[i + 1] | token_ids[: i + 1]) at temperature 1 for all i, computed now (the prefix cache is not read)."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._require_servable(token_ids, 1)
        params = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        entries = (await self._finished(token_ids, params)).prompt_logprobs
        assert entries is not None
        return [entry[token].logprob for entry, token in zip(entries[1:], token_ids[1:], strict=True) if entry is not None]

    async def receive(self, offer: Offer, first_rank: int, host: str, layout: Sequence[TensorSlot], digest: str) -> WeightFile:
        """Every process of the engine takes part in a broadcast, from ``first_rank`` on, while samples go on; returns what to load.

        Raises:
            CollectiveError: the version did not arrive; the engine serves on.
            EngineFailedError: see there.
        """
        limit, llm = self._config.update_timeout_s, self._llm
        arguments = (list(astuple(offer)), first_rank, host, layout_message(layout), digest)
        await _within(limit, "joining a broadcast", llm.collective_rpc("begin_broadcast", args=arguments))
        deadline = time.monotonic() + offer.timeout_s + BROADCAST_GRACE_SECONDS
        while True:
            outcomes: list[str | None] = await _within(limit, "asking for a broadcast", llm.collective_rpc("broadcast_outcome"))
            if None not in outcomes:
                break
            if time.monotonic() > deadline:
                raise CollectiveError("an engine process is still in a broadcast whose time is over")
            await asyncio.sleep(BROADCAST_POLL_SECONDS)
        failures = [outcome for outcome in outcomes if outcome]
        if failures:
            raise CollectiveError(failures[0])
        return WeightFile(RECEIVED, 0, tuple(layout))

    async def load(self, file: WeightFile, version: int) -> dict[str, float]:
        """Swaps the weights under the running samples, which go on with the new ones.

        Pause (keeping requests, dropping all caches unless ``keep_cache``) → layerwise reload → stamp ``version`` → resume. While it
        runs nothing is generated; returns the seconds of ``pause`` and ``load``.

        Raises:
            EngineFailedError: when anything goes wrong: a half-loaded model must not serve.
        """
        self.paused = True
        try:
            return await self._load(file, version)
        finally:
            self.paused = False

    async def _load(self, file: WeightFile, version: int) -> dict[str, float]:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        limit, llm = self._config.update_timeout_s, self._llm
        began = time.perf_counter()
        # Not pause_generation: for the looks of its outputs' order it sleeps 20 ms with an idle engine.
        await _within(limit, "pausing", llm.engine_core.pause_scheduler_async(mode="keep", clear_cache=not self._config.keep_cache))
        paused = time.perf_counter()
        self.load_seen.meter.interrupt()
        self._versions.append(version)
        # The engine takes these in the order in which they are sent, so there is one round trip to wait for instead of five. Should one
        # fail, those behind it are carried out all the same: sample() gives nothing away until all have succeeded.
        self._update = asyncio.gather(
            llm.start_weight_update(),
            llm.update_weights(WeightTransferUpdateRequest(update_info=file.to_message())),
            llm.collective_rpc("finish_weight_update"),
            llm.update_weight_version(str(version)),
            llm.resume_generation(),
        )
        await _within(limit, f"loading weight version {version}", self._update)
        return {"pause": paused - began, "load": time.perf_counter() - paused}

    @property
    def steps(self) -> int:
        """That the engine has made: it does something as long as this grows."""
        return self._counter.value if self._counter is not None else self.load_seen.steps

    @property
    def alive(self) -> bool:
        return not self._llm.errored

    async def stop(self) -> None:
        """Ends the engine's processes and removes its folder. Safe on a dead engine."""
        children = multiprocessing.active_children()  # all that this process has are the engine's
        await asyncio.to_thread(self._llm.shutdown, timeout=SHUTDOWN_SECONDS)
        # vLLM kills what does not end in time and does not wait for it: it would stay a zombie until another process is started.
        for child in children:
            await asyncio.to_thread(child.join, SHUTDOWN_SECONDS)
        await asyncio.to_thread(remove_engine, self._engine_dir)

    def _spans(self, finished: RequestOutput) -> list[tuple[int, int, int]]:
        """(weight version, first token, token after the last) in order. What the scheduler says of the engine's load comes with them."""
        if self._config.own_sampling:
            sent = finished.kv_transfer_params or {}
            if LOAD_KEY not in sent:
                raise EngineFailedError("the engine ended a request before its first token, as it does when it shuts down")
            self.load_seen.cache_usage, self.load_seen.preemptions, self.load_seen.moments = sent[LOAD_KEY]
            spans = sent[SPANS_KEY]
            return [(self._versions[updates], start, end) for updates, start, end in spans]
        return [(int(span.version), span.start, span.end) for span in finished.outputs[0].weight_versions or ()]

    def _require_servable(self, prompt_ids: Sequence[int], max_new_tokens: int) -> None:
        if not prompt_ids or max_new_tokens < 1 or len(prompt_ids) + max_new_tokens > self._config.max_model_len:
            raise RequestRefusedError(
                f"a prompt of {len(prompt_ids)} tokens and {max_new_tokens} new ones cannot be served: both must be at least 1, and "
                f"together at most generator.max_model_len = {self._config.max_model_len}"
            )
        # Without a tokenizer vLLM does not check this, and the embedding reads whatever lies there.
        if not (min(prompt_ids) >= 0 and max(prompt_ids) < self._facts.vocabulary):
            raise RequestRefusedError(
                f"the prompt has token ids {min(prompt_ids)} .. {max(prompt_ids)}; the model's vocabulary is 0 .. "
                f"{self._facts.vocabulary - 1}"
            )

    async def _finished(self, prompt_ids: Sequence[int], params: SamplingParams, abort_at: float | None = None) -> RequestOutput:
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        request_id = str(next(self._request_ids))
        aborted = contextlib.nullcontext() if abort_at is None else self._aborted_at(abort_at, request_id)
        try:
            async with aborted:
                outputs = [output async for output in self._llm.generate({"prompt_token_ids": list(prompt_ids)}, params, request_id)]
        except VLLMValidationError as error:
            raise RequestRefusedError(f"vLLM refused a request of {len(prompt_ids)} prompt tokens: {error}") from error
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineFailedError(f"the engine died while it generated: {error!r}") from error
        if not outputs or not outputs[-1].finished:
            raise EngineFailedError("the engine ended a request without a final output")
        return outputs[-1]

    @contextlib.asynccontextmanager
    async def _aborted_at(self, moment: float, request_id: str) -> AsyncIterator[None]:
        """Ends the request from outside when its time comes. vLLM's own schedulers answer an abort with what there is of the sample."""

        async def abort() -> None:
            await asyncio.sleep(moment - time.monotonic())
            await self._llm.abort(request_id)

        alarm = asyncio.create_task(abort())
        try:
            yield
        finally:
            alarm.cancel()
            await asyncio.gather(alarm, return_exceptions=True)  # a dead engine shows in the request itself


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the engine has to know of a model folder."""

    stop_ids: tuple[int, ...]  # :func:`actors.end_tokens.end_tokens`
    vocabulary: int

    @classmethod
    def read(cls, model_dir: Path) -> ModelFacts:
        """Raises FileNotFoundError when there is no config.json, ValueError when it lacks vocab_size or an end-of-sequence id."""
        path = model_dir / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{model_dir} is not a model folder: it has no config.json")
        stop = end_tokens(model_dir)
        if not stop:
            raise ValueError(f"{model_dir} names no eos_token_id: every sample would run to its limit; set one in generation_config.json")
        config = read_json(path)
        vocabulary = config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))
        if vocabulary is None:
            raise ValueError(f"{path} has no vocab_size")
        return cls(stop, int(vocabulary))


def _create(config: GeneratorConfig, model_dir: Path, engine_seed: int, load: EngineLoad) -> AsyncLLM:
    with _without_garbage_collection():
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

    import actors.weight_engine  # noqa: F401  # the configuration names its transport

    arguments: dict[str, Any] = engine_arguments(config, model_dir, engine_seed)
    if not config.worker_in_core:
        from actors.engine_processes import EngineProcesses

        arguments["distributed_executor_backend"] = EngineProcesses
    loggers = None if config.own_sampling else [stat_logger(load, count_preemptions=config.keep_cache)]
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=loggers)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """For large imports: collections look through all that is being made, find nothing, and take a quarter of vLLM's eight seconds."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _within(seconds: float, what: str, work: Awaitable[T]) -> T:
    """Awaits with a deadline; any failure of an engine operation means that the engine's state is unknown."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise EngineFailedError(f"{what} took more than {seconds:g} s") from error
    except Exception as error:  # vLLM reports remote failures as bare Exception
        raise EngineFailedError(f"{what} failed: {error!r}") from error
