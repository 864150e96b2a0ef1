"""A small RayJob whose groups fit its run, to be broken, and the check of a set of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from chemr.k8s.check import Report, check
from chemr.k8s.kustomize import Built
from chemr.k8s.render import render
from chemr.k8s.request import Request
from chemr.k8s.schemas import Schemas

Object = dict[str, Any]


def rendered(request: Request, *components: str) -> list[Object]:
    objects: list[Object] = json.loads(json.dumps(render(replace(request, components=components))))  # no mapping is shared between objects
    return objects


def ray_of(objects: list[Object]) -> Object:
    return next(each for each in objects if each["kind"] in ("RayJob", "RayCluster"))


def report_of(objects: list[Object], schemas: Schemas | None = None) -> Report:
    return check(Built([("set.yaml", each) for each in objects]), schemas)


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
