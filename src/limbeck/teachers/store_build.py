"""Runs a teacher over a text, once per mask variant, and writes what it says chunk by chunk (docs/store.md).

A chunk is a pure function of the plan and its place: which process writes it, and when, changes no byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from limbeck.files import atomic_write
from limbeck.teachers.store_chunk import pack
from limbeck.teachers.store_files import Place, Progress
from limbeck.teachers.store_format import Said
from limbeck.teachers.store_header import Plan
from limbeck.teachers.store_top import said, summarise
from limbeck.teachers.teacher import CPU_PART, Teacher
from limbeck.text.batches import Batch, Collator, TeacherBatch
from limbeck.text.mixing import mix64
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare import prepare_texts

log = logging.getLogger("limbeck")

Ints = npt.NDArray[np.int64]
Texts = Callable[[range], list[str]]
"""The texts of passages, by their places in the store (in order of hash)."""


class Shown:
    """A chunk's passages as the teacher is shown them.

    batches: of passages of similar length; rows: per batch int64 [b], the passages' places in the chunk;
    hashes: uint64, of all passages; pieces: of their text, masked or not.
    """

    def __init__(self, texts: Sequence[str], collator: Collator, variant: int, size: int) -> None:
        passages = prepare_texts(texts, collator.student, [], [])
        length = np.array([len(p.student.ids) for p in passages], np.int64)
        order = np.argsort(length, kind="stable")
        self.rows: list[Ints] = [order[i : i + size] for i in range(0, len(order), size)]
        self.batches: list[Batch] = [collator([passages[i] for i in rows], variant) for rows in self.rows]
        self.passages, self.pieces = len(passages), int(length.sum())
        self.hashes = np.array([p.hash for p in passages], np.uint64)


def build_chunks(
    folder: Path,
    plan: Plan,
    teacher: Teacher,
    tokenizer: PieceTokenizer,
    texts: Texts,
    wanted: Sequence[Place],
    progress: Progress | None = None,
) -> None:
    """Writes the wanted chunks, one after the other; each is there as soon as it is done.

    The text of the next chunk is read while the teacher is at work on this one, and this one is written
    while it is at work on the next.

    Args:
        tokenizer: the teacher's, as the store keeps it. texts: of passages by their place in the store.

    Raises:
        UserError: full disk, predictions that are not finite, no memory for a passage.
    """
    collator = Collator(tokenizer, [], seed=plan.masks.seed, rate=plan.masks.rate, student_sees="mask")
    # Which passages go together is decided here and not by what memory allows: it may change the last digits.
    size = CPU_PART if teacher.device.type == "cpu" else teacher.batch

    def show(place: Place) -> Shown:
        return Shown(texts(_passages(plan, place.number)), collator, place.variant, size)

    def write(place: Place, found: Said, rows: Ints, shown: Shown) -> None:
        order = np.argsort(rows, kind="stable")  # into the passages' order; a passage's own stays
        counts = np.bincount(rows, minlength=shown.passages)
        content = pack(found.ordered(order), counts, shown.pieces, plan.layout, plan.key, *place)
        atomic_write(place.path(folder), content)

    total = sum(len(_passages(plan, place.number)) for place in wanted)
    done = 0
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
        following = reading.submit(show, wanted[0]) if wanted else None
        last: Future[None] | None = None
        for number, place in enumerate(wanted, 1):
            assert following is not None
            shown = following.result()
            following = reading.submit(show, wanted[number]) if number < len(wanted) else None

            def tell(passages: int, before: int = done, last: Future[None] | None = last) -> None:
                if last is not None:
                    last.result()  # never more than one chunk that is done and not on disk
                if progress is not None:
                    progress(f"storing {teacher.name}", before + passages, total)

            found, rows = _predict(teacher, plan, shown, place.variant, tell)
            done += shown.passages
            last = writing.submit(write, place, found, rows, shown)
        if last is not None:
            last.result()


def _passages(plan: Plan, number: int) -> range:
    """The places of a chunk's passages."""
    return range(number * plan.chunk, min((number + 1) * plan.chunk, plan.passages))


def _predict(
    teacher: Teacher, plan: Plan, shown: Shown, variant: int, tell: Callable[[int], None]
) -> tuple[Said, Ints]:
    """What the teacher says of every masked piece of a chunk, and each one's passage, int64 [N]."""
    parts: list[tuple[torch.Tensor, ...]] = []
    rows: list[Ints] = []
    done = 0
    for batch, row in zip(shown.batches, shown.rows, strict=True):
        everything = torch.arange(batch.count)
        given = TeacherBatch(batch.input_ids, batch.attention_mask, batch.position, everything)
        gold = batch.gold.to(teacher.device)
        draw = _draws(shown.hashes[row], batch.passage.numpy(), plan.masks.seed, variant).to(teacher.device)
        for place, logits in teacher.parts(given):
            parts.append(summarise(logits, gold[place], draw[place], plan.layout, plan.temperatures))
            rows.append(row[batch.passage[place.cpu()].numpy()])
        done += len(row)
        tell(done)
    if not parts:
        return Said.none(plan.layout), np.zeros(0, np.int64)
    found = said(parts)
    if not np.isfinite(found.tail).all():
        raise teacher.not_finite()
    return found, np.concatenate(rows)


def _draws(hashes: npt.NDArray[np.uint64], passage: Ints, seed: int, variant: int) -> torch.Tensor:
    """A number from 0 up to 1 per masked piece, float32 [S]: a pure function of masks, passage and place.

    passage: int64 [S], ascending rows of `hashes`.
    """
    place = np.arange(len(passage)) - np.searchsorted(passage, passage)
    key = mix64(hashes ^ mix64(mix64(np.uint64(seed)) + np.uint64(variant)))[passage]
    number = mix64(key + place.astype(np.uint64)) >> np.uint64(40)
    return torch.from_numpy((number / (1 << 24)).astype(np.float32))
