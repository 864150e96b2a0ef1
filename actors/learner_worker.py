"""One DeepSpeed rank as a Ray actor: a thin, synchronous shell around ``learner.engine.PolicyLearner``.

consumes   indices into the data set it was sent once; groups of tokens by reference with their advantages
waits for  the other ranks (collectives), the object store
unblocked by  the slowest rank; a lost rank surfaces as an error of the collective, and the whole group is rebuilt
produces   metrics (equal on all ranks), weight buckets, checkpoints

Make it remote with ``ray.remote(LearnerWorker)``. Every rank receives the same calls in the same order.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from actors.collective import Broadcaster, CollectiveError, Offer
from actors.failures import FailureKind, classify
from actors.trajectory import FloatArray, GroupTokens, IntArray
from actors.weights import TensorSlot, content_digest, copy_threads, pack_buckets, tensor_bytes, tensor_digest, tensor_view

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import Document
    from learner.config import GrpoConfig, LearnerConfig, OptimConfig
    from learner.engine import PolicyLearner
    from learner.sealed_files import SealedFile

log = logging.getLogger(__name__)

READY_SECONDS = 10.0  # to read what ray.wait has brought to this node

Pair = tuple[IntArray, IntArray]  # int32 [P] prompt, int32 [L] completion (EOS included)


@dataclass(frozen=True, slots=True)
class TrainGroup:
    """One group to train on: its tokens by reference, an advantage per sample, and which samples take part (failed ones do not)."""

    tokens_ref: Any  # ray.ObjectRef of GroupTokens
    advantages: tuple[float, ...]
    keep: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """The last item of a publication: everything of a manifest but the references to its buckets."""

    layout: tuple[TensorSlot, ...]
    digest: str
    probe_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class NotSaved:
    """Why a checkpoint could not be written: the system's errno, and which rank found what."""

    errno: int
    text: str


class LearnerWorker:
    """See the module's docstring. ``start`` must be called before anything else but ``pid`` and ``meeting_place``."""

    def __init__(self, rank: int, size: int, nice: int = 0) -> None:
        os.nice(nice)  # of this thread, and of those that torch starts from it
        self._rank = rank
        self._size = size
        self._learner: PolicyLearner | None = None
        self._dataset: Sequence[Document] = ()
        self._fetched: list[GroupTokens] = []  # for the step that comes
        self._copies: list[Tensor] | None = None  # of the version last published, on the GPU

    def pid(self) -> int:
        return os.getpid()

    def meeting_place(self) -> tuple[str, int]:
        """(host, port) where the ranks meet; asked of rank 0, which listens there from now on.

        A port that is only known to be free may be another process's by the time torch and DeepSpeed are imported.
        """
        from learner.distributed import open_meeting

        host: str = ray.util.get_node_ip_address()
        return host, open_meeting(host, 0, self._size)

    def start(self, config: LearnerConfig, model_dir: str, host: str, port: int) -> None:
        """Load the model folder and join the group. All ranks must be started at once."""
        from learner.distributed import World
        from learner.engine import PolicyLearner

        self._learner = PolicyLearner(
            config, Path(model_dir), World(self._rank, self._size, host, port, address=ray.util.get_node_ip_address())
        )

    def begin_stage(self, optim: OptimConfig, total_steps: int, seed: int) -> None:
        self._started.begin_stage(optim, total_steps, seed)

    def load_dataset(self, pairs: Sequence[Pair]) -> int:
        """Keep ``pairs`` for ``sft_step``; returns how many there are."""
        self._dataset = [_pair_document(pair) for pair in pairs]
        return len(self._dataset)

    def sft_step(self, indices: Sequence[int]) -> dict[str, float]:
        return self._started.train_sft([self._dataset[index] for index in indices])

    def fetch(self, groups: Sequence[TrainGroup], timeout_s: float) -> tuple[int, ...]:
        """Bring the tokens of the next ``grpo_step`` here; returns the indices of the groups whose tokens are gone, or do not come in time.

        Apart from the step, since all ranks must know of a loss before one of them enters a collective.
        """
        refs = [group.tokens_ref for group in groups]
        _, late = ray.wait(refs, num_returns=len(refs), timeout=timeout_s)  # what is gone counts as ready
        fetched = [None if ref in late else _tokens(ref) for ref in refs]
        self._fetched = [tokens for tokens in fetched if tokens is not None]
        return tuple(index for index, tokens in enumerate(fetched) if tokens is None)

    def grpo_step(self, groups: Sequence[TrainGroup], grpo: GrpoConfig) -> dict[str, float]:
        """One step on the groups whose tokens ``fetch`` has brought."""
        fetched, self._fetched = self._fetched, []
        documents = [grpo_document(one, group) for one, group in zip(fetched, groups, strict=True)]
        return self._started.train_grpo(documents, grpo)

    def logprobs(self, pairs: Sequence[Pair]) -> list[FloatArray]:
        """log π of every completion token, one array [L] per pair, at temperature 1."""
        return [np.asarray(one, dtype=np.float32) for (one,) in self._started.logprobs([_pair_document(pair) for pair in pairs])]

    def publish(self, probe_ids: tuple[int, ...], bucket_bytes: int, direct: bool = False) -> Iterator[Any]:
        """Rank 0 yields the weight buckets (lists of uint8 arrays), then a :class:`Published`; the others take part in the gathering.
        With ``direct`` it keeps a copy on its GPU, if it has one, for :meth:`offer`.

        Called as a streaming task: Ray copies a bucket into the object store before it asks for the next, so the arrays may be the
        parameters' own memory, and the buckets belong to the driver and outlive this actor. They are digested meanwhile.
        """
        probe_logprobs = self._probe(probe_ids)
        if self._rank != 0:
            for _ in self._started.named_weights():
                pass
            yield Published((), "", probe_logprobs)
            return
        learner = self._started
        layout: list[TensorSlot] = []
        digests: list[bytes] = []
        with ThreadPoolExecutor(max_workers=copy_threads(), thread_name_prefix="digest") as pool:
            copies = self._copies = [] if direct and learner.device.type == "cuda" else None
            weights = learner.named_weights() if copies is None else _copying(learner.named_weights(), copies)
            # Under ZeRO-3 a gathered tensor is gone when the next one is asked for.
            for bucket in pack_buckets(weights, bucket_bytes, lasting=learner.config.zero_stage < 3):
                digesting = [pool.submit(tensor_digest, part) for part in tensor_bytes(bucket.slots, [bucket.runs])]
                yield list(bucket.runs)
                layout += bucket.slots
                digests += [digest.result() for digest in digesting]
        yield Published(tuple(layout), content_digest(layout, digests), probe_logprobs)

    def offer(
        self,
        layout: tuple[TensorSlot, ...],
        buckets: Sequence[Any],
        receivers: tuple[tuple[str, int], ...],
        timeout_s: float,
        engine_processes: int = 0,
    ) -> Offer | None:
        """Begin to broadcast what was just published, in a thread and from the copy on the GPU or the store, since the weights may change.

        None: there is no port. ``engine_processes``: see :class:`Offer`.
        """
        copies, self._copies = self._copies, None
        try:
            device = "cpu" if copies is None else "cuda"
            broadcaster = Broadcaster(ray.util.get_node_ip_address(), receivers, timeout_s, engine_processes, device)
        except CollectiveError as error:
            log.warning("no broadcast of the weights: %s", error)
            return None
        threading.Thread(target=_broadcast, args=(broadcaster, layout, list(buckets), copies), name="broadcast", daemon=True).start()
        return broadcaster.offer

    def save(self, directory: str) -> list[SealedFile] | NotSaved:
        """The files that this rank wrote. A storage that fails is an answer: the ranks are well, and still in step."""
        try:
            return self._started.save(Path(directory))
        except OSError as error:
            return NotSaved(error.errno or errno.EIO, error.strerror or str(error))

    def load(self, directory: str, stage: tuple[OptimConfig, int] | None = None) -> None:
        optim, total_steps = stage or (None, None)
        self._started.load(Path(directory), optim, total_steps)

    def export_hf(self, directory: str) -> None:
        self._started.export_hf(Path(directory))

    def set_threads(self, threads: int) -> None:
        self._started.set_threads(threads)

    def stop(self) -> None:
        """Leave the group. Safe to call twice."""
        if self._learner is not None:
            self._learner.close()
            self._learner = None

    @property
    def _started(self) -> PolicyLearner:
        if self._learner is None:
            raise RuntimeError(f"learner rank {self._rank} was not started: call start() first")
        return self._learner

    def _probe(self, probe_ids: tuple[int, ...]) -> tuple[float, ...]:
        if not probe_ids:
            return ()
        ids = np.asarray(probe_ids, dtype=np.int32)
        return tuple(self.logprobs([(ids[:1], ids[1:])])[0].tolist())


def _tokens(ref: Any) -> GroupTokens | None:
    """What is here already; None when it is gone."""
    try:
        tokens: GroupTokens = ray.get(ref, timeout=READY_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        if classify(error) is not FailureKind.INFRASTRUCTURE:
            raise
        log.warning("the tokens of a group are gone: %s", error)
        return None
    return tokens


def _copying(named_tensors: Iterator[tuple[str, Tensor]], copies: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The same tensors; ``copies`` gets the bytes of each (uint8, on its device) before it is given on."""
    import torch

    for name, tensor in named_tensors:
        copies.append(tensor.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8))
        yield name, tensor


def _broadcast(broadcaster: Broadcaster, layout: Sequence[TensorSlot], buckets: Sequence[Any], copies: list[Tensor] | None) -> None:
    """Consumes: published buckets, or copies of the tensors in layout order. Waits for: the receivers. Unblocked by: their arrival, the
    time limit. Produces: their copies."""
    try:
        if copies is None:
            arrays = tensor_bytes(layout, ray.get(list(buckets), timeout=broadcaster.offer.timeout_s))
            copies = [tensor_view(array) for array in arrays]
        broadcaster.send(copies)
    except (CollectiveError, ray.exceptions.RayError) as error:  # the receivers notice too, and take the version from the store
        log.warning("a broadcast of the weights did not get through: %s", error)


def _pair_document(pair: Pair) -> Document:
    from learner.batch import Completion, Document

    prompt_ids, completion_ids = pair
    return Document(prompt_ids, [Completion(completion_ids)])


def grpo_document(tokens: GroupTokens, group: TrainGroup) -> Document:
    """The learner's view of a group: its prompt once and the kept samples with advantage and behaviour log-probs.

    Raises ValueError when advantages, keep mask and samples differ in number.
    """
    from learner.batch import Completion, Document

    if not len(tokens.completion_ids) == len(group.advantages) == len(group.keep):
        raise ValueError(
            f"group {tokens.uid}: {len(tokens.completion_ids)} samples, {len(group.advantages)} advantages, {len(group.keep)} keep flags"
        )
    completions = [
        Completion(ids, advantage, behaviour)
        for ids, behaviour, advantage, kept in zip(tokens.completion_ids, tokens.logprobs, group.advantages, group.keep, strict=True)
        if kept
    ]
    return Document(tokens.prompt_ids, completions)
