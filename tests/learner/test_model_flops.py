"""The count of operations is that of torch's own counter, the count of pairs that of the masks, and nothing unknown is guessed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from learner import model_flops
from learner.batch import Completion, Document, pack, split_documents
from learner.config import LearnerConfig
from learner.model_flops import ModelShape, attended_pairs, forward_flops, gpu_peak, matmul_peak, training_flops
from learner.policy import Policy
from tests.learner.samples import VOCAB, make_documents

SMALL = dict(
    vocab_size=VOCAB,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    intermediate_size=80,
    max_position_embeddings=64,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=2,
)
WIDE_HEADS = {"head_dim": 16}  # 6 * 16 is not the hidden width


FAMILIES = [
    ("llama", {}),
    ("llama", WIDE_HEADS),
    ("mistral", WIDE_HEADS),
    ("qwen2", {}),
    ("qwen3", WIDE_HEADS),
    ("smollm3", {}),
    ("starcoder2", {}),
]


@pytest.mark.parametrize(("family", "fields"), FAMILIES)
def test_the_formula_is_what_torch_counts(family, fields):
    config = AutoConfig.for_model(family, **SMALL, **fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.config.use_cache = False
    count, length = 2, 11
    ids = torch.randint(VOCAB, (count, length), generator=torch.Generator().manual_seed(0))
    full = count * length * length  # eager attention multiplies all pairs and masks afterwards
    shape = ModelShape.of(config)
    with FlopCounterMode(display=False) as counter:
        logits = model(ids).logits
    assert counter.get_total_flops() == forward_flops(shape, count * length, count * length, full), (
        f"{family}: a forward pass is not what forward_flops says"
    )
    with FlopCounterMode(display=False) as counter:
        logits.logsumexp(-1).sum().backward()
    twice = training_flops(shape, count * length, count * length, full) - forward_flops(shape, count * length, count * length, full)
    assert counter.get_total_flops() == twice, f"{family}: a backward pass is two forward passes"


def test_every_listed_family_is_compared_with_torch():
    compared = {family for family, _ in FAMILIES}
    assert set(model_flops.MLP_MATRICES) == compared, "a family was listed whose count nobody has compared with torch's"


def test_rows_and_targets_of_documents_are_what_the_packed_policy_multiplies(model_dir):
    """Attention apart: torch counts all pairs of a block and its padding."""
    documents = make_documents(0, (3, 1, 4))
    policy = Policy.load(model_dir, LearnerConfig())
    shape = ModelShape.of(policy.model.config)
    with FlopCounterMode(display=False) as counter:
        policy(pack(documents))[0].sum().backward()
    products = sum(count for kind, count in counter.get_flop_counts()["Global"].items() if "mm" in str(kind) and "bmm" not in str(kind))
    rows, targets = sum(document.rows for document in documents), sum(document.targets for document in documents)
    assert products == training_flops(shape, rows, targets, attended=0), "the layers run for every row and the head for every target, once"


def pairs_by_hand(documents):
    """Looks at every pair of two rows of a document."""
    pairs = 0
    for document in documents:
        rows = [(None, position) for position in range(len(document.prompt_ids))]
        for number, completion in enumerate(document.completions):
            rows += [(number, len(document.prompt_ids) + position) for position in range(len(completion.ids) - 1)]
        for owner, position in rows:
            pairs += sum(other <= position and seen in (None, owner) for seen, other in rows)
    return pairs


def pairs_of_masks(documents):
    """What attention is told to look at: the masks of the packed batch, without the rows that are padding."""
    pairs = 0
    for block in pack(documents).blocks:
        queries = torch.arange(block.count * block.width) if block.query_rows is None else block.query_rows
        real = torch.ones(len(queries), dtype=torch.bool)
        real[1:] = queries[1:] != 0  # padding points at the block's first row
        real = real.view(block.count, block.width)
        causal = torch.ones(block.width, block.width).tril().bool()[None, None]
        mask = causal if block.mask is None else block.mask
        pairs += int((mask.expand(block.count, -1, -1, -1).sum(-1)[:, 0] * real).sum())
    return pairs


@pytest.mark.parametrize("group_sizes", [(1,), (5,), (1, 1, 1), (3, 1, 5, 2, 1, 8)], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pairs_are_those_of_the_masks(seed, group_sizes):
    documents = make_documents(seed, group_sizes)
    assert attended_pairs(documents) == pairs_by_hand(documents), "a pair is missing or counted twice"
    assert attended_pairs(documents) == pairs_of_masks(documents), "attention is told to look at other pairs than are counted"


def test_a_sequence_alone_sees_the_triangle():
    document = Document(np.arange(7), [Completion(np.arange(6))])
    assert attended_pairs([document]) == 12 * 13 // 2, "7 prompt rows and 5 of the completion's 6: a triangle of 12"


def test_parts_of_a_group_repeat_work_that_is_not_counted():
    documents = make_documents(2, (6, 1, 4))
    parts = split_documents(documents, 30)
    assert len(parts) > len(documents), "the budget was chosen so that groups are split"
    repeated = 0
    for number, first, _ in parts:
        prompt = len(documents[number].prompt_ids)
        repeated += prompt * (prompt + 1) // 2 if first else 0
    computed = pairs_by_hand([part for _, _, part in parts])
    assert attended_pairs(documents) == computed - repeated, "the prompt counts once, however often it is computed"


def test_a_missing_field_is_named():
    fields = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
    with pytest.raises(ValueError, match=r"\(llama\) has no intermediate_size"):
        ModelShape.of(SimpleNamespace(model_type="llama", **fields))
    with pytest.raises(ValueError, match=r"\(gpt2\) has no num_key_value_heads"):
        ModelShape.of(AutoConfig.for_model("gpt2"))


def test_a_model_of_experts_is_not_taken_for_a_dense_one():
    with pytest.raises(ValueError, match="model_type = 'mixtral' are not known"):
        ModelShape.of(AutoConfig.for_model("mixtral", **SMALL))


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_a_gpu_has_its_own_peak_or_none(name, bf16):
    assert gpu_peak(name, torch.bfloat16) == bf16, f"{name} has another peak in bf16"


def test_fp32_on_a_gpu_is_tf32_only_where_that_is_allowed():
    assert gpu_peak("NVIDIA H100 80GB HBM3", torch.float32, tf32=True) == 494.7e12, "TF32 was allowed"
    assert gpu_peak("NVIDIA H100 80GB HBM3", torch.float32) == 66.9e12, "without TF32, products run outside the tensor cores"
    assert gpu_peak("NVIDIA H100 80GB HBM3", torch.float64) is None, "a dtype without an entry has no peak"


def test_a_cpu_is_measured_once_and_left_as_it_was(monkeypatch):
    monkeypatch.setattr(model_flops, "MEASURE_S", 0.01)
    model_flops._measured_peak.cache_clear()
    threads, state, cpu = torch.get_num_threads(), torch.get_rng_state(), torch.device("cpu")
    peak = matmul_peak(torch.float32, cpu, threads=1)
    assert peak is not None and peak > 0, "a CPU always has a peak"
    assert matmul_peak(torch.float32, cpu, threads=1) == peak, "the second answer is the first one's: a measurement would differ"
    assert torch.get_num_threads() == threads, "the number of threads must be what it was"
    assert torch.equal(state, torch.get_rng_state()), "measuring must not disturb anybody's random numbers"
    assert matmul_peak(torch.float32, torch.device("meta")) is None, "nobody knows the peak of this device"
    model_flops._measured_peak.cache_clear()  # others measure for as long as it takes
