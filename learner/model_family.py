"""The model families that the learner computes exactly, and what of a folder's config.json it refuses.

Packed attention (attention.py) and the head (logprobs.py) replace code of transformers, so a family counts only once a test has compared
both with the plain model (tests/learner/test_model_families.py). A family, or a setting, that nobody has compared would be trained on wrong
log-probabilities without any error. Nothing here imports torch or transformers: a start can ask before it loads anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.model_files import read_settings


def _fields(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What transformers' own modules compute in every family, or what changes no number.
COMMON_FIELDS = _fields(
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim hidden_act "
    "max_position_embeddings original_max_position_embeddings rms_norm_eps attention_bias mlp_bias tie_word_embeddings rope_theta "
    "rope_scaling rope_parameters attention_dropout initializer_range model_type architectures transformers_version dtype torch_dtype "
    "auto_map bos_token_id eos_token_id pad_token_id use_cache pretraining_tp id2label label2id chunk_size_feed_forward problem_type "
    "return_dict cache_implementation name_or_path unsloth_version unsloth_fixed transformers.js_config"
)
# Settings of released models that say no more than what their family does anyway.
NEUTRAL: Mapping[str, object] = {
    "is_llama_config": True,
    "rotary_pct": 1.0,
    "full_attn_mod": 1,
    "interpolate_factor": 1,
    "position_embedding_type": "rope_gptj",
    "order_of_interleaved_layers": "local_attn_first",
    "layer_switch": 4,
    "use_embedding_sharing": True,
    "use_gated_activation": True,
    "use_parallel_block": True,
    "use_parallel_embedding": True,
}
LAYER_KINDS = frozenset({"full_attention", "sliding_attention"})
ROPE_KINDS = frozenset({"default", "linear", "dynamic", "llama3", "yarn"})


@dataclass(frozen=True, slots=True)
class Family:
    """What a family has beside COMMON_FIELDS.

    Attributes:
        fields: of its config.json.
        divisor, factor, softcap: names of the fields by which the head's logits are divided, multiplied and bounded.
        cuts: whether tensor parallelism may cut its layers: a norm over all heads of a layer must see them all.
    """

    fields: frozenset[str] = frozenset()
    divisor: str | None = None
    factor: str | None = None
    softcap: str | None = None
    cuts: bool = False


_WINDOW = _fields("sliding_window")
_WINDOWS = _WINDOW | _fields("layer_types")
_QWEN = _WINDOWS | _fields("use_sliding_window max_window_layers")
_GEMMA = _WINDOWS | _fields(
    "hidden_activation query_pre_attn_scalar final_logit_softcapping attn_logit_softcapping use_bidirectional_attention"
)
_GRANITE = _fields("embedding_multiplier attention_multiplier residual_multiplier logits_scaling")

FAMILIES: Mapping[str, Family] = {
    "llama": Family(cuts=True),
    "mistral": Family(_WINDOW, cuts=True),
    "ministral": Family(_WINDOWS, cuts=True),
    "qwen2": Family(_QWEN, cuts=True),
    "qwen3": Family(_QWEN, cuts=True),
    "gemma": Family(_fields("hidden_activation use_bidirectional_attention"), cuts=True),
    "gemma2": Family(_GEMMA, softcap="final_logit_softcapping", cuts=True),
    "gemma3_text": Family(_GEMMA | _fields("rope_local_base_freq sliding_window_pattern"), softcap="final_logit_softcapping", cuts=True),
    "granite": Family(_GRANITE, divisor="logits_scaling", cuts=True),
    "phi3": Family(_WINDOW | _fields("resid_pdrop embd_pdrop partial_rotary_factor")),
    "olmo2": Family(),
    "olmo3": Family(_WINDOWS),
    "smollm3": Family(_QWEN | _fields("no_rope_layers no_rope_layer_interval"), cuts=True),
    "cohere": Family(_fields("logit_scale layer_norm_eps use_qk_norm"), factor="logit_scale"),
    "cohere2": Family(_WINDOWS | _fields("logit_scale layer_norm_eps sliding_window_pattern"), factor="logit_scale"),
    "glm4": Family(_fields("partial_rotary_factor")),
}


def check_folder(folder: str | Path) -> None:
    """Refuses a HF folder whose model the learner would not compute exactly. Reads config.json alone.

    Raises:
        ValueError: there is no readable config.json, the family is none of FAMILIES, or a setting is not computed. One line, with a remedy.
    """
    for found in refusals(read_settings(Path(folder))):
        raise ValueError(f"{Path(folder) / 'config.json'}: {found}")


def refusals(config: Mapping[str, Any]) -> Iterator[str]:
    """Why a model of this config.json is not computed exactly, and what to do; nothing if it is."""
    kind = config.get("model_type")
    nested = sorted(name for name, value in config.items() if name.endswith("_config") and _is_model(value))
    if nested:
        yield (
            f"model_type = {kind!r} nests its language model in {', '.join(nested)} (a multimodal model), and the learner trains none; "
            f"take a text model of one of {', '.join(FAMILIES)}"
        )
        return
    family = FAMILIES.get(str(kind))
    if family is None:
        experts = any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
        what = "a mixture of experts, and none is" if experts else "not"
        yield (
            f"model_type = {kind!r} is {what} among the families whose log-probs have been compared with transformers; "
            f"take a model of one of {', '.join(FAMILIES)}"
        )
        return
    yield from _unfit_settings(config, str(kind), family)


def _unfit_settings(config: Mapping[str, Any], kind: str, family: Family) -> Iterator[str]:
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith("ForCausalLM") for name in architectures):
        yield f"architectures = {architectures} has no language-model head to train; take the folder of a …ForCausalLM"
    if config.get("quantization_config"):
        yield "quantization_config is set, and quantized weights cannot be trained; take the folder with plain bf16 or float32 weights"
    for name, value in config.items():
        if ("dropout" in name or name.endswith("_pdrop")) and value:
            yield f"{name} = {value} is not supported, since packed rows are computed without dropout; set it to 0 in config.json"
        elif value and not _is_known(name, family) and value != NEUTRAL.get(name):
            yield (
                f"{name} = {value!r} is a setting that a {kind} model is not known to have, so the learner may compute other numbers than "
                "the engine; remove it from config.json if it changes nothing"
            )
    if config.get("use_bidirectional_attention"):
        yield "use_bidirectional_attention = true: completions are sampled from left to right; take a causal model"
    if unknown := sorted(set(config.get("layer_types") or ()) - LAYER_KINDS):
        yield f"layer_types has {unknown}; the learner computes {sorted(LAYER_KINDS)}; take another model"
    for rope in rope_kinds(config):
        if rope not in ROPE_KINDS:
            yield (
                f"rotary positions of type {rope!r} depend on the longest row of a batch or have not been compared with transformers; the "
                f"learner computes {sorted(ROPE_KINDS)}; take the model's variant without it (a shorter context)"
            )
    scale = family.factor or family.divisor
    if scale and not config.get(scale, 1.0):
        yield f"{scale} = 0 leaves no difference between tokens; correct config.json"


def _is_known(name: str, family: Family) -> bool:
    return name.startswith("_") or name == "quantization_config" or name in COMMON_FIELDS | family.fields


def rope_kinds(config: Mapping[str, Any]) -> set[str]:
    """The types of rotary positions of a config.json: newer files have ``rope_parameters``, perhaps one for each kind of layer."""
    found: set[str] = set()
    for entry in (config.get("rope_scaling"), config.get("rope_parameters")):
        if isinstance(entry, dict):
            nested = [value for value in entry.values() if isinstance(value, dict)]
            found.update(str(one.get("rope_type", one.get("type", "default"))) for one in nested or [entry])
    return found


def head_factor(config: Any) -> float:
    """What the head's logits are multiplied by. ``config``: transformers' object or anything with its attributes."""
    family = FAMILIES[config.model_type]
    if family.divisor:
        return 1.0 / float(getattr(config, family.divisor))
    return float(getattr(config, family.factor)) if family.factor else 1.0


def head_softcap(config: Any) -> float | None:
    """The bound c of logits c tanh(z / c); None: they are not bounded."""
    name = FAMILIES[config.model_type].softcap
    bound = getattr(config, name) if name else None
    return None if bound is None else float(bound)


def _is_model(value: object) -> bool:
    return isinstance(value, dict) and ("model_type" in value or "hidden_size" in value)
