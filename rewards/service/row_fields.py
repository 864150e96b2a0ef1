"""Task fields as other trainers' data sets hold them: JSON text, or dicts that Arrow has filled with ``None``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def fields_from_column(name: str, cell: Any) -> dict[str, Any]:
    """``{"smiles": "CCO"}`` from itself, from ``'{"smiles": "CCO"}'`` or from ``{"smiles": "CCO", "iupac": None}``; ``{}`` from ``None``.

    Arrow gives all rows of a column the same keys; those that a row never had are ``None`` and are left out. (JSON text is exact.)

    Raises:
        ValueError: anything else.
    """
    if cell is None:
        return {}
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise ValueError(f"{name} should be a JSON object, found {cell!r:.200}: {error}") from error
    if not isinstance(cell, Mapping):
        raise ValueError(f"{name} should be a JSON object, as text or as a dict, found {cell!r:.200}")
    return {str(key): _without_none(item) for key, item in cell.items() if item is not None}


def _without_none(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {str(key): _without_none(value) for key, value in item.items() if value is not None}
    if hasattr(item, "tolist"):  # verl reads its Parquet with NumPy arrays for lists
        return item.tolist()
    return item
