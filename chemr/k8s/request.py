"""What is to be rendered: an overlay's defaults, and on them what the command line says of the run and of the cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chemr.conf_files import ConfFileError, conf_file_names, find_conf_file, read_yaml
from chemr.config import ChemrConfig, conf_directory, load
from chemr.config_overrides import Fields, OverrideError, override_values
from chemr.k8s.cluster_config import ClusterConfig
from chemr.k8s.errors import K8sError
from chemr.k8s.groups import worker_groups
from chemr.k8s.memory_rules import require_shared_memory
from chemr.nearest_name import did_you_mean

SCHEDULERS = ("kueue", "volcano", "yunikorn", "kai")
COMPONENTS = (*SCHEDULERS, "monitoring", "reward-service")
DRIVER_METRICS_PORT = 9400
NAME_LIMITS = {"job": 47, "cluster": 53}  # KubeRay derives longer names from them


@dataclass(frozen=True, slots=True)
class Request:
    """A run, the cluster it gets, and the optional parts. ``overrides`` are those of ``chemr train`` inside the cluster."""

    overlay: str
    cluster: ClusterConfig
    config: ChemrConfig
    overrides: tuple[str, ...]
    components: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the RayJob or RayCluster."""
        return self.cluster.name or "chemr-" + re.sub(r"[^a-z0-9]+", "-", self.config.run.name.lower()).strip("-")

    @property
    def entrypoint(self) -> str:
        """The command of the driver, as for a shell."""
        return shlex.join(("chemr", "train", *self.overrides))


def read_request(arguments: Sequence[str], config_dir: Path | None = None) -> Request:
    """Read ``overlay=NAME``, ``components=A,B``, ``cluster.FIELD=VALUE`` and overrides of ``chemr train``.

    Raises:
        K8sError: for what is the cluster's.
        ConfigError: for what is the run's.
    """
    overlay, components, of_cluster, of_run = "cpu-smoke", "", [], []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "overlay":
            overlay = value
        elif name == "components":
            components = value
        elif name.startswith("cluster."):
            of_cluster.append(argument)
        else:
            of_run.append(argument)
    defaults, cluster = _read_overlay(overlay, of_cluster, config_dir)
    cluster.validate()
    overrides = _merge(defaults, _placed(cluster), of_run)
    config, _ = load(overrides, config_dir, files_here=False)
    require_shared_memory(config, worker_groups(config, cluster))
    request = Request(overlay, cluster, config, tuple(overrides), _components(components))
    limit = NAME_LIMITS[str(cluster.workload)]
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", request.name) or len(request.name) > limit:
        raise K8sError(
            f"the name {request.name!r} must be small letters, digits and '-', begin with a letter, and have at most {limit} characters "
            f"(it has {len(request.name)}); set cluster.name, or a shorter run.name"
        )
    return request


def overlay_names(config_dir: Path | None = None) -> list[str]:
    """What ``overlay=`` may say."""
    return conf_file_names("k8s", _folders(config_dir))


def _folders(config_dir: Path | None) -> list[Path]:
    return [*([config_dir] if config_dir is not None else []), conf_directory()]


def _read_overlay(name: str, overrides: Sequence[str], config_dir: Path | None) -> tuple[list[str], ClusterConfig]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = Fields(ClusterConfig, "cluster.")
    path = find_conf_file("k8s", name, _folders(config_dir))
    if path is None:
        names = overlay_names(config_dir)
        raise K8sError(f"overlay={name}: there is none; known: {', '.join(names)}{did_you_mean(name, names)}")
    try:
        content = read_yaml(path)
        if not isinstance(content, dict) or content.keys() - {"run", "cluster"}:
            raise K8sError(f"{path}: should have the keys run (a list of overrides) and cluster (settings), and no others")
        run = content.get("run") or []
        if not isinstance(run, list) or not all(isinstance(line, str) and "=" in line for line in run):
            raise K8sError(f"{path}: run must be a list of overrides like pool.learners=2")
        merged = OmegaConf.merge(OmegaConf.structured(ClusterConfig), content.get("cluster") or {}, override_values(overrides, known))
        cluster = OmegaConf.to_object(merged)
    except (ConfFileError, OverrideError) as error:
        raise K8sError(str(error)) from error
    except OmegaConfBaseException as error:
        raise K8sError(_explain(str(error).splitlines()[0], error, known)) from error
    assert isinstance(cluster, ClusterConfig)
    return run, cluster


def _explain(text: str, error: Exception, known: Fields) -> str:
    key = str(getattr(error, "full_key", "") or "")
    name = f"{known.prefix}{key}"
    if not key:
        return text
    return f"{name}: {text}" + ("" if known.knows(name) else did_you_mean(name, known.names))


def _placed(cluster: ClusterConfig) -> list[str]:
    """Overrides without which a run would not find its volume, its cluster and its way back after a failure, nor Prometheus the run."""
    mount = cluster.storage.mount.rstrip("/")
    return [
        f"run.root={mount}",
        "run.resume=auto",
        f"data.cache_dir={mount}/.cache",
        "pool.address=auto",
        "pool.role_labels=true",
        f"pool.nodes_wait_s={cluster.deadlines.nodes_s}",
        f"tracking.prometheus_port={DRIVER_METRICS_PORT}",
        "tracking.prometheus_address=0.0.0.0",
    ]


def _merge(*layers: Sequence[str]) -> list[str]:
    """Later layers replace what earlier ones say of the same field; Hydra would refuse a second ``experiment=``."""
    merged: dict[str, str] = {}
    for override in (line for layer in layers for line in layer):
        merged[override.partition("=")[0].lstrip("+")] = override
    return list(merged.values())


def _components(text: str) -> tuple[str, ...]:
    named = [name for name in text.strip("[]").replace(" ", "").split(",") if name]
    for name in named:
        if name not in COMPONENTS:
            known = ", ".join(COMPONENTS)
            raise K8sError(f"components={text}: unknown component {name!r}; known: {known}{did_you_mean(name, COMPONENTS)}")
    if len(schedulers := [name for name in named if name in SCHEDULERS]) > 1:
        raise K8sError(f"components={text}: {' and '.join(schedulers)} both schedule the pods; take one")
    return tuple(name for name in COMPONENTS if name in named)
