"""`limbeck check`: everything about a recipe that can be known before it runs."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from limbeck.distill.stored import make_step
from limbeck.errors import UserError
from limbeck.pipeline.assemble import Assembled, Progress, assemble
from limbeck.pipeline.gloss import FOLDER, check_gloss
from limbeck.pipeline.place import check_place
from limbeck.pipeline.results import described
from limbeck.pipeline.train import build, prepared_teachers, training_batches
from limbeck.recipe import Recipe, load_recipe
from limbeck.training.engine import Autocast, choose_device, choose_precision
from limbeck.training.loop import StepContext
from limbeck.training.optimiser import adamw
from limbeck.training.place import existing

TIMED_STEPS = 5


def check(recipe: Recipe, progress: Progress | None = None) -> dict[str, Any]:
    """Prepares text and teachers as a run would, times a few steps, and writes nothing but the cache.

    Returns:
        JSON-ready: text, teachers (the table shown before training), student, steps and tokens, estimated
        seconds, disk.

    Raises:
        UserError: whatever would stop the run.
    """
    _check_pretrained(recipe)
    check_place(recipe, Path(recipe.output))
    if recipe.gloss is not None and recipe.gloss.init is None:
        check_gloss(recipe, Path(recipe.output) / FOLDER, init=None)
    made = assemble(recipe, progress)
    teachers = prepared_teachers(made, None, progress)
    return {
        "name": recipe.name,
        **described(made, teachers),
        **_cost(made, progress),
    }


def _check_pretrained(recipe: Recipe) -> None:
    """Reads the recipes that come first, and refuses a teacher of theirs that is still to be made."""
    for one in recipe.pretrain:
        made = Path(load_recipe(one.recipe).output) / "model"
        if not made.is_dir():
            raise UserError(
                f"{made} is not trained yet: `limbeck run` makes it first, or check {one.recipe} by itself"
            )


def _cost(made: Assembled, progress: Progress | None) -> dict[str, Any]:
    """Tokens, epochs, time and disk of the whole run, from a few timed steps."""
    recipe = made.recipe
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    device = choose_device(recipe.train.device)
    module = build(made).to(device)
    module.train()
    dtype = choose_precision(recipe.train.precision, device)
    forward = Autocast(module, device, dtype) if dtype else module
    source = training_batches(made)
    step = make_step(made.placed, recipe.distill, module.width)
    optimiser = adamw(module, recipe.train)
    seconds, tokens, fed = [], 0, 0
    for number in range(TIMED_STEPS):
        if progress is not None:
            progress("timing a step", number, TIMED_STEPS)
        began = time.perf_counter()
        batches = source.micro_batches(number)
        for batch in batches:
            loss, count, _ = step(forward, batch.to(device), StepContext(number, TIMED_STEPS))
            torch.autograd.backward(loss / max(1, count))
            tokens += batch.tokens
            fed += batch.input_ids.numel()
        optimiser.step()
        optimiser.zero_grad()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    per_step = statistics.median(seconds[1:])  # the first one warms up
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    # A checkpoint holds weights and two moments; beside those kept there are one being written, and the best
    # and the last model.
    disk = weights * (3 * (recipe.train.keep + 1) + 2)
    return {
        "student": {
            "parameters": sum(p.numel() for p in module.parameters()),
            "vocabulary": made.student_tokenizer.vocab_size,
            "student_sees": recipe.distill.student_sees,
        },
        "steps": recipe.train.steps,
        "steps_per_epoch": source.steps_per_epoch,
        "epochs": recipe.train.steps / source.steps_per_epoch,
        "tokens_per_step": tokens / TIMED_STEPS,
        "tokens": tokens / TIMED_STEPS * recipe.train.steps,
        "padding": 1 - tokens / fed,
        "seconds_per_step": per_step,
        "seconds": per_step * recipe.train.steps,
        "disk_bytes": disk,
        "disk_free_bytes": shutil.disk_usage(existing(Path(recipe.output))).free,
    }
