"""`limbeck eval mlm`: nats and accuracy per masked word, the same words for every model, with intervals.

The unit is the word and not the piece, so that models of different tokenizers can be compared: a word's nats
are the sum over its pieces, all of which are masked. The headline is over words that are a single piece in
every compared tokenizer, because a word of several masked pieces is harder than the same word as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.files import cache_dir
from limbeck.tasks.bootstrap import paired_means
from limbeck.tasks.mlm_model import LEFT_OUT, OK, Compared
from limbeck.tasks.mlm_result import describe, means, notes, table, versions
from limbeck.tasks.mlm_words import Measured, Progress, Sample, WordScores, score
from limbeck.teachers.masked_lm import load_masked_lm, resolve_device
from limbeck.teachers.precision import check_precision
from limbeck.text.corpus import build_corpus
from limbeck.text.mixing import mix64
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.words import WORD_RULE_VERSION

if TYPE_CHECKING:
    from limbeck.text.corpus import Corpus

__all__ = [
    "Compared",
    "Measured",
    "MlmSettings",
    "evaluate_files",
    "evaluate_models",
    "measure_words",
    "table",
]

PROTOCOL = 1
"""Raised with every change after which the same model, data and settings give other figures: those that
an evaluation kept are not used again then (pipeline/evaluation.py)."""

MOST_WORDS = 4096
"""Most words of a passage: more than any model's longest input."""

MIN_WORDS = 4
"""Fewest words of a passage, where passages may be that long."""

# What a normaliser may do that changes which word is the right answer: case, accents, compatibility forms.
_PROBE = "A É ß ﬁ ４"


@dataclass(frozen=True)
class MlmSettings:
    """How masked words are measured.

    mask: share of the words that is masked. passages: measure at most this many, drawn by `seed`
    (0 or more); None: all.
    precision: f32, bf16 or f16. batch: passages at once. bootstrap: resampled sets of passages for the
    intervals; 0: none.

    Raises:
        UserError: a value out of range.
    """

    mask: float = 0.15
    passages: int | None = None
    seed: int = 0
    precision: str = "f32"
    batch: int = 32
    bootstrap: int = 1000
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.mask < 1:
            raise UserError(f"mask is {self.mask}; it must lie between 0 and 1, such as 0.15")
        if self.passages is not None and self.passages < 1:
            raise UserError(f"passages is {self.passages}; it must be at least 1, or left out for all")
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"seed is {self.seed}; it must be 0 or more, below 2^63")
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}; it must be at least 1")
        if self.bootstrap < 0:
            raise UserError(
                f"bootstrap is {self.bootstrap}; it must be 0 (no intervals) or more, such as 1000"
            )
        check_precision(self.precision, resolve_device(self.device))


def evaluate_files(
    models: Sequence[str | Path],
    texts: Sequence[str],
    *,
    words: int = 96,
    min_words: int | None = None,
    mask: float = 0.15,
    passages: int | None = None,
    seed: int = 0,
    precision: str = "f32",
    batch: int = 32,
    bootstrap: int = 1000,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compares models, given as paths or hub ids, on text files; one model is in memory at a time.

    Args:
        texts: as in a recipe's `text.valid`. words: most words of a passage, 2 to 4096.
        min_words: fewest words of a passage; None: 4, or `words` where that is less.
        mask, passages, seed, precision, batch, bootstrap, device: see `MlmSettings`.
        cache: folder for the passages; None: the user's cache.

    Returns:
        A JSON-ready dict: models, differences from the first model, data, counts, settings, notes, versions.

    Raises:
        UserError: a model or text that cannot be used, a setting out of range, no word to ask every model.
    """
    _any(models)
    settings = MlmSettings(mask, passages, seed, precision, batch, bootstrap, device)
    least = _check_words(words, min_words)
    target = resolve_device(device)
    corpus = build_corpus(
        list(texts),
        base=Path.cwd(),
        words=words,
        min_words=least,
        on_error="stop",
        cache=cache or cache_dir() / "text",
        label="evaluation text",
        progress=None if progress is None else partial(progress, "reading the text"),
    )

    def load(model: str) -> Compared:
        module, hf, report = load_masked_lm(model, device=target, what="model")
        return Compared(model, module, PieceTokenizer.from_hf(hf, limit=report.limit, name=model), model)

    result = _evaluate([partial(load, str(model)) for model in models], corpus, settings, progress)
    result["data"] |= {
        "texts": [str(text) for text in texts],
        "words_per_passage": words,
        "min_words": least,
    }
    return result


def evaluate_models(
    models: Sequence[Compared | Measured],
    corpus: Corpus,
    settings: MlmSettings,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """As `evaluate_files`, for loaded models and a corpus already built. Modules are left in eval mode.

    Models may have been measured before, by `measure_words` with the same corpus and settings.

    Raises:
        UserError: as `evaluate_files`.
    """
    _any(models)

    def given(model: Compared | Measured) -> Compared | Measured:
        return model

    return _evaluate([partial(given, model) for model in models], corpus, settings, progress)


def measure_words(
    compared: Compared, corpus: Corpus, settings: MlmSettings, progress: Progress | None = None
) -> Measured:
    """One model's words, to be compared with other models' later.

    Raises:
        UserError: as `evaluate_files`.
    """
    return _measure(compared, _sample(corpus, settings), settings, progress)


def _check_words(words: int, min_words: int | None) -> int:
    """The fewest words of a passage."""
    if not 2 <= words <= MOST_WORDS:
        raise UserError(f"words is {words}; it must be from 2 to {MOST_WORDS}, such as 96")
    if min_words is None:
        return min(MIN_WORDS, words)
    if not 1 <= min_words <= words:
        raise UserError(f"min_words is {min_words}; it must be from 1 to words, {words}")
    return min_words


def _any(models: Sequence[Any]) -> None:
    if not models:
        raise UserError("no model to evaluate; name at least one model folder or hub id")


def _sample(corpus: Corpus, settings: MlmSettings) -> Sample:
    rows = _rows(corpus, settings.passages, settings.seed)
    return Sample(corpus, rows, settings.mask, settings.seed)


def _measure(
    model: Compared | Measured, sample: Sample, settings: MlmSettings, progress: Progress | None
) -> Measured:
    if isinstance(model, Measured):
        return model
    device = resolve_device(settings.device)
    scores = score(model, sample, device, settings.precision, settings.batch, progress)
    return Measured(describe(model, scores), model.tokenizer.normalise(_PROBE), scores)


def _evaluate(
    loaders: Sequence[Callable[[], Compared | Measured]],
    corpus: Corpus,
    settings: MlmSettings,
    progress: Progress | None,
) -> dict[str, Any]:
    sample = _sample(corpus, settings)
    # One model is in memory at a time: nothing here holds on to it.
    models = [_measure(load(), sample, settings, progress) for load in loaders]
    scores: list[WordScores] = [model.scores for model in models]
    described = [dict(model.described) for model in models]
    probes = [model.probe for model in models]
    counted = np.logical_and.reduce([s.state == OK for s in scores])
    single = np.logical_and.reduce([s.single for s in scores])
    if not counted.any():
        raise UserError(
            "no masked word of the text can be asked of every model; give more text, or fewer models"
        )
    differences: list[dict[str, Any]] = [
        {"model": other["name"], "against": described[0]["name"], "index": i}
        for i, other in enumerate(described[1:], start=1)
    ]
    columns = [values for s in scores for values in (s.nats, s.correct)]
    for part, keep in (("headline", single), ("all_words", counted)):
        measured = paired_means(
            columns,
            keep,
            scores[0].passage,
            len(sample.rows),
            replicates=settings.bootstrap,
            seed=settings.seed,
        )
        for i, model in enumerate(described):
            model[part] = means(measured, [2 * i], [2 * i + 1])
        for difference in differences:
            i = difference["index"]
            difference[part] = means(measured, [2 * i, 0], [2 * i + 1, 1])
    left_out = {
        name: int(np.logical_or.reduce([s.state == code for s in scores]).sum())
        for code, name in LEFT_OUT.items()
    }
    return {
        "task": "mlm",
        "models": described,
        "differences": differences,
        "data": {
            "fingerprint": corpus.fingerprint,
            "passages": len(sample.rows),
            "passages_available": len(corpus),
            "words": scores[0].words,
        },
        "counts": {
            "masked_words": len(counted),
            "headline": int(single.sum()),
            "all_words": int(counted.sum()),
            "several_pieces": int((counted & ~single).sum()),
            "left_out": left_out,
        },
        "settings": asdict(settings)
        | {
            "device": str(resolve_device(settings.device)),
            "variant": 0,
            "shown": "mask",
            "interval": 0.95,
            "word_rule": WORD_RULE_VERSION,
        },
        "notes": notes(described, probes, bool(single.any())),
        "versions": versions(),
    }


def _rows(corpus: Corpus, passages: int | None, seed: int) -> npt.NDArray[np.int64]:
    """The passages to measure, drawn by their hashes: the same ones whatever the order of the text."""
    if passages is None or passages >= len(corpus):
        return np.arange(len(corpus))
    order = np.argsort(mix64(corpus.hashes ^ mix64(np.uint64(seed))), kind="stable")
    return np.sort(order[:passages]).astype(np.int64)
