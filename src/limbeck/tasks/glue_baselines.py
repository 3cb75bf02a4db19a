"""What a model must beat on GLUE: the commonest class, and TF-IDF with a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.errors import UserError
from limbeck.finetune.examples import Examples
from limbeck.finetune.labels import Labels
from limbeck.finetune.metrics import Array, majority

MAJORITY, TFIDF = "majority", "tfidf"
SETTINGS: dict[str, Any] = {
    "words": "1-grams and 2-grams, lower case, sublinear, in two texts or more",
    "features": 20_000,
    "pairs": "difference and product of the two vectors",
    "model": "logistic regression (C = 1), ridge regression (alpha = 1) for scores",
}


def check_sklearn() -> None:
    """Raises UserError where scikit-learn is missing: told before anything is trained."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the TF-IDF baseline needs scikit-learn; install limbeck with its extra: limbeck[eval]"
        ) from error


def answers(labels: Labels, train: Examples, dev: dict[str, Examples]) -> dict[str, dict[str, Array]]:
    """Outputs, float [N, outputs], of each baseline on each dev set.

    Raises:
        UserError: so few texts that TF-IDF has no word in two of them.
    """
    gold = labels.encode(train)
    linear = _tfidf(labels, train, gold, dev)
    return {
        MAJORITY: {name: majority(labels, gold, len(one)) for name, one in dev.items()},
        TFIDF: linear,
    }


def _tfidf(labels: Labels, train: Examples, gold: Array, dev: dict[str, Examples]) -> dict[str, Array]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=SETTINGS["features"]
    )
    try:
        words.fit([*train.texts, *(train.seconds or ())])
    except ValueError as error:
        if not any(said in str(error) for said in ("no terms remain", "empty vocabulary")):
            raise
        raise UserError(
            f"{train.name} has no word that stands in two of its texts ({len(train):,} rows), so there is no "
            "TF-IDF baseline; take more rows"
        ) from error
    linear = Ridge(alpha=1.0) if labels.classes is None else LogisticRegression(C=1.0, max_iter=1000)
    linear.fit(_features(words, train), gold)
    if labels.classes is None:
        return {name: linear.predict(_features(words, one))[:, None] for name, one in dev.items()}
    found = {}
    for name, one in dev.items():
        shares = np.zeros((len(one), labels.outputs))
        shares[:, linear.classes_] = linear.predict_proba(_features(words, one))
        found[name] = shares
    return found


def _features(words: Any, examples: Examples) -> Any:
    """Sparse [N, features]; of pairs twice as many."""
    from scipy import sparse

    first = words.transform(examples.texts)
    if examples.seconds is None:
        return first
    second = words.transform(examples.seconds)
    return sparse.hstack([abs(first - second), first.multiply(second)], format="csr")
