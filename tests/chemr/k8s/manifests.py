"""A small RayJob whose groups fit its run, to be broken, and the check of a set of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from chemr.k8s.check import Report, check
from chemr.k8s.kustomize import Built
from chemr.k8s.render import PARTS, render
from chemr.k8s.request import Request
from chemr.k8s.schemas import Schemas

Object = dict[str, Any]


class Rendered(list[Object]):
    """A run and the surroundings it is in: ``shared`` of the objects, the first ones, are the surroundings'."""

    def __init__(self, surroundings: list[Object], run: list[Object]) -> None:
        super().__init__([*surroundings, *run])
        self.shared = len(surroundings)


def rendered(request: Request, *components: str) -> Rendered:
    with_components = replace(request, components=components)
    return Rendered(*(json.loads(json.dumps(render(with_components, part))) for part in PARTS))  # no mapping is shared between objects


def ray_of(objects: list[Object]) -> Object:
    return next(each for each in objects if each["kind"] in ("RayJob", "RayCluster"))


def report_of(objects: list[Object], schemas: Schemas | None = None) -> Report:
    """Of all objects as one set; of rendered ones as two, each beside the other."""
    shared = objects.shared if isinstance(objects, Rendered) else 0
    parts = [objects[:shared], objects[shared:]] if shared else [objects]
    whole = Report()
    for part in parts:
        beside = [each for other in parts if other is not part for each in other]
        report = check(Built([("set.yaml", each) for each in part]), schemas, beside)
        whole.findings += report.findings
        whole.notes += report.notes
    return whole


def fields(report: Report) -> list[str]:
    return [finding.path for finding in report.findings]


def walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every place of an object with what is there."""
    yield path, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from walk(entry, (*path, key))


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        document = document[step]
    return document
