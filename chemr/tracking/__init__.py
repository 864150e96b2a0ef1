"""Where a run's numbers go: ``metrics.jsonl`` is the source of truth, everything else is a copy that may fail."""
