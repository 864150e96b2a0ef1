"""A vLLM scheduler for rollouts: it sends a sample to the actor once, finished, instead of token by token.

vLLM's core sends every token of every request to the front-end process at every step, also when only final outputs are asked for. For a
small model that serialisation, and the front-end's work per message, is a quarter of the cost of a rollout. Here the outputs of
FINAL_ONLY requests are withheld and sent as one.

The front-end stamps the weight version of a *message* on all its tokens, which would be wrong for tokens that were withheld over an update.
So this scheduler says itself which tokens belong together: it counts the pauses that ended (weights change in no other moment) and sends
spans of (pauses before, start, end) with a finished sample; :class:`actors.engine.Engine` knows which version each of them brought. Nothing
has to be flushed before an update, and an update costs the engine little more than the loading.

A request may carry a time (CLOCK_MONOTONIC, one for all processes of a machine) after which it ends by length at its next token. It is
kept here because only here are the tokens of an unfinished sample: aborting it from the front-end would lose them.

The scheduler interface is not public API of vLLM: the test on real updates in flight guards this module.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from actors.decoding_pace import PaceMeter
from actors.engine_load import LOAD_KEY, STEPS_FILE, StepCounter

CUT_KEY = "cut_at"  # in SamplingParams.extra_args
SPANS_KEY = "weight_spans"  # in EngineCoreOutput.kv_transfer_params, the one field that vLLM hands through to RequestOutput untouched


class Piece(NamedTuple):
    """What one step of the engine added to a sample, and how many updates of the weights came before it."""

    updates: int
    output: EngineCoreOutput


def merge_pieces(pieces: Sequence[Piece]) -> EngineCoreOutput:
    """The outputs of one sample over several steps as if they came from one, with its weight spans. The first holds what comes with the
    prompt."""
    first, last = pieces[0].output, pieces[-1].output
    spans: list[list[int]] = []
    tokens: list[int] = []
    for updates, output in pieces:
        if not spans or spans[-1][0] != updates:
            spans.append([updates, len(tokens), len(tokens)])
        tokens += output.new_token_ids
        spans[-1][2] = len(tokens)
    if first is not last:
        logprobs = [output.new_logprobs for _, output in pieces if output.new_logprobs is not None]
        if logprobs:
            last.new_logprobs = LogprobsLists(
                np.concatenate([entry.logprob_token_ids for entry in logprobs]),
                np.concatenate([entry.logprobs for entry in logprobs]),
                np.concatenate([entry.sampled_token_ranks for entry in logprobs]),
            )
        last.new_token_ids = tokens
        last.new_prompt_logprobs_tensors = first.new_prompt_logprobs_tensors
        last.prefill_stats = first.prefill_stats
    last.kv_transfer_params = {SPANS_KEY: spans}
    return last


class RolloutScheduler(Scheduler):
    """See the module's docstring."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._withheld: dict[str, list[Piece]] = {}  # by request id, in order
        self._updates = 0
        self._preemptions = 0
        self._meter = PaceMeter()
        self._counter = StepCounter(Path(os.environ["VLLM_RPC_BASE_PATH"]) / STEPS_FILE)  # the engine's own folder
        self._cuts: list[tuple[float, str]] = []  # heap of (time, request id); finished requests leave theirs until it is due

    def add_request(self, request: Request) -> None:
        """As in vLLM, and notes when the sample is to be cut."""
        super().add_request(request)
        params = request.sampling_params
        cut_at = (params.extra_args or {}).get(CUT_KEY) if params is not None else None
        if cut_at is not None:
            heapq.heappush(self._cuts, (cut_at, request.request_id))

    def update_from_output(self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput) -> dict[int, EngineCoreOutputs]:
        """As in vLLM, by front-end; a front-end that gets nothing is left out."""
        self._cut_overdue()
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        samples = len(scheduler_output.num_scheduled_tokens)
        prompt_tokens = scheduler_output.total_num_scheduled_tokens - samples
        ended = sum(output.finished for batch in by_client.values() for output in batch.outputs)
        if samples:
            self._counter.count()
        self._meter.step(time.monotonic(), samples, prompt_tokens, ended, goes_on=self.has_unfinished_requests())
        for batch in by_client.values():
            batch.outputs = [output for piece in batch.outputs if (output := self._offer(piece)) is not None]
        return {
            client: batch
            for client, batch in by_client.items()
            if batch.outputs or batch.finished_requests or batch.scheduler_stats is not None
        }

    def set_pause_state(self, pause_state: PauseState) -> None:
        """Counts the pauses that end: weights change while generation is paused, and only then."""
        if pause_state == PauseState.UNPAUSED and self.pause_state != PauseState.UNPAUSED:
            self._updates += 1
        self._meter.interrupt()
        super().set_pause_state(pause_state)

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        """Requests ended from outside: their front-end has given them up, so what is withheld of them is dropped."""
        ended = super().finish_requests(request_ids, finished_status)
        for request in ended:
            self._withheld.pop(request.request_id, None)
        return ended

    def _preempt_request(self, request: Request, timestamp: float, drop_stale_output: bool = False) -> None:
        """Counts those for want of cache; during a pause samples are preempted because the weights change."""
        if self.pause_state == PauseState.UNPAUSED:
            self._preemptions += 1
        super()._preempt_request(request, timestamp, drop_stale_output)

    def _cut_overdue(self) -> None:
        """Samples past their time end by length at the token that comes next, with all log-probs and spans."""
        while self._cuts and self._cuts[0][0] <= time.monotonic():
            request = self.requests.get(heapq.heappop(self._cuts)[1])
            if request is not None:
                request.max_tokens = min(request.max_tokens, request.num_output_tokens + 1)

    def _offer(self, output: EngineCoreOutput) -> EngineCoreOutput | None:
        piece = Piece(self._updates, output)
        if output.finished:
            merged = merge_pieces([*self._withheld.pop(output.request_id, ()), piece])
            assert merged.kv_transfer_params is not None
            merged.kv_transfer_params[LOAD_KEY] = (self.kv_cache_manager.usage, self._preemptions, self._meter.moments())
            return merged
        params = self.requests[output.request_id].sampling_params
        if params is None or params.output_kind != RequestOutputKind.FINAL_ONLY:
            return output
        self._withheld.setdefault(output.request_id, []).append(piece)
        return None
