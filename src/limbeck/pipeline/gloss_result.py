"""The results of gloss training: what was learnt from, F1 on the development set, nats before and after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.gloss.checkpoint import is_headless
from limbeck.gloss.instances import candidates
from limbeck.gloss.model import GlossModel
from limbeck.gloss.predict import predict
from limbeck.pipeline.assemble import EVALUATION_SEED, Progress
from limbeck.pipeline.gloss_assemble import GlossAssembled
from limbeck.pipeline.teachers import shown_model
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_models
from limbeck.tasks.mlm_result import versions
from limbeck.tasks.wsd_baselines import FIRST, RANDOM, first_sense, random_sense
from limbeck.tasks.wsd_score import Gold, Marks, measure
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.text.corpus import Corpus
from limbeck.text.pieces import PieceTokenizer
from limbeck.training.loop import TrainResult

VERSION = 1
LEAST = 1e-12
"""A probability below counts as this in nats, so that one underflow does not make a mean infinite."""


def gloss_results(
    made: GlossAssembled,
    folder: Path,
    result: TrainResult,
    per_epoch: int,
    text: Corpus | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """What a finished run's `results.json` says, JSON-ready.

    Args:
        per_epoch: steps in one pass over the training instances. text: the recipe's `text.valid`.
    """
    section, recipe, model = made.section, made.recipe, made.model
    used = made.instances.candidates[made.rows]
    return {
        "version": VERSION,
        "task": "gloss",
        "name": recipe.name,
        "seed": recipe.seed,
        "method": method(made),
        "model": {
            "init": shown_model(made.init),
            "family": str(model.config.model_type),
            "parameters": sum(p.numel() for p in model.parameters()),
            "masked_lm_head": not is_headless(model),
            "head_trained": (folder / "head").is_dir(),
        },
        "settings": section.model_dump(mode="json", exclude={"init", "lexicon", "train", "valid"})
        | {"layout": made.settings.layout},
        "student_sees": made.recipe.distill.student_sees if section.masked else None,
        "lexicon": {
            "name": made.lexicon.name,
            "version": made.lexicon.version,
            "fingerprint": made.lexicon.fingerprint,
        },
        "train": {
            "sources": [shown_model(name) for name in section.train],
            "fingerprint": made.instances.fingerprint,
            **asdict(made.instances.counts),
            "used": len(made.rows),
            "monosemous": int((used == 1).sum()),
            "candidates_per_instance": float(used.mean()),
            "epochs": result.steps / per_epoch,
        },
        "valid": {
            "sources": [shown_model(name) for name in made.valid_names],
            "instances": len(made.valid),
            "fingerprint": Gold.of(((one.id, one.pos, one.gold) for one in made.valid), None).fingerprint,
            "overlap": made.overlap,
            "f1": result.metrics.get("valid_f1"),
            "nats": result.metrics.get("valid_nats"),
            "best_f1": result.best,
            "best_step": result.best_step,
            "baselines": baselines(made),
        },
        "teachers": [
            {"name": p.teacher.name, "temperature": p.teacher.temperature, "prior": p.prior}
            for p in made.placed
        ],
        **words(made, folder, text, progress),
        "cost": result.cost()
        | {"instances_per_second": result.steps * min(section.batch, len(made.rows)) / result.seconds},
        "versions": versions(),
    }


def evaluator(made: GlossAssembled) -> Callable[[nn.Module], dict[str, float]]:
    """F1 on the development set by the official rule, and nats per instance that has a gold candidate."""
    gold = Gold.of(((one.id, one.pos, one.gold) for one in made.valid), None)

    def evaluate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, GlossModel)
        answers: dict[str, tuple[str, ...]] = {}
        nats: list[float] = []
        said = predict(
            module,
            made.encoder,
            made.lexicon,
            made.valid,
            of=made.section.candidates,
            tokens=made.section.tokens,
            precision=made.section.precision,
        )
        for one, (_, senses, probabilities) in zip(made.valid, said, strict=True):
            if senses:
                answers[one.id] = (senses[int(probabilities.argmax())].key,)
            right = np.array([sense.key in one.gold for sense in senses], bool)
            if right.any():
                nats.append(-math.log(max(LEAST, float(probabilities[right].sum()))))
        measured = measure(gold, Marks.of(gold, answers), replicates=0)
        assert measured is not None
        return {"valid_f1": measured["f1"]} | ({"valid_nats": float(np.mean(nats))} if nats else {})

    return evaluate


def method(made: GlossAssembled) -> str:
    """The method's name: LMGC, LMGC-M, cohesive LMGC-M."""
    if not made.section.masked:
        return "LMGC"
    return "cohesive LMGC-M" if made.section.cohesive else "LMGC-M"


def baselines(made: GlossAssembled) -> dict[str, float]:
    """F1 of the lexicon's first sense, and what chance is expected to get, on the development set.

    They choose among the candidates that the model has.
    """
    gold = Gold.of(((one.id, one.pos, one.gold) for one in made.valid), None)
    senses = [candidates(made.lexicon, one, made.section.candidates) for one in made.valid]
    first = {one.id: first_sense(some) for one, some in zip(made.valid, senses, strict=True)}
    measured = measure(gold, Marks.of(gold, first), replicates=0)
    assert measured is not None
    chance = [random_sense(some, one.gold) for one, some in zip(made.valid, senses, strict=True)]
    return {FIRST: measured["f1"], RANDOM: sum(chance) / len(chance)}


def words(
    made: GlossAssembled, folder: Path, text: Corpus | None, progress: Progress | None
) -> dict[str, Any]:
    """Nats per masked word before and after, as `limbeck eval mlm`; None for a model that never had a head.

    `words`: on `text`, the recipe's `text.valid`, None without one; `gloss_words`: on the contexts and
    glosses of the development set, which are of the kind that LMGC-M learns from.
    """
    if is_headless(made.model):
        return {"words": None, "gloss_words": None}
    before = folder / "head" / "model" if (folder / "head").is_dir() else made.init
    compared = []
    for name, path in (("before", before), ("after", folder / "model")):
        module, tokenizer, report = load_masked_lm(path, device=made.section.device, what=f"the model {name}")
        pieces = PieceTokenizer.from_hf(tokenizer, limit=report.limit, name=name)
        compared.append(Compared(name, module, pieces, shown_model(str(path))))
    settings = MlmSettings(
        mask=made.section.mask,
        passages=made.recipe.eval.passages,
        seed=EVALUATION_SEED,
        device=made.section.device,
    )
    return {
        "words": None if text is None else evaluate_models(compared, text, settings, progress),
        "gloss_words": evaluate_models(compared, made.valid_corpus(), settings, progress),
    }
