"""Sizes and devices of the comparison with other programs; text and batches are those of step.py."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import torch
from step_setting import DATA, SAME, Made, Setting

from limbeck.distill.step import Placed
from limbeck.distill.student import build_student
from limbeck.recipe_fields import StudentSize
from limbeck.teachers.masked_lm import MaskedLM
from limbeck.teachers.teacher import Teacher
from limbeck.text.batches import Batch, Collator
from limbeck.text.pieces import PieceTokenizer

STORED = (-1,)
"""In place of teachers that are shown a batch: their predictions are read."""

STORE_VARIANTS = 2
"""Mask variants of the stores; the batches use them in turn."""


@dataclass(frozen=True)
class RivalSetting(Setting):
    """Where it runs, and of which family the models are.

    ready: batches are collated beforehand, once; a GPU's step is shorter than the collation, which in a
    training belongs to workers. product: rows of the square matrices whose product gives the machine's peak.
    torchdistill: a folder that holds it.
    """

    device: str = "cpu"
    family: str = "modernbert"
    ready: bool = False
    product: int = 4096
    torchdistill: str | None = None

    def public(self) -> dict[str, Any]:
        """What a result states: no paths of this machine."""
        return super().public() | {"torchdistill": self.torchdistill is not None}


SIZES = {
    # The sizes of the targets.
    "small": RivalSetting(),
    # BERT-base twice, and a student of six of its layers (as DistilBERT): for one GPU.
    "base": RivalSetting(
        family="bert",
        teacher=(12, 768),
        student=(6, 768),
        batch=256,
        batches=4,
        step_text=str(DATA / "corpus-small" / "train.txt.zst"),
        ready=True,
        product=8192,
    ),
}


class RivalMade(Made):
    """As `Made`, on the setting's device and of its family; a teacher is made once for all variants."""

    setting: RivalSetting

    def __init__(self, setting: RivalSetting) -> None:
        super().__init__(setting)
        self.device = torch.device(setting.device)
        self._teachers: dict[int, MaskedLM] = {}
        self._batches: dict[tuple[int, tuple[int, ...]], Batch] = {}
        self._collators: dict[tuple[int, ...], Collator] = {}
        self.shelf: tempfile.TemporaryDirectory[str] | None = None
        self.stored: Collator | None = None

    def model(self, size: tuple[int, int], tokenizer: PieceTokenizer, seed: int) -> MaskedLM:
        """A model with random weights."""
        torch.manual_seed(self.setting.seed + seed)
        shape = StudentSize(self.setting.family, *size, heads=None, intermediate=None, max_length=512)
        return MaskedLM(build_student(shape, tokenizer.hf), tokenizer.mask_id).to(self.device)

    def placed(self, which: tuple[int, ...], precision: str) -> list[Placed]:
        """The teachers with their projections; variants share the modules, which are frozen."""
        found = []
        for t in which:
            tokenizer = self.teacher_tokenizers[t]
            if t not in self._teachers:
                self._teachers[t] = self.model(self.setting.teacher, tokenizer, 1 + t)
            teacher = Teacher(
                f"t{t}", self._teachers[t], tokenizer, self.device, precision, batch=self.setting.batch
            )
            found.append(Placed(teacher, self.projections[t], 1.0))
        return found

    def forget_teachers(self) -> None:
        """Frees those that no variant holds."""
        self._teachers.clear()

    def _collator(self, which: tuple[int, ...]) -> Collator:
        """Made once, as in a training."""
        if which not in self._collators:
            self._collators[which] = super()._collator(which)
        return self._collators[which]

    def collate(self, number: int, which: tuple[int, ...] = ()) -> Batch:
        """Batch `number` on the device; with `STORED`, with the two teachers' predictions from the store."""
        if not self.setting.ready:
            return self._collated(number, which)
        key = number % self.setting.batches, which
        if key not in self._batches:
            self._batches[key] = self._collated(*key)
        return self._batches[key]

    def _collated(self, number: int, which: tuple[int, ...]) -> Batch:
        if which == STORED:
            assert self.stored is not None
            variant, index = divmod(number, self.setting.batches)
            passages = [replace(p, teachers=tuple(p.teachers[t] for t in SAME)) for p in self.rows[index]]
            batch = self.stored(passages, variant % STORE_VARIANTS)
        else:
            batch = super().collate(number, which)
        return replace(
            batch.to(self.device),
            teachers=tuple(given.to(self.device) for given in batch.teachers),
            stored=tuple(said.to(self.device) for said in batch.stored),
        )

    def describe(self) -> dict[str, Any]:
        """What the batches hold, and the models' sizes."""
        batches = [self.collate(n) for n in range(self.setting.batches)]
        student, (teacher,) = self.new_student(), self.placed((0,), "f32")
        return {
            "vocabulary": self.vocabulary,
            "rows": self.setting.batch,
            "columns": [b.input_ids.shape[1] for b in batches],
            "tokens_per_step": sum(b.tokens for b in batches) / len(batches),
            "slots_per_step": sum(b.count for b in batches) / len(batches),
            "parameters": {
                "student": sum(p.numel() for p in student.parameters()),
                "teacher": teacher.teacher.parameters,
            },
        }
