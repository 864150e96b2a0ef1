"""The reward both sides of the TRL benchmark train on: cheap, deterministic, and different within every group.

Pure Python without dependencies, because it is imported from two virtual environments. A real scorer would measure RDKit, not the trainers.
"""

from collections.abc import Sequence


def reward(completion_ids: Sequence[int]) -> float:
    """Return the share (0..1) of even token ids among `completion_ids`; 0 for an empty completion.

    It works on ids, so neither side pays for decoding, and it varies between sampled completions of one prompt, so that no group has zero
    advantage and every sample is really trained on.
    """
    if not completion_ids:
        return 0.0
    return sum(1 for token_id in completion_ids if token_id % 2 == 0) / len(completion_ids)


def zero_variance_share(rewards: Sequence[float], group_size: int) -> float:
    """Return the share (0..1) of groups whose rewards are all equal; `rewards` holds whole groups of `group_size`, one after the other."""
    if group_size < 1 or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards do not make whole groups of {group_size}.")
    groups = [rewards[start : start + group_size] for start in range(0, len(rewards), group_size)]
    return sum(1 for group in groups if len(set(group)) == 1) / len(groups) if groups else 0.0
