"""The policy: a causal language model that reads packed batches and returns log-probabilities of their targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from learner import attention, kernels, logprobs, model_family
from learner.batch import PackedBatch
from learner.config import Device, Dtype, LearnerConfig, ModelConfig
from learner.model_files import SAFE, check_model_files
from learner.rank_group import RankGroup
from learner.sequence_parallel import RowShare, spread
from learner.tensor_parallel import head_counts

ALIGNMENT = 64  # bytes, that of a published version (actors.weights)

TORCH_DTYPES = {Dtype.fp32: torch.float32, Dtype.bf16: torch.bfloat16}


disable_progress_bar()  # weights load in milliseconds to seconds, and a bar per load fills the logs of actors


class Policy(nn.Module):
    """Wraps transformers' causal LM of a family in model_family.FAMILIES."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.sequence_group = RankGroup()

    def share_rows(self, group: RankGroup) -> None:
        """Computes micro-batches together with the other ranks of ``group``. Raises ValueError if heads cannot be dealt out evenly."""
        group.check_deals_out("learner.sequence_parallel", **head_counts(self.model.config))
        self.sequence_group = group

    @classmethod
    def load(cls, model_dir: str | Path, config: LearnerConfig) -> Policy:
        """Loads a HF folder with packed attention and, in fp32 on a CPU, hand-written gradients, else by option compiled ones (kernels.py).

        Raises:
            ValueError: the folder's model is not computed exactly (model_family.check_folder), or its files are none that are read.
        """
        check_model_files(Path(model_dir))
        model_family.check_folder(model_dir)
        model = AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=TORCH_DTYPES[config.dtype], attn_implementation=attention.NAME, **SAFE
        )
        model.config.use_cache = False
        model.train()
        if config.dtype == Dtype.fp32 and config.device == Device.cpu:
            kernels.install(model, config.gradient_dtype)
        elif config.compile:
            kernels.compile_elementwise(model)
        logprobs.install(model, logprobs.HeadConfig.of(config, model.config))
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return cls(model)

    def join_memory(self) -> None:
        """Moves all parameters, in the order of ``named_parameters``, into one piece of memory: whoever reads all of them reads one long
        run instead of hundreds of short ones. Values, names and identities stay; needs the bytes twice while it runs."""
        parameters = [parameter for parameter in self.parameters() if parameter.numel()]
        starts = [0]
        for parameter in parameters:
            starts.append(starts[-1] + -(-parameter.nbytes // ALIGNMENT) * ALIGNMENT)
        memory = torch.zeros(starts[-1], dtype=torch.uint8, device=parameters[0].device)
        for start, parameter in zip(starts, parameters, strict=False):
            place = memory[start : start + parameter.nbytes].view(parameter.dtype).view(parameter.shape)
            parameter.data = place.copy_(parameter.data)

    @property
    def max_positions(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 30))

    def forward(self, batch: PackedBatch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probability of every target after ``temperature`` and entropy at its position, float32 [N]; only the first has a gradient.

        The language-model head runs on predicting rows only. With sequence parallelism, a collective of the group: rows are shared out.
        """
        head = self.model.get_output_embeddings()
        if self.sequence_group.size == 1:
            hidden_NC = self._hidden(batch, batch.ids_1T, batch.positions_1T).index_select(0, batch.source_N)
            logprob_N, entropy_N = head(hidden_NC, batch.target_N, temperature)
            return logprob_N, entropy_N
        share = RowShare(self.sequence_group, batch.ids_1T.shape[1])
        own_n = share.own_targets(batch)
        hidden_tC = self._hidden(batch, share.own(batch.ids_1T), share.own(batch.positions_1T), share=share)
        own = head(hidden_tC.index_select(0, batch.source_N[own_n] - share.first), batch.target_N[own_n], temperature)
        logprob_N, entropy_N = spread(own, own_n, len(batch.target_N), self.sequence_group)
        return logprob_N, entropy_N

    def _hidden(self, batch: PackedBatch, ids_1T: Tensor, positions_1T: Tensor, **layout: RowShare) -> Tensor:
        """[T, C] of the last layer."""
        hidden_1TC: Tensor = self.model.base_model(
            input_ids=ids_1T, position_ids=positions_1T, use_cache=False, packed=batch, **layout
        ).last_hidden_state
        return hidden_1TC[0]


def create_model(model_dir: str | Path, config: ModelConfig, vocab_size: int, special_ids: Mapping[str, int], seed: int) -> int:
    """Writes a Llama with random weights as a HF folder (loadable by transformers and vLLM).

    Args:
        special_ids: token ids by role: "bos", "eos", "pad".
        seed: of the weights; the global random state is left as it was.

    Returns:
        The number of parameters.

    Raises:
        ValueError: an impossible shape, a missing role, or an id outside the vocabulary.
    """
    config.validate()
    for role in ("bos", "eos", "pad"):
        if role not in special_ids:
            raise ValueError(f"special_ids lacks {role!r} (it has {sorted(special_ids)})")
        if not 0 <= special_ids[role] < vocab_size:
            raise ValueError(f"the {role} token has id {special_ids[role]}, outside the vocabulary of {vocab_size}")
    llama = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        tie_word_embeddings=config.tie_embeddings,
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        rms_norm_eps=config.rms_norm_eps,
        initializer_range=config.initializer_range,
        bos_token_id=special_ids["bos"],
        eos_token_id=special_ids["eos"],
        pad_token_id=special_ids["pad"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(llama)
    model.generation_config = GenerationConfig(
        bos_token_id=special_ids["bos"], eos_token_id=special_ids["eos"], pad_token_id=special_ids["pad"], do_sample=True, temperature=1.0
    )
    model.save_pretrained(model_dir)
    return sum(parameter.numel() for parameter in model.parameters())
