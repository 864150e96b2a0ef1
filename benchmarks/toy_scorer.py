"""The toy reward as a scorer of chemr's reward processes, so that the benchmark pays for their isolation as a real run does."""

from collections.abc import Mapping
from typing import Any

from benchmarks.toy_reward import reward
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict

TASK = "toy_even_tokens"


@scorer(TASK)
def score_even_tokens(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """``answer`` is a list of token ids, blank-separated."""
    return Verdict(reward([int(word) for word in answer.split()]), Reason.PARTIAL)
