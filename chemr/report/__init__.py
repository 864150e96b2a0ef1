"""``chemr report``: a run's own files as one HTML page that needs no network."""
