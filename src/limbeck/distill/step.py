"""The step of multi-teacher distillation (docs/architecture.md §3.1); without teachers plain masked-LM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from limbeck.distill import weighting as weighting_
from limbeck.distill.losses import fused_slot_loss
from limbeck.distill.mixture import Mixture
from limbeck.distill.predictions import predict
from limbeck.distill.weighting import DEFAULT_TEMPERATURE, Prediction
from limbeck.teachers.projection import Projection
from limbeck.teachers.store import StoredTeacher
from limbeck.teachers.teacher import Teacher
from limbeck.text.batches import Batch

Metrics = dict[str, tuple[torch.Tensor | float, torch.Tensor | float]]


@dataclass(frozen=True)
class Placed:
    """A teacher, loaded or stored, with its projection onto the student's vocabulary and its prior π."""

    teacher: Teacher | StoredTeacher
    projection: Projection
    prior: float


class Settings(Protocol):
    """The `[distill]` section of a recipe, as far as the step reads it."""

    @property
    def weighting(self) -> str:
        """A key of `DEFAULT_TEMPERATURE`."""

    @property
    def weighting_temperature(self) -> float | None:
        """τ; None: the weighting's default."""

    @property
    def mixture(self) -> str:
        """One of `mixture.MIXTURES`."""

    @property
    def temperature(self) -> float:
        """T of teachers and student in the loss."""

    @property
    def kd(self) -> float:
        """λ_kd in the first step; λ_ce is the rest."""

    @property
    def kd_final(self) -> float | None:
        """λ_kd in the last step; None: as in the first."""


class Progress(Protocol):
    """Where the training stands: the 0-based step and the number of steps."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def steps(self) -> int:
        """Steps in all."""


def weighting_temperature(settings: Settings) -> float:
    """τ of the settings: as given, or the weighting's own."""
    given = settings.weighting_temperature
    return DEFAULT_TEMPERATURE[settings.weighting] if given is None else given


@dataclass(frozen=True)
class Targets:
    """What the teachers say of a batch's S slots together.

    mixture: the target, row by row; rows sum to 1 where covered and to 0 elsewhere; weights: float32 [T, S],
    columns sum to 1 where covered; covered: bool [T, S], a teacher without a prior covers nothing.
    """

    mixture: Mixture
    weights: torch.Tensor
    covered: torch.Tensor


@dataclass(frozen=True)
class Predictions:
    """The teachers' projected predictions for a batch: at T = 1 for the weights, and at T for the target."""

    at_one: list[Prediction]
    at_t: list[Prediction]


class Teaching:
    """What steps have in common, wherever the predictions come from: shares, weights, metrics.

    The share kd runs linearly from `kd` to `kd_final` over the training; ce = 1 − kd.
    """

    def __init__(self, placed: Sequence[Placed], settings: Settings, vocabulary: int) -> None:
        self.placed, self.settings, self.vocabulary = list(placed), settings, vocabulary
        self.weighting_temperature = weighting_temperature(settings)

    def kd_share(self, progress: Progress) -> float:
        """λ_kd at this step."""
        first = self.settings.kd
        last = first if self.settings.kd_final is None else self.settings.kd_final
        return first + (last - first) * progress.step / max(1, progress.steps - 1)

    def _weights(
        self, stats: weighting_.TeacherStats, passage: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights float32 [T, S] and covered bool [T, S] of S slots; passage: int64 [S]."""
        log_priors = [math.log(p.prior) if p.prior > 0 else -math.inf for p in self.placed]
        priors = torch.tensor(log_priors, device=passage.device)
        stats = replace(stats, covered=stats.covered & torch.isfinite(priors)[:, None])
        scores = weighting_.scores(self.settings.weighting, stats, passage)
        weights = weighting_.weights(scores, priors, self.weighting_temperature, stats.covered)
        return weights, stats.covered

    def _metrics(
        self, weights: torch.Tensor, covered: torch.Tensor, kd: torch.Tensor, has_target: torch.Tensor
    ) -> Metrics:
        """Of the teachers; weights, covered: [T, S]; kd, has_target: [S]."""
        slots = weights.shape[1]
        taught = covered.any(0)
        heaviest = (weights == weights.amax(0)) & taught
        share = heaviest / heaviest.sum(0).clamp_min(1)  # equally heavy teachers share the slot
        together = covered.sum(0) > 1  # a weight says something only where a teacher has company
        metrics: Metrics = {"kd": (kd.sum(), has_target.float().sum())}
        for t, placed in enumerate(self.placed):
            name = placed.teacher.name
            metrics[f"weight/{name}"] = ((weights[t] * together).sum(), together.sum())
            metrics[f"coverage/{name}"] = (covered[t].sum(), slots)
            metrics[f"heaviest/{name}"] = (share[t].sum(), taught.sum())
        return metrics


class DistillStep(Teaching):
    """`step(module, batch, progress) -> (loss_sum, count, metrics)` for the loop, with teachers that run.

    Without teachers the loss is the plain cross-entropy.
    """

    def __call__(
        self, module: nn.Module, batch: Batch, progress: Progress, said: Predictions | None = None
    ) -> tuple[torch.Tensor, int, Metrics]:
        """Loss summed over the batch's slots; the loop divides by the count over micro-batches and ranks.

        `said`: the teachers' predictions, where several students share them.
        """
        targets = self.targets(batch, said) if self.placed else None
        logits = module(batch.input_ids, batch.attention_mask, batch.position, padded=True)
        if targets is None:
            kd, has_target = 0.0, torch.zeros_like(batch.masked)
            target = None
        else:
            kd, target = self.kd_share(progress), targets.mixture.targets
            has_target = targets.covered.any(0) & batch.masked
        loss, kd_values, ce_values = fused_slot_loss(
            logits, batch.gold, target, has_target, kd, 1.0 - kd, self.settings.temperature
        )
        metrics: Metrics = {"ce": (ce_values.sum(), batch.count)}
        if targets is not None:
            metrics |= self._metrics(targets.weights, targets.covered, kd_values, has_target)
        return loss, batch.count, metrics

    @torch.no_grad()
    def predict(self, batch: Batch) -> Predictions:
        """What every teacher says, projected; the same for every weighting and mixture."""
        device, t = batch.gold.device, self.settings.temperature
        at_one: list[Prediction] = []
        at_t: list[Prediction] = []
        for placed, given in zip(self.placed, batch.teachers, strict=True):
            teacher = placed.teacher
            assert isinstance(teacher, Teacher), "stored predictions have a step of their own"
            logits, slot, c = teacher.logits(given), given.slot.to(device), teacher.temperature
            kind = batch.kind[slot]
            at_one.append(predict(logits, c, placed.projection, slot, kind))
            if t != 1.0:
                at_t.append(predict(logits, c * t, placed.projection, slot, kind))
        return Predictions(at_one, at_t or at_one)

    @torch.no_grad()
    def targets(self, batch: Batch, said: Predictions | None = None) -> Targets:
        """The weighted mixture of the teachers' predictions (`said`, if known), on the batch's device."""
        said = said or self.predict(batch)
        slots, settings = batch.count, self.settings
        stats = weighting_.stats(said.at_one, batch.gold, slots, self.vocabulary, settings.weighting)
        weights, covered = self._weights(stats, batch.passage)
        mixture = Mixture(said.at_t, weights, self.vocabulary, settings.mixture)
        return Targets(mixture, weights, covered)
