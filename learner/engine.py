"""The learner: one DeepSpeed rank that turns documents into updates of the policy's weights.

Every method except ``set_threads`` is a collective: all ranks call it with the same arguments. A step gets the *full* list of documents on
every rank; each takes its share by the same pure plan, so nothing has to be sent around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learner import checkpoint, lora, tensor_parallel
from learner.batch import Document
from learner.config import Aggregation, GrpoConfig, Kl, LearnerConfig, OptimConfig
from learner.distributed import World, gathered, join, leave, start_engine
from learner.grpo_update import GrpoUpdate
from learner.optimizer_state import OptimizerState
from learner.policy import Policy
from learner.rank_group import RankGroup
from learner.schedule import learning_rate
from learner.sealed_files import SealedFile
from learner.step import (
    Floats,
    MicroBatch,
    Step,
    plan_step,
    reject_nonfinite,
    split_per_completion,
    token_behaviour,
    token_weights,
)
from learner.throughput import ModelMeter, StepMeter

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
        place = (self.world.rank, self.world.size)
        self._rows = RankGroup.join("learner.sequence_parallel", *place, config.sequence_parallel)
        self._tensors = RankGroup.join("learner.tensor_parallel", *place, config.tensor_parallel)
        self._together = self._rows.size * self._tensors.size  # ranks that are one as far as documents are concerned
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
        self._adapt(policy, seed)
        self._start(policy, Stage(optim, total_steps, seed))

    def _adapt(self, policy: Policy, seed: int) -> None:
        """New adapters, equal on all ranks, if any are asked for; afterwards the random state is this rank's own."""
        torch.manual_seed(seed * 1_000_003)
        if self.config.lora_rank:
            lora.add_adapters(policy.model, self.config)
        torch.manual_seed(seed * 1_000_003 + self.world.rank)

    def _start(self, policy: Policy, stage: Stage) -> None:
        """A fresh engine and optimizer around ``policy``."""
        self._policy = policy.to(self.device)
        self._policy.share_rows(self._rows)
        tensor_parallel.check_model(policy.model, self._tensors)
        self._model_meter = ModelMeter(policy.model.config, policy.model.dtype, self.device)
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
        meter = StepMeter(self.device)
        step = self._plan(documents)
        weight_A = torch.from_numpy(token_weights(step.lengths_C, Aggregation.token_mean)).to(self.device)

        def micro_loss(micro: MicroBatch, logprob_N: Tensor, entropy_N: Tensor) -> tuple[Tensor, Tensor]:
            weight_N = weight_A[micro.token_A]
            loss = -(logprob_N * weight_N).sum()
            return loss, torch.stack([loss.detach(), entropy_N.sum()])

        lr = self._set_learning_rate(stage)
        sums, grad_norm = self._update(step, micro_loss, meter, sums=2, temperature=1.0)
        stage.step += 1
        return {
            "train/loss": sums[0],
            "train/entropy": sums[1] / step.tokens,
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            **meter.metrics(documents, [step], self.world.size, self._model_meter),
        }

    def train_grpo(self, documents: Sequence[Document], grpo: GrpoConfig) -> Metrics:
        """``grpo.updates_per_step`` updates, each on its own part of ``documents``, with the policy at the start of the call as *old*.

        Completions with a non-finite behaviour log-prob are left out of numerator and denominator and counted
        (``train/rejected_samples``). An update in which no token has a gradient (all masked by the correction, rejected, or without
        advantage) leaves the weights as they are and is counted (``train/skipped_updates``); the step counts all the same.

        Raises:
            ValueError: there are fewer documents than updates, behaviour log-probs are needed and missing, or a document is malformed or
                too long.
        """
        grpo.validate()
        policy, stage = self._running()
        if len(documents) < grpo.updates_per_step:
            raise ValueError(f"{len(documents)} documents are not enough for grpo.updates_per_step = {grpo.updates_per_step}")
        meter = StepMeter(self.device)
        kept, rejected = reject_nonfinite(documents)
        parts = [kept[update :: grpo.updates_per_step] for update in range(min(grpo.updates_per_step, len(kept)))]
        skipped = grpo.updates_per_step - len(parts)
        if not parts:
            lr = learning_rate(stage.optim, stage.step, stage.total_steps)
            stage.step += 1
            return {"train/lr": lr, "train/rejected_samples": float(rejected), "train/skipped_updates": float(skipped)}
        if grpo.kl != Kl.none:
            self._keep_reference(stage, grpo)
        steps = [self._plan(part) for part in parts]
        # The first update's log-probs are those of the old policy. Later ones need them taken before the weights move.
        olds = [None if update == 0 else self._logprobs_A(policy, step, grpo.temperature) for update, step in enumerate(steps)]
        lr = self._set_learning_rate(stage)
        totals = np.zeros(GrpoUpdate.NUMBERS)
        norms = []
        for part, step, old_A in zip(parts, steps, olds, strict=True):
            update = GrpoUpdate(part, step, grpo, old_A, self._reference_logprobs_A(step, grpo), self.device)
            sums, norm = self._update(
                step, update.micro_loss, meter, GrpoUpdate.NUMBERS, grpo.temperature, teaches_nothing=update.teaches_nothing
            )
            skipped += update.teaches_nothing(sums)
            totals += np.asarray(sums)
            norms.append(norm)
        stage.step += 1
        metrics = GrpoUpdate.metrics(totals, sum(step.tokens for step in steps), len(steps), token_behaviour(kept) is not None, grpo)
        metrics["train/grad_norm"] = float(np.mean(norms))
        metrics["train/lr"] = lr
        metrics["train/rejected_samples"] = float(rejected)
        metrics["train/skipped_updates"] = float(skipped)
        return metrics | meter.metrics(kept, steps, self.world.size, self._model_meter)

    def _plan(self, documents: Sequence[Document]) -> Step:
        policy, _ = self._running()
        place, places = self.world.rank // self._together, self.world.size // self._together
        return plan_step(documents, place, places, self.config.micro_batch_tokens, policy.max_positions)

    def _counts(self, micro: MicroBatch) -> bool:
        """Whether this rank is the one that reports what it has computed together with others."""
        return not micro.phantom and self._rows.rank == 0 and self._tensors.rank == 0

    def _set_learning_rate(self, stage: Stage) -> float:
        lr = learning_rate(stage.optim, stage.step, stage.total_steps)
        self._put_learning_rate(lr)
        return lr

    def _put_learning_rate(self, lr: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr

    def _update(
        self, step: Step, micro_loss: MicroLoss, meter: StepMeter, sums: int, temperature: float,
        teaches_nothing: Callable[[list[float]], bool] = lambda _: False,
    ) -> tuple[list[float], float]:  # fmt: skip
        """Forward and backward over this rank's micro-batches, then one update. Returns the sums over all ranks and the gradient norm.

        Where ``teaches_nothing`` says so of the sums, the update has no rate: AdamW's momentum and weight decay would move the weights
        though no token asked for it.

        DeepSpeed averages gradients over ranks (of those among which matrices are cut, over one), hence the factor ``averaged`` on a loss
        that is already a global mean. Ranks that share rows all have the loss, and each the gradient of its own rows: the sum over all
        ranks is right there, too.
        """
        engine = self._engine
        averaged = float(self.world.size // self._tensors.size)
        total = torch.zeros(sums, dtype=torch.float64, device=self.device)
        last = len(step.micro_batches) - 1
        for index, micro in enumerate(step.micro_batches):
            engine.set_gradient_accumulation_boundary(index == last)
            packed = micro.packed.to(self.device)
            with meter.span("forward"):
                logprob_N, entropy_N = engine(packed, temperature)
                loss, reported = micro_loss(micro, logprob_N, entropy_N)
            with meter.span("backward"):
                engine.backward(loss * (0.0 if micro.phantom else averaged))
            if self._counts(micro):
                total += reported
        if self.world.size > 1:
            torch.distributed.all_reduce(total)
        found: list[float] = total.cpu().tolist()
        lr = engine.optimizer.param_groups[0]["lr"]
        if teaches_nothing(found):
            self._put_learning_rate(0.0)
        with meter.span("optimizer"):
            norm = self._clip_stage_0() if self.config.zero_stage == 0 else None
            engine.step()
        self._put_learning_rate(lr)
        if norm is None:
            norm = engine.get_global_grad_norm()
        return found, float(norm)

    def _clip_stage_0(self) -> Tensor:
        _, stage = self._running()
        limit = stage.optim.grad_clip or float("inf")
        return nn.utils.clip_grad_norm_(self._engine.module.parameters(), limit, foreach=True)

    def _keep_reference(self, stage: Stage, grpo: GrpoConfig) -> None:
        if self.config.lora_rank and not grpo.kl_refresh_every:
            return  # without its adapters the policy is what it was at the start of the stage: no copy is needed
        due = grpo.kl_refresh_every > 0 and stage.step % grpo.kl_refresh_every == 0
        if self._reference is not None and not due:
            return
        reference = Policy.load(self.model_dir, self.config).requires_grad_(False)
        checkpoint.put_weights(reference.model, {name: tensor.clone() for name, tensor in self.named_weights()})
        self._keep_as_reference(reference)

    def _keep_as_reference(self, reference: Policy) -> None:
        self._reference = reference.to(self.device)
        self._reference.share_rows(self._rows)

    def _reference_logprobs_A(self, step: Step, grpo: GrpoConfig) -> Tensor | None:
        if grpo.kl == Kl.none:
            return None
        if self._reference is not None:
            return self._logprobs_A(self._reference, step, grpo.temperature)
        policy, _ = self._running()
        with lora.without_adapters(policy.model):
            return self._logprobs_A(policy, step, grpo.temperature)

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
            if self._counts(micro):
                logprob_A[micro.token_A] = logprob_N
        if self.world.size > 1:
            torch.distributed.all_reduce(logprob_A)
        return logprob_A

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """(HF name, tensor) of every parameter of the plain model, adapters merged, gathered module by module. Every rank must iterate to
        the end.

        A tensor is only valid until the next one is asked for, and is the policy itself: copy it, do not write to it.
        """
        policy, _ = self._running()
        seen: set[int] = set()
        for prefix, module in policy.model.named_modules():
            adapted = lora.is_adapted(module)
            own = {name: one for name, one in module.named_parameters(recurse=adapted) if id(one) not in seen}
            seen.update(map(id, own.values()))  # tied embeddings come once, under their first name
            if not own:
                continue
            with gathered(list(own.values()), self.config.zero_stage):
                if adapted:
                    tensors = lora.merged(module, prefix)
                else:
                    tensors = {name: tensor_parallel.whole(one, one.detach(), self._tensors) for name, one in own.items()}
                for name, tensor in tensors.items():
                    yield f"{prefix}.{name}" if prefix else name, tensor

    # ---- keeping -------------------------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> list[SealedFile]:
        """Writes weights, optimizer, random state and step into ``directory``, which must not exist; complete or not there at all.

        Returns the files that this rank wrote.

        Raises:
            OSError: a rank could not write. Every rank raises it and the learner goes on as it was.
        """
        policy, stage = self._running()
        reference = None if self._reference is None else self._reference.model
        return checkpoint.save(Path(directory), policy.model, self._optimizer_state(), self.world, stage, reference)

    def load(self, directory: str | Path, optim: OptimConfig | None = None, total_steps: int | None = None) -> None:
        """Continues from :meth:`save`, to the bit under the same layout; ranks, ZeRO stage, offload and dtype may have changed.

        ``begin_stage`` need not have been called. AdamW's moments, its count of updates and the step always come from the checkpoint.

        Args:
            optim: the optimizer's settings and its schedule from now on; None = those it was saved with.
            total_steps: the steps that the schedule spans from now on; None = as it was saved.

        Raises:
            ValueError: no checkpoint is there, it is incomplete, or it is of another model; a setting is impossible.
        """
        if optim is not None:
            optim.validate()
        folder = Path(directory)
        header = checkpoint.read_header(folder)
        saved = checkpoint.SavedState(folder)
        self._drop_engine()
        policy = Policy.load(self.model_dir, self.config)
        self._adapt(policy, header.seed)
        saved.fill(policy.model)
        settings = OptimConfig(**header.optim) if optim is None else optim
        self._start(policy, Stage(settings, total_steps or header.total_steps, header.seed, header.step))
        saved.restore(policy.model, self._optimizer_state(), header.updates)
        if header.has_reference:
            reference = Policy.load(self.model_dir, self.config).requires_grad_(False)
            checkpoint.load_reference(folder, reference.model)
            self._keep_as_reference(reference)
        checkpoint.load_rng(folder, self.world)

    def _optimizer_state(self) -> OptimizerState:
        return OptimizerState(self._engine, self.config.zero_stage, self.world, self._tensors)

    def export_hf(self, directory: str | Path) -> None:
        """Writes a HF folder (weights, config, generation config, tokenizer files of ``model_dir``); replaces what is there in one move."""
        policy, _ = self._running()
        weights = {name: tensor.clone().cpu() for name, tensor in self.named_weights()}
        checkpoint.export_hf(Path(directory), policy.model, weights, self.model_dir, self.world)
