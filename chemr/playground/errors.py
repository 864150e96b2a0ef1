"""What a person typed that cannot be asked."""

from __future__ import annotations


class QuestionError(ValueError):
    """The message is one sentence that says what was found and what was expected."""


class ModelFolderError(ValueError):
    """The folder holds no model that can be asked; the message says what is missing."""
