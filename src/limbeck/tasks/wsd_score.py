"""The official score of word sense disambiguation, with intervals; any key file against any gold standard.

An instance scores |answers ∩ gold| / |answers|. Precision is the mean over the answered instances, recall
over all, F1 their harmonic mean (the scorer of Raganato et al. 2017). Needs neither a model nor a lexicon.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.gloss.instances import POS, load_keys
from limbeck.gloss.keys import named
from limbeck.tasks.bootstrap import PairedMeans, interval, paired_means

Bools = npt.NDArray[np.bool_]

REPLICATES = 1000
"""Resampled sets of sentences for an interval."""

_SENTENCE = re.compile(r"(.+)\.t\d+")  # what an instance's id says of its sentence
_KEY_POS = re.compile(r"[^%]+%([1-5]):")
_POS_OF_NUMBER = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}


@dataclass(frozen=True)
class Gold:
    """The instances of a gold standard.

    ids: [W]. keys: [W], the right senses of each. pos: [W], part of speech or None. sentence: int64 [W], the
    number of each instance's sentence, below `sentences`: instances of one sentence are not independent.
    seen: bool [W], whether a right sense occurs in the training text; None where that is not known.
    """

    ids: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    pos: tuple[str | None, ...]
    sentence: npt.NDArray[np.int64]
    sentences: int
    seen: Bools | None

    @classmethod
    def of(
        cls, rows: Iterable[tuple[str, str | None, tuple[str, ...]]], trained: Collection[str] | None
    ) -> Gold:
        """From each instance's id, part of speech and right senses; trained: the training text's senses."""
        ids, pos, keys = zip(*rows, strict=True)
        numbers: dict[str, int] = {}
        for name in ids:
            numbers.setdefault(_sentence_of(name), len(numbers))
        sentence = np.array([numbers[_sentence_of(name)] for name in ids], dtype=np.int64)
        seen = None if trained is None else np.array([any(k in trained for k in one) for one in keys])
        return cls(ids, keys, pos, sentence, len(numbers), seen)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids and their right senses, however the file is packed."""
        digest = hashlib.sha256()
        for name, keys in zip(self.ids, self.keys, strict=True):
            digest.update(f"{name} {' '.join(keys)}\n".encode())
        return digest.hexdigest()


def _sentence_of(name: str) -> str:
    found = _SENTENCE.fullmatch(name)
    return found[1] if found else name


@dataclass(frozen=True)
class Marks:
    """What one system gets: credit float64 [W] from 0 to 1, answered bool [W]."""

    credit: npt.NDArray[np.float64]
    answered: Bools

    @classmethod
    def of(cls, gold: Gold, answers: Mapping[str, Collection[str]]) -> Marks:
        """The marks of answers by instance id; an id without a sense counts as not answered."""
        given = [answers.get(name, ()) for name in gold.ids]
        credit = [
            sum(key in right for key in one) / len(one) if one else 0.0
            for one, right in zip(given, gold.keys, strict=True)
        ]
        return cls(np.array(credit, dtype=np.float64), np.array([bool(one) for one in given], dtype=np.bool_))


def measure(
    gold: Gold, system: Marks, keep: Bools | None = None, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any] | None:
    """Precision, recall and F1 (0 to 1) of a system on the kept instances; None where none is kept.

    F1 has a 95% interval (None: all stand in one sentence) by drawing sentences.
    """
    means = _means(gold, [system], keep, replicates, seed)
    if means is None:
        return None
    credit, answered = means.means
    return {
        "instances": means.count,
        "answered": round(answered * means.count),
        "precision": float(credit / answered) if answered else 0.0,
        "recall": float(credit),
        "f1": float(_f1(means.means)),
        "f1_interval": interval(_f1(means.samples)),
    }


def parts(gold: Gold) -> dict[str, Bools]:
    """The parts that are scored apart: parts of speech by their letters; `seen` and `unseen` if known."""
    found = {letter: np.array([pos == letter for pos in gold.pos], dtype=np.bool_) for letter in POS}
    if gold.seen is not None:
        found |= {"seen": gold.seen, "unseen": ~gold.seen}
    return found


def measure_parts(
    gold: Gold, system: Marks, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """`measure` of all instances and, as `parts`, of each part (None where it is empty)."""
    whole = measure(gold, system, replicates=replicates, seed=seed)
    assert whole is not None, "a gold standard has an instance"
    return whole | {
        "parts": {
            name: measure(gold, system, keep, replicates=replicates, seed=seed)
            for name, keep in parts(gold).items()
        }
    }


def compare(
    gold: Gold, first: Marks, second: Marks, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """How much better the second is: difference of F1 with a paired 95% interval, and McNemar's test.

    McNemar's counts are of instances that only one of the two has wholly right; its p is exact (binomial,
    two-sided), 1 where there are none.
    """
    from scipy.stats import binomtest

    means = _means(gold, [first, second], None, replicates, seed)
    assert means is not None
    rights = [marks.credit == 1.0 for marks in (first, second)]
    only = [int((rights[i] & ~rights[1 - i]).sum()) for i in (0, 1)]
    p = float(binomtest(only[0], sum(only), 0.5).pvalue) if any(only) else 1.0
    return {
        "f1_difference": float(_f1(means.means[2:]) - _f1(means.means[:2])),
        "f1_difference_interval": interval(_f1(means.samples[:, 2:]) - _f1(means.samples[:, :2])),
        "mcnemar": {"only_first": only[0], "only_second": only[1], "p": p},
    }


def _f1(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """F1 from the mean credit and the share answered, [..., 2] → [...]: 2PR/(P+R) with P = c/a and R = c."""
    f1: npt.NDArray[np.float64] = 2 * means[..., 0] / (1 + means[..., 1])
    return f1


def _means(
    gold: Gold, systems: Sequence[Marks], keep: Bools | None, replicates: int, seed: int
) -> PairedMeans | None:
    columns = [column for marks in systems for column in (marks.credit, marks.answered)]
    keep = np.ones(len(gold.ids), dtype=np.bool_) if keep is None else keep
    return paired_means(columns, keep, gold.sentence, gold.sentences, replicates=replicates, seed=seed)


def key_pos(key: str) -> str | None:
    """The part of speech that a Princeton sense key names; None for keys of other lexicons."""
    found = _KEY_POS.match(key)
    return _POS_OF_NUMBER[found[1]] if found else None


def load_gold(path: Path, trained: Path | None = None) -> Gold:
    """A gold-key file; parts of speech are those its keys name, where they are Princeton's.

    trained: the training text's gold keys, for `seen`.

    Raises:
        UserError: as `load_keys`.
    """
    known = None if trained is None else {key for keys in load_keys(trained).values() for key in keys}
    return Gold.of(((name, key_pos(keys[0]), keys) for name, keys in load_keys(path).items()), known)


def load_answers(path: Path, gold: Gold, gold_path: Path) -> Marks:
    """The marks of a prediction file.

    Raises:
        UserError: as `load_keys`; it answers instances that the gold standard has not.
    """
    answers = load_keys(path)
    known = set(gold.ids)
    if unknown := [name for name in answers if name not in known]:
        raise UserError(
            f"{path} answers {named(unknown)} that {gold_path} has not; score it against the gold keys "
            f"of its own set"
        )
    return Marks.of(gold, answers)


def score_files(
    gold_path: Path,
    predictions: Sequence[Path],
    *,
    trained: Path | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores one or two key files: what `limbeck score` shows.

    Returns:
        A JSON-ready dict: `systems` as `measure_parts`, and with two files `comparison`, of the second with
        the first.

    Raises:
        UserError: as `load_keys` and `load_answers`.
    """
    assert len(predictions) in (1, 2)
    gold = load_gold(gold_path, trained)
    marks = [load_answers(path, gold, gold_path) for path in predictions]
    result: dict[str, Any] = {
        "task": "wsd-score",
        "data": {
            "gold": str(gold_path),
            "fingerprint": gold.fingerprint,
            "trained": None if trained is None else str(trained),
        },
        "systems": [
            {"predictions": str(path)} | measure_parts(gold, one, replicates=replicates, seed=seed)
            for path, one in zip(predictions, marks, strict=True)
        ],
        "settings": {"replicates": replicates, "seed": seed, "interval": 0.95, "resampled": "sentences"},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("limbeck", "numpy", "scipy")},
        },
    }
    if len(marks) == 2:
        result["comparison"] = compare(gold, *marks, replicates=replicates, seed=seed)
    return result
