"""Does a pretrained policy know in which form it is to answer? Asked once, before GRPO's first step.

An instruct model that was never told to write ``<answer>…</answer>`` earns nothing on any prompt: every group is given up, and hours pass
until somebody finds out. A model from scratch has learnt the form in the stages before.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chemr.evaluation import Evaluation
from chemr.run_stopped import RunStopped
from rewards.verdict import Reason

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun

WITHOUT_FORM = frozenset({Reason.NO_ANSWER, Reason.BAD_FORMAT})


class NoAnswerForm(RunStopped):
    """Nearly all answers lack the form that scorers read: there is nothing for GRPO to learn from."""


async def check_answer_form(run: TrainingRun) -> None:
    """Evaluates a pretrained policy at GRPO's step 0 and notes the share of its answers that have no form, by reason.

    Raises:
        NoAnswerForm: it is above ``grpo.formless_stop``.
    """
    stop = run.config.grpo.formless_stop
    if not run.config.policy.pretrained or run.state.stage_step > 0 or stop >= 1.0:
        return
    run.display.note(judge_form(await run.validate(), stop))


def judge_form(evaluation: Evaluation, stop: float) -> str:
    """What a person should be told of the answers' form.

    Raises:
        NoAnswerForm: a larger share than ``stop`` has none.
    """
    reasons = Counter[str]()
    for score in evaluation.tasks.values():
        reasons.update(score.reasons)
    answers = sum(reasons.values())
    missing = {str(reason): reasons[reason] / answers for reason in sorted(WITHOUT_FORM) if reasons[reason]} if answers else {}
    share = sum(missing.values())
    parts = ", ".join(f"{reason} {part:.0%}" for reason, part in missing.items())
    found = f"before GRPO {share:.0%} of {answers} answers lack the form <answer>…</answer>" + (f" ({parts})" if parts else "")
    if share > stop:
        raise NoAnswerForm(
            f"{found}, more than grpo.formless_stop={stop:g}: GRPO would have nothing to learn from; teach the form first "
            "(stages=[foundation,distill,grpo], or distill.traces=FILE), raise eval.max_new_tokens and grpo.max_new_tokens if answers are "
            "cut off before they come to it, or set grpo.formless_stop=1 to train all the same"
        )
    return found
