"""The optimizer's numbers by parameter, whole and in float32, wherever ZeRO keeps them.

ZeRO cuts the float32 weights and AdamW's moments into flat partitions by a rule of its own for each stage and number of ranks. What is read
here has no trace of that, so it can be written back under any other layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from learner import tensor_parallel
from learner.distributed import World, gathered
from learner.rank_group import RankGroup

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch.optim.AdamW calls them


class OptimizerState:
    """View of one engine's AdamW. Only trainable parameters have a state."""

    def __init__(self, engine: Any, zero_stage: int, world: World, tensors: RankGroup) -> None:
        self._stage = zero_stage
        self._tensors_of = tensors  # the ranks among which matrices are cut
        self._ranks = world.size // tensors.size  # those among which ZeRO cuts what remains
        self._rank = world.rank // tensors.size
        self._optimizer = engine.optimizer
        self._adam: torch.optim.AdamW = engine.optimizer if zero_stage == 0 else engine.optimizer.optimizer
        self._link()

    @property
    def updates(self) -> int:
        """Updates that AdamW has made: its bias correction depends on them."""
        return next((int(state["step"].item()) for state in self._adam.state.values() if state), 0)

    def allocate(self, updates: int) -> None:
        """Makes a fresh optimizer's moments (zeros), which torch would make in its first update, so that :meth:`write` finds them."""
        for tensor in self._tensors():
            step = torch.tensor(float(updates), dtype=torch.float32, device=tensor.device)
            self._adam.state[tensor] = {"step": step, **{moment: torch.zeros_like(tensor) for moment in MOMENTS}}
        self._link()

    def read(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Collective. The whole float32 weight and, after the first update, the moments, shaped like the whole parameter.

        Of a frozen parameter the weight alone, in the model's dtype.
        """
        if not parameter.requires_grad:
            with gathered([parameter], self._stage):
                return {WEIGHT: parameter.detach().clone()}
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        names = MOMENTS if self.updates else ()
        if self._stage == 0:
            state = self._adam.state[parameter]
            return {WEIGHT: parameter.detach(), **{name: state[name] for name in names}}
        own = {WEIGHT: safe_get_full_fp32_param(parameter)}
        own |= {name: safe_get_full_optimizer_state(parameter, name) for name in names}
        return {name: tensor_parallel.whole(parameter, value, self._tensors_of) for name, value in own.items()}

    def write(self, parameter: nn.Parameter, values: Mapping[str, Tensor]) -> None:
        """Local. The opposite of :meth:`read`; the weight that the model computes with is not touched under ZeRO."""
        for name, given in values.items():
            value = tensor_parallel.own_part(parameter, given, self._tensors_of)
            if self._stage == 0:
                (parameter.data if name == WEIGHT else self._adam.state[parameter][name]).copy_(value)
            elif self._stage == 3:
                self._write_partition(parameter, name, value)
            else:
                self._write_fragment(parameter, name, value)

    def _link(self) -> None:
        """ZeRO-1 and 2 look moments up in a table that DeepSpeed 0.19 makes when only the first group of parameters has moments."""
        if self._stage in (1, 2) and self.updates:
            self._optimizer._hp_optimizer_states_linked = False
            self._optimizer._lazy_init_hp_params_optimizer_state()

    def _write_fragment(self, parameter: nn.Parameter, name: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if name == WEIGHT:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, name)

    def _write_partition(self, parameter: Any, name: str, value: Tensor) -> None:
        """DeepSpeed's setter of the whole value fails where the ranks do not divide it; every rank writes its own part, padded."""
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        size = parameter.ds_tensor.numel()
        padded = nn.functional.pad(value.flatten(), (0, size * self._ranks - value.numel()))
        part = padded[self._rank * size : (self._rank + 1) * size]
        if name == WEIGHT:
            safe_set_local_fp32_param(parameter, part)
        else:
            safe_set_local_optimizer_state(parameter, part, name)

    def _tensors(self) -> list[Tensor]:
        """The float32 tensors that AdamW updates on this rank. ZeRO-3 lends them to it one by one."""
        if self._stage == 3:
            return list(self._optimizer.fp32_partitioned_groups_flat)
        return [tensor for group in self._adam.param_groups for tensor in group["params"]]
