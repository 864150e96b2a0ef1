"""`chemr score`: predictions under the benchmark's published rules and under the hardened scorers, and why answers are wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from chemr.data.example import Example
from chemr.data.sources import suites
from chemr.data.sources.reading import BadRowError, SourceFileError
from chemr.prediction_files import PredictionFileError, fitted, named, prediction_paths, read_predictions
from chemr.published_figures import FigureSources, answer_text, published_figures
from chemr.test_files import default_suite, file_rows, row_number, suite_rows
from rewards.answer import ANSWER_OPEN
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.evaluation import BENCHMARK_TASKS
from rewards.benchmark.figures import BenchmarkReport
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.registry import SCORER_VERSION, task_names
from rewards.verdict import Reason, Verdict

_JOBS_AT_ONCE = 256
_PACKAGES = ("rdkit", "numpy", "nltk", "rouge-score", "rapidfuzz", "fcd", "torch", "tokenizers")

REASONS: Mapping[str, str] = {
    Reason.WRONG: "a readable answer, but not the right one",
    Reason.PARTIAL: "near the right answer",
    Reason.NO_ANSWER: "empty, or no answer tags in a text that has others",
    Reason.BAD_FORMAT: "several answers, text after the answer, or thinking that is not closed",
    Reason.TOO_LONG: "longer than any answer can be",
    Reason.BAD_CHARACTERS: "characters that no SMILES or formula has (prose, blanks, quotes, several answers)",
    Reason.INVALID_MOLECULE: "not a molecule",
    Reason.GUARDED_MOLECULE: "a molecule beyond the guards: too large, too many fragments, dummy atoms, odd bonds",
    Reason.INVALID_FORMULA: "not a molecular formula",
    Reason.COPIED_INPUT: "the molecule of the question, handed back",
    Reason.FRAGMENTS: "another number of components than the task allows",
    Reason.UNREASONABLE: "radicals, isotopes, unusual valences or elements",
    Reason.NOT_A_CHOICE: "not one of the listed candidates",
    Reason.TIMEOUT: "unknown: scoring took too long",
    Reason.CRASH: "unknown: scoring crashed",
    Reason.MEMORY: "unknown: scoring needed too much memory",
    Reason.SCORER_BUG: "unknown: the scorer failed",
    Reason.BAD_REFERENCE: "unknown: the test row itself cannot be scored against",
    Reason.CUT: "unknown: whoever wrote the answer was cut short",
}


class ScoreInputError(ValueError):
    """Options or files that cannot be scored."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """The ``name=value`` arguments of ``chemr score``.

    Attributes:
        task: what was predicted.
        predictions: a file, or several samples: a pattern, or names separated by commas.
        data: a suite, or a test file in its publisher's format; by default the suite that the task is usually reported on.
        data_dir: the folder that suites are read from; by default CHEMR_DATA.
        row, prediction: column names; ``row=none``: one prediction a row, in order.
        rows: ``all``: a row without a prediction is an error; ``given``: only rows with one are scored.
        answer: ``whole``: the published rules get the text as it is; ``tagged``: what stands between its answer tags, else nothing.
        wordnet, scibert: folders with WordNet 3.0 and with SciBERT's vocab.txt, for captions.
        novelty: CSV whose column ``molecule`` or ``smiles`` novelty is measured against.
        fcd, hardened: ``false`` leaves that part out.
        workers: processes of the hardened scorers.
        deadline: seconds that the published rules may spend on one prediction.
    """

    task: str
    predictions: str
    data: str = ""
    data_dir: str = ""
    row: str = "row"
    prediction: str = "prediction"
    rows: str = "all"
    answer: str = "whole"
    wordnet: str = ""
    scibert: str = ""
    novelty: str = ""
    fcd: bool = True
    hardened: bool = True
    workers: int = 1
    deadline: float = 20.0

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> ScoreOptions:
        """From ``name=value`` texts. Raises ScoreInputError for an unknown, repeated, missing or ill-typed one."""
        types: dict[str, Callable[[str], Any]] = {"fcd": _flag, "hardened": _flag, "workers": _positive(int), "deadline": _positive(float)}
        types |= {"rows": _one_of("all", "given"), "answer": _one_of("whole", "tagged")}
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for argument in arguments:
            name, equals, text = argument.partition("=")
            if not equals or name not in known:
                raise ScoreInputError(f"unknown option {argument!r}; options: {', '.join(f'{option}=' for option in known)}")
            if name in values:
                raise ScoreInputError(f"{name}= is given twice")
            try:
                values[name] = types.get(name, str)(text)
            except ValueError as error:
                raise ScoreInputError(f"{argument}: {error}") from None
        for name in ("task", "predictions"):
            if not values.get(name):
                raise ScoreInputError(f"{name}= is missing; for example: chemr score task=retro predictions=answers.csv")
        return cls(**values)


def score_predictions(arguments: Sequence[str], json_file: Path | None, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Scores the predictions, says the figures and the reasons, writes them to ``json_file``, and returns what it wrote.

    Raises:
        ScoreInputError: options, test data or predictions cannot be used; the message is for the person who gave them.
    """
    options = ScoreOptions.parse(arguments)
    if options.task not in BENCHMARK_TASKS and options.task not in task_names():
        raise ScoreInputError(f"task={options.task}: no such task; tasks: {', '.join(sorted({*BENCHMARK_TASKS, *task_names()}))}")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ScoreInputError(f"--json {json_file}: there is no folder {json_file.absolute().parent}")
    data_dir = Path(options.data_dir) if options.data_dir else suites.default_data_dir()
    try:
        examples, source = _test_rows(options, data_dir)
        paths = prediction_paths(options.predictions)
        examples, samples = _samples(options, examples, source, paths)
        report = _benchmark(options, examples, samples, data_dir)
    except (SourceFileError, BadRowError, PredictionFileError, BenchmarkInputError) as error:
        raise ScoreInputError(str(error)) from error
    document: dict[str, Any] = {"task": options.task, "data": source, "predictions": [path.name for path in paths]}
    document |= {"n_rows": len(examples), "n_samples": len(samples)}
    if report is not None:
        document |= report.to_json()
    document["hardened"] = _hardened(options, examples, samples)
    document["versions"] = {"scorers": SCORER_VERSION} | {name: found for name in _PACKAGES if (found := _version(name))}
    _say(document, report, say)
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return document


def _test_rows(options: ScoreOptions, data_dir: Path) -> tuple[list[Example], str]:
    try:
        suite = options.data or default_suite(options.task)
        if suite in suites.SUITES:
            return suite_rows(suite, options.task, data_dir), f"suite {suite}"
        return file_rows(Path(suite), options.task), suite
    except (SourceFileError, BadRowError):
        raise
    except ValueError as error:
        raise ScoreInputError(str(error)) from error


def _samples(
    options: ScoreOptions, examples: Sequence[Example], source: str, paths: Sequence[Path]
) -> tuple[list[Example], list[list[str]]]:
    """The rows to be scored and, for each file, their predictions."""
    by_number = {row_number(example): example for example in examples}
    given = [fitted(path, read_predictions(path, options.row, options.prediction), list(by_number), source) for path in paths]
    scored = [number for number in by_number if options.rows == "all" or number in given[0]]
    for path, texts in zip(paths, given, strict=True):
        missing = [number for number in scored if number not in texts]
        if missing:
            raise PredictionFileError(
                f"{path}: {len(missing)} of {len(scored)} rows of {source} have no prediction: {named(missing)}. "
                "An empty answer is a prediction too; to score only the rows that are there, say rows=given"
            )
        if options.rows == "given" and len(texts) != len(scored):
            raise PredictionFileError(f"{path}: has {len(texts)} rows and {paths[0]} has {len(scored)}; all samples must have the same")
    return [by_number[number] for number in scored], [[texts[number] for number in scored] for texts in given]


def _benchmark(
    options: ScoreOptions, examples: Sequence[Example], samples: Sequence[Sequence[str]], data_dir: Path
) -> BenchmarkReport | None:
    texts = [[answer_text(text) for text in sample] for sample in samples] if options.answer == "tagged" else samples
    sources = FigureSources(data_dir, options.wordnet, options.scibert, options.novelty, options.fcd, options.deadline)
    return published_figures(options.task, examples, texts, sources)


def _hardened(options: ScoreOptions, examples: Sequence[Example], samples: Sequence[Sequence[str]]) -> dict[str, Any] | None:
    """Verdicts of the scorers that reinforcement learning uses; a text without answer tags is taken as the answer."""
    if not options.hardened or options.task not in task_names():
        return None
    jobs = [
        ScoreJob(options.task, text if ANSWER_OPEN in text else f"<answer>{text}</answer>", example.inputs, example.reference)
        for sample in samples
        for example, text in zip(examples, sample, strict=True)
    ]
    verdicts: list[Verdict] = []
    with ScorerPool(workers=options.workers) as pool:
        for start in range(0, len(jobs), _JOBS_AT_ONCE):
            verdicts += _scored(pool, jobs[start : start + _JOBS_AT_ONCE])
    rows = [
        {"sample": number // len(examples) + 1, "row": row_number(examples[number % len(examples)]), "value": verdict.value}
        | {"reason": str(verdict.reason), "parts": dict(verdict.parts)}
        for number, verdict in enumerate(verdicts)
    ]
    values = [verdict.value for verdict in verdicts if verdict.value is not None]
    return {
        "mean": sum(values) / len(values) if values else None,
        "correct": sum(verdict.value == 1.0 for verdict in verdicts) / len(verdicts),
        "not_known": len(verdicts) - len(values),
        "reasons": dict(Counter(str(verdict.reason) for verdict in verdicts).most_common()),
        "rows": rows,
    }


def _scored(pool: ScorerPool, jobs: Sequence[ScoreJob]) -> list[Verdict]:
    """Verdicts; a text too large to be sent to a scorer is too long to be an answer."""
    try:
        return pool.score(jobs)
    except ValueError:
        if len(jobs) == 1:
            return [Verdict(0.0, Reason.TOO_LONG)]
        return [verdict for job in jobs for verdict in _scored(pool, [job])]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _say(document: Mapping[str, Any], report: BenchmarkReport | None, say: Callable[[str], None]) -> None:
    say(f"{document['task']}: {document['n_rows']} rows of {document['data']}, {document['n_samples']} sample(s)")
    if report is None:
        say("no published rules for this task")
    else:
        say(f"published rules ({report.code}); * = not the published figure but ours")
        for figure in report.figures:
            spread = f"  ± {figure.stdev:.6g} over {report.samples} samples" if figure.stdev is not None else ""
            say(f"  {figure.name + ('' if figure.published else ' *'):58s} {_number(figure.mean)}{spread}")
        for name, value in report.details.items():
            say(f"  {name + ' *':58s} {value}")
        for note in dict.fromkeys(report.notes):
            say(f"  note: {note}")
        if report.unscored:
            first = report.unscored[0]
            say(f"  {len(report.unscored)} predictions broke the evaluation and count as wrong; the first: row {first.row}, {first.reason}")
    hardened = document["hardened"]
    if hardened is None:
        say("hardened scorer: none for this task, or left out")
        return
    say(f"hardened scorer: mean {_number(hardened['mean'])}, right {hardened['correct']:.4f}, not known {hardened['not_known']}")
    for reason, count in hardened["reasons"].items():
        if reason != Reason.CORRECT:
            example = next(row for row in hardened["rows"] if row["reason"] == reason)
            say(f"  {count:6d}  {reason:18s} {REASONS.get(reason, '')} (first: row {example['row']} of sample {example['sample']})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("should be true or false")
    return text == "true"


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"should be one of {', '.join(choices)}")
        return text

    return check


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def check(text: str) -> float:
        number = kind(text)
        if not 0 < number < 1e9:
            raise ValueError("should be a positive number")
        return number

    return check
