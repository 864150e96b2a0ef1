"""Real data in their publishers' own formats: one module a format, all of them listed in :mod:`chemr.data.sources.suites`."""
