"""What travels between generators, reward workers, buffer and learner.

Token payloads (:class:`GroupTokens`) go from actor to actor through the object store and never through the driver; the driver sees
:class:`GroupMeta` and verdicts only. Shapes: G samples per group, L_i generated tokens of sample i (EOS included), P prompt tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rewards.verdict import Verdict

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a group is sampled. There is no top_k or penalty on purpose, and rollouts leave ``top_p`` at 1: they change the behaviour
    distribution. A teacher's texts, which nobody trains on by log-probs, may set it.

    ``end_ids``: tokens that end a sample, besides those that the model folder names (:func:`actors.end_tokens.end_tokens`)."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0
    end_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """One prompt to be answered ``sampling.samples`` times.

    ``uid`` is unique per submission (a prompt drawn twice has two uids). ``seed`` is the run's seed; every sample gets its own seed
    from (seed, uid, sample index, attempt), so that a rollout can be made again. ``cut_after_s`` seconds after the generator got the
    request, samples that are still growing end at their next token (finish "length"); None = never. ``blind``: answers that do without the
    question, by the name of their policy (:mod:`rewards.blind`); they are scored beside the samples.
    """

    uid: str
    task: str
    prompt_ids: tuple[int, ...]
    inputs: Mapping[str, Any]
    reference: Mapping[str, Any]
    sampling: Sampling
    seed: int
    attempt: int = 0
    cut_after_s: float | None = None
    blind: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class GroupTokens:
    """The token payload of one group. All lists have G entries; arrays of sample i have length L_i."""

    uid: str
    prompt_ids: IntArray  # [P]
    completion_ids: list[IntArray]
    logprobs: list[FloatArray]  # behaviour log-probabilities, after temperature
    versions: list[IntArray]  # weight version that produced each token
    finish: list[str]  # "stop" | "length" | "abort"

    def answer_ids(self) -> list[list[int]]:
        """The samples' tokens without the one that ended them, whether or not the tokenizer calls that one special."""
        return [ids.tolist()[:-1] if end == "stop" else ids.tolist() for ids, end in zip(self.completion_ids, self.finish, strict=True)]


@dataclass(frozen=True, slots=True)
class GroupMeta:
    """What the driver knows of a generated group."""

    uid: str
    generator: str
    lengths: tuple[int, ...]  # L_i
    prompt_length: int
    oldest_version: int  # over all tokens of the group
    newest_version: int
    truncated: int  # samples that ended by length
    nonfinite: tuple[int, ...]  # indices of samples with non-finite log-probs: excluded and counted
    seconds: float  # from submission to the engine until the last sample ended
    cut_samples: tuple[int, ...] = ()  # indices, of the truncated: ended by the rollout deadline, below their length limit

    @property
    def cut(self) -> int:
        """Samples that the rollout deadline ended."""
        return len(self.cut_samples)


@dataclass(slots=True)
class ScoredGroup:
    """A generated and scored group: metadata, verdicts (G entries) and the reference to its tokens in the object store.

    ``blind``: the verdicts of the request's blind answers, in their order.
    """

    request: GroupRequest
    meta: GroupMeta
    verdicts: list[Verdict]
    tokens_ref: Any  # ray.ObjectRef of GroupTokens
    texts: list[str] = field(default_factory=list)  # filled only when asked for
    blind: list[Verdict] = field(default_factory=list)
    turnaround_s: float = 0.0  # from asking the fleet to the verdicts: waiting for an engine, generation, scoring, tries that failed


def sample_seed(run_seed: int, uid: str, sample: int, attempt: int) -> int:
    """A 63-bit seed for one sample, a pure function of its identity (DESIGN: rollouts are reproducible)."""
    digest = hashlib.blake2b(f"{run_seed}|{uid}|{sample}|{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
