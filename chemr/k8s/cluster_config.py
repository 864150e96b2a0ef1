"""What of a manifest is the cluster's and not the run's: images, pod sizes, storage, limits of time, schedulers.

How many pods there are, what they ask for and what they run follows from these and the run's configuration (:mod:`chemr.k8s.groups`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from enum import StrEnum

from chemr.k8s.errors import K8sError

PRIORITY_CLASS = "chemr-training"
STATUS_CHECK_S = 300
"""After so many seconds without an answer of the dashboard KubeRay 1.7 ends a job for good, backoffLimit or not: its setting
RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS."""
ROLES = ("learner", "generator", "reward")


class Workload(StrEnum):
    """What runs the pods."""

    job = "job"  # a RayJob: starts a cluster, runs the training, ends it
    cluster = "cluster"  # a RayCluster to work on by hand


@dataclass
class GroupConfig:
    """One worker group: pods of one kind.

    Attributes:
        hosts: how many actors of each role (learner, generator, reward) one pod has room for.
        memory_gb: memory of a pod, GiB, without shared memory.
        shm_gb: /dev/shm of a pod, GiB: Ray's object store, the weights once (twice for a moment where there are several generators),
            NCCL. It counts as memory of the pod. ``render`` refuses less than the policy and the pod's actors need, where the policy's
            size is known.
        object_store_gb: Ray's object store, GiB, inside /dev/shm.
        max_actors: with autoscaling, for how many actors of each role the group may grow; roles that are missing stay as they are.
        node_selector: labels that the pods' nodes must have.
        spread: whether the pods go to different nodes where possible.
    """

    hosts: dict[str, int] = field(default_factory=dict)
    memory_gb: float = 4.0
    shm_gb: float = 2.0
    object_store_gb: float = 1.0
    max_actors: dict[str, int] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    spread: bool = True


@dataclass
class HeadConfig:
    """The pod of the driver and of Ray's control plane; no actor runs there.

    Attributes:
        cpu: cores.
        memory_gb: memory, GiB, without shared memory.
        shm_gb: /dev/shm, GiB; it counts as memory of the pod.
        object_store_gb: Ray's object store, GiB, inside /dev/shm.
    """

    cpu: int = 2
    memory_gb: float = 4.0
    shm_gb: float = 1.0
    object_store_gb: float = 0.5


@dataclass
class StorageConfig:
    """The shared volume with runs, checkpoints, models and caches. It belongs to the surroundings: no run makes or deletes it.

    Attributes:
        claim: name of the PersistentVolumeClaim.
        create: whether the claim is part of the surroundings; False = it exists already.
        size_gb: of the claim, GiB.
        storage_class: of the claim; null = the cluster's default. It must offer ReadWriteMany when there is more than one pod.
        mount: where the pods see it.
    """

    claim: str = "chemr-runs"
    create: bool = True
    size_gb: int = 20
    storage_class: str | None = None
    mount: str = "/runs"


@dataclass
class DeadlinesConfig:
    """Limits of a RayJob, in seconds, and how often a failed attempt is repeated on a new cluster.

    Attributes:
        backoff_limit: attempts after the first.
        active_s: of one attempt: KubeRay starts the clock again with each. An attempt that takes longer ends the job, without another.
        pods_s: until the job runs (preRunningDeadlineSeconds).
        head_lost_s: how long the head stays bound to a node that does not answer. It counts against the operator's patience with the
            job's status (300 s unless its RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS says more), after which the job is not tried again.
        evict_s: how long the head's pod may take to end when it has to go: the run is drained and writes a checkpoint.
        nodes_s: how long a started run waits for the pods of its worker groups (``pool.nodes_wait_s``).
        keep_s: how long a finished job's cluster stays.
    """

    backoff_limit: int = 3
    active_s: int = 7200
    pods_s: int = 1800
    nodes_s: int = 1800
    head_lost_s: int = 60
    evict_s: int = 300
    keep_s: int = 600


@dataclass
class NetworkConfig:
    """Who may talk to whom (NetworkPolicies).

    Attributes:
        https_except: private ranges that pods cannot reach over HTTPS. Everything else is open on port 443: W&B and object stores have no
            fixed addresses.
        object_store_cidrs, object_store_port: of an object store (or W&B server) inside the cluster's or the company's network.
        monitoring_namespace, operator_namespace: where Prometheus and KubeRay's operator run; null = any namespace.
    """

    https_except: list[str] = field(default_factory=lambda: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"])
    object_store_cidrs: list[str] = field(default_factory=list)
    object_store_port: int = 9000
    monitoring_namespace: str | None = None
    operator_namespace: str | None = None


@dataclass
class RewardServiceConfig:
    """The gRPC reward service for other trainers (docs/reward-service.md); component ``reward-service``.

    Attributes:
        image: of its containers.
        min_replicas, max_replicas: bounds of its autoscaler.
        workers: scoring processes of a replica, one core each.
        memory_gb: of a replica, GiB.
        cpu_target: percent of the requested CPU at which replicas are added.
        tls_secret: Secret with tls.crt, tls.key and ca.crt; clients need a certificate of that CA.
        clients: pod labels of the callers, which the NetworkPolicy lets in.
    """

    image: str = "chemr:cpu"
    min_replicas: int = 2
    max_replicas: int = 8
    workers: int = 2
    memory_gb: float = 4.0
    cpu_target: int = 70
    tls_secret: str = "chemr-rewards-tls"
    clients: dict[str, str] = field(default_factory=lambda: {"chemr-rewards-client": "true"})


@dataclass
class SchedulerConfig:
    """Names of queues, for the scheduler whose component is used.

    Attributes:
        queue: Kueue's LocalQueue, or the queue of Volcano, YuniKorn, KAI.
        cluster_queue: Kueue's ClusterQueue behind the LocalQueue.
        flavor: Kueue's ResourceFlavor.
    """

    queue: str = "chemr"
    cluster_queue: str = "chemr"
    flavor: str = "chemr-default"


@dataclass
class ClusterConfig:
    """Everything of a manifest that is not the run's.

    Attributes:
        name: of the RayJob or RayCluster; null = "chemr-" and run.name.
        namespace: of all objects; null = the one that kubectl uses.
        workload: see :class:`Workload`.
        image, pull_policy: of all containers.
        ray_version: of the image. KubeRay switches features by it.
        secret: Secret whose entries become environment variables of the driver (WANDB_API_KEY, AWS_…); it may be missing.
        priority_class: PriorityClass of the pods. The surroundings make chemr-training; one of another name has to exist.
        autoscale: whether Ray's autoscaler changes the sizes of groups between what the run starts with and ``max_actors``; the learner's
            group is always fixed.
        idle_s: how long a worker pod is idle before the autoscaler ends it.
        gpu_toleration: taint key of GPU nodes that GPU pods tolerate.
        head, groups, storage, deadlines, network, rewards_service, scheduler: see their classes.
    """

    name: str | None = None
    namespace: str | None = None
    workload: Workload = Workload.job
    image: str = "chemr:cpu"
    pull_policy: str = "IfNotPresent"
    ray_version: str = "2.60.0"
    secret: str = "chemr-secrets"
    priority_class: str = PRIORITY_CLASS
    autoscale: bool = False
    idle_s: int = 120
    gpu_toleration: str = "nvidia.com/gpu"
    head: HeadConfig = field(default_factory=HeadConfig)
    groups: dict[str, GroupConfig] = field(default_factory=dict)
    storage: StorageConfig = field(default_factory=StorageConfig)
    deadlines: DeadlinesConfig = field(default_factory=DeadlinesConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    rewards_service: RewardServiceConfig = field(default_factory=RewardServiceConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)

    def validate(self) -> None:
        """Raises K8sError naming the field, its value and the remedy."""
        for name, group in self.groups.items():
            where = f"cluster.groups.{name}"
            if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
                raise K8sError(f"{where}: {name!r} is not a group name; use small letters, digits and '-'")
            for entries in ("hosts", "max_actors"):
                for role, count in getattr(group, entries).items():
                    if role not in ROLES:
                        raise K8sError(f"{where}.{entries}: unknown role {role!r}; roles are {', '.join(ROLES)}")
                    if count < 1:
                        raise K8sError(f"{where}.{entries}.{role}={count} must be at least 1; leave the role out instead")
            if not group.hosts:
                raise K8sError(f"{where}.hosts is empty: say how many actors of which role a pod has, e.g. hosts: {{generator: 1}}")
            if "learner" in group.max_actors:
                raise K8sError(f"{where}.max_actors.learner: the number of learners is fixed for a run; leave it out")
            if extra := sorted(group.max_actors.keys() - group.hosts.keys()):
                raise K8sError(f"{where}.max_actors.{extra[0]}: the group hosts no {extra[0]}")
            if group.max_actors and not self.autoscale:
                raise K8sError(f"{where}.max_actors has no effect with cluster.autoscale=false; set that to true or leave max_actors out")
            if group.max_actors and "learner" in group.hosts:
                raise K8sError(f"{where}.max_actors: a group with learners is fixed; give the growing roles a group of their own")
        pods: list[tuple[str, HeadConfig | GroupConfig]] = [("cluster.head", self.head)]
        pods += [(f"cluster.groups.{name}", group) for name, group in self.groups.items()]
        for where, pod in pods:
            if not 0.08 <= pod.object_store_gb <= pod.shm_gb:
                raise K8sError(
                    f"{where}.object_store_gb={pod.object_store_gb:g} must be at least 0.08 and at most shm_gb={pod.shm_gb:g}: Ray's "
                    "object store lies in /dev/shm"
                )
            if pod.memory_gb <= 0:
                raise K8sError(f"{where}.memory_gb={pod.memory_gb:g} must be positive")
        for role in ROLES:
            homes = [name for name, group in self.groups.items() if role in group.hosts]
            if len(homes) != 1:
                raise K8sError(f"cluster.groups: {role} is hosted by {', '.join(homes) or 'no group'}; exactly one group must host it")
        for limit in fields(self.deadlines):
            least = 0 if limit.name in ("backoff_limit", "keep_s") else 1
            if getattr(self.deadlines, limit.name) < least:
                raise K8sError(f"cluster.deadlines.{limit.name}={getattr(self.deadlines, limit.name)} must be at least {least}")
        if self.deadlines.head_lost_s >= STATUS_CHECK_S:
            raise K8sError(
                f"cluster.deadlines.head_lost_s={self.deadlines.head_lost_s} must be below {STATUS_CHECK_S}: after that KubeRay ends a job "
                "whose status it cannot read, and does not try it again"
            )
        if not self.storage.mount.startswith("/") or self.storage.mount.rstrip("/") == "":
            raise K8sError(f"cluster.storage.mount={self.storage.mount!r} must be an absolute path other than /")
        service = self.rewards_service
        if not 1 <= service.min_replicas <= service.max_replicas:
            raise K8sError(
                f"cluster.rewards_service.min_replicas={service.min_replicas} must be at least 1 and at most max_replicas="
                f"{service.max_replicas}"
            )
