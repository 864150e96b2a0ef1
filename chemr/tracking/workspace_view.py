"""The W&B workspace of a run, made by code: what a researcher looks at first, in the order of the questions.

W&B makes a panel of every metric by itself, some hundred in the order of the alphabet. A saved view chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

TASK = "<task>"  # in a name: one line for each of the run's tasks


class ViewPanel(NamedTuple):
    """A line plot of ``metrics`` over the optimiser steps."""

    title: str
    metrics: tuple[str, ...]


SECTIONS: Mapping[str, tuple[ViewPanel, ...]] = {
    "Does it learn?": (
        ViewPanel("Mean reward of the rollouts", ("reward/mean",)),
        ViewPanel("Held-out mean reward", ("eval/test/mean", "eval/validation/mean")),
        ViewPanel("Reward by task", (f"reward/{TASK}/mean",)),
        ViewPanel("Reward above question-blind answers", (f"reward/{TASK}/excess",)),
        ViewPanel("Held-out reward by task", (f"eval/test/{TASK}",)),
    ),
    "Curriculum": (
        ViewPanel("Success estimates", (f"curriculum/success/{TASK}",)),
        ViewPanel("Share of the prompts", (f"curriculum/weight/{TASK}",)),
        ViewPanel("Effective number of tasks", ("curriculum/effective_tasks",)),
    ),
    "Is the policy gradient sound?": (
        ViewPanel("Entropy, nats a token", ("train/entropy",)),
        ViewPanel("Effective sample size", ("train/ess",)),
        ViewPanel("Engine against learner, nats a token", ("train/mismatch_kl", "train/mismatch_mean", "train/mismatch_p99")),
        ViewPanel("Updates with nothing to learn from", ("train/skipped_updates",)),
        ViewPanel("Gradient norm", ("train/grad_norm",)),
        ViewPanel("Loss", ("train/loss",)),
    ),
    "Who waits for whom?": (
        ViewPanel("Age, weight versions", ("async/age_mean", "async/age_max", "async/age_bound")),
        ViewPanel("Idle", ("async/idle_learner", "async/idle_generators")),
        ViewPanel("Overlap efficiency", ("async/overlap_efficiency",)),
        ViewPanel("Trained tokens a second", ("train/tokens_per_s",)),
        ViewPanel("Seconds a step", ("time/step_s",)),
        ViewPanel("A group: generation, and until its verdicts, seconds", ("rollout/seconds", "rollout/turnaround_s")),
        ViewPanel("Weights: publish and pull, seconds", ("weights/publish_s", "weights/pull_s")),
    ),
    "Answers": (
        ViewPanel("Length, tokens", ("rollout/length", "rollout/length_max")),
        ViewPanel("Truncated", ("rollout/truncated",)),
    ),
}


def metrics_of(panel: ViewPanel, tasks: Sequence[str]) -> list[str]:
    """The names with a task's name in each place for one."""
    return [name.replace(TASK, task) for name in panel.metrics for task in (tasks if TASK in name else ("",))]


def workspace(entity: str, project: str, name: str, tasks: Sequence[str]) -> Workspace:
    """The view, not saved yet; its ``save()`` sends it. Needs the extra ``chemr[workspace]``.

    Raises:
        ModuleNotFoundError: wandb-workspaces is not installed.
    """
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports.v2.interface import LinePlot

    def plot(panel: ViewPanel) -> Any:
        names: list[Any] = list(metrics_of(panel, tasks))
        return LinePlot(title=panel.title, x="step", y=names)

    sections = [workspaces.Section(name=title, panels=[plot(panel) for panel in made], is_open=True) for title, made in SECTIONS.items()]
    return workspaces.Workspace(
        entity=entity, project=project, name=name, sections=sections, settings=workspaces.WorkspaceSettings(x_axis="step")
    )
