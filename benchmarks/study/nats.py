"""Nats per masked word on every held-out text, kept per word, so that any two models are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.tasks.bootstrap import resampled_means
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.mlm import MlmSettings, measure_words
from limbeck.tasks.mlm_kept import keep, kept
from limbeck.tasks.mlm_model import OK
from limbeck.tasks.mlm_words import Measured

from .intervals import over_seeds
from .jobs import Job, do_all
from .setting import Setting

Mask = np.ndarray[Any, np.dtype[np.bool_]]

REPLICATES = 1000
WORDS = 64
"""Of a passage; the recipes say the same."""


def _settings(setting: Setting) -> MlmSettings:
    return MlmSettings(passages=setting.passages, precision="bf16", batch=64)


def _sources(setting: Setting) -> dict[str, str]:
    """Of every text's name."""
    texts, tests = setting.texts(), setting.test_texts()
    assert not set(texts) & set(tests), "two texts of one name"
    return texts | tests


@lru_cache
def _digest(source: str, written: int) -> str:
    """Of what a file holds; of another source (`wordnet:`), of what it is called. written: when, in ns."""
    data = Path(source).read_bytes() if written else source.encode()
    return hashlib.blake2b(data, digest_size=4).hexdigest()


def _file(setting: Setting, model: Path, text: str) -> Path:
    """It goes by what the model and the text are."""
    source = _sources(setting)[text]
    of = _digest(source, Path(source).stat().st_mtime_ns if Path(source).is_file() else 0)
    name = f"{fingerprint(model)}-{text}-{of}-{setting.passages}.safetensors"
    return setting.scratch / "words" / name


def _measure(setting: Setting, model: Path, text: str) -> dict[str, Any]:
    """One model's words on one text; kept in a file."""
    from limbeck.files import cache_dir
    from limbeck.tasks.mlm import Compared
    from limbeck.teachers.masked_lm import load_masked_lm
    from limbeck.text.corpus import build_corpus
    from limbeck.text.pieces import PieceTokenizer

    corpus = build_corpus(
        [_sources(setting)[text]], base=Path.cwd(), words=WORDS, min_words=4, on_error="stop",
        cache=cache_dir() / "text", label=text,
    )  # fmt: skip
    module, tokenizer, report = load_masked_lm(model, what="model")
    pieces = PieceTokenizer.from_hf(tokenizer, limit=report.limit, name=model.name)
    file = _file(setting, model, text)
    file.parent.mkdir(parents=True, exist_ok=True)
    keep(file, measure_words(Compared(model.name, module, pieces, text), corpus, _settings(setting)))
    return {}


def measure(setting: Setting, models: Sequence[Path], texts: Iterable[str] | None = None) -> None:
    """Measures what is not measured yet. texts: names of the setting's; default: those that choose."""
    named = list(setting.texts() if texts is None else texts)
    jobs = [
        Job(f"{model.parent.name} on {text}", partial(_measure, setting, model, text))
        for model in dict.fromkeys(models)
        for text in named
        if kept(_file(setting, model, text)) is None
    ]
    do_all(setting, "nats", jobs)


def words(setting: Setting, model: Path, text: str) -> Measured:
    """What `measure` has kept."""
    found = kept(_file(setting, model, text))
    assert found is not None, f"{model} was not measured on {text}"
    return found


def table(
    setting: Setting, models: Mapping[str, Sequence[Path]], texts: Sequence[str], *, single: bool = False
) -> dict[str, dict[str, Any]]:
    """Nats per masked word by model and text, and `mixed`, the mean over the texts.

    models: of each name one folder per seed. All words that every model can be asked; single: of these, those
    that are one piece in every model's tokenizer (models of different tokenizers are compared on them).
    Returns {name: {text: {"mean", "sd" (over seeds, None for one), "values"}}, ...}.
    """
    masks = {text: _mask(setting, models, text, single) for text in texts}
    found: dict[str, dict[str, Any]] = {}
    for name, places in models.items():
        rows: dict[str, Any] = {}
        for text in texts:
            values = [float(words(setting, place, text).scores.nats[masks[text]].mean()) for place in places]
            rows[text] = values
        rows["mixed"] = [float(np.mean(column)) for column in zip(*rows.values(), strict=True)]
        found[name] = {
            text: {
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "values": values,
            }
            for text, values in rows.items()
        }
    return found


def _mask(setting: Setting, models: Mapping[str, Sequence[Path]], text: str, single: bool) -> Mask:
    scores = [words(setting, place, text).scores for places in models.values() for place in places]
    together = np.logical_and.reduce([one.state == OK for one in scores])
    return np.logical_and.reduce([together, *(one.single for one in scores)]) if single else together


def paired_gain(
    setting: Setting,
    better: Sequence[Path],
    worse: Sequence[Path],
    texts: Sequence[str],
    within: Mapping[str, Mask] | None = None,
) -> dict[str, dict[str, Any]]:
    """Nats of `worse` less those of `better`, above 0 where `better` is; models of one seed are a pair.

    Per text and `mixed` what `intervals.over_seeds` gives, by seeds and resampled passages. within: by text
    which of its words count.
    """
    samples, means = {}, {}
    for text in texts:
        pair = {"better": better, "worse": worse}
        mask = _mask(setting, pair, text, single=False)
        if within is not None:
            mask = mask & within[text]
        passage = words(setting, better[0], text).scores.passage
        differences = [
            words(setting, b, text).scores.nats.astype(np.float64) - words(setting, a, text).scores.nats
            for a, b in zip(better, worse, strict=True)
        ]
        count = int(passage.max()) + 1
        counts = np.bincount(passage[mask], minlength=count).astype(np.float64)
        sums = np.stack([np.bincount(passage[mask], d[mask], minlength=count) for d in differences], axis=1)
        means[text] = sums.sum(0) / counts.sum()
        samples[text] = resampled_means(sums, counts, replicates=REPLICATES, seed=len(samples))
    means["mixed"] = np.mean([means[text] for text in texts], axis=0)
    samples["mixed"] = np.mean([samples[text] for text in texts], axis=0)
    return {text: over_seeds(means[text].tolist(), by_seed) for text, by_seed in samples.items()}


def gains(setting: Setting, better: Sequence[Path], worse: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """`paired_gain` on the texts that choose (`valid`) and, where they are measured, on `test`."""
    texts = {"valid": setting.texts(), "test": setting.test_texts()}
    return {part: paired_gain(setting, better, worse, list(names)) for part, names in texts.items()}
