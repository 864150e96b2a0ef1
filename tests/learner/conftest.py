"""A tiny model on disk, made once, and learners of one rank around it."""

import numpy as np
import pytest

from learner.config import LearnerConfig
from learner.distributed import World
from learner.engine import PolicyLearner
from learner.policy import create_model
from tests.learner.samples import OPTIM, TINY, VOCAB, free_port, make_documents


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
    made = []

    def make(optim=OPTIM, total_steps=10, **settings):
        learner = PolicyLearner(LearnerConfig(**{"micro_batch_tokens": 100, **settings}), model_dir, world)
        learner.begin_stage(optim, total_steps, seed=0)
        made.append(learner)
        return learner

    yield make
    for learner in reversed(made):
        learner.close()


@pytest.fixture(scope="module")
def documents(start):
    """GRPO documents whose behaviour log-probs are the model's own plus noise."""
    documents = make_documents(11, (4, 4, 1, 3, 2, 4))
    rng = np.random.default_rng(0)
    for document, logprobs in zip(documents, start().logprobs(documents), strict=True):
        for completion, values in zip(document.completions, logprobs, strict=True):
            completion.behaviour_logprobs = values + 0.3 * rng.normal(size=len(values)).astype(np.float32)
    return documents
