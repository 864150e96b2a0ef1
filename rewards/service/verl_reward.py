"""The reward service as a custom reward function of verl.

    custom_reward_function.path=…/rewards/service/verl_reward.py custom_reward_function.name=compute_score

A row has ``data_source`` = the task (or ``extra_info.task``), ``reward_model.ground_truth`` = the reference and ``extra_info.inputs`` =
the inputs, both best as JSON text. verl hands over nothing else, so the rest is read from the environment:

=================================  =================================================================================================
``CHEMR_REWARDS_TARGET``           ``host:port`` of the service; needed
``CHEMR_REWARDS_CA``               PEM file of the CA that signed the server; with it (or with a certificate) the connection is TLS
``CHEMR_REWARDS_CERTIFICATE``      PEM file of this client's certificate, for mTLS; with ``CHEMR_REWARDS_KEY``
``CHEMR_REWARDS_TIMEOUT_S``        of one answer, retries included; 120
``CHEMR_REWARDS_UNKNOWN_SCORE``    the score of an answer whose worth is not known; without it that is an error
=================================  =================================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rewards.job import ScoreJob
from rewards.service.client import ClientTls, RewardClient
from rewards.service.row_fields import fields_from_column


class UnknownScoreError(RuntimeError):
    """The worth of an answer is not known, and verl has no way to leave a sample out."""


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any) -> float:
    """The value of one answer, in [0, 1].

    Raises:
        UnknownScoreError: the service's verdict is None, and ``CHEMR_REWARDS_UNKNOWN_SCORE`` is not set.
        RewardServiceError: no verdict within the time.
        ValueError: ``CHEMR_REWARDS_TARGET`` is not set, or the row's fields are not JSON objects.
    """
    extra = extra_info or {}
    task = str(extra.get("task") or data_source)
    inputs, reference = fields_from_column("extra_info.inputs", extra.get("inputs")), fields_from_column("ground_truth", ground_truth)
    [verdict] = _client().score([ScoreJob(task, solution_str, inputs, reference)])
    if verdict.value is not None:
        return verdict.value
    stand_in = os.environ.get("CHEMR_REWARDS_UNKNOWN_SCORE")
    if stand_in is None:
        raise UnknownScoreError(
            f"the worth of an answer to {task} is not known ({verdict.reason}), and verl cannot leave a sample out. "
            "Set CHEMR_REWARDS_UNKNOWN_SCORE to the score such samples should have"
        )
    return float(stand_in)


@cache
def _client() -> RewardClient:
    target = os.environ.get("CHEMR_REWARDS_TARGET")
    if not target:
        raise ValueError("set CHEMR_REWARDS_TARGET to host:port of the reward service (chemr serve-rewards)")
    ca, certificate, key = (_path(f"CHEMR_REWARDS_{name}") for name in ("CA", "CERTIFICATE", "KEY"))
    tls = ClientTls(ca, certificate, key) if ca or certificate else None
    return RewardClient(target, tls, timeout_s=float(os.environ.get("CHEMR_REWARDS_TIMEOUT_S", "120")))


def _path(variable: str) -> Path | None:
    found = os.environ.get(variable)
    return Path(found) if found else None
