"""``chemr watch``: a run while it goes on, in the terminal or as a local page. Reads the run's folder and nothing else."""
