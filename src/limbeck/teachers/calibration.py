"""How good a teacher is, and how sure it ought to be: pure functions of logits (architecture section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from limbeck.text.align import BOUNDARIES, GOLD, TRUNCATED

# Temperatures tried: 2^(k/10) from 0.5 to 4. 1 is one of them, so that "not better than 1" is measured.
_STEP = 10
_EXPONENTS = range(-_STEP, 2 * _STEP + 1)
# Smaller gains in nats per slot are not told from the error of the parabola through the grid (about 2e-5).
_LEAST_GAIN = 1e-4
# Logits taken at once, so that the copies of one temperature stay small beside the logits themselves.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class MaskedSums:
    """Sums over masked slots, to be added over batches.

    hits: slots whose gold piece is the likeliest; nats: sum of −log p(gold); count: number of slots.
    """

    hits: int = 0
    nats: float = 0.0
    count: int = 0

    def __add__(self, other: MaskedSums) -> MaskedSums:
        return MaskedSums(self.hits + other.hits, self.nats + other.nats, self.count + other.count)

    @property
    def accuracy(self) -> float:
        """Share of slots whose gold piece is the likeliest; NaN without slots."""
        return self.hits / self.count if self.count else float("nan")

    @property
    def nats_per_slot(self) -> float:
        """Mean of −log p(gold); NaN without slots."""
        return self.nats / self.count if self.count else float("nan")


def masked_accuracy_and_nats(
    logits: torch.Tensor, gold: torch.Tensor, temperature: float = 1.0
) -> MaskedSums:
    """Hits and nats of logits [C, V] against gold [C] at a temperature."""
    hits, nats = 0, 0.0
    for part, wanted in _chunks(logits, gold):
        hits += int((part.argmax(-1) == wanted).sum())
        nats += _nats(part, wanted, temperature)
    return MaskedSums(hits, nats, len(gold))


def fit_temperature(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The temperature c whose logits / c give the gold pieces the fewest nats; 1 where none is better than 1.

    The minimum over 0.5 … 4 is refined by a parabola in log c through the best of the grid and its sides.
    (In 1/c the nats are convex, so there is one minimum.)

    Args:
        batches: pairs of full logits [C, V] and gold [C], read once; only 31 sums are kept.
    """
    sums = np.zeros(len(_EXPONENTS))
    count = 0
    for logits, gold in batches:
        for part, wanted in _chunks(logits, gold):
            sums += [_nats(part, wanted, 2.0 ** (k / _STEP)) for k in _EXPONENTS]
        count += len(gold)
    if count == 0:
        return 1.0
    means = sums / count
    one, best = _STEP, int(means.argmin())
    exponent, least = float(_EXPONENTS[best]), float(means[best])
    if 0 < best < len(means) - 1:
        left, middle, right = (float(m) for m in means[best - 1 : best + 2])
        bend = left - 2 * middle + right
        if bend > 0:
            shift = 0.5 * (left - right) / bend
            exponent, least = exponent + shift, middle - 0.25 * (left - right) * shift
    return 2.0 ** (exponent / _STEP) if means[one] - least > _LEAST_GAIN else 1.0


def _chunks(logits: torch.Tensor, gold: torch.Tensor) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    rows = max(1, _CHUNK // max(1, logits.shape[-1]))
    return zip(torch.split(logits, rows), torch.split(gold.to(logits.device), rows), strict=True)


def _nats(logits: torch.Tensor, gold: torch.Tensor, temperature: float) -> float:
    """Sum over [C] of −log p(gold), in float64 over the rows."""
    scaled = logits.float() / temperature
    wanted = scaled.gather(-1, gold[:, None])[:, 0]
    return float((torch.logsumexp(scaled, -1) - wanted).double().sum())


@dataclass(frozen=True)
class Coverage:
    """Slots by what became of them with one teacher; the reasons as in text/align.py."""

    covered: int = 0
    boundaries: int = 0
    gold: int = 0
    truncated: int = 0

    @classmethod
    def count(cls, codes: npt.NDArray[np.integer]) -> Coverage:
        """Counts map codes [S]: a place in the teacher's passage, or a negative reason."""
        found = {code: int((codes == code).sum()) for code in (BOUNDARIES, GOLD, TRUNCATED)}
        covered = int((codes >= 0).sum())
        assert covered + sum(found.values()) == codes.size, "a code that text/align.py does not name"
        return cls(covered, found[BOUNDARIES], found[GOLD], found[TRUNCATED])

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.covered + other.covered,
            self.boundaries + other.boundaries,
            self.gold + other.gold,
            self.truncated + other.truncated,
        )

    @property
    def slots(self) -> int:
        """All slots counted."""
        return self.covered + self.boundaries + self.gold + self.truncated

    def shares(self) -> dict[str, float]:
        """Each kind's share of the slots: covered, boundaries, gold, truncated; NaN without slots."""
        total = self.slots or float("nan")
        return {name: value / total for name, value in vars(self).items()}
