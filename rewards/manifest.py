"""What the value of an answer depends on besides the answer: belongs in the manifest of every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.registry import SCORER_VERSION


def manifest(chemistry: Mapping[str, Any], opsin: str, grounding: float) -> dict[str, Any]:
    """``{"scorer_version", "rdkit", "legacy_ring_finding", "opsin", "grounding"}``; a pool's is :meth:`ScorerPool.manifest`.

    Args:
        chemistry: ``{"rdkit": version, "legacy_ring_finding": bool}`` as the scoring process itself reports them.
        opsin: OPSIN's version; ``off``; or ``unavailable: ...`` with the reason, when names are judged as strings only.
        grounding: weight of the grounded term, 0 when it is off.
    """
    return {"scorer_version": SCORER_VERSION, **chemistry, "opsin": opsin, "grounding": grounding}
