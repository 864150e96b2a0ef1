"""Makes ``rewards/known_environments.bin`` from the compounds of the package ``chemicals``: ``python -m chemr.data.known_environments``.

Done when that package, or the descriptions of :mod:`rewards.environments`, change: half a minute on one core.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import rewards
from chemr.data.sources.molecules import parsed
from chemr.data.starter.compounds import table_smiles
from rewards.environments import FILE, environments, hashed


def known(compounds: Iterable[str]) -> Iterator[bytes]:
    """The hashes of all descriptions of readable compounds, sorted, each once."""
    yield from sorted({hashed(text) for smiles in compounds if (mol := parsed(smiles)) is not None for text in environments(mol)})


if __name__ == "__main__":
    path = Path(rewards.__file__).with_name(FILE)
    path.write_bytes(b"".join(known(table_smiles())))
    print(f"{path}: {path.stat().st_size} bytes")
