"""From steps to protocols: cluster the steps of each task, keep what many traces do, and share between tasks what they have in common."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemr.mining.config import ClusterConfig
from chemr.mining.filters.form import normalised_title
from chemr.mining.grouping import cluster, medoid, shared_groups
from chemr.mining.protocol_file import (
    SHARED,
    Protocol,
    ProtocolStep,
    SharedHint,
    digest,
    protocol_text,
    shared_text,
)
from chemr.mining.step_files import StepFile, made_from, read_rows, up_to_date, write_rows
from chemr.mining.vectors import Vectors, step_text, vectors
from chemr.mining.workplace import CLUSTERS, MERGED, PROTOCOLS, STEPS, Workplace
from chemr.whole_file import write_whole

MAX_SOURCES = 5
MAX_NAMES = 8
MAX_CLAIM_CHARS = 160

# Two clusters of a task are alternatives when hardly a trace has both and they come at about the same place.
MAX_TOGETHER = 0.1  # share of the rarer one's traces that have the other too
MAX_POSITION_GAP = 0.25
SAME_IDEA = 0.25  # cosine from which alternatives are one idea under two names


def cluster_steps(work: Workplace) -> StepFile:
    """Consumes: ``steps.jsonl``. Produces: ``clusters.jsonl``, one row a cluster, with its centroid."""
    steps = read_rows(work.path(STEPS))
    config, seed = work.config.mining.cluster, work.config.run.seed
    source = made_from("cluster", steps.digest, config.embedding_model, config.max_clusters, config.max_traces_per_task, seed)
    done = up_to_date(work.path(CLUSTERS), source)
    if done is not None:
        return done
    rows = _drawn(steps.rows, config.max_traces_per_task, seed)
    folder = Path(config.embedding_model) if config.embedding_model else None
    points = vectors([step_text(row["title"], row["claim"]) for row in rows], folder, seed)
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row["task"]].append(place)
    clusters: list[dict[str, Any]] = []
    for task, mine in sorted(places.items()):
        labels, silhouette = cluster(points[mine], config.max_clusters, seed)
        traces = len({rows[place]["key"] for place in mine})
        for label in sorted(set(labels.tolist())):
            members = [place for place, found in zip(mine, labels, strict=True) if found == label]
            about = {"task": task, "cluster": label, "task_traces": traces, "silhouette": silhouette}
            clusters.append({**about, **_described([rows[place] for place in members], points[members])})
    return write_rows(work.path(CLUSTERS), "cluster", source, clusters, steps=len(rows), vectors=config.embedding_model or "TF-IDF")


def _drawn(rows: Sequence[Mapping[str, Any]], traces_per_task: int, seed: int) -> list[Mapping[str, Any]]:
    """The steps of ``traces_per_task`` traces of every task, drawn by the seed (0 = of all), in the order of ``rows``."""
    if traces_per_task == 0:
        return list(rows)
    keys: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["key"] not in keys[row["task"]][-1:]:
            keys[row["task"]].append(row["key"])
    kept: set[str] = set()
    for task, found in keys.items():
        random.Random(f"cluster/{seed}/{task}").shuffle(found)
        kept.update(found[:traces_per_task])
    return [row for row in rows if row["key"] in kept]


def _described(members: Sequence[Mapping[str, Any]], points: Vectors) -> dict[str, Any]:
    titles = Counter(row["title"] for row in members)
    typical = members[medoid(points)]
    positions = [(row["step"] - 1) / max(1, row["of"] - 1) for row in members]
    return {
        "size": len(members),
        "keys": sorted({row["key"] for row in members}),
        "position": round(float(np.mean(positions)), 4),
        "titles": dict(sorted(titles.items(), key=lambda item: (-item[1], item[0]))),
        "claim": typical["claim"],
        "sources": list(dict.fromkeys(row["uid"] for row in members))[:MAX_SOURCES],
        "centroid": [round(float(value), 5) for value in points.mean(axis=0)],
    }


def merge(work: Workplace) -> StepFile:
    """Consumes: ``clusters.jsonl``. Produces: ``protocols/*.yaml`` and ``merged.jsonl``, which knows what was written.

    A protocol that somebody edited is kept; the new one is then written beside it, as ``<task>.mined.yaml``. One that this step wrote and
    that is no longer found is removed, or traces would be synthesised along it.
    """
    clusters = read_rows(work.path(CLUSTERS))
    config = work.config.mining.cluster
    source = made_from("merge", clusters.digest, config.min_support, config.max_steps, config.share_at)
    folder = work.path(PROTOCOLS)
    before = read_rows(work.path(MERGED)) if work.path(MERGED).is_file() else None
    if before is not None and before.header["made_from"] == source and all((folder / row["file"]).is_file() for row in before.rows):
        return before
    written = {row["file"]: row["digest"] for row in before.rows} if before is not None else {}
    protocols, hints, dropped = merged_protocols(clusters.rows, config)
    rows: list[dict[str, Any]] = []
    texts = {protocol.task: protocol_text(protocol) for protocol in protocols}
    for name, text in {**texts, SHARED: shared_text(hints)}.items():
        path = folder / f"{name}.yaml"
        if path.is_file() and digest(path.read_text(encoding="utf-8")) not in (written.get(path.name), digest(text)):
            write_whole(folder / f"{name}.mined.yaml", text)
            work.say(f"{path} was edited and is kept; what was mined now is beside it, in {name}.mined.yaml")
            rows.append({"file": path.name, "digest": written.get(path.name, ""), "kept": True})
        else:
            write_whole(path, text)
            rows.append({"file": path.name, "digest": digest(text), "kept": False})
    for name in sorted(written.keys() - {f"{task}.yaml" for task in texts}):
        stale = folder / name
        if stale.is_file() and digest(stale.read_text(encoding="utf-8")) == written[name]:
            stale.unlink()
            work.say(f"{stale} is removed: what was mined now has no such protocol")
    facts = {"protocols": {p.task: len(p.steps) for p in protocols}, "shared": len(hints), "dropped": dropped}
    return write_rows(work.path(MERGED), "merge", source, rows, **facts)


def merged_protocols(
    clusters: Sequence[Mapping[str, Any]], config: ClusterConfig
) -> tuple[list[Protocol], dict[str, SharedHint], dict[str, int]]:
    """Protocols of all tasks, the hints they share, and how many clusters were dropped for which reason."""
    dropped: Counter[str] = Counter()
    chosen: list[_Merged] = []
    by_task: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in clusters:
        by_task[row["task"]].append(row)
    for _, rows in sorted(by_task.items()):
        merged = _same_ideas(_same_titles(rows))
        dropped["another name of a step"] += len(rows) - len(merged)
        frequent = [one for one in merged if one.share >= config.min_support]
        dropped["in too few traces"] += len(merged) - len(frequent)
        frequent.sort(key=lambda one: (-one.share, one.position, one.title))
        either = [one for place, one in enumerate(frequent) if not any(one.replaces(other) for other in frequent[:place])]
        dropped["an alternative to a more frequent step"] += len(frequent) - len(either)
        frequent = either
        dropped["beyond the most steps"] += max(0, len(frequent) - config.max_steps)
        chosen += sorted(frequent[: config.max_steps], key=lambda one: (one.position, -one.share, one.title))
    hints, hint_of = _hints(chosen, config.share_at)
    protocols = []
    for task in dict.fromkeys(one.task for one in chosen):
        steps = [(place, one) for place, one in enumerate(chosen) if one.task == task]
        silhouette = steps[0][1].silhouette
        mined_from = {
            "traces": steps[0][1].task_traces,
            "clusters": len(by_task[task]),
            "silhouette": None if silhouette is None else round(silhouette, 3),
        }
        taken = {normalised_title(one.title) for _, one in steps}
        protocols.append(Protocol(task, tuple(one.step(hint_of.get(place), taken) for place, one in steps), mined_from))
    return protocols, hints, {reason: count for reason, count in dropped.items() if count}


class _Merged:
    """Clusters of one task under one title."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        largest = max(rows, key=lambda row: row["size"])
        self.task: str = largest["task"]
        self.task_traces: int = largest["task_traces"]
        self.silhouette: float | None = largest["silhouette"]
        self.rows = list(rows)
        self.size = sum(row["size"] for row in rows)
        self.keys = {key for row in rows for key in row["keys"]}
        self.traces = len(self.keys)
        self.share = self.traces / self.task_traces
        self.position = sum(row["position"] * row["size"] for row in rows) / self.size
        self.titles: Counter[str] = Counter()
        for row in rows:
            self.titles.update(row["titles"])
        self.title = common_title(self.titles)
        self.claim = " ".join(largest["claim"].split())[:MAX_CLAIM_CHARS]
        self.sources = tuple(dict.fromkeys(uid for row in rows for uid in row["sources"]))[:MAX_SOURCES]
        self.centroid = np.average([row["centroid"] for row in rows], axis=0, weights=[row["size"] for row in rows])

    @property
    def establish(self) -> str:
        return f"what a step of this kind finds; for another problem it was: {self.claim}" if self.claim else ""

    def replaces(self, other: _Merged) -> bool:
        """Whether traces have the one or the other at this place."""
        together = len(self.keys & other.keys) / min(self.traces, other.traces)
        return together <= MAX_TOGETHER and abs(self.position - other.position) <= MAX_POSITION_GAP

    def is_like(self, other: _Merged) -> bool:
        norms = float(np.linalg.norm(self.centroid) * np.linalg.norm(other.centroid))
        return norms > 0.0 and float(self.centroid @ other.centroid) / norms >= SAME_IDEA

    def step(self, hint: str | None, taken: set[str]) -> ProtocolStep:
        """``taken``: normalised titles of all steps of the task, which cannot be another name of this one."""
        names: dict[str, str] = {}
        for title, _ in self.titles.most_common():
            folded = normalised_title(title)
            if folded not in taken:
                names.setdefault(folded, title)
        statistics = {"traces": self.traces, "share": round(self.share, 3), "steps": self.size, "position": round(self.position, 3)}
        establish = "" if hint else self.establish
        return ProtocolStep(self.title, establish, hint, tuple(list(names.values())[:MAX_NAMES]), statistics, self.sources)


def common_title(titles: Counter[str]) -> str:
    """The most frequent title, spellings taken together; of equally frequent ones the shortest, then the first of the alphabet."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for title, count in titles.items():
        spellings[normalised_title(title)][title] += count
    folded = min(spellings, key=lambda name: (-spellings[name].total(), len(name), name))
    return min(spellings[folded], key=lambda title: (-spellings[folded][title], len(title), title))


def _same_titles(rows: Sequence[Mapping[str, Any]]) -> list[_Merged]:
    """Clusters whose common titles are the same are one step: k-means may cut one idea in two."""
    by_title: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_title[normalised_title(common_title(Counter(row["titles"])))].append(row)
    return [_Merged(same) for same in by_title.values()]


def _same_ideas(steps: Sequence[_Merged]) -> list[_Merged]:
    """Steps that replace each other and are alike become one, the most frequent first: teachers call a step by several names."""
    found: list[_Merged] = []
    for one in sorted(steps, key=lambda step: (-step.size, step.title)):
        place = next((n for n, other in enumerate(found) if one.replaces(other) and one.is_like(other)), None)
        if place is None:
            found.append(one)
        else:
            found[place] = _Merged([*found[place].rows, *one.rows])
    return found


def _hints(chosen: Sequence[_Merged], share_at: float) -> tuple[dict[str, SharedHint], dict[int, str]]:
    """The hints by name, and place in ``chosen`` -> name."""
    if not chosen:
        return {}, {}
    groups = shared_groups([one.task for one in chosen], np.array([one.centroid for one in chosen]), share_at)
    hints: dict[str, SharedHint] = {}
    hint_of: dict[int, str] = {}
    for group in sorted(groups):
        members = [chosen[place] for place in group]
        titles = sum((one.titles for one in members), Counter())
        title = common_title(titles)
        name = slug = "-".join(normalised_title(title).split()) or "hint"
        number = 2
        while name in hints:
            name, number = f"{slug}-{number}", number + 1
        most = max(members, key=lambda one: one.size)
        hints[name] = SharedHint(title, most.establish, tuple(sorted(one.task for one in members)))
        hint_of |= dict.fromkeys(group, name)
    return hints, hint_of
