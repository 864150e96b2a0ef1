"""Do engine and learner compute the same? Judged once per process, on the first step whose samples both have computed under equal weights.

After that the difference of their log-probs also holds what off-policy steps add, and says less. A sampler that forgets the temperature, a
wrong chat template or a stale cache shows here as a difference of tenths of a nat; rounding of bf16 is about 0.01 (fp32: 1e-6).
"""

from __future__ import annotations

from collections.abc import Mapping

from chemr.run_stopped import RunStopped


class EngineDisagrees(RunStopped):
    """The engine samples from another distribution than the learner computes: training on it would be wrong from the first step."""


def judge_agreement(trained: Mapping[str, float], warn: float, stop: float) -> str:
    """What a person should be told of a step's ``train/mismatch_*``, nats; empty when all is well or nothing was measured.

    Raises:
        EngineDisagrees: the mean difference is above ``stop``.
    """
    mean = trained.get("train/mismatch_mean")
    if mean is None or mean <= warn:
        return ""
    found = f"log-probs of engine and learner differ by {mean:.3g} nats a token on average (p99 {trained['train/mismatch_p99']:.3g})"
    if mean > stop:
        raise EngineDisagrees(
            f"{found} under the very same weights; grpo.mismatch_stop={stop:g}. Compare generator.dtype with learner.dtype (float32 and "
            "fp32 agree to 1e-5), and try learner.head_fp32=true for a bf16 model"
        )
    return f"{found} under the very same weights (grpo.mismatch_warn={warn:g}); the off-policy correction has to make up for it"
