"""`limbeck store`: builds, describes and verifies the stores of a recipe's teachers (docs/store.md)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from limbeck.errors import UserError
from limbeck.pipeline.assemble import Progress, read_text
from limbeck.pipeline.store_header import Job, prepare_store
from limbeck.pipeline.stored import WORDS, folder_of, words_file
from limbeck.processes.together import together
from limbeck.recipe import Recipe, TeacherSection
from limbeck.teachers.store import Store
from limbeck.teachers.store_build import build_chunks
from limbeck.teachers.store_chunk import check_head
from limbeck.teachers.store_files import CHUNKS, Fault, Lock, Place, faults, places, shard_of
from limbeck.teachers.store_format import DamagedError
from limbeck.teachers.store_header import HEADER, PASSAGES, TOKENIZER, Plan

log = logging.getLogger("limbeck")

Shard = tuple[int, int]


def build(
    recipe: Recipe,
    *,
    teacher: str | None = None,
    shard: Shard = (1, 1),
    rebuild: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Builds the stores of a recipe's teachers, one after the other, or goes on with them.

    Chunks that are whole are left alone, damaged ones made again. Under torchrun each process has its part.

    Args:
        teacher: only this one's. shard: `(i, n)`, the i-th of n shares of each store's chunks, which the
            processes of a run divide among them. rebuild: a store that was built otherwise is deleted first.

    Returns:
        JSON-ready: `stores`, as `info`.

    Raises:
        UserError: see the parts; no such teacher or shard, another process at work on the same chunks.
    """
    chosen = teachers_of(recipe, teacher)
    shard_of(0, *shard)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    made = []
    with together() as group:
        mine = (shard[0] - 1) * group.world + group.rank + 1, shard[1] * group.world
        train, valid = read_text(recipe, progress)
        for spec in chosen:
            job = Job(recipe, spec, train, valid)
            if rebuild:
                group.from_main(partial(clear, job.folder))
            build_one(job, mine, progress=progress)
            group.meet()
            made.append(describe(job.folder))
            del job  # with its teacher: one is in memory at a time
    return {"stores": made}


def teachers_of(recipe: Recipe, name: str | None) -> Sequence[TeacherSection]:
    """The recipe's teachers, or the one of this name.

    Raises:
        UserError: there is none, or no text to store predictions of.
    """
    if recipe.text is None or not recipe.teachers:
        what = "[text]" if recipe.text is None else "[[teachers]]"
        raise UserError(f"the recipe has no {what}: there is nothing to store")
    if name is None:
        return recipe.teachers
    found = [spec for spec in recipe.teachers if spec.name == name]
    if not found:
        there = ", ".join(spec.name for spec in recipe.teachers)
        raise UserError(f"the recipe has no teacher {name!r}; there are: {there}")
    return found


def build_one(job: Job, shard: Shard, *, progress: Progress | None = None) -> None:
    """One teacher's store, or a shard of it.

    Raises:
        UserError: see `build`.
    """
    folder = job.folder
    with Lock(folder) as lock:
        lock.header()
        header = prepare_store(job, progress)
        every = places(header.plan, header.variants)
        mine = shard_of(len(every), *shard)
        lock.chunks(mine, f"{'it' if shard == (1, 1) else f'shard {shard[0]}/{shard[1]} or a part of it'}")
        lock.release_header()
        wanted = [every[number] for number in mine]
        bad = list(faults(folder, header.plan, wanted, whole=True, progress=progress))
        for line in lines(folder, [fault for fault in bad if fault.what != "missing"]):
            log.warning("%s; made again", line)
        log.info(
            "store %s: %d of %d chunks%s to build",
            folder,
            len(bad),
            len(wanted),
            "" if shard == (1, 1) else f" of shard {shard[0]}/{shard[1]}",
        )
        if bad:
            todo = [fault.place for fault in bad]
            _run(job, folder, header.plan, todo, progress)


def _run(job: Job, folder: Path, plan: Plan, todo: list[Place], progress: Progress | None) -> None:
    def texts(part: range) -> list[str]:
        return job.train.texts(job.rows[part.start : part.stop])

    build_chunks(folder, plan, job.teacher, Store(folder).tokenizer, texts, todo, progress)


def clear(folder: Path) -> None:
    """Empties a store's folder of what is the store's; the header first, so that none takes it for whole.

    Raises:
        UserError: it is being built.
    """
    with Lock(folder) as lock:
        lock.header()
        if not lock.alone():
            raise UserError(f"store {folder}: another process builds it; wait for it")
        for name in (HEADER, PASSAGES, WORDS):
            (folder / name).unlink(missing_ok=True)
        for name in (TOKENIZER, CHUNKS):
            shutil.rmtree(folder / name, ignore_errors=True)


def folders(place: Path | Recipe, teacher: str | None) -> list[Path]:
    """The stores of a recipe, or of a folder: it is one itself, or holds some.

    Raises:
        UserError: there is none.
    """
    if isinstance(place, Recipe):
        return [folder_of(place, spec) for spec in teachers_of(place, teacher)]
    if not place.is_dir():
        raise UserError(f"{place} does not exist; give a recipe or the folder of a store")
    found = (
        [place] if (place / HEADER).exists() else sorted(path.parent for path in place.glob(f"*/{HEADER}"))
    )
    found = [path for path in found if teacher in (None, path.name)]
    if not found:
        which = "" if teacher is None else f" of teacher {teacher!r}"
        raise UserError(f"{place} holds no store{which}; `limbeck store build RECIPE` makes one")
    return found


def info(place: Path | Recipe, teacher: str | None = None) -> dict[str, Any]:
    """JSON-ready: `stores`, of what teacher, text and masks each is, how far it is, and what it takes.

    Raises:
        UserError: no store, or a header that is damaged.
    """
    return {"stores": [describe(folder) for folder in folders(place, teacher)]}


def describe(folder: Path) -> dict[str, Any]:
    """One store's row of `info`. bytes_per_token: of the chunks, per piece of the text and mask variant."""
    store = Store(folder)
    plan, header = store.plan, store.header
    whole, pieces, records, size = 0, 0, 0, 0
    for place in places(plan, header.variants):
        path = place.path(folder)
        try:
            head = check_head(path, plan.layout, plan.key, *place)
        except DamagedError:
            continue
        whole, pieces, records = whole + 1, pieces + head.pieces, records + head.records
        size += head.size(plan.layout)
    return {
        "folder": str(folder),
        "teacher": header.name,
        "model": header.shown,
        "precision": plan.precision,
        "passages": plan.passages,
        "mask": plan.masks.rate,
        "masking_seed": plan.masks.seed,
        "variants": header.variants,
        "kept": plan.k,
        "temperatures": list(plan.temperatures),
        "chunks": whole,
        "chunks_in_all": plan.chunks * header.variants,
        "complete": whole == plan.chunks * header.variants,
        "predictions": records,
        "bytes": size
        + sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.parent.name != CHUNKS),
        "bytes_per_prediction": size / records if records else None,
        "bytes_per_token": size / pieces if pieces else None,
    }


def verify(
    place: Path | Recipe,
    *,
    teacher: str | None = None,
    repair: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Looks at every byte of the stores, and with `repair` makes again what is missing or damaged.

    Returns:
        JSON-ready: `damage`, a line for everything found; `repaired`; `stores`, as `info`.

    Raises:
        UserError: no store there; `repair` without a recipe.
    """
    if repair and not isinstance(place, Recipe):
        raise UserError("--repair runs the teacher again: give the recipe instead of the folder")
    found = folders(place, teacher)
    damage = [line for folder in found for line in damage_of(folder, progress)]
    if damage and repair:
        assert isinstance(place, Recipe)
        build(place, teacher=teacher, progress=progress)
    rows = [describe(folder) for folder in found] if repair or not damage else []
    return {"damage": damage, "repaired": bool(damage and repair), "stores": rows}


def damage_of(folder: Path, progress: Progress | None = None) -> Iterator[str]:
    """A line for everything in a store that is not as it was written."""
    try:
        store = Store(folder)
    except UserError as error:
        yield str(error).split(";")[0]
        return
    parts: tuple[Callable[[], Any], ...] = (
        lambda: store.hashes,
        lambda: store.tokenizer,
        lambda: words_file(store),
    )
    for part in parts:
        try:
            part()
        except UserError as error:
            yield str(error).split(";")[0]
    every = places(store.plan, store.header.variants)
    yield from lines(folder, list(faults(folder, store.plan, every, whole=True, progress=progress)))


def lines(folder: Path, found: Sequence[Fault]) -> Iterator[str]:
    """A line per damaged chunk; neighbours that are missing share one."""
    runs: list[list[Fault]] = []
    for fault in found:
        if runs and fault.what == "missing" and _follows(runs[-1][-1], fault):
            runs[-1].append(fault)
        else:
            runs.append([fault])
    for run in runs:
        first, last = (fault.place.path(folder).name for fault in (run[0], run[-1]))
        several = f"{len(run)} chunks, {first} to {last}, are" if len(run) > 1 else f"chunk {first} is"
        yield f"store {folder}: {several} {run[0].what}"


def _follows(one: Fault, other: Fault) -> bool:
    """Whether both are missing, and neighbours of the same variant."""
    near = one.place.variant == other.place.variant and one.place.number + 1 == other.place.number
    return near and one.what == other.what == "missing"
