"""Two real ranks: what they compute together equals what one computes alone. One pair of processes serves all tests."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import time

import pytest

from learner.config import Dtype, GrpoConfig, LearnerConfig, OptimConfig, Schedule
from learner.distributed import World
from learner.rank_group import RankGroup
from learner.tensor_parallel import BY_INPUTS, BY_OUTPUTS, check_model
from tests.learner.family_cases import save_case
from tests.learner.samples import free_port, gradient_of, make_documents, relative_distance
from tests.patience import START_S, WAIT_S

OPTIM = OptimConfig(lr=1e-2, schedule=Schedule.constant)
LAYOUTS = {f"zero-{stage}": {"zero_stage": stage} for stage in (0, 1, 2, 3)} | {
    f"zero-{stage}-rows-shared": {"zero_stage": stage, "sequence_parallel": 2} for stage in (0, 3)
}
# Last, since DeepSpeed keeps the mesh for the life of a process; and only where there are two ranks.
CUT = {f"zero-{stage}-matrices-cut": {"zero_stage": stage, "tensor_parallel": 2} for stage in (1, 2, 3)}
LAYOUTS |= CUT
# Biases beside the matrices that are cut; norms of single heads; windows and bounds of scores over a rank's own heads; scaled logits.
CUT_FAMILIES = ("qwen2", "qwen3", "mistral, window", "gemma2", "gemma3_text", "granite", "smollm3")
SHARED_FAMILIES = ("mistral, window", "gemma2", "olmo2", "cohere2")
BF16 = {
    f"zero-{stage}{'-offloaded' if offload else ''}": {"zero_stage": stage, "offload_optimizer": offload, "dtype": Dtype.bf16}
    for stage, offload in ((1, False), (2, False), (3, False), (3, True))
}
LOST = 7  # exit code of a rank that has seen its partner's death


def begin(model_dir, world, layout):
    from learner.engine import PolicyLearner

    learner = PolicyLearner(LearnerConfig(micro_batch_tokens=64, **LAYOUTS[layout]), model_dir, world)
    learner.begin_stage(OPTIM, 10, seed=0)
    return learner


def compute(model_dir, world, layout, folder):
    """A few steps, a checkpoint and a resume under one layout. Returns the learner and its numbers."""
    learner = begin(model_dir, world, layout)
    documents = make_documents(7, (4, 3, 1, 5, 2), behaviour=True)
    lone = make_documents(8, (3,), behaviour=True)  # fewer documents than ranks: one rank computes a phantom
    metrics = [learner.train_sft(documents)]
    gradient = gradient_of(learner)
    metrics += [learner.train_grpo(documents, GrpoConfig(updates_per_step=2)), learner.train_sft(lone)]
    logprobs = learner.logprobs(documents)
    weights = {name: tensor.clone().numpy() for name, tensor in learner.named_weights()}
    saved = folder / f"checkpoint-{world.size}-{layout}"
    learner.save(saved)
    uninterrupted = learner.train_sft(documents)
    learner.save(folder / f"after-{world.size}-{layout}")
    learner.load(saved)
    return learner, (metrics, logprobs, weights, uninterrupted, learner.train_sft(documents), gradient)


def bf16_gradient(model_dir, world, layout):
    """Of a step whose every completion is a micro-batch of its own, under any number of ranks."""
    from learner.engine import PolicyLearner

    learner = PolicyLearner(LearnerConfig(micro_batch_tokens=1, **BF16[layout]), model_dir, world)
    learner.begin_stage(OPTIM, 10, seed=0)
    learner.train_sft(make_documents(7, (4, 3, 1, 5, 2)))
    return gradient_of(learner)


def family_step(folder, family, world, layout):
    """Gradient and loss of the first step of a model of another family."""
    learner = begin(folder / family, world, layout)
    loss = learner.train_sft(make_documents(7, (4, 3, 1, 5, 2)))["train/loss"]
    held = {name: parameter.numel() for name, parameter in learner._policy.model.named_parameters()}
    return loss, gradient_of(learner), held


def run_rank(world, model_dir, folder):
    """One rank in a fresh process: the numbers of every stage to ``folder``, then steps until the other rank is gone."""
    results = {f"{family} shared": family_step(folder, family, world, "zero-0-rows-shared") for family in SHARED_FAMILIES}
    results |= {f"bf16 {layout}": bf16_gradient(model_dir, world, layout) for layout in BF16}
    for layout in LAYOUTS:
        learner, results[layout] = compute(model_dir, world, layout, folder)
        learner.load(folder / "checkpoint-1-zero-1")
        results[f"from one rank to {layout}"] = learner.train_sft(make_documents(7, (4, 3, 1, 5, 2)))
    for family in CUT_FAMILIES:
        results[f"{family} cut"] = family_step(folder, family, world, "zero-1-matrices-cut")
    aside = folder / f"rank-{world.rank}.writing"
    aside.write_bytes(pickle.dumps(results))
    aside.rename(folder / f"rank-{world.rank}")
    documents = make_documents(7, (2, 2))
    try:
        while True:
            learner.train_sft(documents)
    except RuntimeError:  # gloo: the connection was reset
        os._exit(LOST)


@pytest.fixture(scope="module")
def alone(model_dir, tmp_path_factory):
    """One rank's learner and numbers, and the folder with its checkpoint."""
    folder = tmp_path_factory.mktemp("ranks")
    for family in {*CUT_FAMILIES, *SHARED_FAMILIES}:
        save_case(family, folder / family)
    learner, numbers = compute(model_dir, World(master_port=free_port()), "zero-1", folder)
    yield learner, numbers, folder
    learner.close()


@pytest.fixture(scope="module")
def pair(model_dir, alone):
    """Two running ranks and the folder with their results."""
    folder = alone[2]
    context = multiprocessing.get_context("spawn")
    port = free_port()
    worlds = [World(rank, 2, master_port=port, timeout_s=START_S) for rank in range(2)]
    processes = [context.Process(target=run_rank, args=(world, model_dir, folder), daemon=True) for world in worlds]
    with contextlib.ExitStack() as stack:
        for process in processes:
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
        deadline = time.monotonic() + START_S
        while not all((folder / f"rank-{rank}").exists() for rank in range(2)):
            assert all(process.is_alive() for process in processes), "a rank failed; its traceback is above"
            assert time.monotonic() < deadline, "the ranks hang"
            time.sleep(0.1)
        yield processes, folder


def test_two_ranks_compute_what_one_computes(pair, alone):
    _, folder = pair
    _, alone, _ = alone
    both = [pickle.loads((folder / f"rank-{rank}").read_bytes()) for rank in range(2)]
    for layout in LAYOUTS:
        first, second = both[0][layout], both[1][layout]
        for step, (own, other, expected) in enumerate(zip(first[0], second[0], alone[0], strict=True)):
            for name in ("train/loss", "train/grad_norm", "train/entropy", "train/tokens"):
                assert own[name] == pytest.approx(expected[name], rel=1e-5), f"{layout}, step {step}: {name} depends on the ranks"
                assert own[name] == other[name], f"{layout}, step {step}: the ranks disagree on {name}"
        for own, expected in zip(first[1], alone[1], strict=True):
            for a, b in zip(own, expected, strict=True):
                assert abs(a - b).max() < 2e-3, f"{layout}: log-probs depend on the ranks"
        for name, weight in alone[2].items():
            assert abs(first[2][name] - weight).max() < 3e-4, f"{layout}: {name} depends on the ranks"
            assert (first[2][name] == second[2][name]).all(), f"{layout}: the ranks hold different {name}"
        assert relative_distance(first[5], alone[5]) < 1e-5, f"{layout}: the gradient depends on the ranks"
        assert first[3]["train/loss"] == first[4]["train/loss"], f"{layout}: two ranks do not resume to the bit"


@pytest.mark.parametrize("layout", BF16)
def test_gradients_of_bf16_models_are_added_up_over_ranks_in_float32(pair, alone, model_dir, layout):
    """Each micro-batch's gradient is bf16; their sum is not rounded again, which would lose 2e-3 of it and all that is small beside it."""
    expected = bf16_gradient(model_dir, alone[0].world, "zero-1")
    for rank in range(2):
        own = pickle.loads((pair[1] / f"rank-{rank}").read_bytes())[f"bf16 {layout}"]
        assert relative_distance(own, expected) < 1e-5, "a sum over ranks was rounded to bf16"


@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_shared_rows_of_other_families(pair, alone, family):
    both = [pickle.loads((pair[1] / f"rank-{rank}").read_bytes())[f"{family} shared"] for rank in range(2)]
    loss, gradient, _ = family_step(pair[1], family, alone[0].world, "zero-1")
    for own_loss, own_gradient, _ in both:
        assert own_loss == pytest.approx(loss, rel=1e-5), "the loss depends on whether rows are shared"
        assert relative_distance(own_gradient, gradient) < 1e-5, "the gradient depends on whether rows are shared"


@pytest.mark.parametrize("family", CUT_FAMILIES)
def test_cut_matrices_of_other_families(pair, alone, family):
    both = [pickle.loads((pair[1] / f"rank-{rank}").read_bytes())[f"{family} cut"] for rank in range(2)]
    loss, gradient, whole = family_step(pair[1], family, alone[0].world, "zero-1")
    for own_loss, own_gradient, held in both:
        cut = {name.split(".")[-2] for name in held if held[name] == whole[name] // 2}
        assert cut == {*BY_OUTPUTS, *BY_INPUTS}, "a rank holds half of these layers and all of the others"
        assert own_loss == pytest.approx(loss, rel=1e-5), "the loss depends on the cut"
        assert relative_distance(own_gradient, gradient) < 1e-5, "the gradient depends on the cut"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_of_two_ranks_goes_on_under_one(pair, alone, layout):
    """The moments, too: the next loss is that of weights updated with them."""
    learner, _, folder = alone
    documents = make_documents(7, (4, 3, 1, 5, 2), behaviour=True)
    learner.load(folder / f"checkpoint-2-{layout}")
    uninterrupted = pickle.loads((folder / "rank-0").read_bytes())[layout][3]
    first, second = learner.train_sft(documents), learner.train_sft(documents)
    assert first["train/loss"] == pytest.approx(uninterrupted["train/loss"], rel=1e-5), f"two ranks under {layout} to one under zero-1"
    learner.load(folder / f"after-2-{layout}")
    assert second["train/loss"] == pytest.approx(learner.train_sft(documents)["train/loss"], rel=1e-4), (
        "nor does the update after it differ"
    )


def test_a_checkpoint_of_one_rank_goes_on_under_two(pair, alone):
    learner, _, folder = alone
    learner.load(folder / "checkpoint-1-zero-1")
    expected = learner.train_sft(make_documents(7, (4, 3, 1, 5, 2)))
    results = pickle.loads((folder / "rank-0").read_bytes())
    for layout in LAYOUTS:
        own = results[f"from one rank to {layout}"]
        for name in ("train/loss", "train/grad_norm"):
            assert own[name] == pytest.approx(expected[name], rel=1e-5), f"{name} after one rank's checkpoint under {layout}"


def test_the_death_of_a_rank_is_an_error_on_the_other_and_not_a_hang(pair):
    (survivor, victim), _ = pair
    os.kill(victim.pid, signal.SIGKILL)
    survivor.join(timeout=WAIT_S)
    assert survivor.exitcode == LOST, f"the surviving rank must raise within seconds (exit code {survivor.exitcode})"


def test_shared_rows_need_a_divisor_of_ranks_and_heads():
    with pytest.raises(ValueError, match=r"learner.sequence_parallel = 3 must divide the number of learner ranks, 2"):
        RankGroup.join("learner.sequence_parallel", 0, 2, 3)
    with pytest.raises(ValueError, match=r"must divide each of the model's 9 attention heads, 3 key value heads"):
        RankGroup(0, 2).check_deals_out("learner.sequence_parallel", attention_heads=9, key_value_heads=3)


def test_matrices_are_cut_only_where_their_layers_are_known(model_dir):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=8))
    with pytest.raises(ValueError, match=r"tensor_parallel = 2: the model has no linear layer \['down_proj', 'gate_proj'"):
        check_model(model, RankGroup(0, 2))


def test_matrices_are_not_cut_where_a_norm_sees_all_heads(tmp_path):
    """OLMo 2 normalises the queries of all heads together: a rank would normalise its own."""
    from transformers import AutoModelForCausalLM

    save_case("olmo2", tmp_path)
    with pytest.raises(ValueError, match=r"tensor_parallel = 2: a model of type 'olmo2' cannot be cut"):
        check_model(AutoModelForCausalLM.from_pretrained(tmp_path), RankGroup(0, 2))
