"""How good answers are: pure functions of arrays, as GLUE (arXiv 1804.07461) defines them.

gold, predicted: [N] indices of classes for the first four, numbers for the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.finetune.labels import Labels

Array = npt.NDArray[Any]


def accuracy(gold: Array, predicted: Array) -> float:
    """Share of right answers."""
    return float((gold == predicted).mean())


def f1(gold: Array, predicted: Array, positive: int) -> float:
    """F1 of one class: 2·TP / (2·TP + FP + FN); 0 where nobody names it and nothing is of it."""
    right = int(((gold == positive) & (predicted == positive)).sum())
    named = int((gold == positive).sum() + (predicted == positive).sum())
    return 2 * right / named if named else 0.0


def macro_f1(gold: Array, predicted: Array, classes: int) -> float:
    """Mean of the classes' F1."""
    return float(np.mean([f1(gold, predicted, one) for one in range(classes)]))


def matthews(gold: Array, predicted: Array, classes: int) -> float:
    """Matthews' correlation, for several classes as Gorodkin 2004 (R_K); 0 where only one class is named."""
    table = np.zeros((classes, classes))
    np.add.at(table, (gold, predicted), 1)
    true, named, total = table.sum(1), table.sum(0), table.sum()
    covariance = np.trace(table) * total - true @ named
    spread = (total**2 - true @ true) * (total**2 - named @ named)
    return float(covariance / np.sqrt(spread)) if spread else 0.0


def mean_squared_error(gold: Array, predicted: Array) -> float:
    """Mean of the squared differences."""
    return float(np.mean((gold - predicted) ** 2))


def pearson(gold: Array, predicted: Array) -> float | None:
    """Pearson's correlation; None where one side is the same everywhere, and there is none."""
    if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return None
    return float(np.corrcoef(gold.astype(np.float64), predicted.astype(np.float64))[0, 1])


def spearman(gold: Array, predicted: Array) -> float | None:
    """Spearman's correlation: Pearson's of the ranks, those of ties averaged."""
    from scipy.stats import rankdata

    return pearson(rankdata(gold), rankdata(predicted))


def measure(labels: Labels, gold: Array, outputs: Array) -> dict[str, float | None]:
    """All figures of a model's outputs, float [N, outputs]: the class is the largest output's.

    Classes: accuracy, macro_f1, matthews, and of two classes f1 of the second. Scores: mse, pearson,
    spearman.
    """
    if labels.classes is None:
        scores = outputs[:, 0].astype(np.float64)
        return {
            "mse": mean_squared_error(gold, scores),
            "pearson": pearson(gold, scores),
            "spearman": spearman(gold, scores),
        }
    chosen, classes = outputs.argmax(1), len(labels.classes)
    found: dict[str, float | None] = {
        "accuracy": accuracy(gold, chosen),
        "macro_f1": macro_f1(gold, chosen, classes),
        "matthews": matthews(gold, chosen, classes),
    }
    return found | {"f1": f1(gold, chosen, 1)} if classes == 2 else found


def majority(labels: Labels, gold: Array, count: int) -> Array:
    """What a system without any text answers: the commonest class, or the mean score; float [count, outputs].

    gold: of the training examples.
    """
    if labels.classes is None:
        return np.full((count, 1), gold.mean())
    shares = np.bincount(gold, minlength=labels.outputs) / len(gold)
    return np.repeat(shares[None, :], count, axis=0)
