"""The error of `chemr k8s`."""

from __future__ import annotations


class K8sError(ValueError):
    """Something given to ``chemr k8s`` cannot be used; the message names it and says what to do."""
