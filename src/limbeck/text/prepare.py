"""A corpus, encoded for the student and aligned with every teacher: done once, kept as Arrow.

Written in record batches of 4096 passages by worker processes, in order, so that the file does not depend on
the number of workers. The folder is named after a fingerprint of everything that decides its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from limbeck.errors import UserError
from limbeck.files import atomic_folder
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare_block import Ints, Job, encode_block
from limbeck.text.prepared import ROWS, Array, Prepared, PreparedPassage, Side, TeacherSide
from limbeck.text.words import WORD_RULE_VERSION, passage_hash, word_spans

__all__ = ["Prepared", "PreparedPassage", "Side", "TeacherSide", "prepare", "prepare_texts"]

FORMAT_VERSION = 2
Progress = Callable[[int, int], None]


class Passages(Protocol):
    """What `prepare` needs of a corpus (`limbeck.text.corpus.Corpus`)."""

    @property
    def fingerprint(self) -> str:
        """Of its passages."""

    @property
    def hashes(self) -> Any:
        """uint64 [N]."""

    @property
    def n_words(self) -> Any:
        """Words per passage, [N]."""

    def __len__(self) -> int:
        """Passages."""

    def texts(self, indices: Any) -> list[str]:
        """The passages of these indices."""


def prepare(
    corpus: Passages,
    student: PieceTokenizer,
    teachers: Sequence[PieceTokenizer],
    gold_maps: Sequence[Ints],
    *,
    cache: Path,
    workers: int | None,
    progress: Progress | None = None,
) -> Prepared:
    """Encode and align `corpus`, or open what an earlier call left in `cache`.

    Args:
        gold_maps: per teacher int64 [3, V_t], `Projection.gold_map`. workers: processes; None for one per
            core. A corpus of one record batch is done in this process. progress: called with (passages done,
            passages).
    Raises: UserError if the cached folder is damaged or a worker process dies.
    """
    job = Job(student, tuple(teachers), tuple(np.ascontiguousarray(m, np.int64) for m in gold_maps))
    assert len(job.teachers) == len(job.gold_maps)
    fingerprint = _fingerprint(corpus, job)
    folder = cache / f"prepared-{fingerprint[:20]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as temporary:
            _write(temporary, corpus, job, fingerprint, workers, progress)
    return Prepared(folder, fingerprint)


def prepare_texts(
    texts: Sequence[str],
    student: PieceTokenizer,
    teachers: Sequence[PieceTokenizer],
    gold_maps: Sequence[Ints],
) -> list[PreparedPassage]:
    """These passages in memory, as `prepare` keeps a corpus on disk: for text that is made on the way."""
    arrays = encode_block(Job(student, tuple(teachers), tuple(gold_maps)), list(texts))
    offsets = [arrays["offsets"], *(arrays[f"offsets{t}"] for t in range(len(teachers)))]
    found = []
    for row, text in enumerate(texts):
        here, *there = (slice(*of[row : row + 2]) for of in offsets)
        sides = [
            TeacherSide(
                arrays[f"ids{t}"][part],
                arrays[f"first{t}"][part],
                arrays[f"last{t}"][part],
                arrays[f"map{t}"][here],
            )
            for t, part in enumerate(there)
        ]
        side = Side(*(arrays[name][here] for name in ("ids", "first", "last", "kind")))
        found.append(PreparedPassage(passage_hash(text), len(word_spans(text)), side, tuple(sides)))
    return found


def _fingerprint(corpus: Passages, job: Job) -> str:
    digest = hashlib.sha256(
        f"{FORMAT_VERSION} {WORD_RULE_VERSION} {corpus.fingerprint} {job.student.fingerprint}".encode()
    )
    for tokenizer, gold_map in zip(job.teachers, job.gold_maps, strict=True):
        digest.update(f" {tokenizer.fingerprint} {gold_map.shape}".encode())
        digest.update(gold_map.tobytes())
    return digest.hexdigest()


def _write(
    folder: Path,
    corpus: Passages,
    job: Job,
    fingerprint: str,
    workers: int | None,
    progress: Progress | None,
) -> None:
    import pyarrow as pa

    schema = pa.schema(_columns(job))
    cut_passages = cut_words = 0
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for number, arrays in enumerate(_blocks(corpus, job, workers)):
            rows = slice(number * ROWS, min((number + 1) * ROWS, len(corpus)))
            arrays["hash"] = np.asarray(corpus.hashes[rows], np.uint64)
            arrays["words"] = np.asarray(corpus.n_words[rows], np.uint16)
            cut_passages += int((arrays["lost"] > 0).sum())
            cut_words += int(arrays["lost"].sum())
            columns = [_arrow(field, arrays) for field in schema]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            if progress:
                progress(rows.stop, len(corpus))
    meta = {
        "fingerprint": fingerprint,
        "passages": len(corpus),
        "teachers": len(job.teachers),
        "format": FORMAT_VERSION,
        "cut_passages": cut_passages,
        "cut_words": cut_words,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _columns(job: Job) -> list[Any]:
    """The Arrow fields, in the order `Prepared` reads them."""
    import pyarrow as pa

    def ids(tokenizer: PieceTokenizer) -> Any:
        return pa.list_(pa.uint16() if tokenizer.vocab_size <= 65536 else pa.uint32())

    word = pa.list_(pa.uint16())
    fields = [("hash", pa.uint64()), ("words", pa.uint16())]
    fields += [("ids", ids(job.student)), ("first", word), ("last", word), ("kind", pa.list_(pa.uint8()))]
    for t, teacher in enumerate(job.teachers):
        fields += [
            (f"ids{t}", ids(teacher)),
            (f"first{t}", word),
            (f"last{t}", word),
            (f"map{t}", pa.list_(pa.int16())),
        ]
    return [pa.field(name, kind, nullable=False) for name, kind in fields]


def _arrow(field: Any, arrays: dict[str, Array]) -> Any:
    """One column; list columns take the offsets of the side they belong to (a map that of the student)."""
    import pyarrow as pa

    values = arrays[field.name]
    if not pa.types.is_list(field.type):
        return pa.array(values, field.type)
    number = "" if field.name.startswith("map") else field.name.lstrip("abcdefghijklmnopqrstuvwxyz")
    flat = pa.array(np.ascontiguousarray(values, field.type.value_type.to_pandas_dtype()))
    return pa.ListArray.from_arrays(
        pa.array(arrays[f"offsets{number}"].astype(np.int32)), flat, type=field.type
    )


def _blocks(corpus: Passages, job: Job, workers: int | None) -> Iterator[dict[str, Array]]:
    """The arrays of each record batch, in order."""
    starts = range(0, len(corpus), ROWS)

    def texts(start: int) -> list[str]:
        return corpus.texts(range(start, min(start + ROWS, len(corpus))))

    processes = min(workers or _cores(), len(starts))
    if processes <= 1:
        yield from (encode_block(job, texts(start)) for start in starts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_worker, initargs=(job,)
    ) as pool:
        running: deque[Future[dict[str, Array]]] = deque()
        try:
            for start in starts:
                part = texts(start)
                with _script_hidden():
                    running.append(pool.submit(_work, part))
                if len(running) > processes + 1:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that prepares text died, of too little memory as a rule; set text.workers = 1"
            ) from error
        finally:
            for future in running:
                future.cancel()


@contextlib.contextmanager
def _script_hidden() -> Iterator[None]:
    """Keeps new processes from running the user's script again.

    `spawn` does that where the script is not guarded by
    `if __name__ == "__main__":`; they need nothing but Limbeck's own modules.
    """
    main = sys.modules["__main__"]
    hidden = {name: vars(main).get(name) for name in ("__file__", "__spec__")}
    vars(main).update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        vars(main).update(hidden)


def _cores() -> int:
    """Cores this process may use (macOS cannot tell them from those there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_JOB: Job | None = None


def _start_worker(job: Job) -> None:
    """Runs once in each worker process."""
    global _JOB
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _JOB = job


def _end_with_parent() -> None:
    """A killed parent leaves its workers waiting for work for ever, unless they look."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(texts: list[str]) -> dict[str, Array]:
    assert _JOB is not None
    return encode_block(_JOB, texts)
