"""LMGC-M of an encoder without a masked-LM head: the head is trained first, the body frozen (section 3.2)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.distill.step import DistillStep
from limbeck.errors import UserError
from limbeck.files import cache_dir
from limbeck.gloss.checkpoint import read_encoder, with_masked_lm_head
from limbeck.pipeline.gloss_assemble import GlossAssembled
from limbeck.processes.group import current
from limbeck.recipe import DistillSection
from limbeck.run import Run
from limbeck.teachers.loading import quiet
from limbeck.teachers.masked_lm import MaskedLM
from limbeck.text.batches import Collator, TextBatches
from limbeck.text.corpus import Corpus
from limbeck.text.prepare import prepare
from limbeck.text.prepared import Prepared
from limbeck.training.engine import Engine
from limbeck.training.interface import LoopSettings
from limbeck.training.loop import train

log = logging.getLogger("limbeck")

# The head is small and starts from nothing: a rate that a whole small model would take as well.
LEARNING_RATE, BATCH = 1e-3, 64


def train_head(made: GlossAssembled, folder: Path, fields: dict[str, Any], resume_hint: str) -> None:
    """Gives the model of `made` a masked-LM head, trained on the training instances' contexts and glosses.

    A run of its own in `folder`: one that was finished is only loaded.

    Args:
        fields: what affects the result, of the run this is a part of.
    """
    section, tokenizer = made.section, made.encoder.tokenizer
    torch.manual_seed(made.recipe.seed)
    module = MaskedLM(with_masked_lm_head(made.model), tokenizer.mask_id)
    body = {id(parameter) for parameter in module.model.base_model.parameters()}
    trained = [p for p in module.model.parameters() if id(p) not in body]
    for parameter in module.model.parameters():
        parameter.requires_grad_(id(parameter) not in body)
    log.info(
        "%s has no masked-LM head: training one of %s parameters for %d steps, the rest frozen",
        made.init,
        f"{sum(p.numel() for p in trained):,}",
        section.head_steps,
    )

    if getattr(made.model, "pooler", None) is not None:
        log.info("its pooler takes no part and is left out")

    def save_model(path: Path) -> None:
        with quiet():
            module.model.save_pretrained(path)
            tokenizer.hf.save_pretrained(path)

    settings = LoopSettings(
        steps=section.head_steps,
        learning_rate=LEARNING_RATE,
        warmup=0.1,
        schedule="linear",
        weight_decay=section.weight_decay,
        clip=section.clip,
        betas=(0.9, 0.98),
        precision=section.precision,
        device=section.device,
        threads=section.threads,
        sharding="none",
        log_every=section.log_every,
        eval_every=None,
        save_every=section.save_every,
        keep=section.keep,
    )
    group = current()
    with Run.open(folder, "", fields, main=group.main, resume_hint=resume_hint) as run:
        step = DistillStep([], DistillSection(), module.width)
        train(module, step, _text(made), settings, run, seed=made.recipe.seed, save_model=save_model)
    where = str(folder / "model")
    made.model = read_encoder(where, where)[0] if group.main else module.model.requires_grad_(True)
    Engine(settings, group).share_weights(made.model)  # the run directory is the main process's alone


def _text(made: GlossAssembled) -> TextBatches:
    """The training instances' text as passages for plain masked-LM training.

    Raises:
        UserError: the processes cannot share it evenly.
    """
    tokenizer, group = made.encoder.tokenizer, current()

    def prepared() -> tuple[Corpus, Prepared]:
        corpus = made.corpus()
        return corpus, prepare(corpus, tokenizer, [], [], cache=cache_dir() / "prepared", workers=1)

    group.once_per_cache(lambda: prepared()[0].fingerprint)
    corpus, pieces = prepared()
    batch = min(BATCH, len(corpus))
    if batch % group.world:
        raise UserError(
            f"the masked-LM head is trained on {batch} passages a step, which {group.world} processes cannot"
            " share evenly; start a number of processes that divides it"
        )
    collator = Collator(tokenizer, [], seed=made.recipe.seed, rate=made.section.mask, student_sees="bert")
    return TextBatches(
        pieces,
        collator,
        np.arange(len(corpus)),
        batch=batch,
        micro_batch=batch,
        rank=group.rank,
        world=group.world,
    )
