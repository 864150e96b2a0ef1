"""Worker groups of a run: how many pods of which size, from the pool's actors and what a pod has room for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chemr.config import ChemrConfig
from chemr.k8s.cluster_config import ROLES, ClusterConfig, GroupConfig
from chemr.k8s.errors import K8sError


@dataclass(frozen=True, slots=True)
class Group:
    """A worker group: ``pods`` to start with and ``least``..``most`` under the autoscaler, of ``cpu`` cores and ``gpu`` GPUs each."""

    name: str
    roles: tuple[str, ...]
    pods: int
    least: int
    most: int
    cpu: int
    gpu: int
    settings: GroupConfig

    @property
    def fixed(self) -> bool:
        return self.least == self.most


def actors_of(config: ChemrConfig) -> dict[str, int]:
    """How many actors of each role a run starts with."""
    pool = config.pool
    return {"learner": pool.learners, "generator": pool.generators, "reward": pool.reward_workers}


def cpus_of(config: ChemrConfig) -> dict[str, float]:
    """CPUs of Ray's account of one actor of each role."""
    pool = config.pool
    return {"learner": pool.learner_cpus, "generator": pool.generator_cpus, "reward": pool.reward_cpus}


def gpus_of(config: ChemrConfig) -> dict[str, float]:
    """GPUs of Ray's account of one actor of each role."""
    return {"learner": config.pool.learner_gpus, "generator": config.pool.generator_gpus, "reward": 0.0}


def worker_groups(config: ChemrConfig, cluster: ClusterConfig) -> list[Group]:
    """The groups, in the order learner, generator, reward of the role they host first.

    Raises:
        K8sError: autoscaling that asks for fewer actors than the run starts with, or that the run cannot use.
    """
    count, cpus, gpus = actors_of(config), cpus_of(config), gpus_of(config)
    groups = []
    for name, settings in cluster.groups.items():
        hosts = settings.hosts
        pods = max(math.ceil(count[role] / room) for role, room in hosts.items())
        most = max([pods, *(math.ceil(limit / hosts[role]) for role, limit in settings.max_actors.items())])
        for role, limit in settings.max_actors.items():
            if limit < count[role]:
                raise K8sError(
                    f"cluster.groups.{name}.max_actors.{role}={limit} is less than the {count[role]} that the run starts with (pool."
                    f"{'reward_workers' if role == 'reward' else role + 's'})"
                )
        if (wanted := settings.max_actors.get("generator")) and wanted > count["generator"] and config.pool.max_generators != wanted:
            raise K8sError(
                f"cluster.groups.{name}.max_actors.generator={wanted} but pool.max_generators={config.pool.max_generators}: the run would "
                "not use the pods, or wait for pods that cannot come; set both to the same number"
            )
        groups.append(
            Group(
                name=name,
                roles=tuple(role for role in ROLES if role in hosts),
                pods=pods,
                least=pods,  # the run's placement group holds what it starts with for as long as it runs
                most=most if cluster.autoscale else pods,
                cpu=max(1, math.ceil(sum(cpus[role] * room for role, room in hosts.items()) - 1e-9)),
                gpu=math.ceil(sum(gpus[role] * room for role, room in hosts.items()) - 1e-9),
                settings=settings,
            )
        )
    return sorted(groups, key=lambda group: ROLES.index(group.roles[0]))
