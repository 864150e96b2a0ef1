"""A tiny model on disk, made once, and learners of one rank around it."""

from contextlib import ExitStack

import numpy as np
import pytest

from learner.config import LearnerConfig
from learner.distributed import World, leave
from learner.engine import PolicyLearner
from learner.policy import create_model
from tests.learner.samples import OPTIM, TINY, VOCAB, free_port, make_documents


@pytest.fixture(scope="module", autouse=True)
def no_group_stays():
    """A learner that failed half-way has joined its process group and may not leave it: the next module would find itself in it."""
    yield
    leave()


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("learner") / "model"
    create_model(directory, TINY, VOCAB, {"bos": 0, "eos": 1, "pad": 2}, seed=1)
    return directory


@pytest.fixture(scope="module")
def world():
    return World(master_port=free_port())


@pytest.fixture(scope="module")
def start(model_dir, world):
    """Makes learners in one process group, which is left at the end."""
    with ExitStack() as stack:

        def make(optim=OPTIM, total_steps=10, **settings):
            learner = PolicyLearner(LearnerConfig(**{"micro_batch_tokens": 100, **settings}), model_dir, world)
            stack.callback(learner.close)
            learner.begin_stage(optim, total_steps, seed=0)
            return learner

        yield make


@pytest.fixture(scope="module")
def documents(start):
    """GRPO documents whose behaviour log-probs are the model's own plus noise."""
    documents = make_documents(11, (4, 4, 1, 3, 2, 4))
    rng = np.random.default_rng(0)
    for document, logprobs in zip(documents, start().logprobs(documents), strict=True):
        for completion, values in zip(document.completions, logprobs, strict=True):
            completion.behaviour_logprobs = values + 0.3 * rng.normal(size=len(values)).astype(np.float32)
    return documents
