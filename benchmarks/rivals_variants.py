"""The compared steps: Limbeck's own, and the table of all.

Each is called with a batch number, does a whole step (collation, forward, backward, clipping, optimiser) and
returns the student's tokens, padding left out. The student, its optimiser (fused AdamW) and its clipping are
the same in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rivals_others import PlainTrainer, TextBrewer, TorchDistill
from rivals_setting import RivalMade
from rivals_store import StoreFed
from step_setting import SAME
from step_variants import Ours, Variant

from limbeck.training.engine import Autocast


class Limbeck(Ours):
    """Limbeck's step on the setting's device, without teachers or with two of them online."""

    def __init__(self, made: RivalMade, precision: str, which: tuple[int, ...] = ()) -> None:
        super().__init__(made, precision, which)
        if self.dtype is not None:
            self.forward = Autocast(self.student, made.device, self.dtype)


Make = Callable[[RivalMade, str], Variant]


@dataclass(frozen=True)
class Kind:
    """A row of the tables, in each precision.

    full: it makes logits at every position. steps: of a turn, more where they are short.
    """

    make: Make
    what: str
    full: bool = False
    teachers: bool = True
    steps: int = 1


KINDS: dict[str, Kind] = {
    "plain": Kind(Limbeck, "Limbeck, plain masked-LM step of the student", teachers=False, steps=6),
    "store": Kind(StoreFed, "Limbeck, two teachers from the store", teachers=False, steps=6),
    "online": Kind(partial(Limbeck, which=SAME), "Limbeck, two teachers online", steps=3),
    "textbrewer": Kind(TextBrewer, "TextBrewer, every position (its default)", full=True),
    "textbrewer_masked": Kind(
        partial(TextBrewer, masked=True), "TextBrewer, masked positions (`logits_mask`)", full=True
    ),
    "trainer": Kind(PlainTrainer, "transformers' Trainer, mean of logits, KL", full=True),
    "torchdistill": Kind(TorchDistill, "torchdistill, mean of logits, `KDLoss`", full=True),
}
"""In the order of the tables; a variant is a kind in a precision, such as `online bf16`."""
