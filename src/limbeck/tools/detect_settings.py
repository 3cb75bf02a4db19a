"""`detector.json`: what a detector knows of itself, beside its plain classifier (docs/detect.md)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.tools.detect_calibration import Calibration
from limbeck.tools.detect_language import Language

VERSION = 1
FILE = "detector.json"
LEVELS = (0.5, 0.9)
"""Scores that passages are counted at."""


@dataclass(frozen=True)
class DetectorSettings:
    """What a detector was trained on and how its outputs are read.

    paraphrased: the label that means it. min_words, max_words: of the texts it was trained on. max_length:
    pieces it reads, special ones included. weights: digest of its model's. valid: figures on validation texts
    that nothing was fitted on. data, made: what it was trained on and how, as JSON.
    """

    paraphrased: str
    min_words: int
    max_words: int
    max_length: int
    weights: str
    calibration: Calibration
    language: Language
    valid: dict[str, Any]
    data: dict[str, Any]
    made: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """The content of detector.json."""
        plain = {name: getattr(self, name) for name in ("paraphrased", "weights", "valid", "data", "made")}
        return {
            "version": VERSION,
            "kind": "detector",
            **plain,
            "trained_on": {
                "min_words": self.min_words, "max_words": self.max_words, "max_length": self.max_length,
            },
            "calibration": asdict(self.calibration),
            "language": self.language.record(),
        }  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> DetectorSettings:
        """A detector.json.

        Raises:
            UserError: not readable, not what this version writes.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["kind"] != "detector" or record["version"] != VERSION:
                raise UserError(f"{path} is of another version of Limbeck; run `limbeck detect train` again")
            calibration = {name: float(record["calibration"][name]) for name in ("slope", "offset", "floor")}
            known = record["trained_on"]
            return cls(
                str(record["paraphrased"]),
                int(known["min_words"]),
                int(known["max_words"]),
                int(known["max_length"]),
                str(record["weights"]),
                Calibration(**calibration),
                Language.read(record["language"]),
                *(dict(record[name]) for name in ("valid", "data", "made")),
            )
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged; run `limbeck detect train` again") from error

    @classmethod
    def find(cls, place: str | Path) -> tuple[Path, DetectorSettings]:
        """The folder of a detector's checkpoint, and its settings; a run directory stands for its `model`.

        Raises:
            UserError: no such folder, or no detector in it.
        """
        given = Path(place).expanduser()
        if not given.is_dir():
            raise UserError(f"model: {str(place)!r} does not exist; give the folder of a detector")
        for folder in (given, given / "model"):
            if (folder / FILE).is_file():
                return folder, cls.read(folder / FILE)
        raise UserError(
            f"model: {str(place)!r} is no detector: it has no {FILE}; make one with "
            f"`limbeck detect train {place} --data PLACE`, and give its folder `model`"
        )


def percent(share: float) -> str:
    """A share for people; what is not quite nothing, or not quite all, is told so."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def said(settings: DetectorSettings) -> list[str]:
    """What a score is, and what it is not: sentences for people."""
    high = next(one for one in settings.valid["errors"] if one["threshold"] == LEVELS[-1])
    alarms, found = high["false_alarms"], high["found"]
    sources = alarms.get("sources")  # a detector of an earlier version does not say
    drawn = "as if no two were of one text" if sources is None else f"from {sources:,} sources"
    return [
        "A score is the probability that the passage was paraphrased by a machine, if half of all passages "
        "were. It is no proof.",
        f"Of {alarms['n']:,} original validation passages (texts, and parts of them) {alarms['rate']:.1%} "
        f"scored {LEVELS[-1]:g} or more (95% interval {alarms['low']:.1%} to {alarms['high']:.1%}, "
        f"{drawn}); of {found['n']:,} paraphrased ones {found['rate']:.1%}.",
        "That holds for text like that of its training: the same paraphrasing program, subject and style. "
        "Elsewhere it may err more often, in either direction, and the interval does not know.",
        "A low score does not show that a text is original. Copies, paraphrase by hand or by other programs, "
        "and translations are not looked for.",
        "Judge nobody by a score. Read the passage, look for its source, and hear the author.",
    ]
