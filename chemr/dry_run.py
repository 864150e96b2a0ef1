"""`chemr train --dry-run`: what would run, checked against folder, machine, model and data, without starting anything."""

from __future__ import annotations

import os

from actors.staleness import max_age, slot_count, window_size
from chemr.config import ChemrConfig, ConfigError, Stage, pool_config
from chemr.doctor.start import ask

MEMORY_PER_ACTOR_MB = 900  # resident, measured: an idle engine or learner of the starter


def dry_run(config: ChemrConfig) -> list[str]:
    """Lines that describe the run.

    Raises:
        ConfigError: it would not start; a line for each finding.
    """
    start = ask(config)
    start.require()
    lines = [f"run {config.run.path}, seed {config.run.seed}, resume {config.run.resume}"]
    lines += [f"stage {stage}: {getattr(config, stage).steps} steps" for stage in config.stages]
    lines += [f"{check.name}: {check.detail}" for check in start.checks]
    if Stage.grpo in config.stages:
        grpo = config.grpo
        shape = (grpo.groups_per_step, grpo.off_policy_steps)
        lines.append(
            f"grpo: {slot_count(*shape)} slots, window {window_size(*shape, grpo.window_fraction)}, "
            f"age at most {max_age(*shape, grpo.window_fraction)} versions"
        )
    return [*lines, *_check_cluster(config), *(f"warning: {note}" for note in start.notes)]


def _check_cluster(config: ChemrConfig) -> list[str]:
    policy = config.run.path / "initial-model"
    bundles = pool_config(config, policy, config.run.path).bundles()
    asked = {kind: sum(bundle.get(kind, 0.0) for bundle in bundles.values()) for kind in ("CPU", "GPU")}
    if config.pool.address is not None:
        from chemr.doctor.cluster import check_placement, read_cluster

        try:
            placement = check_placement(read_cluster(config.pool.address), bundles, config.pool.role_labels)
        except ConnectionError as error:
            raise ConfigError(f"pool.address={config.pool.address}: {error}; is the head up, and RAY_AUTH_TOKEN its token?") from error
        if not placement.ok:
            raise ConfigError(placement.detail)
        return [f"cluster {config.pool.address}: {placement.detail}"]
    return [
        f"private cluster: {len(bundles)} actors ask for {asked['CPU']:g} logical CPUs on {os.cpu_count()} cores, "
        f"about {len(bundles) * MEMORY_PER_ACTOR_MB} MB of memory"
    ]
