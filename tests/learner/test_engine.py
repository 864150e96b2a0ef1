"""The learner with real DeepSpeed in this process (one rank). Two ranks: test_ranks.py."""

import copy
import dataclasses
import errno

import numpy as np
import psutil
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from learner import checkpoint
from learner.config import (
    Aggregation,
    Correction,
    Dtype,
    GrpoConfig,
    Kl,
    LearnerConfig,
    Loss,
    OptimConfig,
    Schedule,
)
from learner.engine import PolicyLearner
from learner.schedule import learning_rate
from learner.sealed_files import seal_folder
from tests.learner.samples import gradient_of, make_documents, relative_distance, weights_of
from tests.listening import beyond_the_machine, listeners


def distance(first, second):
    assert first.keys() == second.keys(), "both learners must name the same weights"
    return max((first[name] - second[name]).abs().max().item() for name in first)


def train_twice(learner, documents, grpo=None):
    """One SFT and one GRPO step, with the gradient of the first; AdamW amplifies any difference."""
    first = learner.train_sft(documents)
    gradient = gradient_of(learner)
    second = learner.train_grpo(documents, grpo or GrpoConfig())
    return first, second, weights_of(learner), gradient


@pytest.fixture(scope="module")
def baseline(start, documents):
    return train_twice(start(micro_batch_tokens=10_000), documents)


@pytest.mark.parametrize(
    "settings",
    [
        {"micro_batch_tokens": 1},
        {"micro_batch_tokens": 60},
        {"zero_stage": 1},
        {"zero_stage": 2},
        {"zero_stage": 3},
        {"zero_stage": 1, "offload_optimizer": True},
        {"zero_stage": 2, "offload_optimizer": True},
        {"zero_stage": 3, "offload_optimizer": True},
        {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
        {"gradient_checkpointing": True},
        {"zero_stage": 3, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_layout_changes_neither_loss_nor_update(start, documents, baseline, settings):
    sft, grpo, weights, gradient = train_twice(start(**settings), documents)
    for own, expected in ((sft, baseline[0]), (grpo, baseline[1])):
        for name in ("train/loss", "train/grad_norm", "train/entropy"):
            assert own[name] == pytest.approx(expected[name], rel=1e-5), f"{name} depends on {settings}"
    assert relative_distance(gradient, baseline[3]) < 1e-5, f"the gradient depends on {settings}"
    assert distance(weights, baseline[2]) < 2e-4, f"updated weights depend on {settings}"


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_bf16_gradients_train_alike(start, documents, baseline, zero_stage):
    sft, grpo, *_ = train_twice(start(gradient_dtype=Dtype.bf16, zero_stage=zero_stage), documents)
    assert sft["train/loss"] == pytest.approx(baseline[0]["train/loss"], rel=2e-5), "the first loss has seen no rounded gradient yet"
    assert sft["train/grad_norm"] == pytest.approx(baseline[0]["train/grad_norm"], rel=0.01), "rounded gradients have about the same norm"
    assert grpo["train/entropy"] == pytest.approx(baseline[1]["train/entropy"], rel=0.01), "one update later the policies are still close"


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_bf16_follows_fp32(start, documents, baseline, zero_stage):
    sft, grpo, *_ = train_twice(start(dtype=Dtype.bf16, zero_stage=zero_stage), documents)
    assert sft["train/loss"] == pytest.approx(baseline[0]["train/loss"], rel=0.02), "bf16 must see about the same loss"
    assert grpo["train/grad_norm"] == pytest.approx(baseline[1]["train/grad_norm"], rel=0.2), "and about the same gradient"


def test_the_sft_loss_is_the_mean_over_all_target_tokens(start, documents):
    learner = start()
    logprobs = np.concatenate([values for group in learner.logprobs(documents) for values in group])
    assert learner.train_sft(documents)["train/loss"] == pytest.approx(-logprobs.mean(), rel=1e-5)


def test_a_step_reports_what_it_cost(start, documents):
    learner = start(zero_stage=2)
    for metrics in (learner.train_sft(documents), learner.train_grpo(documents, GrpoConfig(updates_per_step=2))):
        shares = [metrics[f"train/{part}_share"] for part in ("forward", "backward", "optimizer")]
        assert all(share > 0 for share in shares) and sum(shares) < 1, f"parts of the step's time: {shares}"
        assert metrics["train/samples_per_s"] * metrics["train/seconds"] == pytest.approx(18), "every completion counts once"
        assert metrics["train/cpu_s"] > 0.0, "it computes on a CPU here"
        assert 0 < metrics["train/mfu"] < 1, f"useful arithmetic is less than the peak: {metrics['train/mfu']}"
        assert metrics["train/peak_memory_gib"] > 0.05, "a process with torch in it is larger than 50 MiB"


def test_supervised_training_learns(start, documents):
    learner = start(optim=OptimConfig(lr=1e-2), total_steps=30)
    losses = [learner.train_sft(documents)["train/loss"] for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0], f"thirty steps on the same documents must lower the loss: {losses[0]:.2f} -> {losses[-1]:.2f}"


def test_grpo_raises_what_was_good_and_lowers_what_was_bad(start, documents):
    learner = start()
    before = learner.logprobs(documents)
    for _ in range(3):
        learner.train_grpo(documents, GrpoConfig(correction=Correction.none))
    after = learner.logprobs(documents)
    gain = 0.0
    for document, old, new in zip(documents, before, after, strict=True):
        for completion, o, n in zip(document.completions, old, new, strict=True):
            gain += completion.advantage * float((n - o).sum())
    assert gain > 0, "log-probs must move along the advantages"


def test_zero_learning_rate_changes_nothing(start, documents):
    learner = start(optim=OptimConfig(lr=0.0))
    before = weights_of(learner)
    learner.train_grpo(documents, GrpoConfig())
    assert distance(before, weights_of(learner)) == 0.0, "lr = 0 must leave every bit of the weights"


@pytest.mark.parametrize(
    "grpo",
    [
        *(GrpoConfig(loss=loss, correction=Correction.none) for loss in Loss),
        *(GrpoConfig(correction=correction) for correction in Correction),
        *(GrpoConfig(aggregation=aggregation) for aggregation in Aggregation),
        *(GrpoConfig(kl=kl, kl_coef=0.1) for kl in (Kl.k1, Kl.k2, Kl.k3)),
        GrpoConfig(dual_clip=3.0),
        GrpoConfig(temperature=0.8),
    ],
    ids=lambda grpo: "-".join([grpo.loss, grpo.correction, grpo.aggregation, grpo.kl, str(grpo.dual_clip), str(grpo.temperature)]),
)
def test_every_choice_has_the_loss_and_gradient_of_its_formula(learners, documents, model_dir, grpo):
    """Against a float64 re-derivation on the plain transformers model, sequence by sequence."""
    metrics = learners.train_grpo(documents, grpo)
    loss, norm = expected_loss_and_norm(model_dir, documents, grpo)
    assert metrics["train/loss"] == pytest.approx(loss, rel=1e-4, abs=1e-6), "the reported loss is not the formula's"
    assert metrics["train/grad_norm"] == pytest.approx(norm, rel=1e-4), "the gradient is not the formula's"


@pytest.fixture(scope="module")
def learners(start):
    """Never moves: lr = 0."""
    return start(optim=OptimConfig(lr=0.0, grad_clip=0.0))


def expected_loss_and_norm(model_dir, documents, grpo):
    model = AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation="eager").double()
    terms, lengths = [], []
    for document in documents:
        for completion in document.completions:
            ids = torch.from_numpy(np.concatenate([document.prompt_ids, completion.ids]))[None]
            start = len(document.prompt_ids)
            new = torch.log_softmax(model(ids).logits[0, start - 1 : -1] / grpo.temperature, -1).gather(1, ids[0, start:, None])[:, 0]
            behaviour = torch.from_numpy(completion.behaviour_logprobs).double()
            terms.append(sequence_loss(new, behaviour, completion.advantage, grpo))
            lengths.append(len(completion.ids))
    if grpo.aggregation == Aggregation.token_mean:
        loss = sum(term.sum() for term in terms) / sum(lengths)
    elif grpo.aggregation == Aggregation.sequence_mean:
        loss = sum(term.mean() for term in terms) / len(terms)
    else:
        loss = sum(term.sum() for term in terms) / (len(terms) * 1024)
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm().item()


def sequence_loss(new, behaviour, advantage, grpo):
    """One update per step and the reference = the current policy: old = new, and KL terms are 0 with gradient 0."""
    old = behaviour if grpo.correction == Correction.bypass else new.detach()
    ratio = torch.exp(new - old)
    if grpo.loss == Loss.gspo:
        ratio = torch.exp((new - old).mean()).expand(len(new))
    loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.28))
    if grpo.loss == Loss.cispo:
        loss = -ratio.detach().clamp(0.8, 1.28) * advantage * new
    weight = torch.exp(new.detach() - behaviour)
    if grpo.correction == Correction.tis:
        loss = loss * weight.clamp(max=2.0)
    elif grpo.correction == Correction.icepop:
        loss = loss * torch.where((weight >= 0.5) & (weight <= 5.0), weight, 0.0)
    elif grpo.correction == Correction.geometric:
        mean = torch.exp((new.detach() - behaviour).mean())
        loss = loss * float(0.98 <= mean <= 1.02)
    return loss


def test_samples_with_broken_log_probs_leave_numerator_and_denominator(learners, documents):
    broken = copy.deepcopy(documents)
    broken[0].completions[1].behaviour_logprobs[0] = np.nan
    broken[2].completions[0].behaviour_logprobs[-1] = -np.inf  # the only completion of its document
    removed = copy.deepcopy(documents)
    del removed[0].completions[1]
    del removed[2]
    own, expected = learners.train_grpo(broken, GrpoConfig()), learners.train_grpo(removed, GrpoConfig())
    assert own["train/rejected_samples"] == 2, "both broken samples must be counted"
    assert own["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-6), "they must be left out as if they had never been there"
    assert own["train/tokens"] == expected["train/tokens"], "in the denominator, too"


MASKED = {
    "icepop": GrpoConfig(correction=Correction.icepop, icepop_low=0.999, icepop_high=1.001),
    "geometric": GrpoConfig(correction=Correction.geometric, geometric_low=0.999, geometric_high=1.001),
}


@pytest.mark.parametrize("correction", MASKED)
def test_the_share_of_masked_tokens_is_a_metric(learners, documents, correction):
    """Of three completions with known log-probs two lie outside of the band."""
    exact = learners.logprobs(documents[:1])[0]
    document = copy.deepcopy(documents[0])
    document.completions = document.completions[:3]
    for completion, logprobs, shift in zip(document.completions, exact, (0.0, 0.5, -0.5), strict=False):
        completion.behaviour_logprobs = logprobs + np.float32(shift)
    lengths = [len(completion.ids) for completion in document.completions]
    metrics = learners.train_grpo([document], MASKED[correction])
    assert metrics["train/masked_fraction"] == pytest.approx(sum(lengths[1:]) / sum(lengths))
    assert metrics["train/skipped_updates"] == 0
    assert "train/masked_fraction" not in learners.train_grpo([document], GrpoConfig()), "tis masks nothing"


@pytest.mark.parametrize("settings", [{}, {"zero_stage": 1, "dtype": Dtype.bf16}, {"zero_stage": 2}, {"zero_stage": 3}], ids=str)
@pytest.mark.parametrize("cause", ["icepop", "geometric", "no advantage", "rejected"])
def test_a_step_with_nothing_to_learn_from_leaves_the_weights_alone_and_says_so(start, documents, settings, cause):
    learner = start(optim=OptimConfig(lr=1e-2, weight_decay=0.5, schedule=Schedule.constant), **settings)
    learner.train_grpo(documents, GrpoConfig())  # AdamW has momentum now
    before, step = weights_of(learner), learner.step
    barren = copy.deepcopy(documents)
    for document in barren:
        for completion in document.completions:
            if cause == "no advantage":
                completion.advantage = 0.0
            elif cause == "rejected":
                completion.behaviour_logprobs = np.full_like(completion.behaviour_logprobs, np.nan)
            else:
                completion.behaviour_logprobs = completion.behaviour_logprobs - np.float32(5.0)
    metrics = learner.train_grpo(barren, dataclasses.replace(MASKED.get(cause, GrpoConfig()), updates_per_step=2))
    assert metrics["train/skipped_updates"] == 2
    assert all(np.isfinite(value) for value in metrics.values())
    assert distance(weights_of(learner), before) == 0.0, "momentum and weight decay must not move what nothing was learnt for"
    assert learner.step == step + 1, "the schedule goes on"
    learner.train_grpo(documents, GrpoConfig())
    assert distance(weights_of(learner), before) > 0.0, "the next step learns at the schedule's rate again"


def test_groups_that_reject_themselves_leave_fewer_updates(start, documents):
    learner = start()
    broken = copy.deepcopy(documents)
    for document in broken[1:]:
        for completion in document.completions:
            completion.behaviour_logprobs[0] = np.nan
    metrics = learner.train_grpo(broken, GrpoConfig(updates_per_step=3))
    assert metrics["train/skipped_updates"] == 2, "one document is left for three updates"
    assert metrics["train/tokens"] == documents[0].targets


def test_a_share_of_clipped_tokens_is_reported_only_where_one_can_be_clipped(learners, documents):
    assert "train/clip_fraction" not in learners.train_grpo(documents, GrpoConfig()), "with one update every ratio is 1"
    assert "train/clip_fraction" in learners.train_grpo(documents, GrpoConfig(correction=Correction.bypass))
    assert "train/clip_fraction" in learners.train_grpo(documents, GrpoConfig(updates_per_step=2))


def test_several_updates_per_step_keep_the_policy_of_the_start_as_old(start, documents):
    learner = start(optim=OptimConfig(lr=3e-2, schedule=Schedule.constant))
    metrics = learner.train_grpo(documents, GrpoConfig(updates_per_step=3, correction=Correction.none))
    assert metrics["train/clip_fraction"] > 0, "after large first updates, later ones must find ratios outside the clip range"
    assert metrics["train/tokens"] == sum(document.targets for document in documents), "each sample is trained on exactly once"
    with pytest.raises(ValueError, match="not enough for"):
        learner.train_grpo(documents[:2], GrpoConfig(updates_per_step=3))


def test_the_kl_reference_stays_where_it_was_until_it_is_refreshed(start, documents):
    frozen = start()
    kl = GrpoConfig(kl=Kl.k3, kl_coef=0.01)
    values = [frozen.train_grpo(documents, kl)["train/kl"] for _ in range(3)]
    assert values[0] == pytest.approx(0.0, abs=1e-6), "the reference starts as the policy itself"
    assert values[2] > values[1] > 1e-4, "the policy moves away from a frozen reference"
    moving = start()
    refreshed = [moving.train_grpo(documents, GrpoConfig(kl=Kl.k3, kl_coef=0.01, kl_refresh_every=1))["train/kl"] for _ in range(3)]
    assert max(refreshed) == pytest.approx(0.0, abs=1e-6), "a reference refreshed at every step is the policy itself"


@pytest.mark.parametrize(
    "settings",
    [{}, {"zero_stage": 2}, {"zero_stage": 3}, {"zero_stage": 1, "dtype": Dtype.bf16}, {"zero_stage": 2, "dtype": Dtype.bf16}],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(start, documents, settings, tmp_path):
    kl = GrpoConfig(kl=Kl.k2, kl_coef=0.05)
    optim = OptimConfig(lr=1e-2, warmup_steps=3)
    straight = start(optim, **settings)
    straight.train_sft(documents)
    straight.train_grpo(documents, kl)
    straight.save(tmp_path / "step-2")
    expected = [straight.train_grpo(documents, kl) for _ in range(2)]
    expected_weights = weights_of(straight)
    resumed = start(OptimConfig(lr=5.0), **settings)  # whatever it was doing before
    resumed.load(tmp_path / "step-2")
    assert resumed.step == 2, "the step is part of the checkpoint"
    for step, metrics in enumerate(expected):
        own = resumed.train_grpo(documents, kl)
        for name in ("train/loss", "train/grad_norm", "train/kl", "train/lr"):
            assert own[name] == metrics[name], f"{name} differs in step {step} after the resume"
    assert distance(weights_of(resumed), expected_weights) == 0.0, "weights must be equal to the bit"


@pytest.mark.parametrize("settings", [{}, {"zero_stage": 2}, {"zero_stage": 3}], ids=str)
def test_a_resume_under_other_settings_uses_them_and_keeps_what_was_learnt(start, documents, settings, tmp_path):
    old = OptimConfig(lr=1e-2, schedule=Schedule.constant, weight_decay=0.0)
    straight = start(old, **settings)
    for _ in range(2):
        straight.train_sft(documents)
    straight.save(tmp_path / "step-2")
    expected = straight.train_sft(documents)
    frozen = weights_of(straight)
    new = OptimConfig(
        lr=3e-3, betas=(0.5, 0.7), eps=1e-3, weight_decay=0.3, warmup_steps=4, schedule=Schedule.linear, min_lr_ratio=0.5, grad_clip=1e-3
    )
    resumed = start(OptimConfig(lr=5.0), **settings)
    resumed.load(tmp_path / "step-2", new, total_steps=30)
    own = resumed.train_sft(documents)
    assert own["train/loss"] == expected["train/loss"], "the weights are those of the checkpoint"
    assert own["train/lr"] == learning_rate(new, 2, 30) == pytest.approx(3e-3 * 3 / 4), "the third step of the new warm-up"
    groups = resumed._engine.optimizer.param_groups
    assert groups[0]["weight_decay"] == 0.3
    assert all(tuple(group["betas"]) == (0.5, 0.7) and group["eps"] == 1e-3 and group["lr"] == own["train/lr"] for group in groups)
    assert resumed._optimizer_state().updates == 3, "AdamW goes on counting"
    assert distance(weights_of(resumed), frozen) > 0.0, "the update was another"
    resumed.save(tmp_path / "step-3")
    again = start(**settings)
    again.load(tmp_path / "step-3")
    assert again.train_sft(documents)["train/lr"] == learning_rate(new, 3, 30), "the new settings are what is saved"


def test_impossible_settings_are_refused_before_anything_is_loaded(start, documents, tmp_path):
    learner = start()
    learner.save(tmp_path / "good")
    with pytest.raises(ValueError, match="lr"):
        learner.load(tmp_path / "good", OptimConfig(lr=-1.0), 10)
    assert learner.train_sft(documents)["train/loss"] > 0, "the learner is as it was"


def test_a_rank_vouches_for_every_file_that_it_wrote(start, documents, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 50_000)
    learner = start()
    learner.train_sft(documents)
    sealed = learner.save(tmp_path / "good")
    assert sorted(sealed, key=lambda file: file.name) == seal_folder(tmp_path / "good"), "names, sizes and hashes of all files"
    assert len(sealed) > 4, "of several shards"


@pytest.mark.parametrize(
    ("failing", "error", "number"),
    [
        ("save_file", SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        ("save_file", OSError(errno.ESTALE, "Stale file handle"), errno.ESTALE),
        ("seal", OSError(errno.EIO, "Input/output error"), errno.EIO),
    ],
)
def test_a_checkpoint_that_cannot_be_written_costs_the_learner_nothing(start, documents, tmp_path, monkeypatch, failing, error, number):
    learner = start()

    def fail(*arguments, **settings):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(checkpoint, failing, fail)
        with pytest.raises(OSError, match="learner rank 0") as caught:
            learner.save(tmp_path / "failed")
    assert caught.value.errno == number, "what the system said arrives, whichever library was told"
    assert not (tmp_path / "failed").exists()
    learner.train_sft(documents)
    learner.save(tmp_path / "failed")
    learner.load(tmp_path / "failed")


def test_checkpoints_are_complete_or_refused(start, tmp_path):
    learner = start()
    learner.save(tmp_path / "good")
    assert not (tmp_path / "good.writing").exists(), "nothing is left beside a finished checkpoint"
    with pytest.raises(FileExistsError, match="never overwritten"):
        learner.save(tmp_path / "good")
    with pytest.raises(ValueError, match="no complete learner checkpoint"):
        learner.load(tmp_path / "missing")
    (tmp_path / "half.writing").mkdir()  # an interrupted write
    learner.save(tmp_path / "half")
    learner.load(tmp_path / "half")
    for file in (tmp_path / "good").glob("state-*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"no weight of model.embed_tokens.weight: it is damaged"):
        learner.load(tmp_path / "good")
    learner.load(tmp_path / "half")


OFFLOADED = {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True}


@pytest.mark.parametrize("saved", [{}, {"zero_stage": 1}, {"zero_stage": 2}, {"zero_stage": 3}, OFFLOADED], ids=str)
def test_a_checkpoint_goes_on_under_any_zero_stage(start, documents, saved, tmp_path):
    first = start(**saved)
    first.train_grpo(documents, GrpoConfig(updates_per_step=2))
    first.save(tmp_path / "step-1")
    expected = [first.train_sft(documents) for _ in range(2)]
    for settings in ({}, {"zero_stage": 1}, {"zero_stage": 2}, {"zero_stage": 2, "offload_optimizer": True}, {"zero_stage": 3}, OFFLOADED):
        other = start(OptimConfig(lr=5.0), **settings)
        other.load(tmp_path / "step-1")
        for metrics in expected:  # the second shows whether the moments and their number of updates were restored
            own = other.train_sft(documents)
            for name in ("train/loss", "train/grad_norm"):
                assert own[name] == pytest.approx(metrics[name], rel=1e-5), f"{name} from {saved} to {settings}"


def test_float32_weights_survive_a_resume_in_bf16_and_back(start, documents, tmp_path):
    first = start()
    first.train_sft(documents)
    first.save(tmp_path / "fp32")
    rounded = start(dtype=Dtype.bf16, zero_stage=1)
    rounded.load(tmp_path / "fp32")
    rounded.save(tmp_path / "bf16")
    back = start()
    back.load(tmp_path / "bf16")
    assert distance(weights_of(back), weights_of(first)) == 0.0, "the master weights are float32 whatever the model computes in"


@pytest.mark.parametrize("settings", [{}, {"zero_stage": 3}], ids=str)
def test_an_export_is_loaded_by_plain_transformers(start, documents, tmp_path, model_dir, settings):
    (model_dir / "tokenizer.json").write_text("{}")
    learner = start(**settings)
    learner.train_sft(documents)
    for _ in range(2):  # the second replaces the first
        learner.export_hf(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert loaded.config._attn_implementation == "sdpa", "our attention must not leak into the exported config"
    expected = weights_of(learner)
    assert distance({name: tensor.float() for name, tensor in loaded.named_parameters()}, expected) == 0.0
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"], "a complete folder and nothing else"


def test_a_new_stage_keeps_the_weights_and_forgets_the_optimizer(start, documents):
    learner = start()
    learner.train_sft(documents)
    before = weights_of(learner)
    learner.begin_stage(OptimConfig(lr=1e-3), 5, seed=1)
    assert distance(before, weights_of(learner)) == 0.0, "weights go on from where they were"
    assert learner.step == 0, "the schedule starts anew"
    assert not learner._engine.optimizer.state, "so does the optimizer"


def test_a_learner_listens_at_its_own_address_and_at_no_other(start):
    start()
    assert listeners([psutil.Process()]), "its ranks meet somewhere, or this test sees nothing"
    assert beyond_the_machine([psutil.Process()]) == {}


def test_an_unprepared_or_empty_call_is_explained(start, model_dir, world):
    with pytest.raises(RuntimeError, match="call begin_stage"):
        PolicyLearner(LearnerConfig(), model_dir, world).train_sft([])
    with pytest.raises(ValueError, match="the step is empty"):
        start().train_sft([])
    with pytest.raises(ValueError, match="needs behaviour log-probs"):
        start().train_grpo(make_documents(0, (2,)), GrpoConfig())
