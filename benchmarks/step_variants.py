"""The compared steps. Each is called with a batch number and does a whole step: collation, forward, backward,
clipping, optimiser. It returns the student's tokens, padding left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from step_setting import OTHER, SAME, Made
from torch import Tensor, nn
from torch.nn import functional

from limbeck.distill.step import DistillStep, Placed
from limbeck.recipe_fields import TrainSection
from limbeck.teachers.masked_lm import MaskedLM
from limbeck.text.batches import Batch
from limbeck.training.engine import DTYPES, Autocast
from limbeck.training.interface import StepContext
from limbeck.training.optimiser import adamw, clip_gradients, trainable

IGNORED = -100


class Variant:
    """A student with its optimiser, and what gives the loss of a batch."""

    which: tuple[int, ...] = ()

    def __init__(self, made: Made, precision: str) -> None:
        self.made = made
        self.train = TrainSection()
        self.dtype = DTYPES.get(precision)
        self.student = made.new_student()
        self.optimiser = adamw(self.student, self.train)
        self.parameters = [parameter for _, parameter in trainable(self.student)]

    def collate(self, number: int) -> Batch:
        """The batch, as this variant needs it."""
        return self.made.collate(number, self.which)

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss over the batch's slots."""
        raise NotImplementedError

    def __call__(self, number: int) -> int:
        """One whole step."""
        batch = self.collate(number)
        loss = self.loss(batch)
        loss.backward()
        self.update()
        float(loss.detach())
        return batch.tokens

    def update(self) -> None:
        """Clipping and optimiser, as the training loop does them."""
        clip_gradients(self.parameters, self.train.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


class Ours(Variant):
    """Limbeck's own step, without teachers or with two of them online."""

    def __init__(self, made: Made, precision: str, which: tuple[int, ...] = ()) -> None:
        super().__init__(made, precision)
        self.which = which
        self.placed: list[Placed] = made.placed(which, precision)
        self.step = DistillStep(self.placed, made.distill, made.vocabulary)
        self.forward: nn.Module = (
            Autocast(self.student, torch.device("cpu"), self.dtype) if self.dtype else self.student
        )

    def loss(self, batch: Batch) -> Tensor:
        loss, count, _ = self.step(self.forward, batch, StepContext(0, 1))
        return loss / count


class Usual(Variant):
    """The usual way: logits of all three models at every position, their plain mean as the target.

    As TextBrewer's MultiTeacherDistiller does it, softmax at temperature T, on models that transformers calls as
    they are. The cross-entropy of the true pieces stands at the masked positions only. Under bf16 the losses are
    taken of float32 logits, as in transformers' own losses, or (`usual_lean`) in bf16 throughout.
    """

    def __init__(self, made: Made, precision: str, lean: bool = False) -> None:
        super().__init__(made, precision)
        self.lean = lean
        self.teachers = [p.teacher.module.model for p in made.placed(SAME, precision)]

    def collate(self, number: int) -> Batch:
        return self.made.collate(number)

    def loss(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not None):
            kind = None if self.lean else torch.float32
            with torch.no_grad():
                target = self._target(batch, kind)
            logits = self._logits(self.student, batch).to(kind)
            return self._losses(logits, target, labels(batch))

    def _target(self, batch: Batch, kind: torch.dtype | None) -> Tensor:
        first, second = (self._logits(teacher, batch) for teacher in self.teachers)
        mean = (first + second).div_(2)
        del first, second
        return functional.softmax(mean.to(kind) / self.made.distill.temperature, dim=-1)

    def _losses(self, logits: Tensor, target: Tensor, gold: Tensor) -> Tensor:
        distill = self.made.distill
        log_student = functional.log_softmax(logits / distill.temperature, dim=-1)
        kd = -(target * log_student).sum(-1).mean()
        ce = functional.cross_entropy(logits.flatten(0, 1), gold.flatten(), ignore_index=IGNORED)
        return distill.kd * distill.temperature**2 * kd + (1 - distill.kd) * ce

    @staticmethod
    def _logits(module: nn.Module, batch: Batch) -> Tensor:
        model = module.model if isinstance(module, MaskedLM) else module
        logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return logits


def labels(batch: Batch) -> Tensor:
    """The true piece at the slots, `IGNORED` elsewhere: int64 [B, L]."""
    found = torch.full_like(batch.input_ids, IGNORED)
    found.view(-1)[batch.position] = batch.gold
    return found


VARIANTS: dict[str, Callable[[Made, str], Variant]] = {
    "plain": Ours,
    "online": lambda made, precision: Ours(made, precision, SAME),
    "online_other": lambda made, precision: Ours(made, precision, OTHER),
    "usual": Usual,
}
