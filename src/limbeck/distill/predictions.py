"""What a teacher that runs says of a batch, from its logits (docs/architecture.md §3.1).

Where its vocabulary is the student's, only the logits are kept, as computed: the softmax of some rows is made
whenever these are asked for, in the processor's cache. Projected predictions are made once and kept.

C slots of one teacher, V_t pieces of its own, V of the student's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.distill.weighting import Prediction, Projected, row_chunks
from limbeck.teachers.projection import Projection


@dataclass(frozen=True)
class Logits:
    """Predictions of a teacher with the student's vocabulary: the softmax of logits/temperature.

    slot: int64 [C], distinct; logits: [C, V], any floating type.
    """

    slot: Tensor
    logits: Tensor
    temperature: float

    @property
    def kept(self) -> None:
        """Every piece is."""

    def rows(self, which: slice | Tensor) -> Projected:
        """Of some of its rows, computed in float32."""
        logits = _divided(self.logits[which], self.temperature)
        none = logits.new_zeros(len(logits))
        return Projected(self.slot[which], torch.softmax(logits, 1), none, none, logits=logits)


def predict(
    logits: Tensor, temperature: float, projection: Projection, slot: Tensor, kind: Tensor
) -> Prediction:
    """What a teacher says, on the student's pieces and device.

    Args:
        logits: [C, V_t], any floating type, on the teacher's device; left as they are.
        temperature: the teacher's own, times that of the targets.
        slot: int64 [C] on the student's device. kind: int64 [C], KIND_* of these slots.
    """
    if projection.identity and projection.student_width == projection.teacher_width:
        return Logits(slot, logits.to(slot.device), temperature)
    kind = kind.to(logits.device)
    mass = logits.new_empty(len(logits), projection.student_width, dtype=torch.float32)
    inexpressible = mass.new_empty(len(logits))
    for rows in row_chunks(len(logits), logits.shape[1], logits.device):
        probs = torch.softmax(_divided(logits[rows], temperature), 1)
        mass[rows], inexpressible[rows] = projection.project(probs, kind[rows])
    mass, inexpressible = mass.to(slot.device), inexpressible.to(slot.device)
    return Projected(slot, mass, inexpressible, torch.zeros_like(inexpressible))


def _divided(logits: Tensor, temperature: float) -> Tensor:
    return logits.float() if temperature == 1.0 else logits.float() / temperature
