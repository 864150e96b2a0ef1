"""Which steps are one and the same: k-means with the number of clusters by silhouette, and the same question between tasks by cosine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chemr.mining.vectors import Vectors, missing_sklearn

MAX_SILHOUETTE_POINTS = 1_000
LONELY_COSINE = 0.25  # two distinct texts alone have no silhouette: above this they are one

Labels = NDArray[np.int64]


def cluster(points: Vectors, max_clusters: int, seed: int) -> tuple[Labels, float | None]:
    """Labels [N] of N unit vectors, and the mean silhouette (Rousseeuw 1987) by which their number was chosen.

    The number runs from 2 to ``max_clusters``; the smallest with the best silhouette wins. One cluster when all points are equal or
    no division is better than none (silhouette ≤ 0); then, and for two distinct points alone, there is no silhouette.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64), None
    distinct = np.unique(np.round(points, 9), axis=0)
    if len(distinct) == 1:
        return np.zeros(len(points), dtype=np.int64), None
    if len(points) == 2:
        apart = float(points[0] @ points[1]) < LONELY_COSINE
        return np.array([0, int(apart)], dtype=np.int64), None
    try:
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise missing_sklearn(error) from error
    sample = np.random.default_rng(seed).permutation(len(points))[:MAX_SILHOUETTE_POINTS]
    best: tuple[float, Labels] | None = None
    for count in range(2, min(max_clusters, len(distinct), len(points) - 1) + 1):
        with threadpool_limits(1):  # sums in one order: the same clusters on every machine
            labels = np.asarray(KMeans(count, n_init=4, random_state=seed).fit_predict(points), dtype=np.int64)
        if not 2 <= len(set(labels[sample].tolist())) < len(sample):
            continue
        score = float(silhouette_score(points[sample], labels[sample], metric="cosine"))
        if best is None or score > best[0] + 1e-9:
            best = score, labels
    if best is None or best[0] <= 0.0:
        return np.zeros(len(points), dtype=np.int64), None
    return _renumbered(best[1]), best[0]


def _renumbered(labels: Labels) -> Labels:
    """0, 1, 2, … in the order of first occurrence: k-means' own numbers mean nothing."""
    order: dict[int, int] = {}
    return np.array([order.setdefault(int(label), len(order)) for label in labels], dtype=np.int64)


def medoid(points: Vectors) -> int:
    """The point nearest to the mean of all; the first of equal ones."""
    return int(np.argmax(np.round(points @ points.mean(axis=0), 9)))


def shared_groups(owners: Sequence[str], centroids: Vectors, share_at: float) -> list[list[int]]:
    """Indices of centroids that are one hint of several owners (tasks).

    Agglomerative with complete linkage: in a group *all* pairs have a cosine of at least ``share_at``. Two clusters of one task stay two
    steps. Groups of one are left out; indices are sorted.
    """
    if len(owners) < 2:
        return []
    try:
        from sklearn.cluster import AgglomerativeClustering
    except ImportError as error:
        raise missing_sklearn(error) from error
    norms = np.linalg.norm(centroids, axis=1, keepdims=True)
    unit = np.divide(centroids, norms, out=np.zeros_like(centroids), where=norms > 0)
    distance = np.clip(1.0 - unit @ unit.T, 0.0, 2.0)
    same_owner = np.array([[one == other for other in owners] for one in owners])
    distance[same_owner] = 3.0
    np.fill_diagonal(distance, 0.0)
    joined = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="complete", distance_threshold=1.0 - share_at + 1e-9
    ).fit_predict(distance)
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(joined):
        groups.setdefault(int(label), []).append(index)
    return [group for group in groups.values() if len(group) > 1]
