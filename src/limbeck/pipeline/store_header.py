"""What a store holds beside its chunks: header, tokenizer, passages, the teacher's held-out words."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.files import atomic_folder, atomic_write
from limbeck.pipeline.assemble import EVALUATION_SEED, Progress, training_rows
from limbeck.pipeline.stored import REBUILD, differences, folder_of, keep_words, masks_of, words_file
from limbeck.pipeline.teachers import fitted_temperature, measure_teacher, shown_model
from limbeck.recipe import Recipe, TeacherSection
from limbeck.tasks.mlm import Compared, MlmSettings, measure_words
from limbeck.tasks.mlm_result import versions
from limbeck.tasks.mlm_words import Sample
from limbeck.teachers.loading import quiet
from limbeck.teachers.masked_lm import weights_digest
from limbeck.teachers.store import Store
from limbeck.teachers.store_chunk import Head
from limbeck.teachers.store_files import CHUNKS, Hashes, passages_content, read_passages, text_digest
from limbeck.teachers.store_format import DamagedError
from limbeck.teachers.store_header import (
    HEADER,
    PASSAGES,
    TOKENIZER,
    Header,
    Plan,
    chunk_size,
    model_digest,
    model_folder,
)
from limbeck.teachers.teacher import Teacher, load_teacher
from limbeck.text.corpus import Corpus

log = logging.getLogger("limbeck")

MOST_VARIANTS = 10
"""Mask variants of a store whose recipe names no number: after so many epochs they come round again."""


@dataclass
class Job:
    """One teacher's store in the making. The teacher is loaded when it is first needed."""

    recipe: Recipe
    spec: TeacherSection
    train: Corpus
    valid: Corpus
    chunk: int | None = None
    """Passages of a chunk; None: as the text's size decides."""
    _teacher: Teacher | None = None

    def __post_init__(self) -> None:
        rows, self.aside = training_rows(self.train)
        order = np.argsort(self.train.hashes[rows], kind="stable")
        self.rows: npt.NDArray[np.int64] = rows[order]
        """Passages of the store, in order of hash."""

    @property
    def folder(self) -> Path:
        """Of the store."""
        return folder_of(self.recipe, self.spec)

    @property
    def hashes(self) -> Hashes:
        """Of the store's passages, ascending."""
        return self.train.hashes[self.rows]

    @property
    def teacher(self) -> Teacher:
        """The teacher itself.

        Raises:
            UserError: see `load_teacher`; more predictions are to be kept than it has pieces.
        """
        if self._teacher is None:
            teacher, k = load_teacher(self.spec, self.spec.model), self.recipe.distill.kept
            if k > teacher.width:
                raise UserError(
                    f"distill.kept is {k}, but teacher {teacher.name!r} has only {teacher.width} pieces; "
                    "set it lower"
                )
            self._teacher = teacher
        return self._teacher

    @property
    def variants(self) -> int:
        """Mask variants that the recipe asks for: one per epoch where it names no number."""
        chosen, train = self.recipe.distill.variants, self.recipe.train
        steps_per_epoch = max(1, len(self.rows) // min(train.batch, len(self.rows)))
        return chosen or min(MOST_VARIANTS, -(-train.steps // steps_per_epoch))


def prepare_store(job: Job, progress: Progress | None = None) -> Header:
    """Makes, or checks and mends, all of the store but its chunks. To be called with the header's lock.

    Raises:
        UserError: the folder holds a store that was built otherwise, or something else.
    """
    header = _existing(job)
    if header is None:
        header = _make(job, progress)
        _check_chunks(job.folder, header.plan)
        header.write(job.folder)
        return header
    _mend(job, header)
    if job.variants > header.variants:
        header = replace(header, variants=job.variants)
        header.write(job.folder)
    return header


def _existing(job: Job) -> Header | None:
    """The header that is there; None where there is none, or a damaged one."""
    folder = job.folder
    if not (folder / HEADER).exists():
        ours = {PASSAGES, TOKENIZER, CHUNKS}
        foreign = [path.name for path in folder.iterdir() if path.name not in ours and path.name[0] != "."]
        if foreign and not (folder / PASSAGES).exists():
            raise UserError(f"{folder} holds {sorted(foreign)[0]} but no store; name another distill.store")
        return None
    try:
        header = Header.read(folder)
    except UserError as error:
        if "is damaged" not in str(error):
            raise
        log.warning("store %s: %s is damaged; it is made again", folder, HEADER)
        return None
    for difference in differences(header.plan, job.recipe, job.spec):
        raise UserError(f"store {folder} {difference}; {REBUILD}")
    if header.plan.text != text_digest(job.hashes):
        raise UserError(f"store {folder} is of another text than text.train; {REBUILD}")
    return header


def _make(job: Job, progress: Progress | None) -> Header:
    """Loads the teacher, fits its temperature, measures it."""
    teacher, recipe, folder = job.teacher, job.recipe, job.folder
    _write_tokenizer(job)
    atomic_write(folder / PASSAGES, passages_content(job.hashes))
    weights, source = weights_digest(teacher.module.model), model_folder(job.spec.model)
    digest = None if source is None else model_digest(source)
    calibration = 1.0
    if recipe.distill.calibrate and len(job.aside):
        if progress is not None:
            progress(f"calibrating {teacher.name}", 0, 1)
        sample = Sample(job.train, job.aside, recipe.distill.mask, EVALUATION_SEED)
        calibration = fitted_temperature(teacher, sample)
    plan = Plan(
        model=digest or f"weights {weights}",
        precision=teacher.precision,
        tokenizer=teacher.tokenizer.fingerprint,
        width=teacher.width,
        text=text_digest(job.hashes),
        passages=len(job.hashes),
        masks=masks_of(recipe),
        k=recipe.distill.kept,
        chunk=job.chunk or chunk_size(len(job.hashes)),
        calibration=calibration,
        calibrated=recipe.distill.calibrate,
        temperature=recipe.distill.temperature,
    )
    shown, tokenizer = shown_model(job.spec.model), teacher.tokenizer
    table = measure_teacher(teacher, shown, job.valid, recipe.distill.mask, progress)
    compared = Compared(teacher.name, teacher.module, tokenizer, shown, teacher.device)
    settings = words_settings(recipe)
    words = keep_words(folder, measure_words(compared, job.valid, settings, progress), job.valid, settings)
    return Header(
        plan=plan,
        variants=job.variants,
        name=teacher.name,
        shown=shown,
        parameters=table.pop("parameters"),
        weights=weights,
        limit=tokenizer.limit + len(tokenizer.prefix) + len(tokenizer.suffix),
        measured={
            "valid": job.valid.fingerprint,
            "mask": recipe.distill.mask,
            "table": table,
            "words": words,
        },
        versions=versions(),
    )


def words_settings(recipe: Recipe) -> MlmSettings:
    """How a run measures student and teachers when it is finished (pipeline/results.py)."""
    return MlmSettings(
        mask=recipe.distill.mask,
        passages=recipe.eval.passages,
        seed=EVALUATION_SEED,
        device=recipe.train.device,
    )


def _write_tokenizer(job: Job) -> None:
    with atomic_folder(job.folder / TOKENIZER) as temporary, quiet():
        job.teacher.tokenizer.hf.save_pretrained(temporary)


def _check_chunks(folder: Path, plan: Plan) -> None:
    """Where a header was lost: are the chunks that are left those of the plan?

    Raises:
        UserError: they are another store's, which is not written over.
    """
    for path in (folder / CHUNKS).glob("[0-9]*"):
        try:
            other = Head.read(path).key != plan.key
        except DamagedError:
            continue
        if other:
            raise UserError(
                f"store {folder} has no sound {HEADER}, and its chunks are not of this recipe; {REBUILD}"
            )


def _mend(job: Job, header: Header) -> None:
    """Writes again what is damaged beside header and chunks."""
    folder = job.folder
    try:
        read_passages(folder, header.plan)
    except UserError as error:
        log.warning("%s", str(error).split(";")[0])
        atomic_write(folder / PASSAGES, passages_content(job.hashes))
    store = Store(folder)
    try:
        _ = store.tokenizer
    except UserError as error:
        log.warning("%s; it is written again", str(error).split(";")[0])
        _write_tokenizer(job)
        _ = Store(folder).tokenizer
    try:
        words_file(store)
    except UserError as error:
        log.warning("%s; the words are measured again", str(error).split(";")[0])
        _measure_again(job, header)


def _measure_again(job: Job, header: Header) -> None:
    """The teacher's held-out words, where the recipe still measures them as the store did."""
    teacher, settings = job.teacher, words_settings(job.recipe)
    compared = Compared(teacher.name, teacher.module, teacher.tokenizer, header.shown, teacher.device)
    words = keep_words(job.folder, measure_words(compared, job.valid, settings), job.valid, settings)
    replace(header, measured=header.measured | {"words": words}).write(job.folder)
