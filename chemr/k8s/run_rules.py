"""The run's own arithmetic: whether its actors fit the worker groups, and whether its files lie on volumes that survive."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from actors.pool_config import infeasible, role_label
from chemr.config import ChemrConfig, ConfigError, load, pool_config
from chemr.config_warnings import warnings
from chemr.k8s.cluster_config import ROLES
from chemr.k8s.findings import get, mapping, sequence
from chemr.k8s.memory_rules import shared_memory_problems
from chemr.k8s.operator_rules import Ray
from chemr.k8s.pods import DRIVER_METRICS
from chemr.k8s.ray_objects import ENTRYPOINT_ANNOTATION
from chemr.k8s.ray_pods import RayGroup, ray_container, ray_groups, ray_node
from chemr.run_directory import Resume

Problem = tuple[str, str]
Object = dict[str, Any]


def run_problems(ray: Ray, notes: list[str]) -> Iterator[Problem]:
    """What keeps ``chemr train`` of the entrypoint from running in these pods. What cannot be checked is added to ``notes``."""
    if not ray.cluster:
        return  # its pods are another object's
    path, command = _entrypoint(ray)
    if command is None:
        notes.append(f"{ray.kind}: no entrypoint in {path}: the groups cannot be compared with a run")
        return
    try:
        words = shlex.split(command)
    except ValueError as error:
        yield path, f"not a command line: {error}"
        return
    if [Path(word).name for word in words[:1]] + words[1:2] != ["chemr", "train"]:
        yield path, f"found {' '.join(words[:2])!r}, expected `chemr train …`: the groups cannot be compared with another program"
        return
    try:
        config = _config(tuple(words[2:]))
    except ConfigError as error:
        yield path, str(error)
        return
    notes += [f"{path}: {warning}" for warning in warnings(config)]
    yield from ((path, message) for message in _settings(ray, config))
    yield from ((path, message) for message in _devices(config))
    yield from _placement(ray, config)
    yield from shared_memory_problems(ray, config, bundles_of(config, config.pool.max_generators), notes)
    yield from _files(ray, config, path)
    yield from ((path, message) for message in _metrics(ray, config))


def bundles_of(config: ChemrConfig, generators: int | None = None) -> dict[str, dict[str, float]]:
    """Ray resources of every actor; with another number of generators if one is given."""
    pool = pool_config(config, Path("model"), Path("run"))
    bundles = pool.bundles()
    return bundles | {f"generator-{i}": pool.bundle("generator") for i in range(generators or 0)}


@functools.lru_cache(maxsize=64)
def _config(overrides: tuple[str, ...]) -> ChemrConfig:
    return load(overrides, files_here=False)[0]


def _entrypoint(ray: Ray) -> tuple[str, str | None]:
    if ray.kind == "RayJob":
        path, command = "spec.entrypoint", ray.spec.get("entrypoint")
    else:
        path, command = (
            f"metadata.annotations[{ENTRYPOINT_ANNOTATION!r}]",
            mapping(ray.metadata.get("annotations")).get(ENTRYPOINT_ANNOTATION),
        )
    return path, command if isinstance(command, str) and command.strip() else None


def _settings(ray: Ray, config: ChemrConfig) -> Iterator[str]:
    if config.pool.address is None:
        yield "pool.address is null: the run would start a private cluster inside the head; set pool.address=auto"
    if ray.spec.get("backoffLimit") and config.run.resume is not Resume.auto:
        yield f"run.resume={config.run.resume} with backoffLimit={ray.spec['backoffLimit']}: a repeated attempt needs run.resume=auto"
    if ray.spec.get("submissionMode") == "SidecarMode" and not config.pool.nodes_wait_s:
        yield "pool.nodes_wait_s=0 with submissionMode: SidecarMode: the run starts before the workers are there; set it, e.g. 1800"
    if ray.cluster.get("enableInTreeAutoscaling") and config.pool.role_labels and get(ray.cluster, "autoscalerOptions.version") != "v2":
        yield "pool.role_labels=true needs autoscalerOptions.version: v2; version 1 knows nothing of labels"


def _devices(config: ChemrConfig) -> Iterator[str]:
    pool = config.pool
    if config.learner.device == "cuda" and pool.learner_gpus <= 0:
        yield "learner.device=cuda but pool.learner_gpus=0: Ray would give the ranks no GPU"
    if pool.learner_gpus > 1 or (config.learner.device == "cpu" and pool.learner_gpus > 0):
        yield f"pool.learner_gpus={pool.learner_gpus:g} with learner.device={config.learner.device}: a rank uses one GPU, or none on a CPU"
    if config.generator.device == "cpu" and pool.generator_gpus > 0:
        yield f"pool.generator_gpus={pool.generator_gpus:g} with generator.device=cpu: the GPUs would never be used"


def _placement(ray: Ray, config: ChemrConfig) -> Iterator[Problem]:
    groups, bundles = ray_groups(ray), bundles_of(config)
    labelled = config.pool.role_labels
    head = ray_node(mapping(ray.cluster.get("headGroupSpec")))
    if head["CPU"] > 0:
        yield f"{ray.at}.headGroupSpec.rayStartParams.num-cpus", "must be '0': actors beside the driver take its cores"
    if labelled:
        for role in ROLES:
            if not any(group.labels.get(role_label(role)) == "true" for group in groups):
                yield f"{ray.at}.workerGroupSpecs[*].labels.{role_label(role)}", f"no group has it, so pool.role_labels places no {role}"
                return
    homes = {role: [group for group in groups if not labelled or group.labels.get(role_label(role)) == "true"] for role in ROLES}
    for role, found in homes.items():
        if found and not any(group.pods for group in found):
            yield f"{found[0].path}.replicas", f"0 pods, and the run has {role} actors"
            return
    for name, bundle in bundles.items():  # one actor, an empty pod
        role = name.rsplit("-", 1)[0]
        if name.endswith("-0") and not any(_fits(group, bundle) for group in homes[role]):
            for group in homes[role]:
                short = next(kind for kind, value in bundle.items() if group.node.get(kind, 0.0) + 1e-6 < value)
                field = "cpu" if short == "CPU" else "nvidia.com/gpu"
                yield (
                    f"{group.path}.template.spec.containers[0].resources.limits.{field}",
                    f"a pod of {group.name} has {group.node.get(short, 0.0):g} {short}, and one {role} asks for {bundle[short]:g}",
                )
            return
    if reason := _short(bundles, groups, labelled):
        role = reason.split("-", 1)[0]
        home = next(iter(homes.get(role, [])), None)
        yield (f"{home.path}.replicas" if home else f"{ray.at}.workerGroupSpecs"), f"the placement group never fits: {reason}"
        return
    yield from _sizes(ray, config, groups, homes, bundles)


def _sizes(
    ray: Ray, config: ChemrConfig, groups: list[RayGroup], homes: dict[str, list[RayGroup]], bundles: dict[str, dict[str, float]]
) -> Iterator[Problem]:
    """Groups are neither larger than the run can use nor changed by anybody but the autoscaler."""
    labelled = config.pool.role_labels
    autoscaled = bool(ray.cluster.get("enableInTreeAutoscaling"))
    at_most = bundles_of(config, config.pool.max_generators)
    for group in groups:
        if group.pods and _short(bundles, _resized(groups, group, group.pods - 1), labelled) is None:
            yield f"{group.path}.replicas", f"{group.pods} pods, and the run's actors leave at least one of them empty; use fewer"
        if not autoscaled and not group.least == group.most == group.pods:
            yield (
                f"{group.path}.{'minReplicas' if group.least != group.pods else 'maxReplicas'}",
                f"minReplicas={group.least}, replicas={group.pods}, maxReplicas={group.most} differ, and without enableInTreeAutoscaling "
                "nothing changes a group's size",
            )
        if not autoscaled:
            continue
        if group in homes["learner"] and not group.least == group.most == group.pods:
            yield f"{group.path}.maxReplicas", "a group with learners is fixed: minReplicas, replicas and maxReplicas must be equal"
        elif group.least < group.pods:
            yield f"{group.path}.minReplicas", f"{group.least} is less than the {group.pods} pods that the run's placement group holds"
        elif (
            group in homes["generator"]
            and group.most > group.pods
            and _short(at_most, _resized(groups, group, group.most - 1), labelled) is None
        ):
            most = config.pool.max_generators or config.pool.generators
            yield f"{group.path}.maxReplicas", f"{group.most} pods have room for more than the {most} generators of pool.max_generators"


def _short(bundles: dict[str, dict[str, float]], groups: list[RayGroup], labelled: bool) -> str | None:
    pods = [group for group in groups for _ in range(min(group.pods, 4096))]
    return infeasible(bundles, [group.node for group in pods], [group.labels for group in pods] if labelled else None)


def _resized(groups: list[RayGroup], group: RayGroup, pods: int) -> list[RayGroup]:
    return [dataclasses.replace(each, pods=pods) if each is group else each for each in groups]


def _fits(group: RayGroup, bundle: dict[str, float]) -> bool:
    return all(group.node.get(kind, 0.0) + 1e-6 >= value for kind, value in bundle.items())


def _files(ray: Ray, config: ChemrConfig, entrypoint: str) -> Iterator[Problem]:
    """Folders that driver and workers share lie on a claimed volume, at the same place in every pod."""
    named = {
        "run.root": config.run.root,
        "data.cache_dir": config.data.cache_dir,
        "policy.path": config.policy.path,
        "data.dir": config.data.dir,
        "distill.traces": config.distill.traces,
        "run.start_from": config.run.start_from,
    }
    if config.data.cache_dir is None:
        yield entrypoint, "data.cache_dir is null: every pod would build the data for itself; put it on the shared volume"
    for path, group in ray.pods():
        mounts = _claimed_mounts(group)
        for field, folder in named.items():
            if folder is None or any(_below(folder, mount) for mount in mounts):
                continue
            places = ", ".join(sorted(mounts)) or "none"
            if not folder.startswith("/"):
                yield entrypoint, f"{field}={folder} is relative: name a folder on a claimed volume (mounted: {places})"
                return
            yield (
                f"{path}.template.spec.containers[0].volumeMounts",
                f"{field}={folder} lies on no persistentVolumeClaim of this pod (mounted: {places}): it would be lost with the pod",
            )


def _metrics(ray: Ray, config: ChemrConfig) -> Iterator[str]:
    """The driver listens where the head's port says it does, and not on the loopback alone."""
    container = ray_container(mapping(ray.cluster.get("headGroupSpec")))
    ports = [mapping(port) for port in sequence(container.get("ports"))]
    exposed = next((port.get("containerPort") for port in ports if port.get("name") == DRIVER_METRICS), None)
    served, address = config.tracking.prometheus_port, config.tracking.prometheus_address
    if exposed is None:
        return
    if served != exposed:
        yield f"tracking.prometheus_port={served}, and the head's port {DRIVER_METRICS} is {exposed}: Prometheus would find nothing there"
    elif address in ("127.0.0.1", "localhost", "::1"):
        yield f"tracking.prometheus_address={address}: nobody outside the pod can scrape port {served}; set 0.0.0.0"


def _claimed_mounts(group: Object) -> dict[str, str]:
    spec = get(group, "template.spec")
    claims = {
        str(mapping(volume).get("name")): str(get(volume, "persistentVolumeClaim.claimName"))
        for volume in sequence(mapping(spec).get("volumes"))
        if get(volume, "persistentVolumeClaim.claimName")
    }
    first = mapping(next(iter(sequence(mapping(spec).get("containers"))), {}))
    mounts = [mapping(mount) for mount in sequence(first.get("volumeMounts"))]
    return {str(mount.get("mountPath")): claims[str(mount.get("name"))] for mount in mounts if str(mount.get("name")) in claims}


def _below(folder: str, mount: str) -> bool:
    return PurePosixPath(folder) == PurePosixPath(mount) or PurePosixPath(mount) in PurePosixPath(folder).parents
