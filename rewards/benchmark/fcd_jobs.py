"""Job of the child: the Fréchet ChemNet distance (Preuer et al., J. Chem. Inf. Model. 58, 1736, 2018) by the package ``fcd``."""

from __future__ import annotations

import warnings


def distance(gold: list[str], new: list[str]) -> float:
    """``fcd.get_fcd`` of two lists of canonical SMILES. Raises ImportError without ``fcd``, ValueError for fewer than two in a list."""
    from fcd import get_fcd, load_ref_model

    if min(len(gold), len(new)) < 2:
        raise ValueError(f"{len(gold)} gold and {len(new)} valid predicted molecules; a covariance needs two of each")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(get_fcd(gold, new, load_ref_model()))
