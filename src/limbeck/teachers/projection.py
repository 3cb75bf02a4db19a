"""From a teacher's vocabulary to the student's (architecture section 3.1, "Projection").

A teacher's piece stands for the student's piece that reads the same after the student's own normaliser;
variants of case and surface add up. What no piece of the student can express is kept apart as inexpressible
mass. There is a map per kind of slot, because a start-of-word mark does not mean the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from limbeck.text.align import KIND_INSIDE, KIND_OPEN_BARE, KIND_OPEN_SPACED
from limbeck.text.pieces import PieceTokenizer, Surface

Ints = npt.NDArray[np.int64]
KINDS = (KIND_OPEN_SPACED, KIND_OPEN_BARE, KIND_INSIDE)


@dataclass(frozen=True, eq=False)
class Projection:
    """The map of one teacher's vocabulary onto the student's.

    gold_map: int64 [3, V], the student's id by kind of slot and teacher's id, -1 where nothing of the student
    reads the same (V is the larger of the teacher's vocabulary and its logits' width). identity: the
    vocabularies are the same.
    share_of_vocabulary: share of the teacher's ordinary pieces that some kind of slot can express.
    """

    gold_map: Ints
    identity: bool
    share_of_vocabulary: float
    teacher_width: int
    student_width: int
    _plans: dict[tuple[int, torch.device], tuple[torch.Tensor | None, torch.Tensor]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def build(
        cls, teacher: PieceTokenizer, student: PieceTokenizer, *, teacher_width: int, student_width: int
    ) -> Projection:
        """Compare the two vocabularies.

        Args:
            teacher_width, student_width: of the models' logits; they may exceed the vocabularies (padding
                rows are inexpressible) and may fall short of them (ids beyond are never predicted).
        """
        width = max(teacher.vocab_size, teacher_width)
        if teacher.same_vocabulary(student):
            ids = np.arange(width)
            ids[min(teacher_width, student_width) :] = -1
            return cls(np.stack([ids] * 3), True, 1.0, teacher_width, student_width)
        gold_map = np.full((3, width), -1, np.int64)
        tables = _tables(student)
        forms: dict[str, str] = {}
        ordinary = expressed = 0
        for i, surface in enumerate(teacher.surfaces()):
            if surface.text is None:
                continue
            ordinary += 1
            for kind in KINDS:
                if _fits(surface, kind):
                    gold_map[kind, i] = _look_up(surface.text, tables[kind], student, forms)
            expressed += bool((gold_map[:, i] >= 0).any())
        gold_map[:, teacher_width:] = -1
        gold_map[gold_map >= student_width] = -1
        return cls(gold_map, False, expressed / max(ordinary, 1), teacher_width, student_width)

    def project(self, probs: torch.Tensor, kind: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project probabilities.

        Args:
            probs: float32 [C, V_t], rows sum to 1. kind: int64 [C], KIND_* of the student's slots.
        Returns: (projected float32 [C, V_s], not normalised; inexpressible float32 [C]); each row of the
            first plus the second sums to 1.
        """
        assert probs.shape[1] == self.teacher_width
        kind = kind.to(probs.device)
        if self.identity:
            return self._identical(probs)
        projected = probs.new_empty(len(probs), self.student_width)
        step = _CPU_ROWS if probs.device.type == "cpu" else max(len(probs), 1)
        buffer = probs.new_empty(min(step, len(probs)), self.student_width + 1)
        for kinds in self._groups:
            rows = torch.isin(kind, torch.tensor(kinds, device=kind.device)).nonzero().flatten()
            source, target = self._plan(kinds[0], probs.device)
            # A few rows at a time stay in the processor's cache; a GPU takes them all at once.
            for some in torch.split(rows, step):
                given = probs.index_select(0, some)
                given = given if source is None else given.index_select(1, source)
                part = buffer[: len(some)].zero_().scatter_add_(1, target.expand(len(some), -1), given)
                projected.index_copy_(0, some, part[:, :-1])
        return projected, (1 - projected.sum(1)).clamp_min(0)

    def _identical(self, probs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Same vocabulary: the probabilities themselves, cut or filled up to the student's width."""
        if self.student_width >= self.teacher_width:
            missing = self.student_width - self.teacher_width
            return torch.nn.functional.pad(probs, (0, missing)) if missing else probs, probs.new_zeros(
                len(probs)
            )
        return probs[:, : self.student_width], probs[:, self.student_width :].sum(1)

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Kinds grouped by equal maps (a student without space marks has one way to open a word)."""
        groups: list[list[int]] = []
        for kind in KINDS:
            same = next((g for g in groups if np.array_equal(self.gold_map[g[0]], self.gold_map[kind])), None)
            if same is None:
                groups.append([kind])
            else:
                same.append(kind)
        return groups

    def _plan(self, kind: int, device: torch.device) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The teacher's columns to add (None: all), and the student's to add them to (its width: none)."""
        if (kind, device) not in self._plans:
            ids = torch.from_numpy(self.gold_map[kind, : self.teacher_width])
            some = (ids >= 0).nonzero().flatten()
            # Picking columns first pays where few are wanted; else it costs more than adding the rest to no
            # column.
            few = len(some) < self.teacher_width // 2
            target = ids[some] if few else torch.where(ids < 0, self.student_width, ids)
            self._plans[kind, device] = (some.to(device) if few else None, target.to(device))
        return self._plans[kind, device]


_CPU_ROWS = 32


def _fits(surface: Surface, kind: int) -> bool:
    """May a piece with this mark stand at a slot of this kind? Unmarked pieces may stand anywhere."""
    return surface.starts_word is None or surface.starts_word == (kind != KIND_INSIDE)


def _tables(student: PieceTokenizer) -> dict[int, dict[str | bytes, int]]:
    """Per kind of slot, the student's pieces that can stand there, by surface; the lowest id wins."""
    by_mark: dict[bool | None, dict[str | bytes, int]] = {True: {}, False: {}, None: {}}
    for i, surface in enumerate(student.surfaces()):
        if surface.text is not None:
            by_mark[surface.starts_word].setdefault(surface.text, i)
    if student.marks_continuations:
        return {KIND_OPEN_SPACED: by_mark[True], KIND_OPEN_BARE: by_mark[True], KIND_INSIDE: by_mark[False]}
    spaced = by_mark[True] if student.marks_spaces else by_mark[None]
    return {KIND_OPEN_SPACED: spaced, KIND_OPEN_BARE: by_mark[None], KIND_INSIDE: by_mark[None]}


def _look_up(
    text: str | bytes, table: dict[str | bytes, int], student: PieceTokenizer, forms: dict[str, str]
) -> int:
    """The student's piece for a teacher's surface, or -1. forms: normal forms found so far."""
    if isinstance(text, bytes) or any(c.isspace() for c in text):
        return table.get(text, -1)
    if text not in forms:
        forms[text] = student.normalise(text)
    return table.get(forms[text], -1)
