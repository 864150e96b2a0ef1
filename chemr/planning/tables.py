"""What a plan looks like for people."""

from __future__ import annotations

from collections.abc import Sequence

from chemr.data.text_table import text_table
from chemr.planning.calibration import Calibration
from chemr.planning.devices import GIB
from chemr.planning.scenario import Prediction
from chemr.planning.search import DAY_S, Alternative, Request
from chemr.planning.speedup_bound import SpeedUp


def alternatives_table(alternatives: Sequence[Alternative], request: Request, price: float | None) -> list[str]:
    """One line for each split, best first."""
    header = ["generators × GPUs", "ranks", "ZeRO", "TP", "micro-batch", "step s", "generate", "train", "age", "max", "overlap", "Mtok/day"]
    if price is not None:
        header += ["cost/day", "per Mtok"]
    rows = []
    for each in alternatives:
        split, layout, foreseen = each.split, each.split.layout, each.prediction
        row = [
            f"{split.generators} × {split.tensor_parallel}",
            f"{layout.ranks}",
            f"{layout.zero_stage}",
            f"{layout.tensor_parallel}",
            f"{layout.micro_batch_tokens}{' ckpt' if layout.gradient_checkpointing else ''}",
            f"{each.step_s:.1f}",
            f"{split.generation_s:.1f}",
            f"{foreseen.train_s:.1f}",
            f"{foreseen.age_mean:.2f}",
            f"{foreseen.age_max} of {foreseen.age_bound}",
            f"{foreseen.overlap_efficiency:.0%}",
            f"{each.tokens_per_day / 1e6:,.0f}",
        ]
        if price is not None:
            row += [f"{price * request.gpus * 24:,.0f}", f"{each.cost_per_million_tokens(price, request.gpus):,.2f}"]
        rows.append(row)
    return text_table(header, rows)


def memory_table(best: Alternative, request: Request) -> list[str]:
    """GiB per GPU of both roles."""
    learner, engine = best.split.learner_memory, best.split.engine_memory
    rows = [
        ["learner rank"]
        + [f"{part / GIB:.1f}" for part in (learner.weights, learner.gradients, learner.optimizer, learner.activations, learner.head)]
        + ["–", f"{learner.workspace / GIB:.1f}", f"{learner.total / GIB:.1f}"],
        ["engine", f"{engine.weights / GIB:.1f}", "–", "–", f"{engine.activations / GIB:.1f}", "–"]
        + [f"{part / GIB:.1f}" for part in (engine.cache, engine.workspace, engine.total)],
    ]
    header = [
        f"GiB of {request.gpu.memory / GIB:.1f}",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "head",
        "KV cache",
        "workspace",
        "total",
    ]
    lines = text_table(header, rows)
    lines.append(
        f"an engine's cache holds {engine.cache_tokens:,} tokens; at most {best.split.engine.most_samples} samples run in it at once"
    )
    return lines


def bound_line(speed: SpeedUp) -> str:
    """The bound of asynchronous over synchronous training beside what the simulation finds."""
    return (
        f"asynchronous over synchronous: {speed.simulated:.2f} × simulated; the bound 1 + ρ(φ − 1) is {speed.bound:.2f} "
        f"(generation is {speed.share:.0%} of the work, the longest of a step's samples {speed.spread:.1f} × the mean)"
    )


def sensitivity_table(rows: Sequence[tuple[str, Alternative]]) -> list[str]:
    """What a step becomes when something is other than assumed."""
    return text_table(
        ["if", "step s", "age", "max", "overlap", "available", "Mtok/day", "given up"],
        [
            [
                what,
                f"{each.step_s:.1f}",
                f"{each.prediction.age_mean:.2f}",
                f"{each.prediction.age_max} of {each.prediction.age_bound}",
                f"{each.prediction.overlap_efficiency:.0%}",
                f"{each.availability:.1%}",
                f"{each.tokens_per_day / 1e6:,.0f}",
                f"{_given_up(each.prediction):.1%}",
            ]
            for what, each in rows
        ],
    )


def calibration_lines(calibration: Calibration) -> list[str]:
    """What was measured, what was derived, and how well the simulation of the run itself fits."""
    measured, fitted, engine = calibration.measured, calibration.fitted, calibration.engine
    work, lengths = calibration.workload, calibration.workload.lengths
    rows = [
        [name, f"{found:.3f}", f"{foreseen:.3f}", note]
        for name, found, foreseen, note in (
            ("rollout s", measured.rollout_s, fitted.rollout_s, "fitted"),
            ("train s", measured.train_s, fitted.train_s, "fitted"),
            ("turnaround s", measured.turnaround_s, fitted.turnaround_s, "fitted"),
            ("step s", measured.step_s, fitted.step_s, f"{calibration.step_error:+.1%}"),
            ("wait s", measured.wait_s, fitted.wait_s, ""),
            ("age", measured.age_mean, fitted.age_mean, ""),
            ("samples in flight", measured.samples_in_flight, fitted.running, ""),
            ("generated tokens/s", measured.generated_tokens_per_s, fitted.generated_tokens_per_s, ""),
        )
    ]
    evaluation = "no evaluation to compare with"
    if calibration.evaluation is not None:
        seconds = calibration.evaluation.seconds
        evaluation = f"the evaluation's {seconds:.1f} s would take {calibration.evaluation.predicted_s(engine):.1f}"
    return [
        f"{measured.steps} steps of {calibration.config.run.name}",
        *text_table(["", "measured", "simulated", ""], rows),
        "",
        f"decoding step: {1e3 * engine.constant_s:.2f} ms, {1e3 * engine.sample_s:.4f} ms a sample, {1e3 * engine.prefill_s:.4f} ms a "
        f"prompt's token, {1e3 * engine.end_s:.2f} ms a sample that ends; {evaluation}",
        f"training: {calibration.train_fixed_s:.3f} s a step and {1e12 * calibration.train_per_flop:.1f} s a teraflop and rank; "
        f"publish {1e3 * calibration.publish_s:.0f} ms, pull {1e3 * engine.pull_s:.0f} ms, driver {1e3 * calibration.overhead_s:.1f} ms, "
        f"reward {1e3 * work.reward_s:.2f} ms an answer, latency {1e3 * calibration.latency_s:.0f} ms a group"
        + (f", {calibration.service:.2f} cores beside an engine" if calibration.cores is not None else ""),
        f"answers: mean {lengths.capped_mean:.1f} tokens, tail {lengths.sigma:.2f}, {lengths.between:.0%} of it between prompts; "
        f"prompts {work.prompt_tokens:.1f}; trivial groups {work.trivial:.1%}",
        *(f"assumed: {what}" for what in calibration.assumed),
    ]


def predictions_table(rows: Sequence[tuple[str, Prediction]]) -> list[str]:
    """Configurations that were predicted from a calibration."""
    return text_table(
        ["configuration", "step s", "train", "wait", "age", "max", "overlap", "tokens/s", "Mtok/day"],
        [
            [
                what,
                f"{each.step_s:.3f}",
                f"{each.train_s:.3f}",
                f"{each.wait_s:.3f}",
                f"{each.age_mean:.2f}",
                f"{each.age_max} of {each.age_bound}",
                f"{each.overlap_efficiency:.0%}",
                f"{each.trained_tokens_per_s:,.0f}",
                f"{each.trained_tokens_per_s * DAY_S / 1e6:,.1f}",
            ]
            for what, each in rows
        ],
    )


def _given_up(prediction: Prediction) -> float:
    """Share of the submitted groups that were dropped though they would have taught something."""
    lost = sum(number for reason, number in prediction.dropped.items() if reason != "zero_variance")
    return lost / max(1, prediction.submitted)
