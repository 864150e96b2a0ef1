"""Task data that needs no download: molecules and names from a table that pip installs, everything else computed by RDKit."""

from chemr.data.starter.cache import load_starter
from chemr.data.starter.config import StarterConfig

__all__ = ["StarterConfig", "load_starter"]
