"""Long series made short for a picture, without hiding what a person looks for in it: the extremes stay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def kept_points(values: Floats, points: int) -> Indices:
    """Indices of at most ``points`` of the values, ascending: the first, the last, and the least and the greatest of equal buckets.

    Args:
        values: shape [n], finite.
        points: at least 4.

    Raises:
        ValueError: ``points`` is less than 4: there is no room for two ends and two extremes.
    """
    if points < 4:
        raise ValueError(f"{points} points cannot hold two ends and two extremes; at least 4 are needed")
    count = values.size
    if count <= points:
        return np.arange(count)
    buckets = (points - 2) // 2
    width = -(-count // buckets)
    buckets = -(-count // width)  # the last ones may be empty
    padded = np.full(buckets * width, values[-1])
    padded[:count] = values
    table = padded.reshape(buckets, width)
    starts = np.arange(buckets) * width
    least, greatest = starts + table.argmin(axis=1), starts + table.argmax(axis=1)
    return np.unique(np.minimum(np.concatenate(([0, count - 1], least, greatest)), count - 1))


def moving_mean(values: Floats, width: int) -> Floats:
    """Centred means over ``width`` values; at the ends over those of them that there are. Same shape [n]."""
    if values.size == 0 or width <= 1:
        return values.copy()
    sums = np.concatenate(([0.0], np.cumsum(values)))
    places = np.arange(values.size)
    low = np.maximum(places - width // 2, 0)
    high = np.minimum(places - width // 2 + width, values.size)
    return (sums[high] - sums[low]) / (high - low)


def bucket_means(steps: npt.NDArray[np.int64], values: Floats, edges: Floats) -> Floats:
    """Mean of the values whose step is in ``[edges[i], edges[i+1])``, shape [len(edges) − 1]; NaN where there is none."""
    places = np.searchsorted(edges, steps, side="right") - 1
    inside = (places >= 0) & (places < edges.size - 1)
    counts = np.bincount(places[inside], minlength=edges.size - 1)
    sums = np.bincount(places[inside], weights=values[inside], minlength=edges.size - 1)
    return np.divide(sums, counts, out=np.full(edges.size - 1, np.nan), where=counts > 0)


def bucket_edges(first: int, last: int, buckets: int) -> Floats:
    """Edges of at most ``buckets`` equal ranges of whole steps that cover first..last, both included."""
    width = max(1, -(-(last - first + 1) // buckets))
    return np.arange(first, last + 1 + width, width, dtype=np.float64)
