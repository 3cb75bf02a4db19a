"""A student taught from the store: the same targets, no teacher loaded, one store for every student."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.distill.mixture import MIXTURES
from limbeck.distill.step import DistillStep
from limbeck.distill.stored import StoredStep, make_step
from limbeck.distill.weighting import DEFAULT_TEMPERATURE
from limbeck.errors import UserError
from limbeck.pipeline import check, run
from limbeck.pipeline.assemble import Assembled, assemble
from limbeck.pipeline.store import build, info
from limbeck.pipeline.train import build as build_student
from limbeck.pipeline.train import prepared_teachers, training_batches
from limbeck.recipe import Recipe, load_recipe
from limbeck.teachers.store_chunk import Chunk, pack
from limbeck.teachers.store_format import Layout, Said, decode
from limbeck.text.batches import Batch
from limbeck.training.interface import StepContext
from tests.tiny_recipes import read_json
from tests.tiny_store import PIECES, make_home, small_chunks

NOW = StepContext(0, 10)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers, and their stores: `store` of 8 pieces, `all` of every piece and for T = 2."""
    folder = tmp_path_factory.mktemp("home")
    path = make_home(folder)
    with small_chunks():
        build(load_recipe(path))
        build(load_recipe(path, EVERY_PIECE))
    return folder


EVERY_PIECE = ["distill.store=all", f"distill.kept={PIECES}", "distill.temperature=2.0"]
"""Overrides for a store that leaves nothing out."""


def recipe(home: Path, *overrides: str) -> Recipe:
    return load_recipe(home / "recipe.toml", overrides)


@pytest.fixture
def no_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a teacher fails."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a teacher was loaded")

    monkeypatch.setattr("limbeck.pipeline.assemble.load_teacher", refuse)


def first_batch(made: Assembled) -> Batch:
    return training_batches(made).micro_batches(0)[0]


LARGE = ("train.batch=120", "train.micro_batch=120")


def wide(ids: torch.Tensor, values: torch.Tensor, vocabulary: int) -> torch.Tensor:
    return torch.zeros(len(ids), vocabulary + 1).scatter(1, ids, values)[:, :-1]


@pytest.mark.parametrize(("k", "width"), [(4, 2000), (16, 2000), (16, 70000), (50, 2000), (40, 40)])
@pytest.mark.parametrize("temperatures", [1, 3])
def test_what_is_written_is_read(k: int, width: int, temperatures: int, tmp_path: Path) -> None:
    counts, layout = np.array([3, 0, 40, 1]), Layout(k, temperatures, width)
    draw, records = np.random.default_rng(k), int(counts.sum())
    logits = (draw.normal(size=(records, width)) * 2).astype(np.float32)
    ids = np.argsort(-logits, axis=1)[:, : layout.likeliest]
    top = np.take_along_axis(logits, ids, 1)
    tail = draw.random((records, temperatures)).astype(np.float32)
    tail[0] = 0.0
    gold = (draw.normal(size=records) * 3).astype(np.float32)
    drawn = draw.integers(0, width, (records, layout.drawn))
    said = Said(ids, top[:, :1] - top, gold, tail, drawn)
    path, key = tmp_path / "chunk", b"a key of 16 byte"
    path.write_bytes(pack(said, counts, 999, layout, key, 2, 7))
    chunk = Chunk(path, layout, key, 2, 7)
    assert (chunk.head.passages, chunk.head.records, chunk.head.pieces) == (4, records, 999)
    order = (2, 0, 3, 1)
    parts = [np.concatenate(some) for some in zip(*(chunk.passage(row) for row in order), strict=True)]
    found = decode(*parts, chunk.table[None], np.zeros(records, np.int64), layout)
    rows = np.concatenate([np.arange(sum(counts[:row]), sum(counts[: row + 1])) for row in order])
    assert np.array_equal(found.others, ids[rows])
    assert np.array_equal(found.drawn, drawn[rows])
    assert np.abs(found.logit[:, 1:] - (top - top[:, :1])[rows]).max() < 0.2
    assert np.abs(found.logit[:, 0] - gold[rows]).max() <= 0.0626
    assert np.abs(found.tail - tail[rows]).max() < 0.013
    assert np.array_equal(found.tail == 0, tail[rows] == 0)


def test_the_errors_of_rounding_do_not_add_up(tmp_path: Path) -> None:
    """The last of many pieces is as near its value as the second."""
    layout = Layout(65, 1, 65)
    value, ids = (torch.randn(300, 3000) * 2.5).topk(layout.likeliest, 1)
    below = (value[:, :1] - value).numpy()
    none, half = np.zeros((300, 0), np.int64), np.full((300, 1), 0.5, np.float32)
    said = Said(ids.numpy() % 65, below, np.zeros(300, np.float32), half, none)
    (tmp_path / "chunk").write_bytes(pack(said, np.array([300]), 1, layout, b"k" * 16, 0, 0))
    chunk = Chunk(tmp_path / "chunk", layout, b"k" * 16, 0, 0)
    found = decode(*chunk.passage(0), chunk.table[None], np.zeros(300, np.int64), layout)
    error = np.abs(-found.logit[:, 1:] - below)
    assert error[:, -10:].mean() < 0.02
    share, kept = (torch.softmax(torch.from_numpy(x), 1) for x in (-below, found.logit[:, 1:]))
    divergence = torch.nn.functional.kl_div(kept.log(), share, reduction="none").sum(1)
    assert float(divergence.mean()) < 4e-4
    assert float(divergence.max()) < 5e-3


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("weighting", list(DEFAULT_TEMPERATURE))
def test_targets_are_those_of_the_teachers_themselves(home: Path, weighting: str, mixture: str) -> None:
    """Every piece kept: weights and targets differ by the rounding alone. T = 2, calibrated."""
    settings = [*LARGE, *EVERY_PIECE, f"distill.weighting={weighting}", f"distill.mixture={mixture}"]
    stored = assemble(recipe(home, *settings, "distill.predictions=store"))
    online = assemble(recipe(home, *settings, "distill.predictions=online"))
    assert stored.from_store
    for one, other in zip(stored.placed, online.placed, strict=True):
        other.teacher.temperature = one.teacher.temperature
        assert one.teacher.temperature != 1.0
    batches = first_batch(stored), first_batch(online)
    assert torch.equal(batches[0].gold, batches[1].gold)
    for kept, asked in zip(batches[0].stored, batches[1].teachers, strict=True):
        assert torch.equal(kept.slot, asked.slot)
    vocabulary = online.placed[0].projection.student_width
    step = StoredStep(stored.placed, stored.recipe.distill, vocabulary)
    found, exact = (
        step.targets(batches[0]),
        DistillStep(online.placed, online.recipe.distill, vocabulary).targets(batches[1]),
    )
    assert torch.equal(found.covered, exact.covered)
    covered = exact.covered.any(0)
    assert covered.sum() > 10
    torch.testing.assert_close(found.weights, exact.weights, atol=0.05, rtol=0.05)
    target = wide(found.ids, found.target, vocabulary)[covered]
    wanted = exact.mixture.targets(covered.nonzero()[:, 0])
    divergence = torch.xlogy(wanted, wanted / target.clamp_min(1e-30)).sum(1)
    assert float(divergence.mean()) < 2e-3
    assert float(found.tail.max()) == 0, "nothing is left out"


def test_few_pieces_and_a_tail_say_the_same_of_them(home: Path) -> None:
    """Each stored piece has the mass it has online, to rounding, and the tail is the rest."""
    stored, online = (assemble(recipe(home, *LARGE, f"distill.predictions={p}")) for p in ("store", "online"))
    for one, other in zip(stored.placed, online.placed, strict=True):
        other.teacher.temperature = one.teacher.temperature
    vocabulary = online.placed[0].projection.student_width
    sparse = StoredStep(stored.placed, stored.recipe.distill, vocabulary).predict(first_batch(stored)).at_one
    dense = DistillStep(online.placed, online.recipe.distill, vocabulary).predict(first_batch(online)).at_one
    for few, all_ in zip(sparse, dense, strict=True):
        exact = torch.nn.functional.pad(all_.mass, (0, 1)).gather(1, few.ids)
        assert len(few.slot) > 10
        assert float((few.mass - exact).abs().max()) < 0.05
        torch.testing.assert_close(few.expressible + few.inexpressible, torch.ones(len(few.slot)))
        assert bool((few.tail > 0.05).any())


def test_training_goes_as_with_the_teachers_themselves(home: Path) -> None:
    losses = {}
    for predictions in ("store", "online"):
        made = assemble(recipe(home, *EVERY_PIECE, "distill.kd=1.0", f"distill.predictions={predictions}"))
        prepared_teachers(made, None, None)
        module, source = build_student(made), training_batches(made)
        step = make_step(made.placed, made.recipe.distill, module.width)
        # At a higher rate steps blow up what rounding leaves between the two, now and then beyond any bound.
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
        losses[predictions] = []
        for number in range(15):  # more than an epoch: the second mask variant as well
            for batch in source.micro_batches(number):
                loss, count, metrics = step(module, batch, NOW)
                (loss / count).backward()
            optimiser.step()
            optimiser.zero_grad()
            losses[predictions].append(float(loss.detach()) / count)
            assert {"ce", "kd", "weight/sea", "coverage/hill", "heaviest/sea"} <= metrics.keys()
    np.testing.assert_allclose(losses["store"], losses["online"], rtol=1e-3)
    assert losses["online"][-1] < losses["online"][0]


def test_one_store_serves_every_student(home: Path, no_teachers: None, tmp_path: Path) -> None:
    """Other weightings, mixtures, tokenizers, sizes, seeds, priors and kinds of start."""
    students = [
        ["distill.weighting=evidence", "distill.mixture=geometric", "student.tokenizer=train:bpe:350"],
        ["distill.weighting=gold", "student.tokenizer=teacher:sea", "student.hidden=16", "seed=77",
         "distill.masking_seed=3", "teachers.hill.prior=3.0"],
        ["student.tokenizer=train:unigram:320", "student.family=bert", "distill.kd=0.5",
         "distill.kd_final=1.0", "student.max_length=20", "train.batch=7", "train.micro_batch=7",
         "distill.student_sees=bert"],
    ]  # fmt: skip
    for number, changes in enumerate(students):
        results = run(recipe(home, *changes, "distill.predictions=store"), tmp_path / str(number))
        assert results["predictions"] == "store"
        assert np.isfinite(results["valid"]["nats"])
        assert [row["name"] for row in results["teachers"]] == ["sea", "hill"]
        assert all(row["coverage"] > 0 and row["nats"] > 0 for row in results["teachers"])
        assert [model["name"] for model in results["words"]["models"]] == ["student", "sea", "hill"]
        assert len(results["words"]["differences"]) == 2


def test_results_are_those_of_the_teachers_themselves(home: Path, tmp_path: Path) -> None:
    """Teachers' table and words come from the store, with nothing lost and the same figures."""
    stored = run(recipe(home, "distill.predictions=store"), tmp_path / "stored")
    online = run(recipe(home, "distill.predictions=online"), tmp_path / "online")
    assert stored["teachers"] == online["teachers"]
    assert stored["words"]["models"][1:] == online["words"]["models"][1:]
    assert stored["words"]["counts"] == online["words"]["counts"]
    assert stored.keys() == online.keys()
    assert not list((tmp_path / "stored").glob("*.npz"))


def test_figures_of_other_text_are_not_passed_off_as_this_one_s(home: Path, tmp_path: Path) -> None:
    (home / "other.txt").write_text("\n\n".join((home / "valid.txt").read_text().split("\n\n")[::2]))
    results = run(recipe(home, 'text.valid=["other.txt"]', "distill.predictions=store"), tmp_path / "run")
    assert [row["nats"] for row in results["teachers"]] == [None, None]
    assert [model["name"] for model in results["words"]["models"]] == ["student"]
    assert sum("is not compared" in note for note in results["words"]["notes"]) == 2


def test_auto_takes_a_whole_store_and_nothing_less(
    home: Path, tmp_path: Path, no_teachers: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="limbeck"):
        assert check(recipe(home))["predictions"] == "store"
    assert "no teacher is loaded" in caplog.text
    with pytest.raises(AssertionError, match="a teacher was loaded"):
        assemble(recipe(home, f"distill.store={tmp_path / 'none'}"))
    caplog.clear()
    with (
        caplog.at_level("INFO", logger="limbeck"),
        pytest.raises(AssertionError, match="a teacher was loaded"),
    ):
        assemble(recipe(home, "distill.kept=9"))
    assert "predictions are computed in every step: " in caplog.text
    assert "keeps 8 pieces of a prediction, but distill.kept is 9" in caplog.text
    with pytest.raises(AssertionError, match="a teacher was loaded"):
        assemble(recipe(home, "distill.predictions=online"))


def test_a_product_of_the_few_pieces_of_a_store_is_warned_of(
    home: Path, no_teachers: None, caplog: pytest.LogCaptureFixture
) -> None:
    check(recipe(home))
    check(recipe(home, *EVERY_PIECE, "distill.mixture=geometric"))
    assert "geometric" not in caplog.text
    check(recipe(home, "distill.mixture=geometric"))
    assert 'take distill.predictions = "online", or an arithmetic mixture' in caplog.text


def test_a_store_outlives_its_teachers(home: Path, tmp_path: Path, no_teachers: None) -> None:
    shutil.copytree(home / "store", tmp_path / "store")
    for name in ("train.txt", "valid.txt"):
        shutil.copy(home / name, tmp_path / name)
    text = (home / "recipe.toml").read_text().replace(str(home), "gone/for/good")
    (tmp_path / "recipe.toml").write_text(text)
    results = run(load_recipe(tmp_path / "recipe.toml"), tmp_path / "run")
    assert results["predictions"] == "store"
    assert info(tmp_path / "store")["stores"][0]["complete"]


def test_a_run_from_the_store_resumes_with_that_store_alone(home: Path, tmp_path: Path) -> None:
    made = recipe(home, "train.steps=4", "distill.predictions=store")
    whole = run(made, tmp_path / "whole")
    assert run(made, tmp_path / "whole") == whole, "finished"
    fields = read_json(tmp_path / "whole" / "affecting.json")
    assert fields["distill.variants (used)"] == 2
    assert len(fields["teachers.sea.store (contents)"]) == 32
    with pytest.raises(UserError, match=r"teachers.sea.store \(contents\)"):
        run(recipe(home, "train.steps=4", "distill.predictions=online"), tmp_path / "whole")


def test_mask_variants_come_round_again(home: Path, no_teachers: None) -> None:
    made = assemble(recipe(home, "train.batch=8", "train.micro_batch=8"))  # 152 passages: none left out
    source = training_batches(made)
    epoch = source.steps_per_epoch
    seen = []
    for number in (0, 1, 2, 3):
        batches = [b for step in range(epoch) for b in source.micro_batches(number * epoch + step)]
        seen.append(sorted(int(x) for b in batches for x in b.gold))
    assert seen[0] == seen[2]
    assert seen[1] == seen[3]
    assert seen[0] != seen[1]


def test_online_masks_come_round_as_well_where_asked(home: Path, checkpoint: Callable[..., Path]) -> None:
    made = assemble(recipe(home, "distill.predictions=online"))
    assert made.variants == 2
    assert not made.from_store
