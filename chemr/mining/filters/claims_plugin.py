"""Makes the check of claims a scorer. Imported by the scoring processes alone: elsewhere it would be a task that nobody asks."""

from __future__ import annotations

from chemr.mining.filters.claims import CLAIMS_TASK
from chemr.mining.filters.claims_scorer import check_claims
from rewards.registry import scorer

scorer(CLAIMS_TASK)(check_claims)
