"""Which passages of a document read as machine-paraphrased (docs/detect.md).

detector = Detector.from_pretrained("runs/detect/model")
report = detector("A paragraph. ...")
for passage in report.passages:
    print(passage.score, passage.mark, passage.text)
print(report.summary.record())
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limbeck.errors import UserError
from limbeck.finetune.classifier import Classifier
from limbeck.teachers.masked_lm import resolve_device
from limbeck.teachers.precision import autocast, check_precision
from limbeck.tools.detect_calibration import Floats, share
from limbeck.tools.detect_settings import LEVELS, DetectorSettings
from limbeck.tools.detect_text import PROSE, Block, parts, plain, text_blocks, whole_characters, words

AT_ONCE = 256
"""Passages that are scored together."""

TOKENS = 4096
"""Pieces of one forward, by default: on a CPU more are no faster, and take more memory."""

TOO_SHORT, OTHER_LANGUAGE, NO_PROSE = "too short", "other language", "no running text"
"""Why a passage has no score."""


class Passage(NamedTuple):
    """A paragraph, or a part of one that is longer than the model reads.

    number: of its paragraph in the document, from 1. kind, text, page: of the block. words: how many. score:
    calibrated probability that it is machine-paraphrased, where half of all texts are; None with a `mark`,
    which says why it is outside what the detector was trained on. part, parts: which of its paragraph's.
    """

    number: int
    kind: str
    text: str
    page: int | None
    words: int
    score: float | None
    mark: str | None
    part: int = 1
    parts: int = 1

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


class Summary:
    """What the passages of a document come to, with 12 bytes for each scored one."""

    def __init__(self) -> None:
        self.marks: Counter[str] = Counter()
        self.words = self.passages = 0
        self._scores, self._words = array("d"), array("l")

    def add(self, passage: Passage) -> None:
        """Counts a passage."""
        self.passages += 1
        self.words += passage.words
        if passage.score is None:
            self.marks[passage.mark or ""] += 1
        else:
            self._scores.append(passage.score)
            self._words.append(passage.words)

    def extend(self, other: Summary) -> None:
        """Counts another document's passages as well."""
        self.marks.update(other.marks)
        self.passages += other.passages
        self.words += other.words
        self._scores.extend(other._scores)
        self._words.extend(other._words)

    def record(self) -> dict[str, Any]:
        """Counts, and the estimated share of the scored words that are machine-paraphrased (None: none is).

        `share`, `low`, `high`: see `detect_calibration.share`.
        """
        scored = len(self._scores)
        return {
            "passages": self.passages,
            "scored": scored,
            "words": self.words,
            "scored_words": sum(self._words),
            "marked": dict(sorted(self.marks.items())),
            "at_least": {f"{level:g}": sum(one >= level for one in self._scores) for level in LEVELS},
            "paraphrased": share(self._scores, self._words) if scored else None,
        }


class Report(NamedTuple):
    """A document's passages in order, and what they come to."""

    passages: list[Passage]
    summary: Summary


class Detector:
    """A classifier with what `detector.json` knows of it.

    Args:
        tokens: pieces of one forward, padding included. precision: f32, bf16 or f16, by autocast.

    Raises:
        UserError: an unknown precision; f16 on the CPU; weights that are not those it was calibrated with.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: DetectorSettings,
        *,
        precision: str = "f32",
        tokens: int = TOKENS,
        source: str = "the model",
    ) -> None:
        self.classifier, self.settings, self.tokens = classifier.eval(), settings, tokens
        self.device = next(classifier.parameters()).device
        check_precision(precision, self.device)
        self._precision = precision
        if settings.weights != classifier.weights_read:
            raise UserError(
                f"{source} has other weights than its detector.json is about, so its scores mean nothing; "
                "run `limbeck detect train` again"
            )
        names = classifier.labels.classes or ()
        self._paraphrased = names.index(settings.paraphrased)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", precision: str = "f32", tokens: int = TOKENS
    ) -> Detector:
        """A detector's folder: the `model` folder of a run of `limbeck detect train`, or that run's own.

        Raises:
            UserError: no detector there, or a damaged one; a device that is not there.
        """
        folder, settings = DetectorSettings.find(path)
        classifier = Classifier.load(folder, max_length=settings.max_length, what="detector")
        if settings.paraphrased not in (classifier.labels.classes or ()):
            raise UserError(
                f"{folder} has no class {settings.paraphrased!r}, which its detector.json names; run "
                "`limbeck detect train` again"
            )
        place = resolve_device(device)
        return cls(classifier.to(place), settings, precision=precision, tokens=tokens, source=str(folder))

    def __call__(self, text: str) -> Report:
        """The passages of a plain text, whose paragraphs are parted by blank lines.

        Raises:
            UserError: there is no word in it.
        """
        text = whole_characters(text)
        if not words(text):
            raise UserError("the text is empty; give it words")
        summary, found = Summary(), []
        for passage in self.stream(text_blocks([text])):
            summary.add(passage)
            found.append(passage)
        return Report(found, summary)

    def stream(self, blocks: Iterable[Block]) -> Iterator[Passage]:
        """The passages of a document that comes in blocks, in order, some hundred at a time."""
        held: list[Passage] = []
        for number, block in enumerate(blocks, 1):
            cut = [block.text] if block.kind not in PROSE else list(parts(block.text, self._fits))
            for part, text in enumerate(cut, 1):
                size = len(words(text))
                mark = self._mark(block.kind, text, size)
                held.append(Passage(number, block.kind, text, block.page, size, None, mark, part, len(cut)))
            if len(held) >= AT_ONCE:
                yield from self._scored(held)
                held = []
        yield from self._scored(held)

    def _fits(self, text: str) -> bool:
        return fits(self.classifier, plain(text), self.settings.max_words)

    def _mark(self, kind: str, text: str, size: int) -> str | None:
        if kind not in PROSE:
            return NO_PROSE
        if size < self.settings.min_words:
            return TOO_SHORT
        return OTHER_LANGUAGE if self.settings.language.is_other(plain(text)) else None

    def _scored(self, passages: list[Passage]) -> Iterator[Passage]:
        texts = [plain(passage.text) for passage in passages if passage.mark is None]
        scores = iter(self.probabilities(texts)) if texts else iter(())
        for passage in passages:
            yield passage if passage.mark else passage._replace(score=float(next(scores)))

    def probabilities(self, texts: list[str]) -> Floats:
        """Calibrated probabilities [N] of one text or more that fit, as `plain` leaves them."""
        return self.settings.calibration.probability(self._margins(texts))

    def _margins(self, texts: list[str]) -> Floats:
        with autocast(self.device, self._precision):
            return margins(self.classifier, texts, self._paraphrased, self.tokens)


def fits(classifier: Classifier, text: str, most_words: int | None) -> bool:
    """Whether the model reads a text whole, and it has no more words than it was trained on."""
    if most_words is not None and len(words(text)) > most_words:
        return False
    tokenizer = classifier.tokenizer
    ids = tokenizer(
        text, add_special_tokens=False, truncation=False, split_special_tokens=True, verbose=False
    ).input_ids
    return len(ids) + int(tokenizer.num_special_tokens_to_add(pair=False)) <= classifier.max_length


def margins(
    classifier: Classifier, texts: list[str], paraphrased: int, tokens: int, progress: Any = None
) -> Floats:
    """Output for the class `paraphrased` less the other's: float64 [N].

    Raises:
        UserError: an output is not finite.
    """
    encoded = classifier.encode(texts)
    assert not encoded.cut
    outputs = classifier.outputs(encoded, tokens=tokens, progress=progress).astype(np.float64)
    if not np.isfinite(outputs).all():
        raise UserError("the model's outputs are not finite; its weights are damaged, or use --precision f32")
    found: Floats = outputs[:, paraphrased] - outputs[:, 1 - paraphrased]
    return found
