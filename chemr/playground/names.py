"""Systematic names that a person types, and names that a model answers, read by OPSIN. One JVM for each name: about a second."""

from __future__ import annotations

import subprocess
from functools import lru_cache

from chemr.playground.errors import QuestionError
from rewards.confinement import child_environment, confined_command
from rewards.iupac_name import readable
from rewards.opsin import START_TIMEOUT_S, OpsinMode, find_opsin, java_command


class Names:
    """Reads names where OPSIN is installed.

    Attributes:
        why_not: why names cannot be read here, with what to do; empty where they can.
    """

    def __init__(self, mode: OpsinMode = OpsinMode.AUTO) -> None:
        """Starts nothing."""
        found = find_opsin(mode)
        self._jar = found.jar
        self.why_not = "" if found.jar is not None else f"names cannot be read here: OPSIN is {found.description}"

    def smiles(self, name: str) -> str | None:
        """The molecule of a systematic name; None when OPSIN cannot read it.

        Raises:
            QuestionError: there is no OPSIN, or it did not answer.
        """
        line = readable(name)
        if line is None:
            return None
        if self._jar is None:
            raise QuestionError(self.why_not)
        return _read(self._jar, line) or None


@lru_cache(maxsize=256)
def _read(jar: str, line: str) -> str:
    try:
        done = subprocess.run(
            confined_command(java_command(jar)),
            input=line + "\n",
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise QuestionError(f"OPSIN did not read {line[:80]!r} within {START_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise QuestionError(f"Java cannot be started: {error}") from error
    lines = done.stdout.splitlines()
    return lines[0].strip() if lines else ""
