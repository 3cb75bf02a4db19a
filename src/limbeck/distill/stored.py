"""The step of distillation from stored predictions: no teacher runs, and no target is made of [S, V]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.distill import sparse
from limbeck.distill.sparse import Sparse
from limbeck.distill.sparse_loss import sparse_slot_loss
from limbeck.distill.step import DistillStep, Metrics, Placed, Progress, Settings, Teaching
from limbeck.teachers.store import StoredTeacher
from limbeck.text.batches import Batch, StoredBatch


@dataclass(frozen=True)
class SparseTargets:
    """As `step.Targets`, of few pieces: ids [S, K], target [S, K] and tail [S] as `sparse.mix` gives them."""

    ids: Tensor
    target: Tensor
    tail: Tensor
    weights: Tensor
    covered: Tensor


@dataclass(frozen=True)
class SparsePredictions:
    """The teachers' projected predictions for a batch: at T = 1 for the weights, and at T for the target."""

    at_one: list[Sparse]
    at_t: list[Sparse]


class StoredStep(Teaching):
    """The step for teachers that are all stored; batches carry what they said (`Batch.stored`)."""

    def __init__(self, placed: Sequence[Placed], settings: Settings, vocabulary: int) -> None:
        super().__init__(placed, settings, vocabulary)
        self._maps: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(
        self, module: nn.Module, batch: Batch, progress: Progress
    ) -> tuple[torch.Tensor, int, Metrics]:
        """Loss summed over the batch's slots; the loop divides by the count over micro-batches and ranks."""
        targets = self.targets(batch)
        logits = module(batch.input_ids, batch.attention_mask, batch.position, padded=True)
        kd, has_target = self.kd_share(progress), targets.covered.any(0) & batch.masked
        loss, kd_values, ce_values = sparse_slot_loss(
            logits,
            batch.gold,
            targets.ids,
            targets.target,
            targets.tail,
            has_target,
            kd,
            1.0 - kd,
            self.settings.temperature,
        )
        metrics: Metrics = {"ce": (ce_values.sum(), batch.count)}
        metrics |= self._metrics(targets.weights, targets.covered, kd_values, has_target)
        return loss, batch.count, metrics

    @torch.no_grad()
    def predict(self, batch: Batch) -> SparsePredictions:
        """What every teacher said, projected; the same for every weighting and mixture."""
        at_one: list[Sparse] = []
        at_t: list[Sparse] = []
        for t, (placed, kept) in enumerate(zip(self.placed, batch.stored, strict=True)):
            teacher, given = placed.teacher, kept.to(batch.gold.device)
            assert isinstance(teacher, StoredTeacher)
            kind = batch.kind[given.slot][:, None]
            ids, drawn = self._student_ids(t, kind, given.ids), self._student_ids(t, kind, given.drawn)
            at_one.append(self._project(teacher, given, ids, teacher.temperature))
            tempered = teacher.temperature * self.settings.temperature
            if self.settings.mixture == "arithmetic" and drawn.shape[1]:
                at_t.append(self._project(teacher, given, ids, tempered, drawn))
            elif self.settings.temperature != 1.0:
                at_t.append(self._project(teacher, given, ids, tempered))
        return SparsePredictions(at_one, at_t or at_one)

    @torch.no_grad()
    def targets(self, batch: Batch, said: SparsePredictions | None = None) -> SparseTargets:
        """The weighted mixture of the teachers' predictions (`said`, if known), on the batch's device."""
        said = said or self.predict(batch)
        stats = sparse.stats(said.at_one, batch.gold, batch.count, self.vocabulary)
        weights, covered = self._weights(stats, batch.passage)
        mixed = sparse.mix(said.at_t, weights, batch.count, self.vocabulary, self.settings.mixture)
        return SparseTargets(*mixed, weights, covered)

    def _student_ids(self, t: int, kind: Tensor, ids: Tensor) -> Tensor:
        """The student's piece for each of the teacher's, int64 [C, k], −1: there is none; kind: [C, 1]."""
        if (t, ids.device) not in self._maps:
            self._maps[t, ids.device] = torch.from_numpy(self.placed[t].projection.gold_map).to(ids.device)
        return self._maps[t, ids.device][kind, ids]

    def _project(
        self,
        teacher: StoredTeacher,
        given: StoredBatch,
        ids: Tensor,
        temperature: float,
        drawn: Tensor | None = None,
    ) -> Sparse:
        """With `drawn` pieces [C, D] these have the tail's mass, in equal parts, and there is no tail."""
        index = teacher.tail_of(temperature)
        assert index is not None, "the store was asked for its temperatures before training"
        tail = given.tail[:, index]
        mass = torch.softmax(given.logit / temperature, 1) * (1 - tail)[:, None]
        if drawn is not None:
            each = (tail / drawn.shape[1])[:, None].expand_as(drawn)
            ids, mass, tail = torch.cat([ids, drawn], 1), torch.cat([mass, each], 1), torch.zeros_like(tail)
        return sparse.gather(given.slot, ids, mass, tail, self.vocabulary)


def make_step(placed: Sequence[Placed], settings: Settings, vocabulary: int) -> DistillStep | StoredStep:
    """The step for these teachers: loaded, stored, or none."""
    if any(isinstance(p.teacher, StoredTeacher) for p in placed):
        return StoredStep(placed, settings, vocabulary)
    return DistillStep(placed, settings, vocabulary)
