"""Building a store: killed at any moment, in shards, twice at once, with more masks: the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.pipeline.store import build
from limbeck.recipe import load_recipe
from limbeck.teachers.store_chunk import Head
from limbeck.teachers.store_files import shard_of
from limbeck.teachers.store_format import Layout
from limbeck.teachers.store_top import likeliest, said, summarise
from tests.many_processes import Starter
from tests.tiny_store import contents, make_home, small_chunks

HERE = Path(__file__).parent
CHILD = os.environ | {
    "PYTHONPATH": os.pathsep.join((str(HERE.parent / "src"), str(HERE.parent))),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    make_home(folder)
    return folder


@pytest.fixture
def chunks() -> Iterator[None]:
    with small_chunks():
        yield


def test_killed_or_in_shards_a_store_ends_with_the_same_bytes(home: Path) -> None:
    command = [sys.executable, str(HERE / "tiny_store.py"), "kill", str(home), "5"]
    ended = subprocess.run(command, capture_output=True, text=True, env=CHILD, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["interrupted"] >= 3, "it was never killed while it worked"
    assert max(report["lost"]) <= 1, "more than one finished chunk was lost"
    whole, killed, shards = (contents(home / name) for name in ("whole", "killed", "shards"))
    assert len([name for name in whole if "/chunks/" in name]) == 10, "two variants, five chunks"
    for other in (killed, shards):
        assert whole.keys() == other.keys(), "nothing half written is left"
        assert [name for name in whole if whole[name] != other[name]] == []


def test_processes_together_build_the_bytes_of_one_and_go_on_after_a_death(
    home: Path, chunks: None, many: Starter, tmp_path: Path
) -> None:
    recipe = home / "recipe.toml"
    build(load_recipe(recipe, [f"distill.store={tmp_path / 'one'}"]))
    done = many.run(recipe, tmp_path / "two", "0", job="store")
    assert done.codes == [0, 0], done.err
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    died = many.run(recipe, tmp_path / "died", "1", job="store")
    assert died.codes == [1, -9], died.err
    assert len(died.lines) == 1
    assert "process 1" in died.lines[0]
    there = contents(tmp_path / "died")
    assert 0 < len([name for name in there if "/chunks/" in name]) < 10
    assert many.run(recipe, tmp_path / "died", "0", job="store", world=3).codes == [0, 0, 0]
    assert contents(tmp_path / "died") == contents(tmp_path / "one")


def test_a_second_worker_on_the_same_chunks_is_refused(home: Path, chunks: None) -> None:
    command = [sys.executable, str(HERE / "tiny_store.py"), "wait", str(home), "1/2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=CHILD) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "building\n"
            recipe = load_recipe(home / "recipe.toml")
            for shard in ((1, 2), (1, 1), (2, 3)):  # the last one overlaps it as well
                with pytest.raises(UserError, match="another process builds"):
                    build(recipe, teacher="sea", shard=shard)
            with pytest.raises(UserError, match="another process builds it"):
                build(recipe, teacher="sea", rebuild=True)
            (other,) = build(recipe, teacher="sea", shard=(2, 2))["stores"]
            assert (other["chunks"], other["complete"]) == (5, False)
        finally:
            holder.kill()
    (whole,) = build(recipe, teacher="sea")["stores"]
    assert whole["complete"]


def test_more_masks_and_other_text_order_leave_what_is_there(
    home: Path, chunks: None, tmp_path: Path
) -> None:
    def built(store: str, *overrides: str) -> dict[str, bytes]:
        recipe = load_recipe(home / "recipe.toml", [f"distill.store={tmp_path / store}", *overrides])
        build(recipe, teacher="hill")
        return contents(tmp_path / store / "hill" / "chunks")

    one = built("grown", "distill.variants=1")
    two = built("grown")
    assert one.items() < two.items()
    assert len(two) == 2 * len(one)
    assert built("grown", "distill.variants=1") == two, "fewer are no reason to delete any"
    documents = (home / "train.txt").read_text(encoding="utf-8").split("\n\n")
    (home / "turned.txt").write_text("\n\n".join(reversed(documents)), encoding="utf-8")
    assert built("turned", 'text.train=["turned.txt"]') == two, "the order of the text is of no account"


def test_epochs_decide_how_many_masks(home: Path, chunks: None, tmp_path: Path) -> None:
    text = (home / "recipe.toml").read_text().replace("variants = 2\n", "")
    (home / "free.toml").write_text(text)

    def variants(steps: int) -> int:
        overrides = [f"distill.store={tmp_path / str(steps)}", f"train.steps={steps}"]
        (made,) = build(load_recipe(home / "free.toml", overrides), teacher="hill")["stores"]
        return int(made["variants"])

    assert [variants(steps) for steps in (2, 10, 1000)] == [1, 2, 10]


def test_shards_are_shares_of_all_chunks() -> None:
    for count in (0, 1, 7, 40):
        for of in (1, 2, 3, 50):
            parts = [shard_of(count, index, of) for index in range(1, of + 1)]
            assert [i for part in parts for i in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for index, of in ((0, 4), (5, 4), (1, 0)):
        with pytest.raises(UserError, match="there is no such shard"):
            shard_of(8, index, of)


@pytest.mark.parametrize(("width", "k"), [(40, 8), (3000, 8), (3000, 4), (1027, 16), (30, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_likeliest_pieces_and_the_mass_outside(width: int, k: int, dtype: torch.dtype) -> None:
    logits = (torch.randn(50, width) * 3).to(dtype)
    gold, draw = torch.randint(0, width, (50,)), torch.rand(50)
    wide = torch.nn.functional.pad(logits.float(), (0, -width % 64), value=-torch.inf)
    value, ids = likeliest(wide, min(k, width))
    torch.testing.assert_close(value, logits.float().topk(min(k, width), 1).values)
    torch.testing.assert_close(logits.float().gather(1, ids), value)
    layout, temperatures = Layout(k, 2, width), (1.0, 1.3)
    assert layout.likeliest + layout.drawn == k - 1
    parts = [
        summarise(logits[p], gold[p], draw[p], layout, temperatures) for p in (slice(20), slice(20, None))
    ]
    found = said(parts)
    exact = logits.double()
    for row in range(50):
        order = exact[row].argsort(descending=True, stable=True)
        others = [int(i) for i in order if i != gold[row]][: layout.likeliest]
        # as likely, whichever of equal ones
        np.testing.assert_allclose(exact[row][found.ids[row]], exact[row][others])
        kept = [int(gold[row]), *found.ids[row].tolist()]
        assert len(set(kept)) == layout.likeliest + 1
        assert not set(kept) & set(found.drawn[row].tolist())
        top = exact[row, found.ids[row, 0]]
        np.testing.assert_allclose(found.below[row], top - exact[row, found.ids[row]], atol=1e-5)
        assert found.gold[row] == pytest.approx(float(exact[row, gold[row]] - top), abs=1e-5)
        for t, temperature in enumerate(temperatures):
            share = torch.softmax(exact[row] / temperature, 0)
            assert found.tail[row, t] == pytest.approx(float(1 - share[kept].sum()), abs=1e-5)


@pytest.mark.parametrize("width", [50, 700])
def test_the_drawn_pieces_stand_for_the_rest(width: int) -> None:
    """Over all draws each piece gets exactly its mass; in one draw, never further from it than one share."""
    turns, temperature, layout = 4000, 1.5, Layout(12, 1, width)
    logits = (torch.randn(1, width) * 2).expand(turns, -1)
    gold, draw = torch.full((turns,), 3), torch.arange(turns) / turns
    ids, _, _, tail, drawn = summarise(logits, gold, draw, layout, (temperature,))
    share = torch.softmax(logits[0] / temperature, 0)
    share[[3, *ids[0].tolist()]] = 0
    met = torch.zeros(turns, width).scatter_add_(1, drawn, torch.ones(drawn.shape)) / layout.drawn
    torch.testing.assert_close(met.mean(0) * tail[0], share, atol=2e-4, rtol=2e-2)
    apart = (met * tail[0] - share).abs() * layout.drawn / tail[0]
    assert float(apart.max()) < 1.001


def test_the_head_of_a_chunk_counts_its_text(home: Path, chunks: None, tmp_path: Path) -> None:
    recipe = load_recipe(home / "recipe.toml", [f"distill.store={tmp_path}", "distill.variants=1"])
    (made,) = build(recipe, teacher="hill")["stores"]
    heads = [Head.read(path) for path in sorted((tmp_path / "hill" / "chunks").iterdir())]
    assert sum(head.passages for head in heads) == made["passages"]
    assert sum(head.records for head in heads) == made["predictions"]
    assert 0.1 < made["predictions"] / sum(head.pieces for head in heads) < 0.25
