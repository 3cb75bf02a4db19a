"""How good a teacher is, and how sure it ought to be: pure functions of logits (architecture section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable

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


def coverage_shares(codes: npt.NDArray[np.integer]) -> dict[str, float]:
    """Shares of the slots that a teacher covers, and that it does not by reason.

    Args:
        codes: map codes [S] of text/align.py: a place in the teacher's passage, or a negative reason.

    Returns:
        covered, boundaries, gold, truncated; NaN without slots.
    """
    reasons = {"boundaries": BOUNDARIES, "gold": GOLD, "truncated": TRUNCATED}
    counts = {"covered": int((codes >= 0).sum())}
    counts |= {name: int((codes == code).sum()) for name, code in reasons.items()}
    assert sum(counts.values()) == codes.size, "a code that text/align.py does not name"
    return {name: count / codes.size if codes.size else float("nan") for name, count in counts.items()}
