"""Tiny models of every family that the learner accepts, by what is particular about them."""

import transformers

from tests.learner.samples import save_family

WINDOW = 5  # documents are longer: the window ends inside the prompt, at its border and inside the completion
ALTERNATING = ["sliding_attention", "full_attention"]
BOUNDED = {"sliding_window": WINDOW, "layer_types": ALTERNATING, "query_pre_attn_scalar": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10_000.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
    "rope_theta": 10_000.0,
}  # fmt: skip

CASES = {
    "llama": ("LlamaConfig", {}),
    "llama, biases": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama, llama3 positions": ("LlamaConfig", {"rope_parameters": LLAMA3}),
    "llama, yarn positions": ("LlamaConfig", {"rope_parameters": YARN}),
    "llama, linear positions": ("LlamaConfig", {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10_000.0}}),
    "llama, dynamic positions": ("LlamaConfig", {"rope_parameters": {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 10_000.0}}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "mistral, window": ("MistralConfig", {"sliding_window": WINDOW}),
    "ministral": ("MinistralConfig", {"sliding_window": WINDOW, "layer_types": ALTERNATING}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2, window": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3, window": ("Qwen3Config", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}),
    "gemma": ("GemmaConfig", {}),
    "gemma2": ("Gemma2Config", {**BOUNDED, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma2, unbounded": ("Gemma2Config", {**BOUNDED, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma3_text": ("Gemma3TextConfig", BOUNDED),
    "gemma3_text, bounded": ("Gemma3TextConfig", {**BOUNDED, "final_logit_softcapping": 3.0}),
    "granite": (
        "GraniteConfig",
        {"head_dim": None, "logits_scaling": 8.0, "attention_multiplier": 0.3, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    ),
    "phi3": ("Phi3Config", {"head_dim": None, "sliding_window": WINDOW}),
    "olmo2": ("Olmo2Config", {"head_dim": None}),
    "olmo3": ("Olmo3Config", {"head_dim": None, "sliding_window": WINDOW, "layer_types": ALTERNATING}),
    "smollm3": ("SmolLM3Config", {"head_dim": None, "no_rope_layers": [1, 0]}),
    "cohere": ("CohereConfig", {"head_dim": None, "logit_scale": 0.25, "use_qk_norm": True}),
    "cohere2": ("Cohere2Config", {"head_dim": None, "logit_scale": 0.25, "sliding_window": WINDOW, "layer_types": ALTERNATING}),
    "glm4": ("Glm4Config", {"partial_rotary_factor": 0.5}),
}


def save_case(case, directory):
    """Writes the random model of ``CASES[case]`` as a HF folder."""
    name, settings = CASES[case]
    save_family(getattr(transformers, name), directory, **settings)
