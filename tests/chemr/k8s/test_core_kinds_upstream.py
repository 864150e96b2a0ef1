"""The schemas of core kinds against the Kubernetes project's own client, whose models are generated from its OpenAPI document."""

from __future__ import annotations

import importlib
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from chemr.k8s.core_kinds import KINDS

pydantic = pytest.importorskip("pydantic")
pytest.importorskip("kubernetes", reason="the Kubernetes client is in requirements/dev.txt")

# What the API server's validation asks for though its OpenAPI document does not (podSelector: releases before 1.37 do).
ALSO_REQUIRED = {
    "PersistentVolumeClaim.spec": {"accessModes", "resources"},
    "PersistentVolumeClaim.spec.resources": {"requests"},
    "NetworkPolicy.spec": {"podSelector"},
}
PLAIN = {"string": str, "boolean": bool, "integer": int}
OF_THE_SERVER = {"apiVersion", "kind", "metadata", "status"}


def model_of(name: str) -> Any:
    """A model of the client by its class name (``V1PodSpec`` is in ``v1_pod_spec``)."""
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"kubernetes.client.models.{module}"), name)


def unwrapped(annotation: Any) -> Any:
    """Without Optional and Annotated."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            kept = [one for one in typing.get_args(annotation) if one is not type(None)]
            if len(kept) != 1:
                return annotation
            annotation = kept[0]
        else:
            return annotation


def differences(schema: dict[str, Any], model: Any, path: str) -> Iterator[str]:
    """What our schema of an object says otherwise than the model."""
    theirs = {field.serialization_alias or name: field for name, field in model.model_fields.items()}
    ours = schema["properties"]
    if ours.keys() - theirs.keys():
        yield f"{path}: no such fields: {sorted(ours.keys() - theirs.keys())}"
    if theirs.keys() - ours.keys():
        yield f"{path}: fields that a manifest may have and we refuse: {sorted(theirs.keys() - ours.keys())}"
    required = {name for name, field in theirs.items() if field.is_required()} | ALSO_REQUIRED.get(path, set())
    if set(schema.get("required", ())) != required:
        yield f"{path}: required are {sorted(required)}, not {sorted(schema.get('required', ()))}"
    for name in sorted(ours.keys() & theirs.keys()):
        yield from _type_differences(ours[name], unwrapped(theirs[name].annotation), f"{path}.{name}")


def _type_differences(schema: dict[str, Any], annotation: Any, path: str) -> Iterator[str]:
    if schema.get("type") == "array":
        if typing.get_origin(annotation) is not list:
            yield f"{path} is {annotation}, not a list"
        else:
            yield from _type_differences(schema["items"], unwrapped(typing.get_args(annotation)[0]), f"{path}[]")
    elif isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel) and "properties" in schema:
        yield from differences(schema, annotation, path)
    elif schema.get("type") in PLAIN and annotation is not PLAIN[schema["type"]]:
        yield f"{path} is {annotation}, not {schema['type']}"


def bodies() -> list[tuple[str, str]]:
    return [(version, kind) for version, kind in KINDS if not version.startswith("monitoring.coreos.com")]


@pytest.mark.parametrize(("version", "kind"), bodies())
def test_a_core_kind_has_the_fields_that_kubernetes_gives_it(version: str, kind: str) -> None:
    model = model_of(f"{version.rpartition('/')[2].upper()}{kind}")
    body = KINDS[version, kind]
    theirs = {field.serialization_alias or name: field for name, field in model.model_fields.items()}
    assert body.keys() == theirs.keys() - OF_THE_SERVER, f"{version} {kind} has other parts"
    found = [
        difference for name in body for difference in _type_differences(body[name], unwrapped(theirs[name].annotation), f"{kind}.{name}")
    ]
    assert found == [], "\n".join(found)
