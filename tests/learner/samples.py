"""Seeded documents and the shape of the tiny model that the learner's tests share."""

import socket

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from learner.batch import Completion, Document
from learner.config import ModelConfig, OptimConfig, Schedule

VOCAB = 64
OPTIM = OptimConfig(lr=1e-2, schedule=Schedule.constant, grad_clip=0.5)
TINY = ModelConfig(
    hidden_size=32, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate_size=48, max_position_embeddings=128, initializer_range=0.2
)


def make_documents(seed, group_sizes, longest_prompt=12, longest_completion=20, behaviour=False):
    """Random documents; completions of every length from 1 on."""
    rng = np.random.default_rng(seed)
    documents = []
    for size in group_sizes:
        completions = []
        for _ in range(size):
            length = int(rng.integers(1, longest_completion + 1))
            logprobs = (-4.0 + 0.3 * rng.normal(size=length)).astype(np.float32) if behaviour else None
            completions.append(Completion(rng.integers(3, VOCAB, length), float(rng.normal()), logprobs))
        documents.append(Document(rng.integers(3, VOCAB, int(rng.integers(1, longest_prompt + 1))), completions))
    return documents


def save_family(config_class, directory, **settings):
    """A random model of the tiny shape from another family of transformers' models; norms and biases are random, too."""
    values = {
        "vocab_size": VOCAB,
        "hidden_size": TINY.hidden_size,
        "num_hidden_layers": TINY.layers,
        "num_attention_heads": TINY.heads,
        "num_key_value_heads": TINY.kv_heads,
        "head_dim": TINY.head_dim,
        "intermediate_size": TINY.intermediate_size,
        "initializer_range": TINY.initializer_range,
        "max_position_embeddings": TINY.max_position_embeddings,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    } | settings
    if values["head_dim"] is None:  # a family that has no such setting
        del values["head_dim"]
    config = config_class(**values)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(directory)


def gradient_of(learner):
    """The whole gradient of the first update of a stage, clipped, times 1 - beta1: AdamW's first moment. A collective."""
    state = learner._optimizer_state()
    return torch.cat([state.read(parameter)["exp_avg"].flatten() for parameter in learner._policy.model.parameters()]).clone()


def weights_of(learner):
    """Copies, float32, by HF name. A collective."""
    return {name: tensor.float().clone() for name, tensor in learner.named_weights()}


def relative_distance(first, second):
    """|first - second| / |second|"""
    return ((first - second).norm() / second.norm()).item()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
