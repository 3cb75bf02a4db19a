"""The step of gloss training: LMGC, LMGC-M and its cohesive form (docs/architecture.md, section 3.2).

The loss of an instance is its gloss loss plus `mask_weight` times the mean loss of its masked slots; a
batch's is the sum over its instances, which the loop divides by their number.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from limbeck.distill.losses import fused_slot_loss
from limbeck.distill.step import DistillStep, Metrics, Progress
from limbeck.gloss.losses import OBJECTIVES, choice_losses, hits, pair_losses
from limbeck.gloss.masking import GlossTrainingBatch


class Settings(Protocol):
    """The `[gloss]` section of a recipe, as far as the step reads it."""

    @property
    def objective(self) -> str:
        """`pairs` or `choice`."""

    @property
    def mask_weight(self) -> float:
        """Weight of the masked slots' mean loss; the gloss loss has 1."""


class GlossStep:
    """`step(module, batch, progress) -> (loss_sum, count, metrics)` for the loop.

    Args:
        settings: the recipe's `[gloss]`.
        candidates: mean number of candidates of a training instance. The loss of `pairs` is divided by it:
            published is the mean over a batch's pairs, and that is its value where the loop divides by the
            number of instances; every pair counts alike, and no batch's composition changes that.
        teaching: the distil stage's step with its teachers, for cohesive training.
    """

    def __init__(self, settings: Settings, *, candidates: float, teaching: DistillStep | None = None) -> None:
        assert settings.objective in OBJECTIVES, settings.objective
        assert candidates >= 1, candidates
        self.settings, self.candidates, self.teaching = settings, candidates, teaching

    def __call__(
        self, module: nn.Module, batch: GlossTrainingBatch, progress: Progress
    ) -> tuple[torch.Tensor, int, Metrics]:
        """Loss summed over the batch's instances."""
        match, logits = module(batch.gloss)
        parts = match, batch.gloss.instance, batch.gloss.gold, batch.count
        if self.settings.objective == "pairs":
            gloss = pair_losses(*parts).sum() / self.candidates
        else:
            gloss = choice_losses(*parts).sum()
        metrics: Metrics = {
            "gloss": (gloss.detach(), batch.count),
            "gloss_accuracy": (hits(*parts), batch.count),
        }
        if logits is None:
            return gloss, batch.count, metrics
        masked, more = self._masked_loss(logits, batch, progress)
        return gloss + self.settings.mask_weight * masked, batch.count, metrics | more

    def _masked_loss(
        self, logits: torch.Tensor, batch: GlossTrainingBatch, progress: Progress
    ) -> tuple[torch.Tensor, Metrics]:
        """Sum over the instances of the mean loss of their slots, with the teachers' targets if any."""
        gold, masked = batch.gloss.gold_piece, batch.gloss.masked
        kd, temperature, target, has_target = 0.0, 1.0, None, torch.zeros_like(masked)
        if self.teaching is not None and batch.words is not None:
            targets = self.teaching.targets(batch.words)
            kd, temperature = self.teaching.kd_share(progress), self.teaching.settings.temperature
            target = targets.mixture.at(batch.slot)
            has_target = targets.covered.any(0)[batch.slot] & masked
        loss, kd_values, ce_values = fused_slot_loss(
            logits, gold, target, has_target, kd, 1.0 - kd, temperature, batch.weight
        )
        # Not by the weights: these read as the distil stage's, a mean over slots.
        metrics: Metrics = {"ce": (ce_values.sum(), len(gold))}
        if self.teaching is not None:
            taught = has_target.float().sum()
            metrics |= {"kd": (kd_values.sum(), taught), "taught": (taught, len(gold))}
        return loss, metrics
