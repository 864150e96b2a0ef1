"""Policies that do not do the task, and what the rewards pay them: the instrument that finds a hole before a run does."""
