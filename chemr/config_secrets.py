"""What must not get into a configuration: it is written to ``config.yaml``, to trackers and to reports as it is.

A configuration names the environment variable of a secret (``mining.endpoint.key_env``, ``control.token_env``); it never holds its value.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from chemr.config_overrides import leaves

# What ``${oc.env:NAME}`` may read: places, and the names by which schedulers tell jobs apart.
READABLE = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "HOSTNAME", "PWD", "TMPDIR", "SCRATCH", "WORK", "XDG_CACHE_HOME", "CHEMR_DATA", "CHEMR_WORDNET"),
        *("CUDA_VISIBLE_DEVICES", "POD_NAME", "POD_NAMESPACE", "NODE_NAME", "JOB_NAME", "LSB_JOBID", "PBS_JOBID"),
        *("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "SLURM_NODEID", "SLURM_TMPDIR"),
    }
)
OWN_PREFIX = "CHEMR_CONF_"  # variables that somebody has set for a configuration
_SECRET_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|JWT)(?:_ID)?$", re.IGNORECASE)
_PATHS = ("/", "~", ".")  # such a value is the place of a secret
_SHORTEST = 8  # characters; a shorter value of a secret's variable is no secret


class SecretError(ValueError):
    """A secret, or what may be one, would be written in clear; the message names the field and the remedy, never the value."""


@contextlib.contextmanager
def guarded_environment() -> Iterator[None]:
    """Within it ``${oc.env:NAME}`` reads the variables of :data:`READABLE` and those of :data:`OWN_PREFIX`; others raise SecretError."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    def read(name: str, *default: str | None) -> str | None:
        if name not in READABLE and not name.startswith(OWN_PREFIX):
            raise SecretError(
                f"${{oc.env:{name}}} is not read: the configuration is written in clear to config.yaml and to trackers. Export a setting "
                f"under a name that begins with {OWN_PREFIX}, or pass it as an override; for a secret set the field that names its "
                "variable (control.token_env, mining.endpoint.key_env)"
            )
        value: str | None = oc.env(name, *default)
        return value

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def require_no_secrets(content: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> None:
    """Raises SecretError for a value that is, or holds, the value of a secret's environment variable or the password of an address."""
    named = {value: name for name, value in environment.items() if _SECRET_NAME.search(name)}
    secrets = {value: name for value, name in named.items() if len(value) >= _SHORTEST and not value.startswith(_PATHS)}
    for name, value in leaves(content):
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            variable = next((variable for secret, variable in secrets.items() if secret in text), None)
            if variable is not None:
                raise SecretError(f"{name} holds the value of ${variable}, and would be written in clear to config.yaml; leave it out")
            if "://" in text and _has_password(text):
                raise SecretError(
                    f"{name} is an address with a user's name or password in it, and would be written in clear to config.yaml; leave the "
                    "part before the @ out"
                )


def _has_password(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.password is not None or (parts.username is not None and parts.scheme in ("http", "https"))
    except ValueError:
        return False
