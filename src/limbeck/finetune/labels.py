"""What is learnt: one of several classes, or a score; found from the labels as they are written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.finetune.examples import Examples

Kind = Literal["auto", "classes", "scores"]
KINDS = ("auto", "classes", "scores")

MOST_CLASSES = 20
"""More different numbers than this are taken for scores, even where all are whole."""

Gold = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""[N]: indices of classes, or scores."""


@dataclass(frozen=True)
class Labels:
    """classes: the labels by the model's output; None: the model has one output, a score."""

    classes: tuple[str, ...] | None

    @property
    def outputs(self) -> int:
        """Outputs of a model."""
        return 1 if self.classes is None else len(self.classes)

    @classmethod
    def find(cls, train: Examples, kind: Kind = "auto") -> Labels:
        """What training examples are labelled with.

        `auto`: scores where every label is a number and either one has a fraction that is not 0 or there are
        more than `MOST_CLASSES` different ones; classes otherwise. Classes stand in the order of their names,
        numbers in that of their values.

        Raises:
            UserError: fewer than two classes; all scores the same; a label that is no number, for `scores`.
        """
        assert kind in KINDS, kind
        different = Counter(train.labels)
        numbers = {label: number for label in different if (number := _number(label)) is not None}
        if kind == "auto":
            broken = any(not number.is_integer() for number in numbers.values())
            many = len(set(numbers.values())) > MOST_CLASSES
            kind = "scores" if len(numbers) == len(different) and (broken or many) else "classes"
        if kind == "scores":
            found = cls(None)
            if np.ptp(found.encode(train)) == 0:
                raise UserError(f"{train.name} has the same score in every row; give rows that differ")
            return found
        if len(different) < 2:
            raise UserError(
                f"{train.name} has one class only, {next(iter(different))!r}, so there is nothing to tell "
                "apart; give rows of two classes or more"
            )
        whole = len(numbers) == len(different)
        return cls(tuple(sorted(different, key=lambda label: (numbers[label] if whole else 0.0, label))))

    def encode(self, examples: Examples) -> Gold:
        """The labels of examples as the model's outputs: int64 [N] classes, or float64 [N] scores.

        Raises:
            UserError: a label that is no number, or a class that is none of these.
        """
        if self.classes is None:
            scores = [_number(label) for label in examples.labels]
            if None in scores:
                row = scores.index(None)
                raise UserError(
                    f"{examples.name}, row {row + 1:,}: the label {examples.labels[row]!r} is no number, so "
                    "it is no score; correct it, or train on classes"
                )
            return np.array(scores, np.float64)
        index = {name: number for number, name in enumerate(self.classes)}
        if unknown := sorted(set(examples.labels) - index.keys()):
            rows = sum(label not in index for label in examples.labels)
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UserError(
                f"{examples.name} has the label {unknown[0]!r}{more} ({rows:,} rows), which the training "
                f"rows have not; they have {_listed(self.classes)}"
            )
        return np.array([index[label] for label in examples.labels], np.int64)


def _listed(names: Sequence[str]) -> str:
    """Some names for a message."""
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
