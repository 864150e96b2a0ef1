"""The CEL rules of a schema (``x-kubernetes-validations``), evaluated where the package common-expression-language is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any


def available() -> bool:
    """Whether rules can be evaluated."""
    return find_spec("cel") is not None


def broken_rules(schema: dict[str, Any], value: Any) -> Iterator[str]:
    """Messages of the rules that do not hold. Rules about a change (``oldSelf``) say nothing about a new object."""
    rules = [rule for rule in schema.get("x-kubernetes-validations") or [] if "oldSelf" not in rule["rule"]]
    if not rules or not available():
        return
    import cel

    for rule in rules:
        try:
            holds = cel.evaluate(rule["rule"], {"self": value})
        except (ValueError, RuntimeError, TypeError) as error:
            yield f"the rule {rule['rule']!r} cannot be evaluated: {error}"
            continue
        if holds is not True:
            yield rule.get("message") or f"the rule {rule['rule']!r} does not hold"
