"""Students of many arms, sizes and lengths, trained and measured as they are asked for, and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from . import nats
from .setting import Setting, Size
from .students import Arm, Student, curve, folder, train_students


class Trainings:
    """What is trained by now. Arms are told apart by their names; `share`: of N/share steps."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.done: dict[Student, dict[str, Any]] = {}

    def students(
        self, arm: Arm, size: Size, share: int = 1, seeds: Sequence[int] | None = None
    ) -> list[Student]:
        """One of each seed; all seeds where none are named."""
        steps = self.setting.steps // share
        return [Student(arm, size, steps, seed) for seed in (self.setting.seeds if seeds is None else seeds)]

    def models(self, arm: Arm, size: Size, share: int = 1, seeds: Sequence[int] | None = None) -> list[Path]:
        """The model folders of `students`."""
        return [folder(self.setting, s) / "model" for s in self.students(arm, size, share, seeds)]

    def train(self, what: str, students: Sequence[Student]) -> None:
        """Trains what is not trained yet, and measures it on the texts that choose."""
        new = [student for student in dict.fromkeys(students) if student not in self.done]
        self.done |= train_students(self.setting, what, new)
        nats.measure(self.setting, [folder(self.setting, student) / "model" for student in new])

    def mixed(self, arms: Sequence[Arm], size: Size) -> dict[str, float]:
        """Mean nats on the mixed text that chooses, of arms trained for N steps, by their names."""
        rows = self.table({arm.name: arm for arm in arms}, size, 1, list(self.setting.texts()))
        return {name: float(row["mixed"]["mean"]) for name, row in rows.items()}

    def table(
        self, arms: Mapping[str, Arm], size: Size, share: int, texts: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """`nats.table` of arms."""
        models = {name: self.models(arm, size, share) for name, arm in arms.items()}
        return nats.table(self.setting, models, texts)

    def gain(
        self,
        better: Arm,
        worse: Arm,
        size: Size,
        shares: tuple[int, int] = (1, 1),
        seeds: Sequence[int] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """`nats.gains` of the students of two arms."""
        pair = self.models(better, size, shares[0], seeds), self.models(worse, size, shares[1], seeds)
        return nats.gains(self.setting, *pair)

    def seconds(self, arm: Arm, size: Size, share: int = 1) -> float:
        """Median over the seeds of the training's own time."""
        found = (self.done[s]["cost"]["seconds"] for s in self.students(arm, size, share))
        return float(median(found))

    def curve(self, arm: Arm, size: Size) -> list[list[Any]]:
        """Of N steps: [step, [nats per masked piece of each seed]] ..."""
        found = [curve(self.setting, student) for student in self.students(arm, size)]
        return [[points[0][0], [value for _, value in points]] for points in zip(*found, strict=True)]
