"""A tiny model on disk, made once."""

import pytest

from learner.policy import create_model
from tests.learner.samples import TINY, VOCAB


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("learner") / "model"
    create_model(directory, TINY, VOCAB, {"bos": 0, "eos": 1, "pad": 2}, seed=1)
    return directory
