"""The learner: one DeepSpeed rank that turns documents into updates of the policy's weights.

Every method except ``set_threads`` is a collective: all ranks call it with the same arguments. A step gets the *full* list of documents on
every rank; each takes its share by the same pure plan, so nothing has to be sent around.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learner import checkpoint
from learner.batch import Document
from learner.config import Aggregation, Correction, GrpoConfig, Kl, LearnerConfig, OptimConfig
from learner.corrections import (
    DIFFERENCE_EDGES,
    correction_weights,
    difference_histogram,
    difference_quantile,
    effective_sample_share,
    mismatch_sums,
)
from learner.distributed import World, gathered, join, leave, start_engine
from learner.losses import kl_penalty, policy_loss
from learner.optimizer_state import OptimizerState
from learner.policy import Policy
from learner.schedule import learning_rate
from learner.step import (
    Floats,
    MicroBatch,
    Step,
    plan_step,
    reject_nonfinite,
    split_per_completion,
    token_advantages,
    token_behaviour,
    token_weights,
)

Metrics = dict[str, float]
# (micro-batch, log-probs, entropies) -> weighted loss to be minimised, sums to report
MicroLoss = Callable[[MicroBatch, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Stage:
    """What an optimizer's life is defined by. ``step`` counts train_* calls."""

    optim: OptimConfig
    total_steps: int
    seed: int
    step: int = 0


class PolicyLearner:
    """See the module's docstring. Call :meth:`begin_stage` or :meth:`load` before anything that trains or reads weights."""

    def __init__(self, config: LearnerConfig, model_dir: str | Path, world: World | None = None) -> None:
        """Joins the group; the model is loaded by ``begin_stage``.

        Raises:
            ValueError: a setting is impossible. RuntimeError: see distributed.join.
        """
        config.validate()
        self.config = config
        self.model_dir = Path(model_dir)
        self.world = world or World()
        self.set_threads(config.threads)
        self.device, self._owns_group = join(self.world, config.device)
        self._policy: Policy | None = None
        self._reference: Policy | None = None
        self._engine: Any = None
        self._stage: Stage | None = None

    # ---- life ----------------------------------------------------------------------------------------------------------------------

    def begin_stage(self, optim: OptimConfig, total_steps: int, seed: int) -> None:
        """Starts a fresh optimizer and schedule on the weights as they are (the first time: those of ``model_dir``).

        Raises:
            ValueError: a setting is impossible, or ``total_steps`` < 1.
        """
        optim.validate()
        if total_steps < 1:
            raise ValueError(f"total_steps = {total_steps}: a stage has at least one step")
        weights = {name: tensor.clone() for name, tensor in self.named_weights()} if self._engine is not None else None
        self._drop_engine()
        policy = Policy.load(self.model_dir, self.config)
        if weights is not None:
            checkpoint.put_weights(policy.model, weights)
        self._start(policy, Stage(optim, total_steps, seed))

    def _start(self, policy: Policy, stage: Stage) -> None:
        """A fresh engine and optimizer around ``policy``."""
        torch.manual_seed(stage.seed * 1_000_003 + self.world.rank)
        self._policy = policy.to(self.device)
        if self.config.zero_stage == 0:  # the other stages lay parameters out themselves
            self._policy.join_memory()
        self._engine = start_engine(self._policy, self.config, stage.optim)
        self._reference = None
        self._stage = stage

    def set_threads(self, count: int) -> None:
        """Threads of torch on this rank; local."""
        torch.set_num_threads(count)

    def close(self) -> None:
        """Frees the engine; the learner that has joined the process to the group also leaves it (close that one last)."""
        self._drop_engine()
        if self._owns_group:
            leave()

    def _drop_engine(self) -> None:
        if self._engine is not None:
            self._engine.destroy()
        self._engine = None
        self._policy = None

    @property
    def step(self) -> int:
        """train_* calls of this stage so far."""
        return self._running()[1].step

    def _running(self) -> tuple[Policy, Stage]:
        if self._policy is None or self._stage is None:
            raise RuntimeError("the learner has no optimizer yet: call begin_stage(optim, total_steps, seed) or load(dir) first")
        return self._policy, self._stage

    # ---- training ------------------------------------------------------------------------------------------------------------------

    def train_sft(self, documents: Sequence[Document]) -> Metrics:
        """One update on the mean negative log-likelihood of all completion tokens of ``documents`` (nats per token).

        Raises:
            ValueError: the step is empty, or a document is malformed or too long.
        """
        _, stage = self._running()
        started = time.perf_counter()
        step = self._plan(documents)
        weight_A = self._tensor(token_weights(step.lengths_C, Aggregation.token_mean))

        def micro_loss(micro: MicroBatch, logprob_N: Tensor, entropy_N: Tensor) -> tuple[Tensor, Tensor]:
            weight_N = weight_A[micro.token_A]
            loss = -(logprob_N * weight_N).sum()
            return loss, torch.stack([loss.detach(), entropy_N.sum()])

        lr = self._set_learning_rate(stage)
        sums, grad_norm = self._update(step, micro_loss, sums=2, temperature=1.0)
        stage.step += 1
        return {
            "train/loss": sums[0],
            "train/entropy": sums[1] / step.tokens,
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            **_throughput([step], time.perf_counter() - started),
        }

    def train_grpo(self, documents: Sequence[Document], grpo: GrpoConfig) -> Metrics:
        """``grpo.updates_per_step`` updates, each on its own part of ``documents``, with the policy at the start of the call as *old*.

        Completions with a non-finite behaviour log-prob are left out of numerator and denominator and counted.

        Raises:
            ValueError: nothing is left to train on, there are fewer documents than updates, behaviour log-probs are needed and missing, or
                a document is malformed or too long.
        """
        grpo.validate()
        policy, stage = self._running()
        started = time.perf_counter()
        kept, rejected = reject_nonfinite(documents)
        if len(kept) < grpo.updates_per_step:
            raise ValueError(
                f"{len(kept)} documents are left of {len(documents)} ({rejected} completions were rejected for non-finite numbers): "
                f"not enough for grpo.updates_per_step = {grpo.updates_per_step}"
            )
        if grpo.kl != Kl.none:
            self._keep_reference(stage, grpo)
        parts = [kept[update :: grpo.updates_per_step] for update in range(grpo.updates_per_step)]
        steps = [self._plan(part) for part in parts]
        # The first update's log-probs are those of the old policy. Later ones need them taken before the weights move.
        olds = [None if update == 0 else self._logprobs_A(policy, step, grpo.temperature) for update, step in enumerate(steps)]
        lr = self._set_learning_rate(stage)
        totals = np.zeros(_GrpoUpdate.NUMBERS)
        norms = []
        for part, step, old_A in zip(parts, steps, olds, strict=True):
            update = _GrpoUpdate(self, part, step, grpo, old_A)
            sums, norm = self._update(step, update.micro_loss, sums=_GrpoUpdate.NUMBERS, temperature=grpo.temperature)
            totals += np.asarray(sums)
            norms.append(norm)
        stage.step += 1
        metrics = _GrpoUpdate.metrics(totals, sum(step.tokens for step in steps), len(steps), token_behaviour(kept) is not None, grpo)
        metrics["train/grad_norm"] = float(np.mean(norms))
        metrics["train/lr"] = lr
        metrics["train/rejected_samples"] = float(rejected)
        return metrics | _throughput(steps, time.perf_counter() - started)

    def _plan(self, documents: Sequence[Document]) -> Step:
        policy, _ = self._running()
        return plan_step(documents, self.world.rank, self.world.size, self.config.micro_batch_tokens, policy.max_positions)

    def _tensor(self, array: Floats) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _set_learning_rate(self, stage: Stage) -> float:
        lr = learning_rate(stage.optim, stage.step, stage.total_steps)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _update(self, step: Step, micro_loss: MicroLoss, sums: int, temperature: float) -> tuple[list[float], float]:
        """Forward and backward over this rank's micro-batches, then one update. Returns the sums over all ranks and the gradient norm.

        DeepSpeed averages gradients over ranks, hence the factor ``world.size`` on a loss that is already a global mean.
        """
        engine = self._engine
        total = torch.zeros(sums, dtype=torch.float64, device=self.device)
        last = len(step.micro_batches) - 1
        for index, micro in enumerate(step.micro_batches):
            engine.set_gradient_accumulation_boundary(index == last)
            packed = micro.packed.to(self.device)
            logprob_N, entropy_N = engine(packed, temperature)
            loss, reported = micro_loss(micro, logprob_N, entropy_N)
            engine.backward(loss * (0.0 if micro.phantom else float(self.world.size)))
            if not micro.phantom:
                total += reported
        norm = self._clip_stage_0() if self.config.zero_stage == 0 else None
        engine.step()
        if norm is None:
            norm = engine.get_global_grad_norm()
        if self.world.size > 1:
            torch.distributed.all_reduce(total)
        return total.cpu().tolist(), float(norm)

    def _clip_stage_0(self) -> Tensor:
        _, stage = self._running()
        limit = stage.optim.grad_clip or float("inf")
        return nn.utils.clip_grad_norm_(self._engine.module.parameters(), limit, foreach=True)

    def _keep_reference(self, stage: Stage, grpo: GrpoConfig) -> None:
        due = grpo.kl_refresh_every > 0 and stage.step % grpo.kl_refresh_every == 0
        if self._reference is not None and not due:
            return
        reference = Policy.load(self.model_dir, self.config).requires_grad_(False)
        checkpoint.put_weights(reference.model, {name: tensor.clone() for name, tensor in self.named_weights()})
        self._reference = reference.to(self.device)

    # ---- reading -------------------------------------------------------------------------------------------------------------------

    def logprobs(self, documents: Sequence[Document], temperature: float = 1.0) -> list[list[Floats]]:
        """Log-probability of every completion token under the current policy: [document][completion] -> float32 [L], on every rank."""
        policy, _ = self._running()
        logprob_A = self._logprobs_A(policy, self._plan(documents), temperature)
        return split_per_completion(logprob_A.cpu().numpy(), documents)

    @torch.no_grad()
    def _logprobs_A(self, policy: Policy, step: Step, temperature: float) -> Tensor:
        logprob_A = torch.zeros(step.tokens, dtype=torch.float32, device=self.device)
        for micro in step.micro_batches:
            logprob_N, _ = policy(micro.packed.to(self.device), temperature)
            if not micro.phantom:
                logprob_A[micro.token_A] = logprob_N
        if self.world.size > 1:
            torch.distributed.all_reduce(logprob_A)
        return logprob_A

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """(HF name, tensor) of every parameter, gathered module by module. Every rank must iterate to the end.

        A tensor is only valid until the next one is asked for, and is the policy itself: copy it, do not write to it.
        """
        policy, _ = self._running()
        seen: set[int] = set()
        for prefix, module in policy.model.named_modules():
            own = [(name, parameter) for name, parameter in module.named_parameters(recurse=False) if id(parameter) not in seen]
            seen.update(id(parameter) for _, parameter in own)  # tied embeddings come once, under their first name
            if not own:
                continue
            with gathered([parameter for _, parameter in own], self.config.zero_stage):
                for name, parameter in own:
                    yield f"{prefix}.{name}" if prefix else name, parameter.detach()

    # ---- keeping -------------------------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Writes weights, optimizer, random state and step into ``directory``, which must not exist; complete or not there at all."""
        policy, stage = self._running()
        reference = None if self._reference is None else self._reference.model
        checkpoint.save(Path(directory), policy.model, self._optimizer_state(), self.config.zero_stage, self.world, stage, reference)

    def load(self, directory: str | Path) -> None:
        """Continues from :meth:`save`, to the bit under the same layout; ranks, ZeRO stage, offload and dtype may have changed.

        ``begin_stage`` need not have been called.

        Raises:
            ValueError: no checkpoint is there, it is incomplete, or it is of another model.
        """
        folder = Path(directory)
        header = checkpoint.read_header(folder)
        saved = checkpoint.SavedState(folder)
        self._drop_engine()
        policy = Policy.load(self.model_dir, self.config)
        saved.fill(policy.model)
        self._start(policy, Stage(OptimConfig(**header.optim), header.total_steps, header.seed, header.step))
        saved.restore(policy.model, self._optimizer_state(), header.updates)
        if header.has_reference:
            reference = Policy.load(self.model_dir, self.config).requires_grad_(False)
            checkpoint.load_reference(folder, reference.model)
            self._reference = reference.to(self.device)
        checkpoint.load_rng(folder, self.world)

    def _optimizer_state(self) -> OptimizerState:
        return OptimizerState(self._engine, self.config.zero_stage, self.world)

    def export_hf(self, directory: str | Path) -> None:
        """Writes a HF folder (weights, config, generation config, tokenizer files of ``model_dir``); replaces what is there in one move."""
        policy, _ = self._running()
        weights = {name: tensor.clone().cpu() for name, tensor in self.named_weights()}
        checkpoint.export_hf(Path(directory), policy.model, weights, self.model_dir, self.world)


class _GrpoUpdate:
    """The per-token arrays of one update and the loss over a slice of them."""

    SUMS = ("loss", "entropy", "clipped", "w", "w2", "k3", "difference", "kl")
    NUMBERS = len(SUMS) + len(DIFFERENCE_EDGES) + 1  # and the histogram of differences

    def __init__(self, learner: PolicyLearner, documents: Sequence[Document], step: Step, grpo: GrpoConfig, old_A: Tensor | None) -> None:
        self.grpo = grpo
        self.advantage_A = learner._tensor(token_advantages(documents, step.lengths_C))
        self.weight_A = learner._tensor(token_weights(step.lengths_C, grpo.aggregation, grpo.constant_length))
        behaviour_A = token_behaviour(documents)
        if behaviour_A is None and grpo.correction != Correction.none:
            raise ValueError(
                f"grpo.correction = {grpo.correction} needs behaviour log-probs on every completion; give them or set it to none"
            )
        self.behaviour_A = None if behaviour_A is None else learner._tensor(behaviour_A)
        self.old_A = self.behaviour_A if grpo.correction == Correction.bypass else old_A
        reference = learner._reference if grpo.kl != Kl.none else None
        self.reference_A = None if reference is None else learner._logprobs_A(reference, step, grpo.temperature)

    def micro_loss(self, micro: MicroBatch, new_N: Tensor, entropy_N: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted loss of a micro-batch and its contribution to the totals."""
        token_A = micro.token_A
        segment_N, segments = micro.packed.segment_N, micro.packed.completions
        current_N = new_N.detach()
        old_N = current_N if self.old_A is None else self.old_A[token_A]
        weight_N = self.weight_A[token_A]
        result = policy_loss(new_N, old_N, self.advantage_A[token_A], segment_N, segments, self.grpo)
        loss_N = result.loss_N
        mismatch = new_N.new_zeros(4, dtype=torch.float64)
        histogram = new_N.new_zeros(len(DIFFERENCE_EDGES) + 1, dtype=torch.float64)
        if self.behaviour_A is not None:
            start_N = current_N if self.grpo.correction == Correction.bypass else old_N
            log_ratio_N = start_N - self.behaviour_A[token_A]
            loss_N = loss_N * correction_weights(log_ratio_N, segment_N, segments, self.grpo)
            mismatch, histogram = mismatch_sums(log_ratio_N), difference_histogram(log_ratio_N)
        divergence = new_N.new_zeros(())
        if self.reference_A is not None:
            penalty_N = kl_penalty(new_N, self.reference_A[token_A], self.grpo.kl)
            loss_N = loss_N + self.grpo.kl_coef * penalty_N
            divergence = penalty_N.detach().sum()
        loss = (loss_N * weight_N).sum()
        plain = torch.stack([loss.detach(), entropy_N.sum(), result.clipped_N.sum().to(loss.dtype)]).double()
        return loss, torch.cat([plain, mismatch, divergence.double()[None], histogram])

    @staticmethod
    def metrics(totals: Any, tokens: int, updates: int, has_behaviour: bool, grpo: GrpoConfig) -> Metrics:
        """What the totals over all micro-batches, ranks and updates mean. Nothing is reported that was not measured."""
        loss, entropy, clipped, w, w2, k3, difference, kl = (float(value) for value in totals[: len(_GrpoUpdate.SUMS)])
        metrics = {"train/loss": loss / updates, "train/entropy": entropy / tokens, "train/clip_fraction": clipped / tokens}
        if has_behaviour:
            metrics["train/ess"] = effective_sample_share(w, w2, tokens)
            metrics["train/mismatch_kl"] = k3 / tokens
            metrics["train/mismatch_mean"] = difference / tokens
            metrics["train/mismatch_p99"] = difference_quantile(totals[len(_GrpoUpdate.SUMS) :], 0.99)
        if grpo.kl != Kl.none:
            metrics["train/kl"] = kl / tokens
        return metrics


def _throughput(steps: Sequence[Step], seconds: float) -> Metrics:
    tokens = sum(step.tokens for step in steps)
    return {
        "train/tokens": float(tokens),
        "train/rows": float(sum(step.rows for step in steps)),
        "train/seconds": seconds,
        "train/tokens_per_s": tokens / seconds,
        "train/packing_efficiency": float(np.mean([step.efficiency for step in steps])),
    }
