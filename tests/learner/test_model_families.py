"""Every family that the learner accepts computes what plain transformers computes; everything else is refused before it is loaded."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, MixtralConfig

from learner import model_family
from learner.attention import packed_attention
from learner.batch import Completion, Document, pack
from learner.config import LearnerConfig
from learner.model_family import FAMILIES, check_folder
from learner.policy import Policy
from tests.learner.family_cases import CASES, save_case
from tests.learner.samples import VOCAB, make_documents, save_family


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Makes each family's folder once."""
    root = tmp_path_factory.mktemp("families")

    def folder(case):
        place = root / case.replace(", ", "-").replace(" ", "-")
        if not place.is_dir():
            save_case(case, place)
        return place

    return folder


def unpacked(model, documents, temperature):
    """One plain forward pass per sequence."""
    result = []
    for document in documents:
        for completion in document.completions:
            ids = torch.from_numpy(np.concatenate([document.prompt_ids, completion.ids]))[None]
            logprobs = torch.log_softmax(model(ids).logits[0].float() / temperature, -1)
            start = len(document.prompt_ids)
            result.append(logprobs[start - 1 : -1].gather(1, ids[0, start:, None])[:, 0])
    return torch.cat(result)


def check(folder, documents, temperature=0.8, **settings):
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    policy = Policy.load(folder, LearnerConfig(**settings))
    expected_N = unpacked(plain, documents, temperature)
    own_N, _ = policy(pack(documents), temperature)
    assert torch.allclose(own_N, expected_N, atol=2e-5), f"log-probs differ by {(own_N - expected_N).abs().max():.2e} nats"
    direction_N = torch.from_numpy(np.random.default_rng(0).normal(size=len(expected_N)).astype(np.float32))
    (own_N * direction_N).sum().backward()
    (expected_N * direction_N).sum().backward()
    own = dict(policy.model.named_parameters())
    for name, parameter in plain.named_parameters():
        error = (own[name].grad - parameter.grad).norm() / parameter.grad.norm()
        assert error < 3e-5, f"the gradient of {name} differs by {error:.2e} of its length"


@pytest.mark.parametrize("case", CASES)
def test_packed_rows_of_every_family_equal_plain_transformers(folder_of, case):
    check(folder_of(case), make_documents(0, (3, 1, 5)))


@pytest.mark.parametrize("case", ["mistral, window", "gemma2", "gemma3_text", "cohere2", "olmo3"])
@pytest.mark.parametrize(
    "documents",
    [
        make_documents(1, (1, 1, 1)),
        make_documents(2, (4, 4), longest_prompt=40, longest_completion=60),
        [Document(np.arange(3, 20), [Completion(np.arange(5, 30)) for _ in range(3)]) for _ in range(2)],  # no padding at all
        [Document(np.arange(3, 6), [Completion(np.arange(3, 5)), Completion(np.arange(4, 5))])],  # all within the window
    ],
    ids=["lone", "long", "equal lengths", "short"],
)
def test_windows_and_bounds_hold_in_every_layout_of_a_row(folder_of, case, documents):
    check(folder_of(case), documents)


@pytest.mark.parametrize("case", ["gemma2", "granite", "cohere", "mistral, window"])
def test_a_chunked_head_and_checkpointed_layers_change_nothing(folder_of, case, monkeypatch):
    monkeypatch.setattr("learner.logprobs.HeadConfig.is_dense", lambda *_: False)
    check(folder_of(case), make_documents(0, (3, 1, 5)), gradient_checkpointing=True)


@pytest.mark.parametrize("case", CASES)
def test_what_is_published_has_the_names_that_the_family_keeps_its_weights_under(folder_of, case):
    from safetensors import safe_open

    with safe_open(folder_of(case) / "model.safetensors", "pt") as file:
        kept = set(file.keys())
    assert {name for name, _ in Policy.load(folder_of(case), LearnerConfig()).model.named_parameters()} == kept


def test_every_accepted_family_has_been_compared():
    compared = {getattr(transformers, name).model_type for name, _ in CASES.values()}
    assert compared == set(FAMILIES)


@pytest.mark.parametrize("case", CASES)
def test_every_setting_of_a_family_has_been_looked_at(case):
    """transformers' own list of settings: one that a new version adds has to be judged first."""
    config_class = getattr(transformers, CASES[case][0])
    base = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)}
    own = {field.name for field in dataclasses.fields(config_class)} - base
    unknown = {name for name in own if not model_family._is_known(name, FAMILIES[config_class.model_type])}
    assert not unknown, f"{config_class.model_type} has settings that nobody has judged"


def settings_of(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    return config | changes


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("llama", {"model_type": "falcon"}, r"model_type = 'falcon' is not among the families .* take a model of one of llama, mistral"),
        ("llama", {"model_type": "qwen3_moe", "num_experts": 8}, "mixture of experts"),
        ("llama", {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, "nests its language model in text_config"),
        ("llama", {"model_type": "llava", "language_config": {"hidden_size": 8}}, "nests its language model in language_config"),
        ("llama", {"model_type": None}, "model_type = None is not among"),
        ("llama", {"attn_logit_softcapping": 30.0}, "attn_logit_softcapping = 30.0 is a setting that a llama model is not known to have"),
        ("llama", {"sliding_window": 8}, "sliding_window = 8"),
        ("llama", {"logit_scale": 0.1}, "logit_scale = 0.1"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "layer_types"),
        ("cohere2", {"use_qk_norm": True}, "use_qk_norm = True"),
        ("qwen2", {"use_mrope": True}, "use_mrope = True"),
        ("llama", {"attention_dropout": 0.1}, "attention_dropout = 0.1 is not supported"),
        ("phi3", {"resid_pdrop": 0.1}, "resid_pdrop = 0.1 is not supported"),
        ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantized weights cannot be trained"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "no language-model head"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "left to right"),
        ("qwen3", {"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ("phi3", {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}, "'longrope'"),
        ("gemma3_text", {"rope_parameters": {"full_attention": {"rope_type": "proportional"}}}, "'proportional'"),
        ("granite", {"logits_scaling": 0}, "logits_scaling = 0"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_line(folder_of, tmp_path, case, changes, message):
    (tmp_path / "config.json").write_text(json.dumps(settings_of(folder_of(case), **changes)))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=message) as refused:
        check_folder(tmp_path)
    assert "\n" not in str(refused.value), "one line"
    assert str(tmp_path / "config.json") in str(refused.value), "which file"
    with pytest.raises(ValueError, match=message):
        Policy.load(tmp_path, LearnerConfig())


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None, "use_sliding_window": False, "attn_logit_softcapping": None},
        {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q4"}, "_name_or_path": "here"},
        {"rope_scaling": None, "rope_theta": 500_000.0, "torch_dtype": "bfloat16", "pretraining_tp": 1},
        {"auto_map": {"AutoConfig": "code.Config"}},
    ],
)
def test_settings_that_change_no_number_are_no_reason_to_refuse(folder_of, tmp_path, changes):
    (tmp_path / "config.json").write_text(json.dumps(settings_of(folder_of("llama"), **changes)))
    check_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff"])
def test_an_unreadable_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"config\.json") as refused:
        check_folder(tmp_path)
    assert "\n" not in str(refused.value)


def test_an_argument_of_attention_that_nobody_knows_is_refused(folder_of):
    """What config.json does not show: sinks of GPT-OSS, a mask, an argument of a later version."""
    query = torch.zeros(1, 2, 3, 4)
    batch = pack([Document(np.arange(3, 5), [Completion(np.arange(3, 5))])])
    for surprise in ({"s_aux": torch.zeros(2)}, {"position_bias": torch.zeros(1)}, {"head_mask": torch.ones(2)}):
        with pytest.raises(ValueError, match=f"wants {next(iter(surprise))}"):
            packed_attention(torch.nn.Identity(), query, query, query, None, packed=batch, **surprise)
    bidirectional = torch.nn.Identity()
    bidirectional.is_causal = False
    with pytest.raises(ValueError, match="both directions"):
        packed_attention(bidirectional, query, query, query, None, packed=batch)


def test_a_mixture_of_experts_is_refused_by_its_folder(tmp_path):
    save_family(MixtralConfig, tmp_path, num_local_experts=2, num_experts_per_tok=1)
    with pytest.raises(ValueError, match="a mixture of experts, and none is among"):
        check_folder(tmp_path)


def test_the_check_imports_neither_torch_nor_transformers():
    import subprocess
    import sys

    code = "import sys, learner.model_family; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


assert VOCAB == 64, "the ids above are of the tiny vocabulary"
