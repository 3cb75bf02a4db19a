"""The step that is fed from a prediction store: stores of the batches' passages, and what reads them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from rivals_setting import STORE_VARIANTS, STORED, RivalMade
from step_setting import SAME
from step_variants import Ours

from limbeck.distill.step import Placed
from limbeck.distill.stored import StoredStep
from limbeck.teachers.store import Store, StoredTeacher
from limbeck.teachers.store_build import build_chunks
from limbeck.teachers.store_files import passages_content, places, text_digest
from limbeck.teachers.store_header import PASSAGES, Header, Masks, Plan, chunk_size
from limbeck.text.batches import Collator
from limbeck.training.engine import Autocast


class StoreFed(Ours):
    """Limbeck's step with two teachers of whom every prediction is read; no teacher is in memory."""

    def __init__(self, made: RivalMade, precision: str) -> None:
        super().__init__(made, precision)
        if self.dtype is not None:
            self.forward = Autocast(self.student, made.device, self.dtype)
        self.which = STORED
        shelf = _shelf(made)
        self.placed = [
            Placed(StoredTeacher(f"t{t}", Store(folder), calibrated=False), made.projections[t], 1.0)
            for t, folder in zip(SAME, shelf, strict=True)
        ]
        self.step = StoredStep(self.placed, made.distill, made.vocabulary)
        made.stored = Collator(
            made.student_tokenizer,
            [made.teacher_tokenizers[t] for t in SAME],
            seed=made.setting.seed,
            rate=made.distill.mask,
            student_sees="mask",
            stored=[placed.teacher for placed in self.placed],
        )


def _shelf(made: RivalMade) -> list[Path]:
    """The stores of both teachers' predictions (in bf16), built when first asked for.

    They lie in a folder that goes with the process.
    """
    if made.shelf is None:
        made.shelf = tempfile.TemporaryDirectory(prefix="limbeck-benchmark-")
        for t, placed in zip(SAME, made.placed(SAME, "bf16"), strict=True):
            _build(made, placed, Path(made.shelf.name) / str(t))
        made.forget_teachers()
    return [Path(made.shelf.name) / str(t) for t in SAME]


def _build(made: RivalMade, placed: Placed, folder: Path) -> None:
    """A store of the batches' passages alone."""
    corpus = made.corpus(made.setting.step_text, made.setting.words)
    wanted = np.array([passage.hash for row in made.rows for passage in row], np.uint64)
    rows = np.flatnonzero(np.isin(corpus.hashes, wanted))
    rows = rows[np.argsort(corpus.hashes[rows], kind="stable")]
    hashes, teacher = corpus.hashes[rows], placed.teacher
    plan = Plan(
        model=teacher.name,
        precision=teacher.precision,
        tokenizer=teacher.tokenizer.fingerprint,
        width=teacher.width,
        text=text_digest(hashes),
        passages=len(hashes),
        masks=Masks(made.setting.seed, made.distill.mask),
        k=made.distill.kept,
        chunk=chunk_size(len(hashes)),
    )
    folder.mkdir()
    (folder / PASSAGES).write_bytes(passages_content(hashes))
    limit = teacher.tokenizer.limit
    Header(plan, STORE_VARIANTS, teacher.name, "random weights", teacher.parameters, "", limit).write(folder)

    def texts(part: range) -> list[str]:
        return list(corpus.texts(rows[part.start : part.stop]))

    with torch.no_grad():
        build_chunks(folder, plan, teacher, teacher.tokenizer, texts, places(plan, STORE_VARIANTS))
