"""Means over seeds with their spread, and 95% intervals of differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]


def spread(values: Sequence[float]) -> Row:
    """`mean`, `sd` (of n - 1; None for one value) and the `values`."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def paired(better: Sequence[float], worse: Sequence[float]) -> Row:
    """Differences of pairs: `mean`, the 95% t-interval `low`, `high`, `values`.

    To nine digits, so that a tie is one. No interval (None) of one pair, nor where all differences are the
    same: no width would claim a certainty that is not there.
    """
    from scipy.stats import t

    values = [round(a - b, 9) for a, b in zip(better, worse, strict=True)]
    mean = round(statistics.fmean(values), 9)
    found: Row = {"mean": mean, "low": None, "high": None, "values": values}
    if len(values) > 1 and len(set(values)) > 1:
        reach = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
        found |= {"low": mean - reach, "high": mean + reach}
    return found


def over_seeds(values: Sequence[float], samples: np.ndarray[Any, np.dtype[np.float64]]) -> Row:
    """Mean over seeds with a 95% interval over seeds and text together: `mean`, `low`, `high`, `values`.

    The variance of the mean is that of the seeds, over their number, and that of resampled text; Student's t
    has Welch's and Satterthwaite's degrees of freedom, because three values tell little of how far seeds lie
    apart. One seed: the interval is over text alone.

    Args:
        values: by seed. samples: [R, seeds], the same of R resampled texts.
    """
    from scipy.stats import t

    mean, text = statistics.fmean(values), float(samples.mean(1).var(ddof=1))
    seeds = statistics.variance(values) / len(values) if len(values) > 1 else 0.0
    freedom = (len(values) - 1) * ((seeds + text) / seeds) ** 2 if seeds > 0 else math.inf
    reach = float(t.ppf(0.975, freedom)) * math.sqrt(seeds + text)
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "values": [float(v) for v in values]}
