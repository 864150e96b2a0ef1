"""`chemr eval`: a model folder's scores on the starter's held-out rows or on a published suite, on a pool without learners."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from actors.pool import ActorPool
from chemr.config import ChemrConfig, ConfigError, pool_config
from chemr.data.example import Example
from chemr.data.loading import load_data
from chemr.data.sources import suites
from chemr.data.sources.reading import BadRowError, SourceFileError
from chemr.display import Display
from chemr.doctor.model_folder import check_model_folder
from chemr.doctor.start import refuse
from chemr.evaluation import Evaluation, evaluate, first_per_task
from chemr.evaluation_output import final_lines, say_evaluation, write_answers, write_json
from chemr.prompts import messages
from chemr.published_figures import FigureSources, answer_text, published_figures
from chemr.supervision import run_until_done
from chemr.tokenization import ChatTokenizer
from rewards.benchmark.figures import BenchmarkReport

STARTER = "starter"


async def evaluate_model(config: ChemrConfig, model: Path, json_file: Path | None, parquet_file: Path | None = None) -> Evaluation:
    """Evaluate the model in ``model`` on ``eval.suite``, print the table, write the figures to ``json_file`` and all answers to
    ``parquet_file``. Published suites are also scored by their own rules, on the greedy answers.

    Raises:
        ConfigError: ``model`` is not a model folder, or the suite or its data cannot be used.
    """
    refuse(check_model_folder(model, config, "model"))
    tokenizer = ChatTokenizer.load(model)
    data_dir = suites.default_data_dir() if config.data.dir is None else Path(config.data.dir)
    examples = first_per_task(_test_rows(config, data_dir), config.eval.test_prompts_per_task)
    askable, too_long = _by_length(examples, tokenizer, config.generator.max_model_len - config.eval.max_new_tokens)
    display = Display.create()
    if too_long:
        display.note(
            f"{len(too_long)} of {len(examples)} prompts are longer than generator.max_model_len - eval.max_new_tokens = "
            f"{config.generator.max_model_len - config.eval.max_new_tokens} tokens; they are not asked and count as unanswered"
        )
    results: list[Evaluation] = []
    with tempfile.TemporaryDirectory(prefix="chemr-eval-") as scratch:
        pool = ActorPool(pool_config(config, model, Path(scratch), with_learners=False))

        async def ask() -> None:
            def progress(back: int, asked: int) -> None:
                if back % max(1, asked // 10) == 0:
                    display.note(f"{back} of {asked} questions answered")

            results.append(
                await evaluate(
                    pool.fleet, askable, tokenizer, config.eval, version=0, unasked=too_long, want_texts=True, on_answer=progress
                )
            )

        try:
            await pool.start(model.resolve())
            await run_until_done(ask(), fleet=pool.fleet.supervise())
        finally:
            await pool.close()
    evaluation = results[0]
    published = {} if config.eval.suite == STARTER else _published(evaluation, FigureSources(data_dir))
    say_evaluation(display, evaluation, published)
    for line in final_lines(evaluation, len(too_long)):
        display.note(line)
    display.close()
    if json_file is not None:
        write_json(json_file, config.eval.suite, evaluation, published, [example.uid for example in too_long])
    if parquet_file is not None:
        write_answers(parquet_file, evaluation)
    return evaluation


def _test_rows(config: ChemrConfig, data_dir: Path) -> list[Example]:
    suite = config.eval.suite
    if suite == STARTER:
        if config.eval.tasks:
            raise ConfigError("eval.tasks chooses among the tasks of a published suite; for the starter's rows set data.tasks")
        return list(load_data(config).test)
    if suite not in suites.SUITES:
        raise ConfigError(f"eval.suite={suite}: no such suite; suites: {STARTER}, {', '.join(suites.SUITES)}")
    try:
        return [row for task in config.eval.tasks or suites.SUITES[suite] for row in suites.test_rows(suite, task, data_dir)]
    except (SourceFileError, BadRowError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _by_length(examples: Sequence[Example], tokenizer: ChatTokenizer, longest: int) -> tuple[list[Example], list[Example]]:
    """(those whose prompt has at most ``longest`` tokens, the others)."""
    if longest < 1:
        raise ConfigError("eval.max_new_tokens leaves no room for a prompt: raise generator.max_model_len above it")
    askable: list[Example] = []
    too_long: list[Example] = []
    for example in examples:
        (askable if len(tokenizer.encode_prompt(messages(example))) <= longest else too_long).append(example)
    return askable, too_long


def _published(evaluation: Evaluation, sources: FigureSources) -> dict[str, BenchmarkReport]:
    """task -> the published figures of the greedy answers (of the first sampled ones without eval.greedy)."""
    kinds = {answered.kind for answered in evaluation.answers}
    kind = "greedy" if "greedy" in kinds else "sampled"
    reports: dict[str, BenchmarkReport] = {}
    for task in evaluation.tasks:
        answers = [one for one in evaluation.answers if one.kind == kind and one.example.task == task]
        texts = [answer_text(one.texts[0]) if one.texts else "" for one in answers]
        report = published_figures(task, [one.example for one in answers], [texts], sources)
        if report is not None:
            reports[task] = report
    return reports
