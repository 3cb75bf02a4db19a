"""What a detector's outputs mean: probabilities, their errors, and the share of a document. Pure functions.

A margin is the output for "paraphrased" less the one for "original". All figures weigh the two classes alike,
as if half of the texts were paraphrased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BINS = 15
"""Bins of the expected calibration error, of equal width."""

_GRID = 400  # shares that the posterior is computed at
_DRAWS = 1000


@dataclass(frozen=True)
class Calibration:
    """Platt scaling with a floor: p = floor + (1 - 2·floor) / (1 + exp(-(slope·margin + offset))).

    The floor keeps every score within what the validation texts can show: with a few thousand of them nothing
    is surer than one in a few thousand.
    """

    slope: float
    offset: float
    floor: float

    def probability(self, margins: npt.ArrayLike) -> Floats:
        """P(paraphrased) of margins [N], float64 [N]."""
        scaled = self.slope * np.asarray(margins, np.float64) + self.offset
        return self.floor + (1 - 2 * self.floor) * _logistic(scaled)


def _logistic(values: Floats) -> Floats:
    from scipy.special import expit

    found: Floats = expit(values)
    return found


def balanced(positive: Flags) -> Floats:
    """Weights [N] that sum to 1, half of it on either class; both must be there."""
    count = int(positive.sum())
    assert 0 < count < len(positive)
    return np.where(positive, 0.5 / count, 0.5 / (len(positive) - count))


def fit(margins: Floats, positive: Flags) -> Calibration:
    """The calibration of least cross-entropy on margins [N] of texts whose classes are known."""
    from scipy.optimize import minimize

    weights = balanced(positive)
    least = 1 / (min(int(positive.sum()), int((~positive).sum())) + 2)
    scale = float(np.std(margins)) or 1.0
    scaled = margins / scale

    def loss(values: Floats) -> float:
        found = Calibration(values[0], values[1], math.exp(values[2])).probability(scaled)
        return float(-(weights * np.log(np.where(positive, found, 1 - found))).sum())

    # The slope stays positive: a model that has it upside down is useless, which the figures then show.
    bounds = [(1e-3, 1e3), (-50.0, 50.0), (math.log(least), math.log(0.25))]
    floor = max(math.log(least), math.log(0.01))
    done = minimize(loss, [2.0, 0.0, min(floor, math.log(0.25))], method="L-BFGS-B", bounds=bounds)
    slope, offset, floor = (float(value) for value in done.x)
    return Calibration(slope / scale, offset, math.exp(floor))


def calibration_error(probabilities: Floats, positive: Flags) -> float:
    """Expected calibration error: mean distance of probability and true share over `BINS` bins, weighted."""
    weights = balanced(positive)
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    told = np.bincount(place, weights * probabilities, BINS)
    true = np.bincount(place, weights * positive, BINS)
    return float(np.abs(told - true).sum())


def log_loss(probabilities: Floats, positive: Flags) -> float:
    """Cross-entropy in nats; 0.693 is a coin's."""
    chosen = np.where(positive, probabilities, 1 - probabilities)
    return float(-(balanced(positive) * np.log(np.maximum(chosen, 1e-12))).sum())


def rate(hits: Flags, sources: npt.ArrayLike) -> dict[str, Any]:
    """The share of hits [N] with its 95% interval: {"rate", "low", "high", "n", "sources"}.

    sources [N]: what each text was taken from. Texts of one source are alike and tell less than as many of
    different ones: the interval is Wilson's for the number of independent texts that would leave the share as
    uncertain as the sources do (by the variance of a ratio over clusters). Where nothing is a hit, or all is,
    that number is the sources'. Rate and ends are None where there is no text at all.
    """
    count = len(hits)
    known, place = np.unique(np.asarray(sources), return_inverse=True)
    if not count:
        return {"rate": None, "low": None, "high": None, "n": 0, "sources": 0}
    z, share = 1.959964, float(hits.mean())
    surplus = np.bincount(place, hits - share)  # of each source: hits beyond those expected of its texts
    variance = float((surplus**2).sum()) / count**2
    alone = len(known) if share in (0.0, 1.0) else min(count, share * (1 - share) / max(variance, 1e-12))
    middle = share + z * z / (2 * alone)
    width = z * math.sqrt(share * (1 - share) / alone + (z / (2 * alone)) ** 2)
    low, high = ((middle + side * width) / (1 + z * z / alone) for side in (-1, 1))
    return {
        "rate": share,
        "low": max(0.0, low),
        "high": min(1.0, high),
        "n": count,
        "sources": len(known),
    }


def errors(
    probabilities: Floats, positive: Flags, threshold: float, sources: npt.ArrayLike
) -> dict[str, Any]:
    """How many originals score at least `threshold` (false alarms), and how many paraphrases (found).

    sources [N]: see `rate`.
    """
    above, taken = probabilities >= threshold, np.asarray(sources)
    return {
        "threshold": threshold,
        "false_alarms": rate(above[~positive], taken[~positive]),
        "found": rate(above[positive], taken[positive]),
    }


def share(probabilities: Sequence[float], words: Sequence[int], *, seed: int = 0) -> dict[str, float]:
    """The share of a document's words that are machine-paraphrased: mean and 95% interval.

    Probabilities [N] hold where half of all texts are paraphrased, and in a document quite another share may
    be. So the share π that its passages were drawn with is a parameter of its own, uniform beforehand:
    P(π | scores) ∝ Π (π·p/(1-p) + 1-π). Each passage's probability under π is its odds times π/(1-π); the
    interval is of the words of passages drawn with these, over draws of π. What is uncertain for lack of
    passages, and because the detector errs as often as on its validation texts, is in the interval; what is
    not: that its errors differ in this text, and that neighbouring passages are alike.

    Returns:
        {"share", "low", "high"}. The same for the same arguments.
    """
    p, weights = np.asarray(probabilities, np.float64), np.asarray(words, np.float64)
    assert len(p) == len(weights) > 0
    weights = weights / weights.sum()
    odds = p / (1 - p)
    grid = (np.arange(_GRID) + 0.5) / _GRID
    logs = np.array([float(np.log(one * odds + 1 - one).sum()) for one in grid])
    posterior = np.exp(logs - logs.max())
    posterior /= posterior.sum()

    def within(one: float) -> Floats:
        raised: Floats = one * odds
        return raised / (raised + 1 - one)

    likely = np.flatnonzero(posterior > 1e-9)
    mean = sum(float(posterior[place] * (weights * within(grid[place])).sum()) for place in likely)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(grid, size=_DRAWS, p=posterior))
    shares = [float(weights[rng.random(len(p)) < within(one)].sum()) for one in drawn]
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"share": min(1.0, mean), "low": float(low), "high": float(high)}
