"""What a decoding step of an engine costs, as the engine itself sees it: a fixed time, and more for each sample, each token of a prompt,
and each sample that has ended.

Step times alone say how loaded an engine was; the slope and the floor say what another load would cost, which is what a plan needs
(``chemr plan --calibrate``). Neither vLLM nor Ray is needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MEMORY_STEPS = 1000  # the weight of a step that is this old is 1/e
FEWEST_STEPS = 50
REFIT_STEPS = 50
COLUMNS = 5  # 1, samples, tokens of prompts, samples that had ended, seconds


@dataclass(frozen=True, slots=True)
class DecodingPace:
    """``step_s + sample_s · samples + prompt_token_s · tokens of prompts + end_s · ended`` are the seconds of a decoding step.

    ``ended`` are samples whose last token came from the step before: they are put together and sent away while this one is waited for.

    Attributes:
        samples: mean number that ran in a step.
        mean_s: mean seconds of a step.
    """

    step_s: float
    sample_s: float
    prompt_token_s: float
    end_s: float
    samples: float
    mean_s: float

    def seconds(self, samples: int, prompt_tokens: int, ended: int) -> float:
        """Of a step."""
        return self.step_s + self.sample_s * samples + self.prompt_token_s * prompt_tokens + self.end_s * ended


class PaceMeter:
    """Sums for weighted least squares over an engine's steps, older ones slowly forgotten.

    The seconds of a step are those since the end of the step before it, so everything between two steps belongs to it; where the engine
    had nothing to do between them, or stood still for new weights, nothing is counted.

    What disturbs a step (other processes, younger or older samples) does so in proportion to its length. So a step counts with the inverse
    square of what it should take by the fit so far (iteratively reweighted least squares); with equal weights the few long steps after a
    burst of new samples would decide alone, and their young samples are cheaper than most.
    """

    def __init__(self) -> None:
        self._moments = np.zeros((COLUMNS, COLUMNS))  # of rows over the seconds they should take
        self._sums = np.zeros(3)  # steps, samples, seconds
        self._last: float | None = None
        self._ended = 0  # in the step before
        self._counted = 0
        self._pace: DecodingPace | None = None

    def step(self, now: float, samples: int, prompt_tokens: int, ended: int, *, goes_on: bool) -> None:
        """A step has ended.

        Args:
            now: seconds of a monotonic clock.
            samples: that took part.
            prompt_tokens: read in it, over the one token of each sample.
            ended: of the samples.
            goes_on: something is left to do, so that the next step begins now.
        """
        if self._last is not None and samples:
            self._count(samples, prompt_tokens, self._ended, now - self._last)
        self._last, self._ended = (now if goes_on else None), ended

    def interrupt(self) -> None:
        """The engine stands still: the time until its next step is none of a step's."""
        self._last = None

    def moments(self) -> list[float]:
        """What :func:`pace_of` needs, to be sent elsewhere; empty before the first step."""
        return [*self._sums.tolist(), *self._moments.ravel().tolist()] if self._counted else []

    def _count(self, samples: int, prompt_tokens: int, ended: int, seconds: float) -> None:
        if self._counted % REFIT_STEPS == 0:
            self._pace = pace_of(self.moments()) or self._pace
        self._counted += 1
        expected = self._pace.seconds(samples, prompt_tokens, ended) if self._pace is not None else seconds
        row = np.array([1.0, samples, prompt_tokens, ended, seconds]) / max(expected, 1e-6)
        for sums, of_step in ((self._moments, np.outer(row, row)), (self._sums, np.array([1.0, samples, seconds]))):
            sums *= 1.0 - 1.0 / MEMORY_STEPS
            sums += of_step


def pace_of(moments: Sequence[float]) -> DecodingPace | None:
    """Least squares with coefficients of at least 0; None before FEWEST_STEPS steps.

    A coefficient that would be negative is left out, the smallest first, and the others are found again: with so few of them that is the
    active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, ch. 23) in all but contrived cases.
    """
    if not moments or moments[0] < FEWEST_STEPS:
        return None
    steps, samples, seconds = moments[:3]
    matrix = np.array(moments[3:], dtype=np.float64).reshape(COLUMNS, COLUMNS)
    free = list(range(COLUMNS - 1))
    found = np.zeros(COLUMNS - 1)
    while free:
        found[:] = 0.0
        found[free] = np.linalg.lstsq(matrix[np.ix_(free, free)], matrix[free, COLUMNS - 1], rcond=None)[0]
        if found.min() >= 0.0:
            break
        free.remove(int(found.argmin()))
    step_s, sample_s, prompt_token_s, end_s = found.tolist()
    return DecodingPace(step_s, sample_s, prompt_token_s, end_s, samples / steps, seconds / steps)
