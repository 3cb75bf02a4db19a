"""Which candidate fits: probabilities for any number of instances, in bounded memory.

Instances are read a window at a time; the rows of a window are sorted by length and fed in batches of about
so many pieces, so that little is padding. Within a window all contexts are tokenized at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from limbeck.errors import UserError
from limbeck.gloss.encode import Encoded, Encoder
from limbeck.gloss.instance import Candidates, Instance, candidates
from limbeck.gloss.layout import GlossBatch, Layout, Row
from limbeck.gloss.losses import scores
from limbeck.gloss.model import GlossModel
from limbeck.teachers.precision import autocast, check_precision

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Lexicon, Sense

Floats = npt.NDArray[np.float64]

# Instances at once: enough rows of each length to fill batches, and a few megabytes of pieces.
WINDOW = 1024
TOKENS = 8192
"""Pieces of a batch, padding included."""
# On a CPU at most so many: more are no faster, and past its caches a tenth slower (6×384, one core).
CPU_TOKENS = 4096


class Prediction(NamedTuple):
    """What the model says of an instance.

    senses: the K candidates; probabilities: float64 [K], they sum to 1 (`choice`: the softmax it was trained
    with; `pairs`: each gloss's P(match), as published, divided by their sum, so that the order is that of
    P(match)). A single candidate has 1; without candidates both are empty.
    """

    id: str
    senses: tuple[Sense, ...]
    probabilities: Floats


def predict(
    model: GlossModel,
    encoder: Encoder,
    lexicon: Lexicon,
    instances: Iterable[Instance],
    *,
    of: Candidates = "gold",
    layout: str | None = None,
    tokens: int = TOKENS,
    precision: str = "f32",
    window: int = WINDOW,
) -> Iterator[Prediction]:
    """Probabilities of each instance's senses, in the order of the instances.

    Args:
        of: candidates of the instance's part of speech (`gold`) or of all. The rest as in `rank`.

    Raises:
        UserError: as `rank`.
    """
    items = ((instance, candidates(lexicon, instance, of)) for instance in instances)
    return rank(model, encoder, items, layout=layout, tokens=tokens, precision=precision, window=window)


def rank(
    model: GlossModel,
    encoder: Encoder,
    items: Iterable[tuple[Instance, tuple[Sense, ...]]],
    *,
    layout: str | None = None,
    tokens: int = TOKENS,
    precision: str = "f32",
    window: int = WINDOW,
) -> Iterator[Prediction]:
    """Probabilities of the given candidates of each instance, in the order of the items.

    Args:
        model: put into eval mode here. layout: `pairs` or `packed`; None: what the model was trained with.
        tokens: pieces of a batch, padding included (on a CPU at most CPU_TOKENS); a row that is longer goes
            alone. precision: f32, bf16 or f16, by autocast. window: instances read before the first answer.

    Raises:
        UserError: an unknown precision, f16 on the CPU, a layout the family cannot do; a target or a gloss
            too long; predictions that are not finite.
    """
    device = next(model.parameters()).device
    check_precision(precision, device)
    layout = layout or model.settings.layout
    rows = Layout(encoder.template, layout, family=model.family)
    if device.type == "cpu":
        tokens = min(tokens, CPU_TOKENS)
    scorer = _Scorer(model.eval(), rows, device, tokens, precision)
    return _windows(scorer, encoder, iter(items), window)


def _windows(
    scorer: _Scorer, encoder: Encoder, items: Iterator[tuple[Instance, tuple[Sense, ...]]], window: int
) -> Iterator[Prediction]:
    objective = scorer.model.settings.objective
    while part := list(islice(items, window)):
        asked = [item for item in part if len(item[1]) > 1]  # the others are no question
        found = iter(scorer(encoder.encode(asked)))
        for instance, senses in part:
            score = next(found) if len(senses) > 1 else np.zeros(len(senses))
            yield Prediction(instance.id, senses, probabilities(score, objective))


def probabilities(score: Floats, objective: str) -> Floats:
    """Probabilities [K] that sum to 1, from the log-odds [K] that each gloss fits.

    `choice`: their softmax. `pairs`: P(match) = σ(log-odds), divided by the sum. Both keep the order.
    """
    if not len(score):
        return score
    # In logarithms: where no gloss fits, every P(match) may be too small for a float.
    logs = score if objective == "choice" else -np.logaddexp(0.0, -score)
    weights = np.exp(logs - logs.max())
    normalised: Floats = weights / weights.sum()
    return normalised


class _Scorer:
    """Log-odds of all candidates of some instances."""

    def __init__(
        self, model: GlossModel, layout: Layout, device: torch.device, tokens: int, precision: str
    ) -> None:
        self.model, self.layout, self.device = model, layout, device
        self.tokens, self.precision = tokens, precision

    def __call__(self, encoded: Sequence[Encoded]) -> list[Floats]:
        """For each instance the log-odds [K] that each gloss fits.

        Raises:
            UserError: they are not finite.
        """
        sizes = np.fromiter((len(e.glosses) for e in encoded), np.int64, len(encoded))
        base = np.cumsum(sizes) - sizes
        rows: list[Row] = []
        owner: list[int] = []
        for i, e in enumerate(encoded):
            of = self.layout.rows(e)
            rows += of
            owner += [i] * len(of)
        instance = np.array(owner, np.int64)
        score = np.zeros(int(sizes.sum()))
        for part in self._batches(np.array([row.length for row in rows], np.int64)):
            batch = self.layout.arrange([rows[i] for i in part], instance[part], len(encoded)).plain
            place = base[batch.instance.numpy()] + batch.candidate.numpy()
            score[place] = self._forward(batch.to(self.device))
        if not np.isfinite(score).all():
            advice = "use bf16 or f32" if self.precision == "f16" else "its weights are damaged"
            raise UserError(f"the model predicts NaN or infinity in {self.precision}; {advice}")
        return np.split(score, base[1:])

    def _batches(self, length: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Indices of rows, the longest first, so that memory that suffices at once suffices to the end."""
        order = np.argsort(-length, kind="stable")
        start = 0
        while start < len(order):
            stop = start + max(1, self.tokens // int(length[order[start]]))
            yield order[start:stop]
            start = stop

    @torch.no_grad()
    def _forward(self, batch: GlossBatch) -> Floats:
        with autocast(self.device, self.precision):
            match, _ = self.model(batch)
        found: Floats = scores(match).double().cpu().numpy()
        return found
