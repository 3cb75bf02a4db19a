"""From a recipe to everything a training needs: text, tokenizers, teachers, projections, calibration."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from limbeck.distill.step import Placed
from limbeck.files import atomic_folder, cache_dir
from limbeck.recipe import Recipe
from limbeck.teachers.families import piece_limit
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm, load_tokenizer
from limbeck.teachers.projection import Projection
from limbeck.teachers.teacher import Teacher, load_teacher
from limbeck.text.corpus import Corpus, build_corpus, overlap
from limbeck.text.mixing import mix64
from limbeck.text.pieces import PieceTokenizer, train_tokenizer
from limbeck.text.prepare import Prepared, prepare
from limbeck.text.vocabulary import TRAINING_VERSION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger("limbeck")

# Evaluation masks words by this seed and mask-plan variant 0, whatever the recipe's seed: runs compare.
EVALUATION_SEED = 0
# Passages of the training text that no student trains on; the teachers' temperatures are fitted on them.
CALIBRATION_PASSAGES = 256
# A tokenizer is trained on this much of the text, evenly spread; more changes few pieces and takes long.
TOKENIZER_PASSAGES = 100_000

Progress = Callable[[str, int, int], None]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assembled:
    """All a training needs. Rows index the prepared text."""

    recipe: Recipe
    train_corpus: Corpus
    valid_corpus: Corpus
    student_tokenizer: PieceTokenizer
    source: MaskedLM | None
    """The model the student is initialised from, where the recipe names one."""
    placed: list[Placed]
    train: Prepared
    valid: Prepared
    train_rows: Rows
    calibration_rows: Rows
    valid_rows: Rows
    overlap: int


def sample_rows(corpus: Corpus, count: int, salt: int) -> Rows:
    """Rows of `count` passages (all if fewer), ascending; chosen by hash, whatever the order of the text."""
    order = np.argsort(mix64(corpus.hashes ^ mix64(np.uint64(salt))), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def read_text(recipe: Recipe, progress: Progress | None = None) -> tuple[Corpus, Corpus]:
    """The training and the validation passages, prepared once per fingerprint.

    Raises:
        UserError: missing, empty, binary or broken text (see text/corpus.py).
    """
    section = recipe.text

    def build(patterns: tuple[str, ...], label: str) -> Corpus:
        return build_corpus(
            patterns,
            base=Path.cwd(),
            words=section.words,
            min_words=section.min_words,
            on_error=section.on_error,
            cache=cache_dir() / "text",
            label=label,
            progress=None if progress is None else partial(progress, f"reading {label}"),
        )

    return build(tuple(section.train), "text.train"), build(tuple(section.valid), "text.valid")


def student_tokenizer(
    recipe: Recipe,
    corpus: Corpus,
    teachers: dict[str, PreTrainedTokenizerFast],
    source: PreTrainedTokenizerFast | None,
) -> PreTrainedTokenizerFast:
    """The student's tokenizer: of the model it starts from, trained, a teacher's, or from disk or the hub."""
    named = recipe.student.tokenizer
    if source is not None:
        return source
    assert named is not None, "the recipe gives every student built new a tokenizer"
    if named.startswith("teacher:"):
        return teachers[named.removeprefix("teacher:")]  # the recipe has checked the name
    if named.startswith("train:"):
        return _trained_tokenizer(named.removeprefix("train:"), corpus)
    return load_tokenizer(named, what="student.tokenizer")


def _load_source(init: str, teachers: list[Teacher]) -> tuple[MaskedLM, PreTrainedTokenizerFast]:
    """The model that the student starts from: a teacher, or a checkpoint."""
    if init.startswith("teacher:"):  # the recipe has checked the name
        teacher = next(t for t in teachers if t.name == init.removeprefix("teacher:"))
        return teacher.module, teacher.tokenizer.hf
    module, tokenizer, _ = load_masked_lm(init, device="cpu", what="student.init")
    return module, tokenizer


def _trained_tokenizer(spec: str, corpus: Corpus) -> PreTrainedTokenizerFast:
    """Trained once per text and spec, kept in the cache: a resumed run must find the very same pieces."""
    from transformers import AutoTokenizer

    name = f"{spec.replace(':', '-')}-{corpus.fingerprint[:16]}-{TRAINING_VERSION}-{version('tokenizers')}"
    folder = cache_dir() / "tokenizers" / name
    if not folder.exists():
        rows = sample_rows(corpus, TOKENIZER_PASSAGES, salt=1)

        def texts() -> Iterator[str]:
            for start in range(0, len(rows), 4096):
                yield from corpus.texts(rows[start : start + 4096])

        trained = train_tokenizer(spec, texts())
        with atomic_folder(folder) as temporary:
            trained.save_pretrained(temporary)
    return cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(folder))


def assemble(recipe: Recipe, progress: Progress | None = None) -> Assembled:
    """Reads text, loads teachers, trains or loads the student's tokenizer, and aligns.

    Raises:
        UserError: anything in text, teachers or tokenizers that the user can mend.
    """
    train_corpus, valid_corpus = read_text(recipe, progress)
    shared = overlap(train_corpus, valid_corpus)
    if shared:
        log.warning(
            "%d of %d passages of text.valid stand in text.train as well: figures on valid will flatter",
            shared,
            len(valid_corpus),
        )
    teachers: list[Teacher] = []
    for spec in recipe.teachers:
        if progress is not None:
            progress(f"loading teacher {spec.name}", len(teachers), len(recipe.teachers))
        teachers.append(load_teacher(spec, spec.model))
    source, source_tokenizer = None, None
    if recipe.student.init is not None:
        source, source_tokenizer = _load_source(recipe.student.init, teachers)
    chosen = student_tokenizer(
        recipe, train_corpus, {t.name: t.tokenizer.hf for t in teachers}, source_tokenizer
    )
    limit = recipe.student.max_length
    if source is not None:  # a model has no more positions than it was trained with
        limit = min(limit, piece_limit(source.model) or limit, chosen.model_max_length)
    chosen = copy.deepcopy(chosen)  # it may be a teacher's
    chosen.model_max_length = limit
    student = PieceTokenizer.from_hf(chosen, name="the student")
    width = source.width if source is not None else student.vocab_size
    placed = [
        Placed(
            teacher,
            Projection.build(
                teacher.tokenizer, student, teacher_width=teacher.module.width, student_width=width
            ),
            spec.prior,
        )
        for teacher, spec in zip(teachers, recipe.teachers, strict=True)
    ]

    def align(corpus: Corpus, label: str) -> Prepared:
        return prepare(
            corpus,
            student,
            [p.teacher.tokenizer for p in placed],
            [p.projection.gold_map for p in placed],
            cache=cache_dir() / "prepared",
            workers=recipe.text.workers,
            progress=None if progress is None else partial(progress, f"aligning {label}"),
        )

    train, valid = align(train_corpus, "text.train"), align(valid_corpus, "text.valid")
    if train.cut_passages:
        log.warning(
            "%d passages of text.train are longer than student.max_length = %d and lose %d words",
            train.cut_passages,
            limit,
            train.cut_words,
        )
    # Set aside whether or not it is used, so that students with and without teachers see the same text.
    aside = sample_rows(train_corpus, min(CALIBRATION_PASSAGES, len(train_corpus) // 20), salt=2)
    rows = np.setdiff1d(np.arange(len(train_corpus)), aside)
    return Assembled(
        recipe=recipe,
        train_corpus=train_corpus,
        valid_corpus=valid_corpus,
        student_tokenizer=student,
        source=source,
        placed=placed,
        train=train,
        valid=valid,
        train_rows=rows,
        calibration_rows=aside,
        valid_rows=sample_rows(valid_corpus, recipe.eval.passages, salt=3),
        overlap=shared,
    )
