"""Intervals for a mean over words by resampling the passages that the words stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Most entries of the [replicates, passages] matrix of draws that is held at once (32 MB as float64).
_AT_ONCE = 4_000_000


def resampled_means(sums: Floats, counts: Floats, *, replicates: int, seed: int) -> Floats:
    """Means over words in resampled sets of passages; one set serves every column, so columns are paired.

    Words of one passage are not independent, so passages are drawn (with replacement, as many as there are),
    not words.

    Args:
        sums: [P, K], the sum of each of K quantities over the counted words of each passage.
        counts: [P], the number of counted words of each passage; they sum to at least 1.
        replicates: number of resampled sets. seed: of the draws.

    Returns:
        float64 [replicates, K]. A set without any word (where few passages have one) is drawn again.
    """
    assert sums.ndim == 2 and counts.shape == sums.shape[:1] and counts.sum() > 0
    rng = np.random.default_rng(seed)
    passages = len(counts)
    table = np.concatenate([sums, counts[:, None]], axis=1).astype(np.float64)
    parts: list[Floats] = []
    have, at_once = 0, max(1, _AT_ONCE // passages)
    while have < replicates:
        rows = min(at_once, replicates - have)
        drawn = rng.integers(passages, size=(rows, passages)) + np.arange(rows)[:, None] * passages
        times = np.bincount(drawn.ravel(), minlength=rows * passages).reshape(rows, passages)
        total = times.astype(np.float64) @ table
        total = total[total[:, -1] > 0]
        parts.append(total[:, :-1] / total[:, -1:])
        have += len(total)
    return np.concatenate(parts) if parts else np.empty((0, sums.shape[1]))


def interval(samples: Floats, level: float = 0.95) -> list[float] | None:
    """The central `level` of `samples` [R] as [low, high] (percentile bootstrap); None without samples."""
    if len(samples) == 0:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return [float(low), float(high)]


@dataclass(frozen=True)
class PairedMeans:
    """Means of K quantities over the same words, and over the same resampled sets of passages.

    count: words; means: float64 [K]; samples: float64 [R, K], R = 0 where there are no intervals.
    """

    count: int
    means: Floats
    samples: Floats

    def contrast(self, column: int, less: int | None = None) -> tuple[float, list[float] | None]:
        """A column's mean and 95% interval, or those of its paired difference from the column `less`."""
        if less is None:
            return float(self.means[column]), interval(self.samples[:, column])
        value = float(self.means[column] - self.means[less])
        return value, interval(self.samples[:, column] - self.samples[:, less])


def paired_means(
    columns: Sequence[npt.NDArray[np.float64] | npt.NDArray[np.bool_]],
    keep: npt.NDArray[np.bool_],
    passage: npt.NDArray[np.int64],
    passages: int,
    *,
    replicates: int,
    seed: int,
) -> PairedMeans | None:
    """Means over the kept words of each of K columns [W]; passage [W]: each word's passage, below `passages`.

    None where no word is kept. Without intervals where all kept words stand in one passage: resampled it is
    always itself, and an interval of no width would claim a certainty that is not there.
    """
    count = int(keep.sum())
    if count == 0:
        return None
    where = passage[keep]
    counts = np.bincount(where, minlength=passages).astype(np.float64)
    weighed = [np.bincount(where, column[keep].astype(np.float64), minlength=passages) for column in columns]
    sums = np.stack(weighed, axis=1).astype(np.float64)
    if int((counts > 0).sum()) < 2:
        replicates = 0
    return PairedMeans(
        count, sums.sum(0) / count, resampled_means(sums, counts, replicates=replicates, seed=seed)
    )
