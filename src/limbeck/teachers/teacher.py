"""A teacher: a frozen masked language model with its own tokenizer, device, precision and batch size."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch

from limbeck.errors import UserError
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm, resolve_device
from limbeck.teachers.precision import autocast, check_precision
from limbeck.text.batches import TeacherBatch
from limbeck.text.pieces import PieceTokenizer

log = logging.getLogger("limbeck")

# Passages at once on a CPU, whose matrix units are busy with few: more would only mean more padding.
CPU_PART = 16


class TeacherSpec(Protocol):
    """A `[[teachers]]` section of a recipe, as far as loading reads it."""

    @property
    def name(self) -> str:
        """How messages and metrics call it."""

    @property
    def model(self) -> str:
        """Checkpoint folder or hub id."""

    @property
    def precision(self) -> str:
        """f32, bf16 or f16."""

    @property
    def batch(self) -> int:
        """Most passages at once."""

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda` or `cuda:N`."""


class Teacher:
    """Predicts at the slots of a batch, frozen.

    Args:
        precision: f32, bf16 or f16, by autocast; the weights stay float32.
        batch: most passages at once; halved for good when memory runs out.
        temperature: the calibration temperature c_t. It is kept here for the step; `logits` are not divided
        by it.

    Raises:
        UserError: an unknown precision, f16 on the CPU, a batch below 1.
    """

    def __init__(
        self,
        name: str,
        module: MaskedLM,
        tokenizer: PieceTokenizer,
        device: torch.device | str = "cpu",
        precision: str = "f32",
        batch: int = 64,
        temperature: float = 1.0,
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        check_precision(precision, self.device, f"teacher {name!r}: precision")
        if batch < 1:
            raise UserError(f"teacher {name!r}: batch is {batch}; it must be at least 1")
        self.module = module.to(self.device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.precision = precision
        self.batch = batch
        self.temperature = temperature

    @property
    def parameters(self) -> int:
        """Number of parameters, tied ones once."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def width(self) -> int:
        """Number of logits per position, V."""
        return self.module.width

    def logits(self, batch: TeacherBatch) -> torch.Tensor:
        """Full logits [C, V] on the teacher's device, in the order of the batch's positions.

        Of the precision's type: whoever needs float32 makes it of the rows at hand, and spares a copy of all.

        Raises:
            UserError: NaN or infinite predictions, or no memory even for one passage.
        """
        slots = len(batch.position)
        found: torch.Tensor | None = None
        for place, said in self.parts(batch):
            if len(place) == slots:  # all in one part: no copy
                found = said
            else:
                found = said.new_empty(slots, said.shape[1]) if found is None else found
                found[place] = said
        if found is None:
            return torch.zeros(0, self.module.width, device=self.device)
        # Cheaper than isfinite of every logit; finite logits are far too small for an infinite sum.
        if not bool(torch.isfinite(found.sum(dtype=torch.float32))):
            raise self.not_finite()
        return found

    def not_finite(self) -> UserError:
        """The error for predictions that are no numbers."""
        advice = "use bf16 or f32" if self.precision == "f16" else "its weights are damaged"
        return UserError(f"teacher {self.name!r} predicts NaN or infinity in {self.precision}; {advice}")

    def parts(self, batch: TeacherBatch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batch's logits part by part: indices [n] among its positions, and logits [n, V] as computed.

        The passages go in parts of similar length, each no wider than its longest: a batch is sorted by the
        student's lengths, not by this teacher's. A part has at most `self.batch` passages; when memory runs
        out, that number is halved, with a line in the log, and the part is done again.

        Raises:
            UserError: no memory even for one passage.
        """
        batch = batch.to(self.device)
        rows, width = batch.input_ids.shape
        inside = batch.position < batch.input_ids.numel()
        assert bool(inside.all()), "a position outside the batch"
        length = batch.attention_mask.sum(1)
        order = length.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(rows, device=self.device)
        row, column = rank[batch.position // width], batch.position % width
        start = 0
        while start < rows:
            stop = min(rows, start + self.batch, start + (CPU_PART if self.device.type == "cpu" else rows))
            place = ((row >= start) & (row < stop)).nonzero()[:, 0]
            if len(place):
                part = order[start:stop]
                wide = int(length[part[-1]])
                first = width - wide if self.tokenizer.padding_side == "left" else 0
                position = (row[place] - start) * wide + column[place] - first
                said = self._try(
                    batch.input_ids[part, first : first + wide],
                    batch.attention_mask[part, first : first + wide],
                    position,
                )
                if said is None:
                    continue
                yield place, said
            start = stop

    def _try(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor | None:
        """Logits of some passages; None, and a smaller `self.batch`, if memory ran out."""
        try:
            return self._forward(input_ids, attention_mask, position)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, where the failed forward's tensors are free again.
        size = len(input_ids)
        if size == 1:
            raise UserError(
                f"teacher {self.name!r}: out of memory even with one passage at a time; use fewer "
                "text.words, another device, or a smaller teacher"
            )
        self.batch = size // 2
        log.warning(
            "teacher %s: out of memory with %d passages at once; going on with %d",
            self.name,
            size,
            self.batch,
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    # no_grad and not inference_mode: what is made of the logits is saved for the student's backward.
    @torch.no_grad()
    def _forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self.module(input_ids, attention_mask, position)
        return logits


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's or the machine's memory ran out."""
    # The CPU's allocator raises a plain RuntimeError.
    signs = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def load_teacher(spec: TeacherSpec, model: str | Path | None = None) -> Teacher:
    """The teacher of a recipe's section, on its device.

    Args:
        spec: the section.
        model: the resolved path, where it differs from `spec.model` (a path beside the recipe).

    Raises:
        UserError: see `load_masked_lm` and `Teacher`.
    """
    what = f"teacher {spec.name!r}"
    device = resolve_device(spec.device)
    check_precision(spec.precision, device, f"{what}: precision")  # before the weights are read
    module, hf, report = load_masked_lm(spec.model if model is None else model, device=device, what=what)
    tokenizer = PieceTokenizer.from_hf(hf, limit=report.limit, name=what)
    return Teacher(spec.name, module, tokenizer, device, spec.precision, spec.batch)
