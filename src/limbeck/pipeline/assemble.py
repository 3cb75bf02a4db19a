"""From a recipe to everything a training needs: text, tokenizers, teachers, projections, calibration."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from limbeck.distill.step import Placed
from limbeck.files import atomic_folder, cache_dir
from limbeck.pipeline.stored import open_stores
from limbeck.processes.group import current
from limbeck.recipe import Recipe
from limbeck.teachers.families import piece_limit
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm, load_tokenizer
from limbeck.teachers.projection import Projection
from limbeck.teachers.store import StoredTeacher
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
    variants: int | None = None
    """Mask variants of the training text, used in turn; None: a new one every epoch."""

    @property
    def from_store(self) -> bool:
        """Whether the teachers' predictions are read from a store, and no teacher is loaded."""
        return any(isinstance(placed.teacher, StoredTeacher) for placed in self.placed)


def sample_rows(corpus: Corpus, count: int, salt: int) -> Rows:
    """Rows of `count` passages (all if fewer), ascending; chosen by hash, whatever the order of the text."""
    order = np.argsort(mix64(corpus.hashes ^ mix64(np.uint64(salt))), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def training_rows(corpus: Corpus) -> tuple[Rows, Rows]:
    """The passages students train on, and those set aside to fit the teachers' temperatures on.

    Set aside whether or not they are used, so that students with and without teachers see the same text.
    """
    aside = sample_rows(corpus, min(CALIBRATION_PASSAGES, len(corpus) // 20), salt=2)
    return np.setdiff1d(np.arange(len(corpus)), aside), aside


def read_text(recipe: Recipe, progress: Progress | None = None) -> tuple[Corpus, Corpus]:
    """The training and the validation passages, prepared once per fingerprint.

    Raises:
        UserError: missing, empty, binary or broken text (see text/corpus.py).
    """
    section = recipe.text
    assert section is not None, "check_place refuses a recipe without text"

    def build(patterns: tuple[str, ...], label: str) -> str:
        made = build_corpus(
            patterns,
            base=Path.cwd(),
            words=section.words,
            min_words=section.min_words,
            on_error=section.on_error,
            cache=cache_dir() / "text",
            label=label,
            progress=None if progress is None else partial(progress, f"reading {label}"),
        )
        return str(made.folder)

    def read(patterns: tuple[str, ...], label: str) -> Corpus:
        return Corpus(Path(current().once_per_cache(lambda: build(patterns, label))))

    return read(tuple(section.train), "text.train"), read(tuple(section.valid), "text.valid")


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


def _load_teachers(recipe: Recipe, progress: Progress | None) -> list[Teacher]:
    teachers: list[Teacher] = []
    for spec in recipe.teachers:
        if progress is not None:
            progress(f"loading teacher {spec.name}", len(teachers), len(recipe.teachers))
        teachers.append(load_teacher(spec, spec.model))
    return teachers


def _load_source(
    recipe: Recipe, teachers: Sequence[Teacher | StoredTeacher]
) -> tuple[MaskedLM, PreTrainedTokenizerFast]:
    """The model that the student starts from: a teacher, or a checkpoint."""
    init, what = recipe.student.init, "student.init"
    assert init is not None
    if init.startswith("teacher:"):  # the recipe has checked the name
        name = init.removeprefix("teacher:")
        teacher = next(t for t in teachers if t.name == name)
        if isinstance(teacher, Teacher):
            return teacher.module, teacher.tokenizer.hf
        init, what = next(spec.model for spec in recipe.teachers if spec.name == name), f"teacher {name!r}"
    module, tokenizer, _ = load_masked_lm(init, device="cpu", what=what)
    return module, tokenizer


def _trained_tokenizer(spec: str, corpus: Corpus) -> PreTrainedTokenizerFast:
    """Trained once per text and spec, kept in the cache: a resumed run must find the very same pieces.

    Training it again may find others (it walks hash maps), so that of several machines one trains it for all.
    """
    from transformers import AutoTokenizer

    name = f"{spec.replace(':', '-')}-{corpus.fingerprint[:16]}-{TRAINING_VERSION}-{version('tokenizers')}"
    folder = cache_dir() / "tokenizers" / name

    def made() -> dict[str, str]:
        if not folder.exists():
            train()
        return _files(folder)

    def train() -> None:
        rows = sample_rows(corpus, TOKENIZER_PASSAGES, salt=1)

        def texts() -> Iterator[str]:
            for start in range(0, len(rows), 4096):
                yield from corpus.texts(rows[start : start + 4096])

        trained = train_tokenizer(spec, texts())
        with atomic_folder(folder) as temporary:
            trained.save_pretrained(temporary)

    files = current().from_main(made)
    place = current().once_per_cache(lambda: str(_with_files(folder, files)))
    return cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(place))


def _files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def _with_files(folder: Path, files: dict[str, str]) -> Path:
    """The folder, made if it is not there; where it holds other files, one beside it that has these."""
    if folder.exists() and _files(folder) != files:
        digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
        folder = folder.with_name(f"{folder.name}-{digest}")
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            for name, content in files.items():
                (temporary / name).write_text(content, encoding="utf-8")
    return folder


def place(
    recipe: Recipe, teachers: Sequence[Teacher | StoredTeacher], student: PieceTokenizer, width: int
) -> list[Placed]:
    """The recipe's teachers, each with its projection onto the student's `width` logits."""
    return [
        Placed(
            teacher,
            Projection.build(teacher.tokenizer, student, teacher_width=teacher.width, student_width=width),
            spec.prior,
        )
        for teacher, spec in zip(teachers, recipe.teachers, strict=True)
    ]


def assemble(recipe: Recipe, progress: Progress | None = None) -> Assembled:
    """Reads text, loads teachers, trains or loads the student's tokenizer, and aligns.

    Raises:
        UserError: anything in text, teachers or tokenizers that the user can mend.
    """
    train_corpus, valid_corpus = read_text(recipe, progress)
    texts = {"text.train": train_corpus.fingerprint, "text.valid": valid_corpus.fingerprint}
    current().check_same(texts, "text")
    shared = overlap(train_corpus, valid_corpus)
    if shared:
        log.warning(
            "%d of %d passages of text.valid stand in text.train as well: figures on valid will flatter",
            shared,
            len(valid_corpus),
        )
    rows, aside = training_rows(train_corpus)
    stored = open_stores(recipe, train_corpus.hashes[rows])
    teachers = _load_teachers(recipe, progress) if stored is None else stored.teachers
    source, source_tokenizer = None, None
    if recipe.student.init is not None:
        source, source_tokenizer = _load_source(recipe, teachers)
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
    placed = place(recipe, teachers, student, width)

    def align(corpus: Corpus, label: str) -> Prepared:
        opened = partial(
            prepare,
            corpus,
            student,
            [p.teacher.tokenizer for p in placed],
            [p.projection.gold_map for p in placed],
            cache=cache_dir() / "prepared",
            workers=None if recipe.text is None else recipe.text.workers,
            progress=None if progress is None else partial(progress, f"aligning {label}"),
        )
        current().once_per_cache(lambda: opened().fingerprint)
        return opened()

    train, valid = align(train_corpus, "text.train"), align(valid_corpus, "text.valid")
    if train.cut_passages:
        log.warning(
            "%d passages of text.train are longer than student.max_length = %d and lose %d words",
            train.cut_passages,
            limit,
            train.cut_words,
        )
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
        variants=recipe.distill.variants if stored is None else stored.variants,
    )
