"""The whole configuration as typed dataclasses, and how a command line becomes one.

Types come from these classes (Hydra structured configs), values from ``conf/``; ranges and relations between fields are checked in
:mod:`chemr.config_checks`, before anything is started. Each floor owns the config of what it does (``learner.config``,
``actors.*_config``); this module only puts them together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from actors.generator_config import GeneratorConfig
from actors.pool_config import FleetTiming, GeneratorActors, LearnerActors, PoolConfig, RewardActors, WeightsConfig
from chemr.config_overrides import EXPERIMENT, Fields, OverrideError, hydra_arguments, quoted
from chemr.config_secrets import SecretError, guarded_environment, require_no_secrets
from chemr.control_config import ControlConfig
from chemr.data.published_config import PublishedConfig
from chemr.data.starter.config import StarterConfig
from chemr.evaluation_config import EvalConfig
from chemr.mining.config import MiningConfig
from chemr.nearest_name import did_you_mean
from chemr.reward_shaping import ShapingConfig
from chemr.run_directory import Resume
from chemr.stage_config import DistillStageConfig as DistillStageConfig
from chemr.stage_config import GrpoStageConfig as GrpoStageConfig
from chemr.stage_config import SftStageConfig as SftStageConfig
from chemr.tracking.config import TrackingConfig
from learner.config import LearnerConfig, ModelConfig

SMALL = 512  # hidden width below which a model is none that somebody else has pretrained


class ConfigError(ValueError):
    """A configuration that cannot run; the message names the field, the value and the remedy."""


class Stage(StrEnum):
    """The phases of Chem-R. Leaving one out of ``stages`` gives the ablation arms of the paper."""

    foundation = "foundation"
    distill = "distill"
    grpo = "grpo"


@dataclass
class RunConfig:
    """Identity of a run.

    Attributes:
        root, name: the run's directory is ``root/name``.
        seed: of everything random in it.
        resume: what to do when the directory holds a run already.
        keep_checkpoints: how many of the newest are kept.
        start_from: the directory of a run whose finished stages this one goes on from (chemr/run_fork.py); null = from the beginning.
        lock_wait_s: how long a start waits for a directory that another process holds: a lost node's lock is freed after a while only.
        keep_stage_models: also export the model after each stage, to ``stages/<stage>`` (the last one is always exported, to ``model``).
    """

    name: str = "starter"
    root: str = "runs"
    seed: int = 0
    resume: Resume = Resume.never
    start_from: str | None = None
    keep_checkpoints: int = 2
    lock_wait_s: float = 120.0
    keep_stage_models: bool = False

    @property
    def path(self) -> Path:
        return Path(self.root) / self.name


@dataclass
class PolicyConfig:
    """Where the policy comes from.

    Attributes:
        path: a Hugging Face folder: weights, tokenizer, chat template; null = a small Llama of shape ``scratch`` with its own tokenizer.
        scratch: shape of that Llama.
        vocab_size: tokens of its tokenizer.
    """

    path: str | None = None
    scratch: ModelConfig = field(default_factory=ModelConfig)
    vocab_size: int = 512

    @property
    def pretrained(self) -> bool:
        """Whether it is neither made here nor a small one that such a run has made."""
        return self.path is not None and not _is_small(self.path)


class DataKind(StrEnum):
    """Where the rows come from."""

    starter = "starter"  # embedded: built on first use from what pip packages ship
    published = "published"  # the benchmarks' and training files in data.dir


@dataclass
class DataConfig:
    """Task data.

    Attributes:
        kind: see :class:`DataKind`.
        tasks: names in ``chemr.tasks.TASKS``; empty = all.
        grpo_share: share of the training rows kept for GRPO, which the supervised stages do not see; 0 = all stages use all rows.
        cache_dir: where built data are kept; null = the user's cache folder.
        starter: size and seed of the embedded data.
        published: which published files, and how much of them.
        dir: the folder with the published data files (docs/data.md); null = $CHEMR_DATA, else ../shared/data beside the checkout.
        strict: stop at the first bad row of a published file instead of leaving it out and counting it.
    """

    kind: DataKind = DataKind.starter
    tasks: list[str] = field(default_factory=list)
    grpo_share: float = 0.25
    cache_dir: str | None = None
    starter: StarterConfig = field(default_factory=StarterConfig)
    published: PublishedConfig = field(default_factory=PublishedConfig)
    dir: str | None = None
    strict: bool = False

    @property
    def cache_path(self) -> Path:
        if self.cache_dir is not None:
            return Path(self.cache_dir)
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chemr"


@dataclass
class PoolSection:
    """The actors of a run and the cluster they live on.

    Attributes:
        address: of a running Ray cluster ("auto" inside one); null starts a private one on this machine.
        num_cpus: logical CPUs of the private cluster; null = what the actors ask for. May exceed the physical ones.
        object_store_mb: shared memory of the private cluster.
        generators, generator_cpus, generator_gpus: how many rollout engines, and what Ray reserves for each.
        reward_workers, reward_cpus: how many reward actors, and what Ray reserves for each.
        learners, learner_cpus, learner_gpus: DeepSpeed ranks, and what Ray reserves for each.
        learner_nice: what the ranks' processes add to their niceness, 0 to 19. Where learner and engines share cores and there are more
            cores than engines, an engine whose core is not taken from it keeps many samples going; with as many engines as cores it would
            starve the learner.
        min_generators, min_reward_workers: with fewer of them serving a run waits, for timing.fleet_wait_s at most.
        max_generators: the fleet grows up to it when the cluster has room for another generator; null = it does not. A private cluster is
            started with logical CPUs for the maximum.
        role_labels: generators, reward workers and learners run only on nodes with the Ray label chemr-generator, chemr-reward or
            chemr-learner = true, as `chemr k8s render` gives them.
        nodes_wait_s: how long a start waits for the nodes of the cluster at ``address``; 0 = they are there or the start fails.
        learner_start_s: deadline of the ranks coming up.
        learner_step_s: deadline of a training step, a publication, a checkpoint; a rank that hangs is noticed after so long.
        timing: deadlines of the fleet.
        weights: how versions of the weights travel.
    """

    address: str | None = None
    num_cpus: int | None = None
    object_store_mb: int = 256
    generators: int = 1
    generator_cpus: float = 1.0
    generator_gpus: float = 0.0
    reward_workers: int = 1
    reward_cpus: float = 0.5
    learners: int = 1
    learner_cpus: float = 1.0
    learner_nice: int = 0
    learner_gpus: float = 0.0
    min_generators: int = 1
    min_reward_workers: int = 1
    max_generators: int | None = None
    role_labels: bool = False
    nodes_wait_s: float = 0.0
    learner_start_s: float = 300.0
    learner_step_s: float = 900.0
    timing: FleetTiming = field(default_factory=FleetTiming)
    weights: WeightsConfig = field(default_factory=WeightsConfig)


@dataclass
class RewardsConfig:
    """Isolation of the scorers and what they judge by (docs/rewards.md).

    Attributes:
        deadline_s, memory_mb: limits of one answer and of a scoring process.
        processes: scoring processes per reward worker.
        opsin: whether names are also judged by what OPSIN reads in them: auto (where Java is installed), always, never.
        grounding: weight in [0, 1] of the grounded term; 0 = off.
    """

    deadline_s: float = 2.0
    memory_mb: int = 3072
    processes: int = 1
    opsin: str = "auto"
    grounding: float = 0.0


class Precision(StrEnum):
    """Whether engine and learner may compute in different number formats."""

    own = "own"  # each as generator.dtype and learner.dtype say; the off-policy correction makes up for the difference
    match = "match"  # in the same format, without what adds to the difference; else the configuration is refused


@dataclass
class ChemrConfig:
    """Everything a run is made of.

    Attributes:
        precision: see :class:`Precision`.
        stages: the phases of training, in the order in which they run.
    """

    precision: Precision = Precision.own
    run: RunConfig = field(default_factory=RunConfig)
    stages: list[Stage] = field(default_factory=lambda: [Stage.foundation, Stage.distill, Stage.grpo])
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pool: PoolSection = field(default_factory=PoolSection)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    foundation: SftStageConfig = field(default_factory=SftStageConfig)
    distill: DistillStageConfig = field(default_factory=DistillStageConfig)
    grpo: GrpoStageConfig = field(default_factory=GrpoStageConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)


def pool_config(config: ChemrConfig, model_dir: Path, run_dir: Path, *, with_learners: bool = True) -> PoolConfig:
    """The pool of a run whose policy (and tokenizer) lies in ``model_dir``; without learners it is one for evaluation only."""
    section, rewards = config.pool, config.rewards
    shaping = config.grpo.shaping if with_learners and Stage.grpo in config.stages else ShapingConfig()  # evaluation is never shaped
    learner = LearnerActors(
        config.learner,
        ranks=section.learners,
        cpus=section.learner_cpus,
        nice=section.learner_nice,
        gpus=section.learner_gpus,
        start_timeout_s=section.learner_start_s,
        step_timeout_s=section.learner_step_s,
    )
    return PoolConfig(
        run_dir=run_dir.resolve(),
        rewards=RewardActors(
            tokenizer_dir=model_dir.resolve(),
            count=section.reward_workers,
            opening=_opening(model_dir),
            cpus=section.reward_cpus,
            workers=rewards.processes,
            deadline_s=rewards.deadline_s,
            memory_bytes=rewards.memory_mb << 20,
            opsin=rewards.opsin,
            grounding=rewards.grounding,
            claims=shaping.weighs("grounded"),
            traits=shaping.traits(),
        ),
        generators=GeneratorActors(section.generators, section.generator_cpus, section.generator_gpus, config.generator),
        learner=learner if with_learners else None,
        timing=section.timing,
        min_generators=section.min_generators,
        min_reward_workers=section.min_reward_workers,
        max_generators=section.max_generators,
        address=section.address,
        num_cpus=section.num_cpus,
        object_store_mb=section.object_store_mb,
        role_labels=section.role_labels,
        nodes_wait_s=section.nodes_wait_s,
    )


def _opening(model_dir: Path) -> str:
    """What the policy's prompts leave open; nothing is known of a folder that is yet to be made."""
    if not (model_dir / "tokenizer.json").is_file():
        return ""
    from chemr.tokenization import ChatTokenizer  # jinja2 and tokenizers, which only a start needs

    return ChatTokenizer.load(model_dir).opening


def conf_directory() -> Path:
    """``conf/`` beside an editable install, ``chemr/conf`` inside a wheel."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(
        f"chemr's configuration files are missing: neither {package / 'conf'} nor {package.parent / 'conf'} holds config.yaml"
    )


def load(
    overrides: Sequence[str], config_dir: Path | None = None, *, files_here: bool = True, own_policy: bool = True
) -> tuple[ChemrConfig, str]:
    """Compose, type-check and validate a configuration.

    Args:
        overrides: Hydra overrides, e.g. ``["experiment=starter", "grpo.steps=10"]``.
        config_dir: a user's folder that is searched besides ``conf/``.
        files_here: False for a run on other machines: the files and folders it names are not looked for on this one.
        own_policy: False for a command that is given a model other than that of ``policy``.

    Returns:
        The configuration as dataclasses, and as resolved YAML.

    Raises:
        ConfigError: for anything wrong with it, in words for the person who typed it.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from chemr.conf_files import ConfFileError, yaml_problem

    ConfigStore.instance().store(name="chemr_schema", node=ChemrConfig)
    OmegaConf.register_new_resolver("by_policy", _by_policy, replace=True)
    OmegaConf.register_new_resolver("by_device", _by_device, replace=True)
    known = Fields(ChemrConfig)
    try:
        arguments = hydra_arguments(overrides, known)
        arguments = [*_experiment_of_policy(arguments), *arguments]
        folders = _user_folders(config_dir)
        _check_experiments(arguments, folders, known)
    except (OverrideError, ConfFileError) as error:
        raise ConfigError(str(error)) from error
    arguments += [f"hydra.searchpath=[{quoted(f'file://{folder}')}]" for folder in folders]
    GlobalHydra.instance().clear()
    try:
        with guarded_environment(), initialize_config_dir(config_dir=str(conf_directory()), version_base="1.3"):
            composed = compose(config_name="config", overrides=arguments)
            unknown = known.unknown_key(OmegaConf.to_container(composed))  # type: ignore[arg-type]
            if unknown is not None:
                raise ConfigError(known.unknown(unknown))
            config = OmegaConf.to_object(composed)
            resolved = OmegaConf.to_yaml(composed, resolve=True)
            require_no_secrets(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]
    except SecretError as error:
        raise ConfigError(str(error)) from error
    except YAMLError as error:
        raise ConfigError(yaml_problem(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error)) from error
    assert isinstance(config, ChemrConfig)
    from chemr.config_checks import validate  # it needs the types above

    validate(config, files_here=files_here, own_policy=own_policy)
    return config, resolved


def _by_policy(scratch: float, pretrained: float, *, _root_: Any) -> float:
    """``${by_policy:A,B}`` in conf/: A for a policy from scratch (or a small one that such a run has made), B for a pretrained one, and
    10 B for adapters beside it."""
    path = _root_.policy.get("path", "???")  # not given yet: that is said of itself
    if path is None or _is_small(path):
        return scratch
    return float(f"{pretrained * 10:g}") if _root_.learner.lora_rank else pretrained


def _is_small(path: str) -> bool:
    """Whether the model in this folder is one of ours; not if it cannot be read here, which is said elsewhere."""
    try:
        width = json.loads((Path(path) / "config.json").read_text(encoding="utf-8")).get("hidden_size")
    except (OSError, ValueError, AttributeError):
        return False
    return isinstance(width, int) and width < SMALL


def _by_device(section: str, cpu: Any, cuda: Any, *, _root_: Any) -> Any:
    """``${by_device:SECTION,A,B}`` in conf/: A where SECTION.device is the CPU, B on GPUs."""
    return cpu if str(_root_[section].device) == "cpu" else cuda


def _experiment_of_policy(overrides: Sequence[str]) -> list[str]:
    """The starter is a model from scratch: whoever names a pretrained model and no experiment gets the one for such models."""
    given = dict(override.partition("=")[::2] for override in overrides)
    path = given.get("policy.path", "null").strip("'\"")
    return ["experiment=pretrained"] if path not in ("null", "") and "experiment" not in given and not _is_small(path) else []


def field_names() -> list[str]:
    """Every dotted field of a run's configuration."""
    return Fields(ChemrConfig).names


def mapping_fields() -> list[str]:
    """Those that hold entries under names of the user's own."""
    return Fields(ChemrConfig).mappings


def _user_folders(config_dir: Path | None) -> list[Path]:
    if config_dir is None:
        return []
    if not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a directory")
    return [config_dir.resolve()]


def _check_experiments(arguments: Sequence[str], folders: Sequence[Path], known: Fields) -> None:
    """Raises ConfigError for an experiment that is not there, ConfFileError for one of the user's that cannot be read."""
    from chemr.conf_files import check_experiment, conf_file_names

    names = [argument.partition("=")[2].strip("'\"") for argument in arguments if argument.startswith(f"{EXPERIMENT}=")]
    if len(names) > 1:
        raise ConfigError(f"experiment is given {len(names)} times ({', '.join(names)}); give one, and let its `defaults` name others")
    for name in names:
        if name in ("null", ""):
            continue
        places = [*folders, conf_directory()]
        if not any((place / EXPERIMENT / f"{name}.yaml").is_file() for place in places):
            found = conf_file_names(EXPERIMENT, places)
            raise ConfigError(
                f"experiment={name}: there is none; known: {', '.join(found)}{did_you_mean(name, found)} (--config-dir DIR: a folder with "
                "your own experiment/NAME.yaml)"
            )
        check_experiment(name, folders, known)


def _explain(error: Exception) -> str:
    """What Hydra or OmegaConf says, in one line and without their own types; of what a guard of ours refused, its words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SecretError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines() + str(error.__cause__ or "").strip().splitlines()
    noise = ("full_key:", "reference_type=", "object_type=", "See https://hydra.cc", "Set the environment variable")
    said = dict.fromkeys(line.strip() for line in lines if line.strip() and not line.strip().startswith(noise))
    key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
    text = "; ".join(said)
    return text if not key or str(key) in text else f"{key}: {text}"
