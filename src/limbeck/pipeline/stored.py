"""Stores of predictions as a training sees them: do they fit the recipe, and what is known of their teachers.

A recipe's stores lie in `distill.store`, in a folder per teacher (docs/store.md).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.recipe import Recipe, TeacherSection
from limbeck.tasks.mlm import Measured, MlmSettings
from limbeck.tasks.mlm_words import WordScores
from limbeck.teachers.store import Store, StoredTeacher
from limbeck.teachers.store_files import Hashes
from limbeck.teachers.store_header import Masks, Plan, model_digest, model_folder

if TYPE_CHECKING:
    from limbeck.text.corpus import Corpus

log = logging.getLogger("limbeck")

WORDS = "valid.safetensors"
"""What the teacher says of the words of the held-out text, as `tasks/mlm.py` compares models."""

REBUILD = "`limbeck store build RECIPE --rebuild` makes it anew, or name another folder in distill.store"
_SCORES = ("passage", "nats", "correct", "single", "state")


@dataclass(frozen=True)
class FromStore:
    """The teachers of a recipe, all of them stored, and the mask variants used in turn."""

    teachers: list[StoredTeacher]
    variants: int


def masks_of(recipe: Recipe) -> Masks:
    """Which words the recipe's run masks."""
    chosen = recipe.distill.masking_seed
    return Masks(recipe.seed if chosen is None else chosen, recipe.distill.mask)


def folder_of(recipe: Recipe, spec: TeacherSection) -> Path:
    """Of a teacher's store."""
    return Path(recipe.distill.store) / spec.name


def open_stores(recipe: Recipe, hashes: Hashes) -> FromStore | None:
    """The recipe's teachers from their stores; None where their predictions are to be computed.

    Args:
        hashes: uint64 [N], of the passages to train on.

    Raises:
        UserError: `predictions = "store"`, and a store is missing, incomplete, damaged or does not fit.
    """
    wanted = recipe.distill.predictions
    if not recipe.teachers:
        return None
    if wanted == "online":
        log.info("predictions are computed in every step")
        return None
    try:
        stores = [open_store(recipe, spec, hashes) for spec in recipe.teachers]
    except UserError as reason:
        if wanted == "store":
            raise
        there = any(folder_of(recipe, spec).exists() for spec in recipe.teachers)
        log.info("predictions are computed in every step%s", f": {reason}" if there else "")
        return None
    calibrated = recipe.distill.calibrate
    teachers = [
        StoredTeacher(spec.name, store, calibrated=calibrated)
        for spec, store in zip(recipe.teachers, stores, strict=True)
    ]
    variants = recipe.distill.variants or min(store.header.variants for store in stores)
    log.info("predictions are read from %s; no teacher is loaded", recipe.distill.store)
    if recipe.distill.mixture == "geometric" and any(one.plan.k < one.plan.width for one in stores):
        log.warning(
            "a geometric mixture cannot be made of the few pieces that a store keeps, and students learn much"
            ' less from it; take distill.predictions = "online", or an arithmetic mixture'
        )
    return FromStore(teachers, variants)


def open_store(recipe: Recipe, spec: TeacherSection, hashes: Hashes) -> Store:
    """One teacher's store, if it is whole and all that the recipe asks for.

    Raises:
        UserError: it is not, with what is the matter and how to mend it.
    """
    folder = folder_of(recipe, spec)
    store = Store(folder)
    for difference in differences(store.plan, recipe, spec):
        raise UserError(f"store {folder} {difference}; {REBUILD}")
    lacking = store.lacking(hashes)
    if lacking:
        raise UserError(
            f"store {folder} is of another text: it lacks {lacking} of the {len(hashes)} passages of "
            f"text.train; {REBUILD}"
        )
    variants = recipe.distill.variants or store.header.variants
    if variants > store.header.variants:
        raise UserError(
            f"store {folder} has {store.header.variants} mask variants, but distill.variants is {variants}; "
            "`limbeck store build RECIPE` adds them"
        )
    found = store.faults(variants)
    if found:
        first = found[0]
        others = f" and {len(found) - 1} more are not whole either" if len(found) > 1 else ""
        raise UserError(
            f"store {folder}: chunk {first.place.path(folder).name} of {variants * store.plan.chunks} is "
            f"{first.what}{others}; `limbeck store build RECIPE` goes on with it"
        )
    # What is wrong with these would else be found out when the text is read, or when the run is at its end.
    _ = store.tokenizer, words_file(store)
    return store


def differences(plan: Plan, recipe: Recipe, spec: TeacherSection) -> Iterator[str]:
    """How a store's plan is not what the recipe asks for, apart from the text."""
    masks, settings = masks_of(recipe), recipe.distill
    source = model_folder(spec.model)
    digest = None if source is None else model_digest(source)
    if digest is None:
        log.info("teacher %s: its model is not here; its store is taken by its name", spec.name)
    elif digest != plan.model:
        yield f"is of another model than {spec.model}, or the model has changed since"
    if spec.precision != plan.precision:
        yield f"was built in {plan.precision}, but teachers.{spec.name}.precision is {spec.precision}"
    if masks.rate != plan.masks.rate:
        yield f"masks {plan.masks.rate:g} of the words, but distill.mask is {masks.rate:g}"
    if masks.rule != plan.masks.rule:
        yield f"has masks of version {plan.masks.rule} of the word rule, this Limbeck's is {masks.rule}"
    if masks.seed != plan.masks.seed:
        yield (
            f"has the masks of seed {plan.masks.seed}, not {masks.seed} "
            f"(distill.masking_seed = {plan.masks.seed} takes them)"
        )
    if settings.kept != plan.k:
        yield f"keeps {plan.k} pieces of a prediction, but distill.kept is {settings.kept}"
    if settings.calibrate != plan.calibrated:
        yield f"was built with distill.calibrate = {str(plan.calibrated).lower()}"
    if settings.temperature != plan.temperature:
        yield f"was built for distill.temperature = {plan.temperature:g}, not {settings.temperature:g}"


def stored_quality(store: Store, valid: Corpus, mask: float) -> dict[str, Any]:
    """As `pipeline.teachers.measure_teacher`, of what was measured when the store was built."""
    measured = store.header.measured
    same = measured["valid"] == valid.fingerprint and measured["mask"] == mask
    quality = {name: measured["table"][name] if same else None for name in ("masked_accuracy", "nats")}
    return {"parameters": store.header.parameters, **quality}


def keep_words(folder: Path, measured: Measured, valid: Corpus, settings: MlmSettings) -> dict[str, Any]:
    """Writes a teacher's answers on the held-out text to the store's folder; returns what the header says."""
    from safetensors.numpy import save

    scores = measured.scores
    content = save({name: np.ascontiguousarray(getattr(scores, name)) for name in _SCORES})
    atomic_write(folder / WORDS, content)
    return {
        "settings": _asked(valid, settings),
        "digest": hashlib.blake2b(content, digest_size=16).hexdigest(),
        "pieces": scores.pieces,
        "words": scores.words,
        "described": measured.described,
        "probe": measured.probe,
    }


def _asked(valid: Corpus, settings: MlmSettings) -> dict[str, Any]:
    """What decides a teacher's answers; batches and intervals do not."""
    return {
        "valid": valid.fingerprint,
        "mask": settings.mask,
        "passages": settings.passages,
        "seed": settings.seed,
        "precision": settings.precision,
    }


def words_file(store: Store) -> bytes:
    """The file of the teacher's answers on the held-out text.

    Raises:
        UserError: it is missing or damaged.
    """
    path = store.folder / WORDS
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.blake2b(content, digest_size=16).hexdigest() != store.header.measured["words"]["digest"]:
        raise UserError(
            f"store {store.folder}: {WORDS} is {'damaged' if content else 'missing'}; "
            "`limbeck store verify RECIPE --repair` makes it again"
        )
    return content


def stored_words(store: Store, valid: Corpus, settings: MlmSettings) -> Measured | None:
    """The teacher's answers on this held-out text; None where the store was built with another.

    Raises:
        UserError: the file of the answers is missing or damaged.
    """
    from safetensors.numpy import load

    kept = store.header.measured["words"]
    if kept["settings"] != _asked(valid, settings):
        return None
    arrays = load(words_file(store))
    scores = WordScores(
        **{name: arrays[name] for name in _SCORES}, pieces=kept["pieces"], words=kept["words"]
    )
    return Measured(kept["described"], kept["probe"], scores)
