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
from limbeck.teachers.precision import mixed
from limbeck.text.batches import Batch
from limbeck.training.engine import Autocast
from limbeck.training.interface import StepContext
from limbeck.training.optimiser import adamw, clip_gradients, trainable

IGNORED = -100


class Variant:
    """A student with its optimiser, and what gives the loss of a batch."""

    which: tuple[int, ...] = ()

    def __init__(self, made: Made, precision: str) -> None:
        self.made = made
        self.train = TrainSection()
        self.dtype = mixed(precision)
        self.student = made.new_student()
        self.optimiser = adamw(self.student, self.train)
        self.parameters = [parameter for _, parameter in trainable(self.student)]

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss over the batch's slots."""
        raise NotImplementedError

    def __call__(self, number: int) -> int:
        """One whole step."""
        batch = self.made.collate(number, self.which)
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

    As TextBrewer's MultiTeacherDistiller does it, softmax at temperature T, on models that transformers
    calls as they are; the cross-entropy of the true pieces at the masked positions only. Under bf16 the
    losses stay in the type that autocast leaves, bf16: less exact than float32 losses of the same logits,
    but faster and smaller.
    """

    def __init__(self, made: Made, precision: str) -> None:
        super().__init__(made, precision)
        self.teachers = [placed.teacher.module for placed in made.placed(SAME, precision)]

    def loss(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not None):
            with torch.no_grad():
                target = self._target(batch)
            return self._losses(full_logits(self.student, batch), target, labels(batch))

    def _target(self, batch: Batch) -> Tensor:
        mean = (full_logits(self.teachers[0], batch) + full_logits(self.teachers[1], batch)) / 2
        return functional.softmax(mean / self.made.distill.temperature, dim=-1)

    def _losses(self, logits: Tensor, target: Tensor, gold: Tensor) -> Tensor:
        kd, temperature = self.made.distill.kd, self.made.distill.temperature
        log_student = functional.log_softmax(logits / temperature, dim=-1)
        divergence = -(target * log_student).sum(-1).mean()
        entropy = functional.cross_entropy(logits.flatten(0, 1), gold.flatten(), ignore_index=IGNORED)
        return kd * temperature**2 * divergence + (1 - kd) * entropy


def full_logits(module: MaskedLM, batch: Batch) -> Tensor:
    """What the transformers model gives by itself: [B, L, V]."""
    logits: Tensor = module.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
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
