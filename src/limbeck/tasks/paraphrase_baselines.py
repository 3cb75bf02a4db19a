"""What a model must beat in the detection of paraphrase: the commonest class, and TF-IDF with a linear model.

Both TF-IDF baselines are the reference scores' own, with the same settings (docs/results/paraphrase.md).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from limbeck.errors import UserError
from limbeck.files import atomic_write, cache_dir
from limbeck.finetune.examples import Examples
from limbeck.finetune.metrics import Array
from limbeck.tasks.paraphrase_data import LABELS
from limbeck.tasks.paraphrase_result import figures

MAJORITY = "majority"
TFIDF: dict[str, dict[str, dict[str, Any]]] = {
    "tfidf_300": {
        "words": {"lowercase": True, "stop_words": "english", "max_features": 300},
        "regression": {"max_iter": 500},
    },
    "tfidf_50000": {
        "words": {"max_features": 50_000, "sublinear_tf": True},
        "regression": {"C": 10, "max_iter": 300},
    },
}
"""Arguments of scikit-learn's TfidfVectorizer and LogisticRegression."""

NAMES = (MAJORITY, *TFIDF)


def measured(train: Examples, tests: Mapping[str, Examples]) -> dict[str, dict[str, Any]]:
    """Figures of each baseline on each set, and whether its regression converged; kept in the cache.

    What is kept goes by the texts, the settings and scikit-learn's version, so that several models share it
    and a call that was stopped goes on.

    Raises:
        UserError: texts without any word.
    """
    known = [TFIDF, version("scikit-learn"), train.fingerprint, {n: t.fingerprint for n, t in tests.items()}]
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]
    kept = cache_dir() / "paraphrase" / f"{key}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    gold = LABELS.encode(train)
    commonest = int(np.bincount(gold).argmax())
    found = {MAJORITY: _figures(tests, {n: np.full(len(t), commonest) for n, t in tests.items()}, True)}
    for name, settings in TFIDF.items():
        found[name] = _figures(tests, *_tfidf(settings, train, gold, tests))
    atomic_write(kept, json.dumps(found) + "\n")
    return found


def _tfidf(
    settings: Mapping[str, Mapping[str, Any]], train: Examples, gold: Array, tests: Mapping[str, Examples]
) -> tuple[dict[str, Array], bool]:
    """Classes [N] of each set, and whether the regression converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(**settings["words"])
    linear = LogisticRegression(**settings["regression"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is told in the result
        try:
            features = words.fit_transform(train.texts)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            raise UserError(
                f"{train.name} has no words that TF-IDF counts in {len(train):,} texts; take more of them"
            ) from error
        linear.fit(features, gold)
    chosen = {name: linear.predict(words.transform(one.texts)) for name, one in tests.items()}
    return chosen, bool(linear.n_iter_.max() < settings["regression"]["max_iter"])


def _figures(tests: Mapping[str, Examples], chosen: Mapping[str, Array], converged: bool) -> dict[str, Any]:
    return {
        "tests": {name: figures(LABELS.encode(one), chosen[name]) for name, one in tests.items()},
        "converged": converged,
    }
