"""Steps as vectors: by a local sentence-embedding model, or by TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chemr.mining.errors import MiningInputError
from learner.model_files import SAFE, check_model_files

MAX_DIMENSIONS = 128  # of TF-IDF vectors, after latent semantic analysis
_BATCH = 64

Vectors = NDArray[np.float64]


def step_text(title: str, claim: str) -> str:
    """What a step is compared by: its title twice, then the words of its claim. Molecules, numbers and formulas say which problem it is
    about, not what kind of step, and are left out."""
    words = [word.strip(".,;:!?()*`\"'") for word in claim.split()[:60]]
    plain = [word for word in words if len(word) > 2 and word.isalpha() and word[1:].islower()]
    return " ".join([title, title, *plain])


def vectors(texts: Sequence[str], model: Path | None, seed: int) -> Vectors:
    """[N, D] unit vectors of N texts, equal texts with equal vectors; the cosine of two says how alike they are.

    Raises:
        MiningInputError: a package is missing, or ``model`` cannot be loaded.
    """
    if not texts:
        return np.zeros((0, 1))
    distinct = sorted(set(texts))
    found = _tfidf(distinct, seed) if model is None else _embedded(distinct, model)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    found = np.divide(found, norms, out=np.zeros_like(found), where=norms > 0)
    place = {text: row for row, text in enumerate(distinct)}
    return found[[place[text] for text in texts]]


def _tfidf(texts: Sequence[str], seed: int) -> Vectors:
    try:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise missing_sklearn(error) from error
    if not any(any(map(str.isalnum, text)) for text in texts):
        return np.ones((len(texts), 1))
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    from scipy.sparse import hstack

    matrix = hstack([words.fit_transform(texts), 0.5 * letters.fit_transform(texts)]).tocsr()
    if min(matrix.shape) > MAX_DIMENSIONS:
        reduced = TruncatedSVD(MAX_DIMENSIONS, random_state=seed).fit_transform(matrix)
        return np.asarray(reduced, dtype=np.float64)
    return np.asarray(matrix.toarray(), dtype=np.float64)


def _embedded(texts: Sequence[str], folder: Path) -> Vectors:
    """Mean of the last hidden states over the tokens of each text, as sentence-transformers models are used."""
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MiningInputError(
            f"mining.cluster.embedding_model needs torch and transformers ({error}); install chemr[cpu] or chemr[gpu], or leave it out"
        ) from error
    try:
        check_model_files(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = AutoModel.from_pretrained(folder, **SAFE).eval()
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise MiningInputError(f"mining.cluster.embedding_model={folder} cannot be loaded: {reason}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = []
    with torch.no_grad():
        for start in range(0, len(texts), _BATCH):
            batch = tokenizer(list(texts[start : start + _BATCH]), padding=True, truncation=True, max_length=256, return_tensors="pt")
            hidden_BLD = model(**batch).last_hidden_state
            mask_BL1 = batch["attention_mask"].unsqueeze(-1).to(hidden_BLD.dtype)
            rows.append((hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1.0))
    return np.asarray(torch.cat(rows).double().numpy())


def missing_sklearn(error: ImportError) -> MiningInputError:
    return MiningInputError(f"clustering needs the package scikit-learn, which cannot be imported ({error}); install chemr[mining]")
