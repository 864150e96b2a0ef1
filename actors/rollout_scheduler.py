"""A vLLM scheduler for rollouts: it sends a sample to the actor once, finished, instead of token by token.

vLLM's core sends every token of every request to the front-end process at every step, also when only final outputs are asked for. For a
small model that serialisation, and the front-end's work per message, is a quarter of the cost of a rollout. Here the outputs of
FINAL_ONLY requests are withheld and sent as one.

The front-end stamps the weight version of a *message* on all its tokens. Before a new version is loaded, generation is paused; while it is
paused, this scheduler says that there is work as long as it withholds anything, so that the engine takes one more (empty) step in which
everything goes out under the old version. Only then does the pause complete.

The scheduler interface is not public API of vLLM: the test on real updates in flight guards this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus


def merge_outputs(pieces: list[EngineCoreOutput]) -> EngineCoreOutput:
    """The outputs of one request over several steps as if they came from one. The first holds what comes with the prompt."""
    first, last = pieces[0], pieces[-1]
    if first is last:
        return first
    logprobs = [piece.new_logprobs for piece in pieces if piece.new_logprobs is not None]
    last.new_token_ids = [token for piece in pieces for token in piece.new_token_ids]
    if logprobs:
        last.new_logprobs = LogprobsLists(
            np.concatenate([entry.logprob_token_ids for entry in logprobs]),
            np.concatenate([entry.logprobs for entry in logprobs]),
            np.concatenate([entry.sampled_token_ranks for entry in logprobs]),
        )
    last.new_prompt_logprobs_tensors = first.new_prompt_logprobs_tensors
    last.prefill_stats = first.prefill_stats
    return last


class RolloutScheduler(Scheduler):
    """See the module's docstring."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._withheld: dict[str, list[EngineCoreOutput]] = {}  # by request id, in order

    def update_from_output(self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput) -> dict[int, EngineCoreOutputs]:
        """As in vLLM, by front-end; a front-end that gets nothing is left out."""
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        for batch in by_client.values():
            batch.outputs = [output for piece in batch.outputs if (output := self._offer(piece)) is not None]
        if self._withheld and self.pause_state != PauseState.UNPAUSED:
            self._release_all(by_client)
        return {
            client: batch
            for client, batch in by_client.items()
            if batch.outputs or batch.finished_requests or batch.scheduler_stats is not None
        }

    def has_requests(self) -> bool:
        """Also true while a pause waits for what is withheld."""
        return super().has_requests() or (bool(self._withheld) and self.pause_state != PauseState.UNPAUSED)

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        """Requests ended from outside: their front-end has given them up, so what is withheld of them is dropped."""
        ended = super().finish_requests(request_ids, finished_status)
        for request in ended:
            self._withheld.pop(request.request_id, None)
        return ended

    def _offer(self, piece: EngineCoreOutput) -> EngineCoreOutput | None:
        if piece.finished:
            return merge_outputs([*self._withheld.pop(piece.request_id, ()), piece])
        params = self.requests[piece.request_id].sampling_params
        if params is None or params.output_kind != RequestOutputKind.FINAL_ONLY:
            return piece
        self._withheld.setdefault(piece.request_id, []).append(piece)
        return None

    def _release_all(self, by_client: dict[int, EngineCoreOutputs]) -> None:
        for request_id, pieces in self._withheld.items():
            client = self.requests[request_id].client_index
            by_client.setdefault(client, EngineCoreOutputs()).outputs.append(merge_outputs(pieces))
        self._withheld.clear()
