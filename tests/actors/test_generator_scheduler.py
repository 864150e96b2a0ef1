"""Withholding tokens until a sample is finished: the merging. The scheduler itself is tested inside a real engine (test_generator.py)."""

from __future__ import annotations

import numpy as np
from vllm.v1.engine import EngineCoreOutput, FinishReason
from vllm.v1.outputs import LogprobsLists

from actors.engine_load import EngineLoad, stat_logger
from actors.rollout_scheduler import SPANS_KEY, Piece, merge_pieces


def a_piece(tokens: list[int], finish: FinishReason | None = None, updates: int = 0) -> Piece:
    column = np.array(tokens, dtype=np.int32)[:, None]
    return Piece(updates, EngineCoreOutput("r", tokens, LogprobsLists(column, column * -0.5, np.zeros(len(tokens))), finish_reason=finish))


def test_statistics_of_vllm_become_the_load_of_the_engine() -> None:
    from vllm.v1.metrics.stats import IterationStats, SchedulerStats

    for count, preemptions in ((True, 5), (False, 0)):
        load = EngineLoad()
        logger = stat_logger(load, count_preemptions=count)(None, 0)
        for preempted in (3, 2):
            iteration = IterationStats()
            iteration.num_preempted_reqs, iteration.num_generation_tokens = preempted, 4
            logger.record(SchedulerStats(num_running_reqs=4, kv_cache_usage=0.5), iteration)
        logger.record(None, None)
        assert (load.cache_usage, load.preemptions) == (0.5, preemptions), "preemptions count only where no update causes them"
        assert load.moments[:2] == [1.0, 4.0], "of two steps the second has a duration, and four samples ran in it"


def spans(merged: EngineCoreOutput) -> list[list[int]]:
    assert merged.kv_transfer_params is not None
    return merged.kv_transfer_params[SPANS_KEY]


def test_merged_pieces_keep_every_token_and_log_prob_in_order_and_the_way_it_ended() -> None:
    merged = merge_pieces([a_piece([4]), a_piece([5, 6]), a_piece([7], FinishReason.STOP)])
    assert merged.new_token_ids == [4, 5, 6, 7] and merged.finish_reason == FinishReason.STOP
    assert merged.new_logprobs is not None and merged.new_logprobs.logprobs[:, 0].tolist() == [-2.0, -2.5, -3.0, -3.5]
    assert merged.new_logprobs.logprob_token_ids.shape == (4, 1), "one row per token"


def test_a_single_piece_passes_untouched() -> None:
    piece = a_piece([4], FinishReason.LENGTH)
    merged = merge_pieces([piece])
    assert merged is piece.output and merged.new_token_ids == [4] and spans(merged) == [[0, 0, 1]]


def test_a_last_piece_without_tokens_still_ends_the_sample() -> None:
    merged = merge_pieces([a_piece([4]), Piece(0, EngineCoreOutput("r", [], finish_reason=FinishReason.ERROR))])
    assert merged.new_token_ids == [4] and merged.finish_reason == FinishReason.ERROR and merged.new_logprobs is not None


def test_every_token_is_in_the_span_of_the_update_before_it() -> None:
    pieces = [a_piece([4]), a_piece([5]), a_piece([6], updates=1), a_piece([7], FinishReason.STOP, updates=3)]
    assert spans(merge_pieces(pieces)) == [[0, 0, 2], [1, 2, 3], [3, 3, 4]], "an update no token was sampled after has no span"
