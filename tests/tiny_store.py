"""Stores so small that one is built in a second; as a program, builds that are killed or stand still."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from limbeck.pipeline import store_header
from limbeck.pipeline.assemble import read_text
from limbeck.pipeline.store import build
from limbeck.recipe import Recipe, load_recipe
from limbeck.text.characters import Characters
from tests.models import make_checkpoint
from tests.tiny_recipes import write_text, written_recipe

CHUNK = 32  # two batches
PIECES = 320  # of both teachers
TEACHERS = {"sea": ("roberta", "bpe"), "hill": ("bert", "wordpiece")}


@contextlib.contextmanager
def small_chunks(size: int = CHUNK) -> Iterator[None]:
    """Stores have chunks of so many passages, or a tiny text would have one."""
    with patch.object(store_header, "chunk_size", lambda passages: size):
        yield


def make_home(folder: Path, **changes: dict[str, Any]) -> Path:
    """Text, two teachers of other tokenizers and a recipe in `folder`; returns the recipe's file."""
    write_text(folder)
    models = {}
    for seed, (name, (family, tokenizer)) in enumerate(TEACHERS.items(), 1):
        models[name] = make_checkpoint(
            family, folder / name, tokenizer=tokenizer, seed=seed, vocabulary=PIECES
        )
    distill = {"kept": 8, "variants": 2} | changes.pop("distill", {})
    return written_recipe(folder, models, distill=distill, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _child(recipe: Recipe, shard: tuple[int, int], tell: Callable[[str, int, int], None]) -> int:
    """Builds in a process of its own; only forked, so this one must not compute anything with torch."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with small_chunks():
            build(recipe, teacher="hill", shard=shard, progress=tell)
        code = 0
    finally:
        os._exit(code)


def chunks_on_disk(store: Path) -> int:
    """Whole ones: what a killed process had half written has a name with a dot before it."""
    return len([path for path in store.rglob("chunks/*-*") if not path.name.startswith(".")])


def kill_and_go_on(folder: Path, moments: int) -> None:
    """Stores: `whole`; `killed`, which dies at so many moments; `shards`, built by three at once."""
    # What every child would import and work out for itself
    import transformers.models.bert.modeling_bert  # noqa: F401

    read_text(load_recipe(folder / "recipe.toml"))
    warm = Characters(["a"])
    assert len(warm.mark) + len(warm.next_visible) == 4
    path = folder / "recipe.toml"
    recipes = {
        name: load_recipe(path, [f"distill.store={folder / name}"]) for name in ("whole", "killed", "shards")
    }

    def silent(*_: object) -> None:
        pass

    assert os.waitpid(_child(recipes["whole"], (1, 1), silent), 0)[1] == 0
    shards = [_child(recipes["shards"], (i, 3), silent) for i in (1, 2, 3)]
    assert [os.waitpid(process, 0)[1] for process in shards] == [0, 0, 0]
    draw = random.Random(time.time_ns())  # other moments each time: the result must not depend on them
    lost, interrupted = [], 0
    for _ in range(moments):
        reader, writer = os.pipe()

        def beats(what: str, done: int, total: int, writer: int = writer) -> None:
            if what.startswith("storing"):
                time.sleep(0.003)
                os.write(writer, struct.pack("<I", done))

        before = chunks_on_disk(folder / "killed")
        process = _child(recipes["killed"], (1, 1), beats)
        os.close(writer)
        done = 0
        for _ in range(draw.randint(1, 5)):
            beat = os.read(reader, 4)
            done = struct.unpack("<I", beat)[0] if beat else done  # no beat: it has ended
        time.sleep(draw.uniform(0, 0.01))
        os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        os.close(reader)
        interrupted += status == signal.SIGKILL
        lost.append(done // CHUNK - (chunks_on_disk(folder / "killed") - before))
    assert os.waitpid(_child(recipes["killed"], (1, 1), silent), 0)[1] == 0
    print(json.dumps({"interrupted": interrupted, "lost": lost}))


def stand_still(folder: Path, shard: tuple[int, int]) -> None:
    """Begins to build and waits there for ever, its locks held."""

    def wait(what: str, done: int, total: int) -> None:
        if what.startswith("storing"):
            print("building", flush=True)
            time.sleep(600)

    with small_chunks():
        build(load_recipe(folder / "recipe.toml"), shard=shard, progress=wait)


if __name__ == "__main__":
    job, place, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if job == "kill":
        kill_and_go_on(place, int(number))
    else:
        first, of = map(int, number.split("/"))
        stand_still(place, (first, of))
