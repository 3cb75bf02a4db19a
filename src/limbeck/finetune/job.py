"""One fine-tuning as the loop takes it: texts as pieces, the step, the evaluation, the results."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.finetune.batches import Encoded, TextBatch, TextClassBatches, collate
from limbeck.finetune.classifier import Classifier
from limbeck.finetune.examples import Examples
from limbeck.finetune.labels import Gold
from limbeck.finetune.metrics import majority, measure
from limbeck.finetune.settings import FinetuneSettings
from limbeck.processes.group import current
from limbeck.run import Run, environment
from limbeck.teachers.masked_lm import resolve_device
from limbeck.text.pieces import PieceTokenizer
from limbeck.training import loop
from limbeck.training.interface import Best, LoopSettings, Metrics, StepContext, TrainResult
from limbeck.training.place import give_back

_log = logging.getLogger("limbeck")

VERSION = 1
SAVE_LEAST, SAVE_EVERY = 50, 500
"""Steps from one checkpoint to the next are those of an epoch, within these bounds."""

Told = Callable[[str, int, int], None]
"""`progress(what, done, total)`."""


class Job:
    """One training: its texts as pieces, its step, its evaluation and its results."""

    def __init__(
        self,
        classifier: Classifier,
        train: Examples,
        valid: Examples | None,
        settings: FinetuneSettings,
        judge: str | None,
        shared: int,
        source: str,
        progress: Told | None,
    ) -> None:
        self.classifier, self.train, self.valid, self.settings = classifier, train, valid, settings
        self.shared, self.source = shared, source
        self.labels = classifier.labels
        self.gold = self.labels.encode(train)
        self.encoded = _encode(classifier, train, progress)
        self.valid_encoded = None if valid is None else _encode(classifier, valid, progress)
        self.valid_gold: Gold = self.gold[:0] if valid is None else self.labels.encode(valid)
        self.judge = judge or ("mse" if self.labels.classes is None else "accuracy")
        group = current()
        self.batches = TextClassBatches(
            self.encoded,
            self.gold,
            train.hashes,
            classifier.padding,
            seed=settings.seed,
            batch=settings.batch,
            tokens=settings.tokens,
            rank=group.rank,
            world=group.world,
        )
        if self.batches.order.batch % group.world:
            raise UserError(
                f"{train.name} has {len(train)} rows, fewer than batch, and {group.world} processes cannot "
                "share them evenly; give more rows or start one process"
            )
        self.steps = max(1, round(settings.epochs * self.batches.steps_per_epoch))

    @property
    def tokenizer(self) -> str:
        """Digest of what decides a text's pieces."""
        return PieceTokenizer.from_hf(
            self.classifier.tokenizer, name=self.source, need_mask=False
        ).fingerprint

    def recipe(self) -> str:
        """The run directory's `recipe.toml`."""
        named = {"model": self.source, "train": self.train.name}
        if self.valid is not None:
            named["valid"] = self.valid.name
        values = named | {name: v for name, v in asdict(self.settings).items() if v is not None}
        return "\n".join(["[finetune]", *(f"{n} = {json.dumps(v)}" for n, v in values.items())]) + "\n"

    def run(self, opened: Run) -> dict[str, Any]:
        """Trains, measures, and writes `results.json`."""
        settings, classifier = self.settings, self.classifier
        if settings.threads:
            torch.set_num_threads(settings.threads)
        first = collate(self.encoded, self.encoded.width.argsort(kind="stable")[:2], classifier.padding)
        try:
            classifier.freeze_idle(first)
        except UserError:
            if opened.main:
                give_back(opened.folder)
            raise
        trained = sum(p.numel() for p in classifier.parameters())
        if classifier.fresh:
            _log.info(
                "%s parameters; new, and random at first: %s", f"{trained:,}", ", ".join(classifier.fresh)
            )
        per_epoch = self.batches.steps_per_epoch
        result = loop.train(
            classifier.train(),
            self.step,
            self.batches,
            LoopSettings(
                steps=self.steps,
                eval_every=per_epoch,
                save_every=min(max(per_epoch, SAVE_LEAST), SAVE_EVERY),
                log_every=10,
                keep=1,
                sharding="none",
                learning_rate=settings.learning_rate or 0.0,
                **{name: getattr(settings, name) for name in _LOOP},
            ),
            opened,
            seed=settings.seed,
            save_model=classifier.save,
            evaluate=None if self.valid is None else self.evaluate,
            best=Best(f"valid_{self.judge}", higher=self.judge != "mse"),
        )

        def written() -> dict[str, Any]:
            content = json.dumps(self.results(result), indent=1, ensure_ascii=False) + "\n"
            atomic_write(opened.folder / "results.json", content)
            return dict(json.loads(content))

        return dict(current().from_main(written))

    def step(self, module: nn.Module, batch: TextBatch, context: StepContext) -> tuple[Tensor, int, Metrics]:
        """Cross-entropy, or squared error of scores, summed over the batch's texts."""
        logits = module(batch).float()
        if self.labels.classes is None:
            loss = ((logits[:, 0] - batch.gold) ** 2).sum()
            return loss, batch.count, {}
        loss = nn.functional.cross_entropy(logits, batch.gold, reduction="sum")
        right = (logits.argmax(-1) == batch.gold).sum()
        return loss, batch.count, {"accuracy": (right, batch.count)}

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Figures on the validation rows; a correlation that is not defined is left out."""
        assert isinstance(module, Classifier) and self.valid_encoded is not None
        outputs = module.outputs(self.valid_encoded, tokens=self.settings.tokens)
        found = measure(self.labels, self.valid_gold, outputs)
        return {f"valid_{name}": value for name, value in found.items() if value is not None}

    def results(self, result: TrainResult) -> dict[str, Any]:
        """What stands in `results.json`."""
        classifier, valid = self.classifier, None
        if self.valid is not None:
            measured = {name.removeprefix("valid_"): value for name, value in result.metrics.items()}
            chance = majority(self.labels, self.gold, len(self.valid))
            valid = {
                **measured,
                "judge": self.judge,
                "best": result.best,
                "best_step": result.best_step,
                "baselines": {"majority": measure(self.labels, self.valid_gold, chance)},
            }
        return {
            "version": VERSION,
            "task": "finetune",
            "name": self.train.name,
            "seed": self.settings.seed,
            "model": {
                "init": self.source,
                "family": str(classifier.model.config.model_type),
                "parameters": sum(p.numel() for p in classifier.model.parameters()),
                "weights": classifier.encoder_read,
                "tokenizer": self.tokenizer,
                "max_length": classifier.max_length,
                "new_weights": list(classifier.fresh),
            },
            "labels": {
                "kind": "scores" if self.labels.classes is None else "classes",
                "classes": self.labels.classes,
            },
            "data": {
                "train": self._described(self.train, self.encoded),
                "valid": None if self.valid is None else self._described(self.valid, self.valid_encoded),
                "overlap": self.shared,
            },
            "valid": valid,
            "settings": asdict(self.settings) | {"device": str(resolve_device(self.settings.device))},
            "cost": result.cost() | {"epochs": result.steps / self.batches.steps_per_epoch},
            "versions": environment()["versions"],
        }

    def _described(self, examples: Examples, encoded: Encoded | None) -> dict[str, Any]:
        assert encoded is not None
        counts = None if self.labels.classes is None else Counter(examples.labels)
        return {
            "file": examples.name,
            "rows": len(examples),
            "fingerprint": examples.fingerprint,
            "pairs": examples.seconds is not None,
            "cut": encoded.cut,
            "classes": counts and {name: counts[name] for name in self.labels.classes or ()},
        }


_LOOP = ("warmup", "schedule", "weight_decay", "clip", "betas", "precision", "device", "threads")
"""What the loop is told as the settings have it."""


def _encode(classifier: Classifier, examples: Examples, progress: Told | None) -> Encoded:
    what = f"reading {examples.name}"
    told = None if progress is None else partial(progress, what)
    encoded = classifier.encode(examples.texts, examples.seconds, told)
    if encoded.cut:
        _log.warning(
            "%s of %s texts of %s are longer than %d pieces and were cut",
            f"{encoded.cut:,}",
            f"{len(examples):,}",
            examples.name,
            classifier.max_length,
        )
    return encoded
