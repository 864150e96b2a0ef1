"""The names of the steps, for a command line that loads nothing else."""

STEP_NAMES = ("mine", "verify", "extract", "cluster", "merge", "synthesise", "filter", "select")
