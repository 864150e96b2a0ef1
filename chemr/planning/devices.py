"""GPUs as their data sheets describe them, and the assumptions about how much of that software reaches. Nothing here was measured by us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from chemr.nearest_name import did_you_mean
from chemr.planning.errors import PlanError
from learner.model_flops import data_sheet_peaks

GB = 1e9
GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: as ``--gpu`` takes it.
        cuda_name: as CUDA reports it; its peak is that of :data:`learner.model_flops.GPU_PEAKS`.
        memory: bytes of its data sheet (10⁹ bytes a GB).
        bandwidth: of its memory, bytes per second.
        link: to the other GPUs of its node, bytes per second in one direction.
    """

    name: str
    cuda_name: str
    memory: float
    bandwidth: float
    link: float

    @property
    def bf16_flops(self) -> float:
        """Dense bf16 operations per second of the data sheet."""
        peaks = data_sheet_peaks(self.cuda_name)
        assert peaks is not None, f"{self.cuda_name} is not in learner.model_flops.GPU_PEAKS"
        return peaks[0]


# Memory, its bandwidth and NVLink (half of the sheet's bidirectional figure; PCIe 4 x16 where there is none): NVIDIA's data sheets.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("h100", "H100 80GB HBM3", 80 * GB, 3.35e12, 450e9),
        Gpu("h100-pcie", "H100 PCIe", 80 * GB, 2.0e12, 64e9),
        Gpu("h200", "H200", 141 * GB, 4.8e12, 450e9),
        Gpu("a100", "A100-SXM4-80GB", 80 * GB, 2.039e12, 300e9),
        Gpu("l40s", "L40S", 48 * GB, 0.864e12, 32e9),
        Gpu("l4", "L4", 24 * GB, 0.3e12, 32e9),
        Gpu("b200", "B200", 180 * GB, 8.0e12, 900e9),
    )
}


def gpu_named(name: str) -> Gpu:
    """Raises PlanError for a GPU that is not in the table."""
    if name not in GPUS:
        raise PlanError(f"--gpu {name}: known are {', '.join(GPUS)}{did_you_mean(name.lower(), GPUS)}")
    return GPUS[name]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What software reaches of the hardware, and what lies around it. Each can be set with ``--assume name=value``; calibration replaces
    those it can measure. Sources are in docs/planning.md.

    Attributes:
        mfu: model FLOPs of training over peak, of the learner's own computing time, without communication.
        prefill_mfu: of the engine when it reads prompts.
        decode_mfu: of the engine when it is bound by arithmetic while decoding.
        decode_bandwidth: share of the memory's bandwidth that decoding reaches.
        decode_overhead_s: seconds of one decoding step that are neither (launches, scheduling, sampling).
        allreduce_s: latency of one all-reduce inside a node; tensor parallelism does two per layer and step.
        network: bytes per second between nodes, per GPU (400 Gbit/s InfiniBand or RoCE per GPU).
        host_copy: bytes per second of one copy through host memory (publishing and pulling weights by the object store).
        update_s: seconds an engine stands still for a weight update besides the loading.
        workspace_gib: CUDA context, NCCL, fragmentation and the allocator's slack on a learner's GPU.
        engine_workspace_gib: the same and CUDA graphs on an engine's.
        gpu_failures_per_hour: unexpected interruptions per GPU and hour.
        learner_restart_s: from the loss of a learner rank to the next step, without the steps done again.
        generator_restart_s: from the loss of a generator to the time it serves again.
        gpus_per_node: a tensor-parallel group does not leave its node.
    """

    mfu: float = 0.35
    prefill_mfu: float = 0.5
    decode_mfu: float = 0.5
    decode_bandwidth: float = 0.6
    decode_overhead_s: float = 0.003
    allreduce_s: float = 2e-5
    network: float = 50e9
    host_copy: float = 8e9
    update_s: float = 0.1
    workspace_gib: float = 6.0
    engine_workspace_gib: float = 4.0
    gpu_failures_per_hour: float = 2e-5
    learner_restart_s: float = 300.0
    generator_restart_s: float = 180.0
    gpus_per_node: float = 8.0

    def with_settings(self, settings: Sequence[str]) -> Assumptions:
        """``name=value`` strings in place of the defaults. Raises PlanError naming the setting."""
        changed = self
        known = {field.name for field in fields(self)}
        for setting in settings:
            name, equals, text = setting.partition("=")
            if not equals or name not in known:
                hint = did_you_mean(name, known)
                raise PlanError(f"--assume {setting}: should be name=value with one of {', '.join(sorted(known))}{hint}")
            try:
                value = float(text)
            except ValueError:
                raise PlanError(f"--assume {setting}: {text!r} is not a number") from None
            share = name.endswith("mfu") or name == "decode_bandwidth"
            if not value >= 0.0 or value == float("inf") or (share and not 0.0 < value <= 1.0):
                raise PlanError(f"--assume {setting}: should be {'a share in (0, 1]' if share else 'a finite number, 0 or more'}")
            if value == 0.0 and name in ("network", "host_copy", "gpus_per_node"):
                raise PlanError(f"--assume {setting}: should be above 0")
            changed = replace(changed, **{name: value})
        return changed
