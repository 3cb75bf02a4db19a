"""Fine-tuning on labelled texts by THE loop: what `limbeck finetune` does and GLUE stands on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.finetune.classifier import Classifier
from limbeck.finetune.examples import Examples, overlap
from limbeck.finetune.job import Job, Told
from limbeck.finetune.labels import Labels
from limbeck.finetune.settings import FinetuneSettings, default_rate
from limbeck.processes.together import together
from limbeck.run import Run, environment
from limbeck.run_folder import check_folder
from limbeck.teachers.masked_lm import resolve_device
from limbeck.training.engine import check_share
from limbeck.training.place import check_run_folder, finished

_log = logging.getLogger("limbeck")


@dataclass(frozen=True)
class Finetuned:
    """A finished run: its directory, and what its `results.json` says."""

    folder: Path
    results: dict[str, Any]

    def classifier(self, *, best: bool = False) -> Classifier:
        """The model of the last step, or the one that was best on the validation rows; on the CPU."""
        place = self.folder / ("best" if best else "model")
        return Classifier.load(place, max_length=self.results["settings"]["max_length"])


def finetune(
    model: str | Path,
    train: Examples,
    valid: Examples | None,
    folder: Path,
    settings: FinetuneSettings | None = None,
    *,
    labels: Labels | None = None,
    judge: str | None = None,
    fields: Mapping[str, Any] | None = None,
    resume_hint: str = "",
    progress: Told | None = None,
) -> Finetuned:
    """Trains a model on labelled texts, or goes on with it; a finished run only returns its results.

    The run directory holds `model/` (of the last step) and, with validation rows, `best/` (of the best
    epoch), both plain `AutoModelForSequenceClassification` checkpoints.

    Args:
        model: checkpoint folder or hub id. valid: None: nothing is measured. folder: the run directory.
        labels: what is learnt; None: found in `train`.
        judge: the figure of `metrics.measure` that decides which epoch is best: by default accuracy, or mse.
        fields: what else a resume must agree on, by name. resume_hint: what the user types to go on.

    Raises:
        UserError: a model, labels or a run directory that cannot be used, pairs and single texts together.
        TrainingDiverged, Interrupted: see training/loop.py.
    """
    settings = settings or FinetuneSettings()
    labels = Labels.find(train, settings.kind) if labels is None else labels
    for examples in (train, valid):
        if examples is not None:
            labels.encode(examples)
    if valid is not None and (train.seconds is None) != (valid.seconds is None):
        pair, single = (valid, train) if train.seconds is None else (train, valid)
        raise UserError(
            f"{pair.name} has pairs of texts and {single.name} single ones; give both the same form"
        )
    shared = 0 if valid is None else overlap(train, valid)
    if shared and valid is not None:
        _log.warning(
            "%s of %s texts of %s stand in %s as well: figures on them will flatter",
            f"{shared:,}",
            f"{len(valid):,}",
            valid.name,
            train.name,
        )
    with together() as group:
        check_share(group, settings.batch, resolve_device(settings.device), "batch")
        known = _known(settings, train, valid, judge) | dict(fields or {})
        group.check_same(known | environment()["versions"], "rows, settings and versions")
        if group.main:
            check_run_folder(folder)
            check_folder(folder, {name: v for name, v in known.items() if not name.endswith(")")})
        classifier = Classifier.start(model, labels, max_length=settings.max_length, seed=settings.seed)
        if settings.learning_rate is None:
            rate = default_rate(int(classifier.model.config.hidden_size))
            settings = replace(settings, learning_rate=rate)
        job = Job(classifier, train, valid, settings, judge, shared, str(model), progress)
        known |= {
            "finetune.model (contents)": classifier.weights_read,
            "finetune.tokenizer (contents)": job.tokenizer,
            "finetune.learning_rate (used)": settings.learning_rate,
        }
        group.check_same(known, "model")
        with Run.open(folder, job.recipe(), known, main=group.main, resume_hint=resume_hint) as opened:
            done = group.from_main(lambda: finished(opened, job.steps))
            if done is not None:
                _log.info("%s is finished; nothing to do", folder)
                return Finetuned(folder, dict(done))
            return Finetuned(folder, job.run(opened))


def _known(
    settings: FinetuneSettings, train: Examples, valid: Examples | None, judge: str | None
) -> dict[str, Any]:
    """What affects the result, as far as it is known before the model is read."""
    named = {f"finetune.{name}": value for name, value in asdict(settings).items() if name != "threads"}
    return named | {
        "finetune.train (contents)": train.fingerprint,
        "finetune.valid (contents)": None if valid is None else valid.fingerprint,
        "finetune.judge": judge,
    }
