"""A batch as student and teachers are given it: tensors and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TeacherBatch:
    """What one teacher is shown for a batch, and which slots it answers.

    input_ids, attention_mask: int64 [B, L]; position: int64 [C], flat positions in B·L of the covered slots;
    slot: int64 [C], their indices among the student's S slots.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position: torch.Tensor
    slot: torch.Tensor

    def to(self, device: torch.device | str) -> TeacherBatch:
        """The same batch on `device`."""
        return TeacherBatch(*(t.to(device, non_blocking=True) for t in vars(self).values()))


class Answers(Protocol):
    """What a teacher said of N masked pieces (teachers/store_format.py, `Decoded`)."""

    @property
    def others(self) -> Ints:
        """int64 [N, L], the likeliest pieces but the true one, in the teacher's vocabulary."""

    @property
    def logit(self) -> npt.NDArray[np.float32]:
        """float32 [N, L + 1], log-probabilities up to a number per row; of the true piece first."""

    @property
    def tail(self) -> npt.NDArray[np.float32]:
        """float32 [N, n], mass outside these L + 1 pieces at n temperatures."""

    @property
    def drawn(self) -> Ints:
        """int64 [N, D], pieces drawn from that rest by their mass, each for 1/D of it."""


class Recorded(Protocol):
    """A teacher whose predictions are read, not computed (teachers/store.py)."""

    def read(self, variant: int, hashes: npt.NDArray[np.uint64], counts: Ints) -> Answers:
        """Of all masked pieces of passages, in order; counts: int64 [B], how many of each passage."""


@dataclass(frozen=True)
class StoredBatch:
    """What one teacher said of the slots it covers, as it was kept.

    slot: int64 [C], indices among the student's S slots; ids: int64 [C, L + 1], in the teacher's vocabulary,
    the true piece first; logit: float32 [C, L + 1]; tail: float32 [C, n]; drawn: int64 [C, D]: as in
    `Answers`.
    """

    slot: torch.Tensor
    ids: torch.Tensor
    logit: torch.Tensor
    tail: torch.Tensor
    drawn: torch.Tensor

    def to(self, device: torch.device | str) -> StoredBatch:
        """The same on `device`."""
        return StoredBatch(*(t.to(device, non_blocking=True) for t in vars(self).values()))


@dataclass(frozen=True)
class Batch:
    """What the student is shown, and its S slots.

    input_ids, attention_mask: int64 [B, L]; position: int64 [S], flat positions in B·L; gold: int64 [S], the
    true piece; kind: int64 [S], `KIND_*` of text/align.py; passage: int64 [S], the row; masked: bool [S], the
    student sees the mask there; tokens: pieces fed, special ones included and padding excluded; teachers:
    what each is shown; stored: in place of that, what each has said.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position: torch.Tensor
    gold: torch.Tensor
    kind: torch.Tensor
    passage: torch.Tensor
    masked: torch.Tensor
    tokens: int
    teachers: tuple[TeacherBatch, ...] = ()
    stored: tuple[StoredBatch, ...] = ()

    @property
    def count(self) -> int:
        """Number of slots, the unit every loss is normalised by."""
        return len(self.gold)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`, except the teachers' parts: each teacher moves its own."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)
