"""The reward worker: a Ray actor that turns tokens into text and text into verdicts, in processes that may be killed at any time.

consumes   groups of tokens, or plain texts, by reference
waits for  its scoring processes
unblocked by  verdicts, or the deadline after which ``rewards.isolation`` kills the process and says so in the verdict
produces   one verdict per sample, in order; the texts only when asked for

Make it remote with ``ray.remote(RewardWorker)``. It is synchronous: one group at a time, its samples spread over its processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from tokenizers import Tokenizer

from actors.fleet_losses import TransferLate
from actors.pool_config import RewardActors
from actors.termination import TerminationNotice
from actors.trajectory import GroupTokens
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN
from rewards.confinement import PluginAccess
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.verdict import Verdict


class RewardWorker:
    """See the module's docstring."""

    plugins: tuple[str, ...] = ()  # modules that register more scorers; imported in the scoring processes
    plugin_access = PluginAccess()  # what they keep of the environment and the network for these

    def __init__(self, config: RewardActors) -> None:
        self._tokenizer = Tokenizer.from_file(str(Path(config.tokenizer_dir) / "tokenizer.json"))
        self._pool = ScorerPool(
            workers=config.workers,
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_bytes,
            recycle_jobs=config.recycle_jobs,
            recycle_rss_bytes=config.recycle_rss_bytes,
            opsin=config.opsin,
            grounding=config.grounding,
            claims=config.claims,
            plugins=self.plugins,
            plugin_access=self.plugin_access,
        )
        self._opening = config.opening
        self._traits = config.traits
        self._notice = TerminationNotice()
        self._notice.listen()

    def begin(self, method: str, payload: list[Any], arguments: Sequence[Any], fetch_s: float) -> Iterator[Any]:
        """``method(payload, *arguments)`` in two items: None when it begins, with its payload here and nothing before it, then the result.

        So the caller's clock of the work starts with the work. ``payload`` is one reference in a list, so that Ray hands it over unfetched.

        Raises TransferLate when the payload does not arrive within ``fetch_s`` seconds, ray's ObjectLostError when it is gone.
        """
        (reference,) = payload
        try:
            fetched = ray.get(reference, timeout=fetch_s)
        except ray.exceptions.GetTimeoutError as error:
            raise TransferLate(f"what was to be scored did not arrive within {fetch_s:g} s") from error
        yield None
        yield getattr(self, method)(fetched, *arguments)

    def score(
        self,
        tokens: GroupTokens,
        task: str,
        inputs: Mapping[str, Any],
        reference: Mapping[str, Any],
        want_texts: bool,
        blind: Sequence[str] = (),
    ) -> tuple[list[Verdict], list[str]]:
        """Verdicts of the G samples in order and then of the answers ``blind``, and the samples' texts (empty unless wanted). Neither
        special tokens nor the one that ended a sample are part of a text; what the prompt has opened of it is.

        Raises rewards.registry.UnknownTaskError before anything is scored.
        """
        token_ids = [ids.tolist() for ids in tokens.completion_ids]
        texts = [self._opening + text for text in self._tokenizer.decode_batch(tokens.answer_ids(), skip_special_tokens=True)]
        beside = [ANSWER_OPEN + answer + ANSWER_CLOSE for answer in blind]
        scores = self._pool.score([ScoreJob(task, text, inputs, reference) for text in [*texts, *beside]])
        verdicts = [self._traits.added_to(*sample) for sample in zip(scores[: len(texts)], texts, token_ids, strict=True)]
        return verdicts + scores[len(texts) :], texts if want_texts else []

    def score_texts(self, jobs: Sequence[ScoreJob]) -> list[Verdict]:
        """Verdicts of texts that do not come from a generator: traces of a teacher, references in a self-test."""
        return self._pool.score(jobs)

    def pid(self) -> int:
        """Of this actor."""
        return os.getpid()

    def health(self) -> tuple[int, bool]:
        """Its pid, and whether it was told to end (SIGTERM). It answers only between two groups."""
        return os.getpid(), self._notice.received

    def stats(self) -> dict[str, Any]:
        """Counters of the scoring processes."""
        return dict(self._pool.stats())

    def manifest(self) -> dict[str, Any]:
        """What its verdicts depend on besides the answers: ``rewards.manifest.manifest``."""
        return self._pool.manifest()

    def stop(self) -> None:
        """End the scoring processes. Safe to call twice."""
        self._pool.close()
        self._notice.served()
