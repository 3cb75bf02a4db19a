"""The other programs' steps, on the same models and batches.

Each of them makes the logits of all three models at every position. Where a program leaves a choice, the
faster one is taken: the true pieces' cross-entropy is computed at the masked positions alone, the teachers
get no labels (else every model would compute a loss of its own), and nothing is logged or saved.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rivals_setting import RivalMade
from step_setting import SAME
from step_variants import Variant, labels
from torch import Tensor, nn
from torch.nn import functional

from limbeck.text.batches import Batch


class NotInstalledError(Exception):
    """The program is not there; the message says how it comes here."""


class Rival(Variant):
    """Another program's step: its models, as transformers calls them, and their inputs."""

    def __init__(self, made: RivalMade, precision: str) -> None:
        super().__init__(made, precision)
        self.device = made.device
        self.model: nn.Module = self.student.model
        self.teachers: list[nn.Module] = [p.teacher.module.model for p in made.placed(SAME, precision)]
        self.kd, self.temperature = made.distill.kd, made.distill.temperature

    def autocast(self) -> torch.autocast:
        """Of the precision; off in float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def whole(self, batch: Batch) -> Tensor:
        """Forward and backward as the program does them; the detached loss."""
        raise NotImplementedError

    def __call__(self, number: int) -> int:
        batch = self.made.collate(number)
        loss = self.whole(batch)
        self.update()
        float(loss)
        return batch.tokens


def inputs(batch: Batch) -> dict[str, Tensor]:
    """What every model is given."""
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}


class TextBrewer(Rival):
    """`MultiTeacherDistiller.train_on_batch`, then the lines of its loop.

    The target is the plain mean of the teachers' logits. Without `masked` every position counts, padding too,
    which is what it does unless told; with it, its `logits_mask` picks the masked ones out of the full
    logits. Its own half precision needs apex, which is no more; so bf16 is autocast around `train_on_batch`.
    """

    def __init__(self, made: RivalMade, precision: str, masked: bool = False) -> None:
        from textbrewer import DistillationConfig, MultiTeacherDistiller, TrainingConfig

        super().__init__(made, precision)
        self.masked = masked
        self.batch: Batch | None = None
        with tempfile.TemporaryDirectory() as folder:  # it makes its output folder at once
            training = TrainingConfig(output_dir=folder, device=self.device)
        settings = DistillationConfig(
            temperature=self.temperature,
            kd_loss_type="ce",
            kd_loss_weight=self.kd * self.temperature**2,
            hard_label_weight=1 - self.kd,
        )
        self.distiller = MultiTeacherDistiller(
            training, settings, self.teachers, self.model, self._said_by_teacher, self._said_by_student
        )

    def _said_by_teacher(self, _: Any, output: Any) -> dict[str, Any]:
        return {"logits": output.logits} | self._mask()

    def _said_by_student(self, _: Any, output: Any) -> dict[str, Any]:
        assert self.batch is not None
        slots = output.logits.flatten(0, 1).index_select(0, self.batch.position)
        loss = functional.cross_entropy(slots, self.batch.gold)
        return {"logits": output.logits, "losses": loss} | self._mask()

    def _mask(self) -> dict[str, Tensor]:
        assert self.batch is not None
        return {"logits_mask": (labels(self.batch) >= 0).long()} if self.masked else {}

    def whole(self, batch: Batch) -> Tensor:
        self.batch = batch
        given = inputs(batch)
        with self.autocast():
            loss, parts = self.distiller.train_on_batch({"student": given, "teacher": given}, {})
        self.distiller.write_loss(loss, 0, parts)
        loss.backward()
        return loss.detach()


class MeanOfLogits(nn.Module):
    """The teachers as one module that gives the mean of their logits, one row per position: [B·L, V]."""

    def __init__(self, teachers: list[nn.Module]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)

    def forward(self, **given: Tensor) -> Tensor:
        """Of input_ids and attention_mask, [B, L]."""
        logits = [teacher(**given).logits for teacher in self.teachers]
        mean: Tensor = sum(logits[1:], logits[0]) / len(logits)
        return mean.flatten(0, 1)


class PlainTrainer(Rival):
    """transformers' Trainer with a loss that runs the teachers: `training_step`, then the lines of its loop.

    Autocast stands in the loss and not in the Trainer's arguments, which spares it accelerate's copy of the
    full logits in float32.
    """

    def __init__(self, made: RivalMade, precision: str) -> None:
        from transformers import Trainer, TrainingArguments

        super().__init__(made, precision)
        mean = MeanOfLogits(self.teachers)

        class Distiller(Trainer):  # type: ignore[misc]
            """Mean of the teachers' logits; KL at every position, cross-entropy at the masked ones."""

            def compute_loss(trainer, model: Any, given: Any, *_: Any, **__: Any) -> Tensor:  # noqa: N805
                position, gold = given.pop("position"), given.pop("gold")
                with self.autocast():
                    with torch.no_grad():
                        target = mean(**given)
                    logits = model(**given).logits.flatten(0, 1)
                    entropy = functional.cross_entropy(logits.index_select(0, position), gold)
                    divergence = functional.kl_div(
                        functional.log_softmax(logits / self.temperature, -1),
                        functional.softmax(target / self.temperature, -1),
                        reduction="batchmean",
                    )
                return self.kd * self.temperature**2 * divergence + (1 - self.kd) * entropy

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, report_to="none", use_cpu=self.device.type == "cpu", disable_tqdm=True
            )
        self.trainer = Distiller(model=self.model, args=arguments, optimizers=(self.optimiser, None))
        self.trainer.current_gradient_accumulation_steps = 1
        # As its loop does before the first step
        self.wrapped, self.optimiser = self.trainer.accelerator.prepare(self.model, self.optimiser)

    def whole(self, batch: Batch) -> Tensor:
        given = inputs(batch) | {"position": batch.position, "gold": batch.gold}
        loss: Tensor = self.trainer.training_step(self.wrapped, given)
        return loss


class TorchDistill(Rival):
    """torchdistill's `DistillationBox`: its `forward_process` and `post_forward_process`.

    It knows one teacher: the mean of two is a module of ours, and so are the rows [B·L, V] that its `KDLoss`
    needs (its softmax is over dimension 1). It has no masked positions, no weights per teacher and no half
    precision of its own: bf16 is autocast around `forward_process`. The box builds its own optimiser; it is
    given ours.
    """

    def __init__(self, made: RivalMade, precision: str) -> None:
        box = _box(made.setting.torchdistill)
        super().__init__(made, precision)
        config = {
            "teacher": {"forward_proc": "forward_batch_only_as_kwargs", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only_as_kwargs"},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": self._term()}}},
            "optimizer": {"key": "AdamW", "kwargs": {"lr": self.train.learning_rate, "fused": True}},
            "num_epochs": 1,
        }
        teacher, student = MeanOfLogits(self.teachers), MeanOfLogits([self.model])
        self.box = box(teacher, student, {}, config, self.device, None, False, 1.0)
        self.box.optimizer, self.box.max_grad_norm = self.optimiser, self.train.clip
        self.box.pre_epoch_process(epoch=0)

    def _term(self) -> dict[str, Any]:
        where = {f"{who}_module_{what}": value for who in ("student", "teacher")
                 for what, value in (("path", "."), ("io", "output"))}  # fmt: skip
        settings = {"temperature": self.temperature, "alpha": 1 - self.kd, "reduction": "batchmean"}
        return {"criterion": {"key": "KDLoss", "kwargs": where | settings}, "weight": 1.0}

    def whole(self, batch: Batch) -> Tensor:
        with self.autocast():
            loss = self.box.forward_process(inputs(batch), labels(batch).flatten(), {})
        self.box.post_forward_process(loss=loss)
        return loss.detach()

    def update(self) -> None:
        """Nothing: `post_forward_process` has clipped and stepped."""


def _box(folder: str | None) -> Any:
    """torchdistill's class; its folder joins the path late, or transformers would import its torchvision."""
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)
    if find_spec("torchdistill") is None:
        raise NotInstalledError("torchdistill is not installed (see --torchdistill)")
    _declare_operators()
    from torchdistill.core.distillation import DistillationBox

    return DistillationBox


def _declare_operators() -> None:
    """Lets torchvision be imported, which torchdistill does for its image models.

    The torchvision of the package index is built for torch with CUDA. Beside torch for the CPU its library
    cannot be loaded, and then its import fails for want of two operators' names. They are declared here;
    nothing calls them.
    """
    found = find_spec("torchvision")
    if found is None or hasattr(torch.ops.torchvision, "nms"):
        return
    for library in Path(found.submodule_search_locations[0]).glob("_C.*"):
        try:
            torch.ops.load_library(library)
        except OSError:
            for name in ("nms", "qnms"):
                signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{name}", signature)
