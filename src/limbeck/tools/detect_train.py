"""Makes a detector: any encoder, fine-tuned by THE loop on labelled texts, calibrated on half of `valid`.

The run directory's `model/` is a plain `AutoModelForSequenceClassification` checkpoint with `detector.json`
beside it. The same command goes on with a run that was stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck import __version__
from limbeck.errors import UserError
from limbeck.files import atomic_write, shown
from limbeck.finetune.classifier import Classifier
from limbeck.finetune.examples import Examples, overlap
from limbeck.finetune.labels import Labels
from limbeck.finetune.settings import FinetuneSettings
from limbeck.finetune.train import Finetuned, finetune
from limbeck.processes.group import current
from limbeck.run import environment
from limbeck.teachers.masked_lm import resolve_device
from limbeck.tools.detect import fits, margins
from limbeck.tools.detect_calibration import (
    Calibration,
    Flags,
    Floats,
    calibration_error,
    errors,
    fit,
    log_loss,
)
from limbeck.tools.detect_data import Labelled, Rows, make_rows, take
from limbeck.tools.detect_language import Language
from limbeck.tools.detect_settings import FILE, LEVELS, DetectorSettings

_log = logging.getLogger("limbeck")

LENGTHS = (0, 32, 64, 128)
"""Words at which the figures by length begin."""

FIGURES = 2
"""Raised when what is measured on `valid` changes: the same command then measures a detector anew."""

_LEAST = 10  # texts of each class in each half of valid

Told = Callable[[str, int, int], None]


def train_detector(
    model: str | Path,
    train: Labelled,
    valid: Labelled,
    folder: Path,
    settings: FinetuneSettings | None = None,
    *,
    paraphrased: str = "paraphrased",
    min_words: int = 16,
    texts: int | None = None,
    valid_texts: int | None = None,
    resume_hint: str = "",
    progress: Told | None = None,
) -> dict[str, Any]:
    """Trains and calibrates a detector, or goes on with it; a finished one is only read.

    Args:
        model: folder or hub id of any encoder. folder: the run directory. min_words: the shortest text that
            is learnt and will be scored. texts, valid_texts: so many of them at most, drawn by the seed.

    Returns:
        The content of detector.json, and `detector`, its folder.

    Raises:
        UserError: what `finetune` raises; not two labels; too few validation texts of a class.
    """
    settings = settings or FinetuneSettings()
    if min_words < 4:
        raise UserError(f"min_words is {min_words}; it must be at least 4")
    train, valid = take(train, texts, settings.seed), take(valid, valid_texts, settings.seed)
    labels = Labels.find(train.examples, "classes")
    assert labels.classes is not None and len(labels.classes) == 2
    labels.encode(valid.examples)
    # What the model can read must be known before the texts are cut to it.
    classifier = Classifier.start(model, labels, max_length=settings.max_length, seed=settings.seed)
    whole = partial(fits, classifier, most_words=None)
    rows = _rows(train, min_words, None, whole, settings.seed, progress)
    longest = int(rows.sizes.max())
    held = _rows(valid, min_words, longest, whole, settings.seed, progress)
    first = held.groups % np.uint64(2) == 0
    flags = np.array([label == paraphrased for label in held.examples.labels])
    _check_halves(first, flags, valid.examples.name)
    length = classifier.max_length
    del classifier, whole
    done = finetune(
        model,
        rows.examples,
        held.examples,
        folder,
        settings,
        labels=labels,
        fields={"detect.min_words": min_words, "detect.paraphrased": paraphrased},
        resume_hint=resume_hint,
        progress=progress,
    )

    def made() -> dict[str, Any]:
        place = folder / "model" / FILE
        key = _key(done, valid.examples, min_words, paraphrased)
        with contextlib.suppress(UserError):  # of a damaged one, or another version's: it is made anew
            if place.is_file() and (known := DetectorSettings.read(place)).made.get("key") == key:
                return known.record()
        data = {
            "train": _described(train, rows),
            "valid": _described(valid, held),
            "overlap": overlap(train.examples, valid.examples),
        }
        trained = done.classifier()
        probabilities = _margins(trained, held.examples, paraphrased, settings, progress)
        calibration = fit(probabilities[first], flags[first])
        found = DetectorSettings(
            paraphrased,
            min_words,
            longest,
            length,
            trained.weights_read,
            calibration,
            Language.learn(rows.examples.texts, held.examples.texts),
            _figures(calibration, probabilities, flags, first, held),
            data,
            {
                "key": key,
                "limbeck": __version__,
                "init": shown(model),
                "seed": settings.seed,
                "family": done.results["model"]["family"],
                "parameters": done.results["model"]["parameters"],
                "settings": done.results["settings"],
                "cost": done.results["cost"],
                "versions": environment()["versions"],
            },
        )
        atomic_write(place, json.dumps(found.record(), indent=1, ensure_ascii=False) + "\n")
        return found.record()

    return dict(current().from_main(made)) | {"detector": str(folder / "model")}


def _rows(
    labelled: Labelled,
    least: int,
    most: int | None,
    whole: Callable[[str], bool],
    seed: int,
    progress: Told | None,
) -> Rows:
    told = None if progress is None else partial(progress, f"cutting {labelled.examples.name}")
    rows = make_rows(labelled, least=least, most=most, fits=whole, seed=seed, progress=told)
    if rows.left_out:
        _log.warning(
            "%s of %s texts of %s have fewer than %d words and are left out",
            f"{rows.left_out:,}",
            f"{len(labelled.examples):,}",
            labelled.examples.name,
            least,
        )
    return rows


def _check_halves(first: Flags, flags: Flags, name: str) -> None:
    for half in (first, ~first):
        for kind in (True, False):
            if int((flags[half] == kind).sum()) < _LEAST:
                raise UserError(
                    f"{name} has too few texts: each class needs at least {_LEAST} in either half, one to "
                    "calibrate on and one to check it; give some hundred"
                )


def _key(done: Finetuned, valid: Examples, min_words: int, paraphrased: str) -> str:
    """What a calibration and its figures hang on: the run, the texts, how they are measured."""
    results = {name: value for name, value in done.results.items() if name != "rows"}  # they come later
    parts = [
        json.dumps(results, sort_keys=True).encode(),
        valid.fingerprint.encode(),
        str(min_words).encode(),
        paraphrased.encode(),
        str(FIGURES).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _margins(
    classifier: Classifier,
    examples: Examples,
    paraphrased: str,
    settings: FinetuneSettings,
    told: Told | None,
) -> Floats:
    classifier.to(resolve_device(settings.device))
    told = told or (lambda *_: None)
    place = (classifier.labels.classes or ()).index(paraphrased)
    return margins(
        classifier, list(examples.texts), place, settings.tokens, partial(told, "calibrating the detector")
    )


def _figures(
    calibration: Calibration, outputs: Floats, flags: Flags, first: Flags, rows: Rows
) -> dict[str, Any]:
    """What the half of `valid` says that the calibration has not seen."""
    second = ~first
    before = Calibration(1.0, 0.0, 0.0).probability(outputs[second])
    after = calibration.probability(outputs[second])
    known, sizes, sources = flags[second], rows.sizes[second], rows.groups[second]
    by_words = []
    for low, high in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        here = (sizes >= low) & (sizes < (high or np.inf))
        if known[here].any() and not known[here].all():
            told = _told(after[here], known[here], sources[here])
            by_words.append({"from": low, "to": high} | told)
    return {
        "calibrated_on": int(first.sum()),
        "measured_on": int(second.sum()),
        **{
            name: {"calibration_error": calibration_error(p, known), "log_loss": log_loss(p, known)}
            for name, p in (("before", before), ("after", after))
        },
        "accuracy": float(((after >= 0.5) == known).mean()),
        "errors": _told(after, known, sources)["errors"],
        "by_words": by_words,
    }


def _told(probabilities: Floats, known: Flags, sources: npt.NDArray[np.uint64]) -> dict[str, Any]:
    return {
        "texts": len(known),
        "calibration_error": calibration_error(probabilities, known),
        "errors": [errors(probabilities, known, level, sources) for level in LEVELS],
    }


def _described(labelled: Labelled, rows: Rows) -> dict[str, Any]:
    examples = labelled.examples
    sizes = np.quantile(rows.sizes, [0.0, 0.05, 0.5, 0.95, 1.0]).astype(int).tolist()
    return {
        "file": shown(Path(examples.name).name),
        "texts": len(examples),
        "rows": len(rows.examples),
        "left_out": rows.left_out,
        "unchanged_pairs": labelled.unchanged,
        "classes": dict(sorted(Counter(examples.labels).items())),
        "fingerprint": examples.fingerprint,
        "synthetic": labelled.synthetic or None,
        "words": dict(zip(("least", "p5", "median", "p95", "most"), sizes, strict=True)),
    }
