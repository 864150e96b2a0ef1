"""The published evaluation rules of the benchmarks, holes included: for comparison with other people's numbers, never for training.

Start with :func:`rewards.benchmark.evaluation.benchmark_figures`. Everything is plain data in and out; files are read by the caller.
Text of predictions meets RDKit, nltk and torch in a killable child process only (:mod:`rewards.benchmark.child`). Modules named
``*_jobs`` run in that child; all others run in the calling process. What each figure is: docs/benchmarks.md.
"""
