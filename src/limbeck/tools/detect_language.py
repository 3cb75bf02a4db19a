"""Whether a text is of the language that a detector was trained on, by its training text's commonest words.

In running text of one language some hundred words make up half of it, and few of them are words of another
language. It is no language identification: what it misses stands in docs/detect.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.tools.detect_text import words

COMMON = 500
"""Words that are kept."""

_SHARE_MARKED = 0.005  # of the validation texts, at most
_LEAST = -3.0  # deviations: no text nearer to the mean is marked, however alike the validation texts are


@dataclass(frozen=True)
class Language:
    """common: lower-case words. mean, spread: of the share of a text's words that are among them.

    limit: how many deviations below the mean a text is of another language; marked: share of the validation
    texts that are below it.
    """

    common: frozenset[str]
    mean: float
    spread: float
    limit: float
    marked: float

    @classmethod
    def learn(cls, train: Iterable[str], valid: Sequence[str]) -> Language:
        """The words of training texts; the bounds from validation texts, at least one."""
        counts: Counter[str] = Counter()
        for text in train:
            counts.update(_lower(text))
        common = frozenset(word for word, _ in counts.most_common(COMMON))
        found = [_share(text, common) for text in valid]
        shares, sizes = np.array([one[0] for one in found]), np.array([one[1] for one in found])
        # One word more of either kind, or texts of common words alone would leave no room for chance.
        mean = float(((shares * sizes).sum() + 1) / (sizes.sum() + 2))
        # What texts differ by beyond what chance makes of so few words.
        chance = mean * (1 - mean) / np.maximum(sizes, 1)
        spread = math.sqrt(max(0.0, float(np.mean((shares - mean) ** 2 - chance))))
        first = cls(common, mean, spread, -math.inf, 0.0)
        places = np.array([first.place(text) for text in valid])
        limit = min(_LEAST, float(np.quantile(places, _SHARE_MARKED)))
        return cls(common, mean, spread, limit, float((places < limit).mean()))

    def place(self, text: str) -> float:
        """How many deviations a text's share is above the training language's; 0 without words."""
        share, size = _share(text, self.common)
        if not size:
            return 0.0
        deviation = math.sqrt(self.spread**2 + self.mean * (1 - self.mean) / size)
        return (share - self.mean) / deviation

    def is_other(self, text: str) -> bool:
        """Whether a text has too few of the common words."""
        return self.place(text) < self.limit

    def record(self) -> dict[str, Any]:
        """As it stands in detector.json."""
        numbers = {name: getattr(self, name) for name in ("mean", "spread", "limit", "marked")}
        return {**numbers, "common": sorted(self.common)}

    @classmethod
    def read(cls, record: dict[str, Any]) -> Language:
        """From detector.json."""
        numbers = {name: float(record[name]) for name in ("mean", "spread", "limit", "marked")}
        return cls(frozenset(map(str, record["common"])), **numbers)


def _lower(text: str) -> list[str]:
    """The words that have a letter, in lower case."""
    found = (text[start:end].lower() for start, end in words(text))
    return [word for word in found if any(map(str.isalpha, word))]


def _share(text: str, common: frozenset[str]) -> tuple[float, int]:
    found = _lower(text)
    return sum(word in common for word in found) / max(1, len(found)), len(found)
