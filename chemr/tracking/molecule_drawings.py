"""Molecules that a model wrote, drawn as PNG in a process that may be killed.

What a model writes can keep RDKit busy for minutes or end its process, and RDKit holds Python's lock while it works. So nothing of it is
read in the driver: a child at the lowest priority draws a batch, with a deadline and a bound on its memory.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Collection

from chemr.tracking.mirror import one_line
from rewards.confinement import child_environment, confine

log = logging.getLogger(__name__)
DEADLINE_S = 30.0
MEMORY_BYTES = 4 << 30  # of address space, of which RDKit's libraries take one
SIZE = (260, 200)  # pixels


def drawings(texts: Collection[str], deadline_s: float = DEADLINE_S) -> dict[str, bytes]:
    """PNG of each text that writes a molecule, read by the guarded parser of the scorers. Empty, after a warning, when the child fails."""
    if not texts:
        return {}
    command = [sys.executable, "-m", "chemr.tracking.molecule_drawings"]
    asked = json.dumps(sorted(set(texts)))
    try:
        done = subprocess.run(command, input=asked, env=child_environment(), capture_output=True, text=True, timeout=deadline_s, check=True)
        return {text: base64.b64decode(png) for text, png in json.loads(done.stdout).items()}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("%d molecules could not be drawn for the trackers: %s", len(texts), one_line(error)[:300])
        return {}


def draw(text: str) -> bytes | None:
    """The PNG, None for anything that the parser refuses. For the child only."""
    from rdkit.Chem.Draw import rdMolDraw2D

    from chemr.report.molecules import read_molecule

    mol = read_molecule(text)
    if mol is None:
        return None
    drawer = rdMolDraw2D.MolDraw2DCairo(*SIZE)
    drawer.drawOptions().prepareMolsBeforeDrawing = False  # type: ignore[assignment]  # read_molecule has; RDKit's stub calls it an object
    drawer.DrawMolecule(mol)
    drawer.FinishDrawing()
    return bytes(drawer.GetDrawingText())


def main() -> None:
    """Texts as a JSON list from standard input; PNGs in base64 by text, as JSON, to standard output."""
    confine()
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found = {text: draw(text) for text in json.load(sys.stdin)}
    json.dump({text: base64.b64encode(png).decode() for text, png in found.items() if png is not None}, sys.stdout)


if __name__ == "__main__":
    main()
