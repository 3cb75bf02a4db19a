"""Whole gloss trainings of tiny recipes: every family, objective and layout, resume, heads, refusals."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, XLNetLMHeadModel

from limbeck.distill.step import DistillStep
from limbeck.errors import UserError
from limbeck.gloss.batches import GlossBatches
from limbeck.gloss.model import GlossModel
from limbeck.gloss.step import GlossStep
from limbeck.pipeline import gloss, run
from limbeck.pipeline.gloss import FOLDER, teaching
from limbeck.pipeline.gloss_assemble import GlossAssembled, assemble_gloss
from limbeck.recipe import Recipe, load_recipe, recipe_from, to_toml
from limbeck.training.interface import Best, StepContext
from tests.gloss_models import GLOSS_FAMILIES, family_tokenizer
from tests.models import make_checkpoint
from tests.tiny_gloss import TRAINING_TEXT, gloss_recipe, gloss_tables, world
from tests.tiny_recipes import read_json, tables, write_text
from tests.tiny_training import metrics

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("glosses")
    world(found)
    return found


@pytest.fixture(scope="module")
def bert(checkpoint: Checkpoint) -> Path:
    return checkpoint("bert", texts=TRAINING_TEXT, vocabulary=500, seed=5)


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def trained(folder: Path, init: Path, out: Path, **changes: Any) -> dict[str, Any]:
    results = gloss(gloss_recipe(folder, init, **changes), out)
    assert results == read_json(out / "results.json")
    return results


@pytest.mark.parametrize("family", GLOSS_FAMILIES)
def test_every_family_keeps_its_parameters(family: str, folder: Path, tmp_path: Path) -> None:
    """LMGC-M, loaded again with transformers alone: names, shapes and count of the input; other values."""
    kind = XLNetLMHeadModel if family == "xlnet" else AutoModelForMaskedLM
    init = make_checkpoint(family, tmp_path / "init", tokenizer=family_tokenizer(family), seed=5)
    results = trained(folder, init, tmp_path / "run", batch=4, limit=12)
    assert results["method"] == "LMGC-M"
    before = kind.from_pretrained(init)
    after, info = kind.from_pretrained(tmp_path / "run" / "model", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert shapes(before) == shapes(after)
    assert sum(p.numel() for p in before.parameters()) == sum(p.numel() for p in after.parameters())
    assert any(
        not torch.equal(one, other)
        for one, other in zip(before.parameters(), after.parameters(), strict=True)
    )
    files = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert {"gloss_head.safetensors", "gloss.json", "model.safetensors", "config.json"} <= files
    loaded = GlossModel.load(tmp_path / "run" / "model")
    assert (loaded.settings.objective, loaded.settings.layout) == ("choice", results["settings"]["layout"])


@pytest.mark.parametrize("objective", ["pairs", "choice"])
@pytest.mark.parametrize("layout", ["pairs", "packed"])
@pytest.mark.parametrize("masked", [True, False])
def test_every_way_to_train(
    folder: Path, bert: Path, tmp_path: Path, objective: str, layout: str, masked: bool
) -> None:
    changes = {
        "objective": objective,
        "layout": layout,
        "masked": masked,
        "candidates": "all",
        "marks": "none",
    }
    results = trained(folder, bert, tmp_path / "run", **changes)
    assert results["method"] == ("LMGC-M" if masked else "LMGC")
    assert results["settings"]["monosemous"] == (objective == "pairs" or masked)
    assert (results["train"]["monosemous"] > 0) == results["settings"]["monosemous"]
    assert results["train"]["candidates_per_instance"] > 1
    assert set(results["valid"]["baselines"]) == {"first_sense", "random"}
    assert all(0 < f1 < 1 for f1 in results["valid"]["baselines"].values())
    lines = metrics(tmp_path / "run")
    steps = [line for line in lines if line["kind"] == "train"]
    assert len(steps) == 2
    for line in steps:
        assert ("ce" in line) == masked
        assert line["loss"] > line["gloss"] > 0 if masked else line["loss"] == pytest.approx(line["gloss"])
        assert 0 <= line["gloss_accuracy"] <= 1
    (valid,) = (line for line in lines if line["kind"] == "valid")
    assert valid["valid_f1"] == results["valid"]["f1"] == results["valid"]["best_f1"]
    assert results["words"] is None  # the recipe has no text
    before, after = results["gloss_words"]["models"]
    assert [before["name"], after["name"]] == ["before", "after"]
    assert before["headline"] != after["headline"]


def test_a_cohesive_training(folder: Path, bert: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    teachers = {
        "words": checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1),
        "bytes": checkpoint("roberta", tokenizer="bpe", texts=TRAINING_TEXT, seed=2),
    }
    recipe = gloss_recipe(folder, bert, teachers, cohesive=True)
    results = gloss(recipe, tmp_path / "run")
    assert results["method"] == "cohesive LMGC-M"
    assert results["student_sees"] == "bert"
    assert [row["name"] for row in results["teachers"]] == ["words", "bytes"]
    assert all(row["temperature"] != 1.0 for row in results["teachers"]), "random weights are too sure"
    lines = [line for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    assert all(line["kd"] > 0 and 0.3 < line["taught"] <= 1 for line in lines)
    # The same recipe again, and with teachers of other temperatures: those found first are kept.
    assert gloss(recipe, tmp_path / "run") == results
    other = gloss_recipe(folder, bert, {**teachers, "bytes": teachers["words"]}, cohesive=True)
    with pytest.raises(UserError, match=r"other settings: teachers.bytes.model \(contents\)"):
        gloss(other, tmp_path / "run")


def gradients(made: GlossAssembled, batches: GlossBatches, ranks: list[GlossBatches]) -> list[torch.Tensor]:
    """Of one step without dropout, summed over micro-batches and ranks and divided as the loop does."""
    torch.manual_seed(1)
    model = GlossModel(made.model, made.encoder, made.settings, masking=made.section.masked, dropout=0.0)
    model.zero_grad()
    step = GlossStep(made.section, candidates=3.0, teaching=teaching(made))
    parts = [batch for source in ranks for batch in source.micro_batches(0)]
    count = sum(batch.count for batch in parts)
    assert count == batches.order.batch
    for batch in parts:
        loss, seen, _ = step(model.train(), batch, StepContext(0, 2))
        assert seen == batch.count
        (loss / count).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("objective", ["pairs", "choice"])
@pytest.mark.parametrize("kind", ["plain", "masked", "cohesive"])
def test_gradients_do_not_depend_on_the_micro_batches(
    folder: Path, bert: Path, checkpoint: Checkpoint, objective: str, kind: str
) -> None:
    """Contract 1: eight instances at once, in small parts, and in two processes."""
    teachers = {"words": checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1)}
    changes = {"objective": objective, "masked": kind != "plain", "cohesive": kind == "cohesive"}
    recipe = gloss_recipe(folder, bert, teachers if kind == "cohesive" else None, **changes)
    made = assemble_gloss(recipe, str(bert))

    def source(tokens: int, rank: int = 0, world: int = 1) -> GlossBatches:
        found = made.batches()
        found.tokens, found.order.rank, found.order.world = tokens, rank, world
        return found

    whole, small = source(100_000), source(70)
    assert len(whole.micro_batches(0)) == 1
    assert len(small.micro_batches(0)) > 3
    expected = gradients(made, whole, [whole])
    for ranks in ([small], [source(100_000, r, 2) for r in (0, 1)]):
        found = gradients(made, whole, ranks)
        for one, other in zip(expected, found, strict=True):
            scale = float(
                one.abs().max()
            )  # relative to the largest of a matrix: float32 sums in other orders
            assert torch.allclose(one, other, atol=1e-5 * scale + 1e-7)


def test_a_small_model_learns_its_instances(folder: Path, bert: Path, tmp_path: Path) -> None:
    """Unmasked, so that nothing but the glosses is learnt: most of the instances by heart."""
    changes = {"masked": False, "steps": 50, "learning_rate": 3e-3, "eval_every": 50, "log_every": 5}
    changes |= {"limit": 8, "valid": ["train.jsonl"], "valid_limit": 60}
    results = trained(folder, bert, tmp_path / "run", dropout=0.0, **changes)
    assert results["valid"]["overlap"] == results["train"]["used"] == 8
    lines = [line for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    assert lines[-1]["gloss"] < 0.3 * lines[0]["gloss"]
    assert lines[-1]["gloss_accuracy"] == 1


def test_the_best_is_of_the_highest_f1() -> None:
    best = Best("valid_f1", higher=True)
    assert best.improves(0.1, None)
    assert best.improves(0.3, 0.2)
    assert not best.improves(0.2, 0.2)
    assert Best("valid_nats").improves(0.1, 0.2)
    assert not Best("valid_nats").improves(0.3, 0.2)


def test_a_finished_run_is_left_alone_and_an_extended_one_goes_on(
    folder: Path, bert: Path, tmp_path: Path
) -> None:
    recipe = gloss_recipe(folder, bert)
    results = gloss(recipe, tmp_path / "run")
    model = tmp_path / "run" / "model" / "model.safetensors"
    before = model.stat().st_mtime_ns
    assert gloss(recipe, tmp_path / "run") == results
    assert model.stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"set gloss.steps back to 2 and add --extend 1"):
        gloss(gloss_recipe(folder, bert, steps=3), tmp_path / "run")
    more = gloss(recipe, tmp_path / "run", extend=2)
    assert more["cost"]["steps"] == 4
    assert "going on after step 2 of 4" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"other settings: gloss.objective"):
        gloss(gloss_recipe(folder, bert, steps=4, objective="pairs"), tmp_path / "run")


def test_epochs_are_counted_in_steps(folder: Path, bert: Path, tmp_path: Path) -> None:
    results = trained(folder, bert, tmp_path / "run", steps=None, epochs=0.5, batch=4)
    assert results["cost"]["steps"] == round(0.5 * (results["train"]["used"] // 4))
    assert results["train"]["epochs"] == pytest.approx(0.5, abs=0.1)
    again = load_recipe(tmp_path / "run" / "recipe.toml")
    assert again.text is None
    assert again.gloss
    assert again.gloss.init == str(bert)
    assert gloss(again) == results


CHILD = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}


def test_stopped_and_started_again_it_ends_with_the_same_bits(
    folder: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract 2: dropout, masks, evaluation and the best model are all as they were."""
    recipe = gloss_recipe(folder, bert, **RESUMED)
    gloss(recipe, tmp_path / "whole")
    whole = GlossBatches.micro_batches

    class StopError(Exception):
        pass

    for last in (4, 7):

        def stops(self: GlossBatches, step: int, last: int = last) -> Any:
            if step == last:
                raise StopError
            return whole(self, step)

        with monkeypatch.context() as patched:
            patched.setattr(GlossBatches, "micro_batches", stops)
            with pytest.raises(StopError):
                gloss(recipe, tmp_path / "killed")
    gloss(recipe, tmp_path / "killed")
    same_bits(tmp_path, resumes=2)


RESUMED: dict[str, Any] = {"steps": 10, "eval_every": 3, "save_every": 1, "dropout": 0.2}


def same_bits(folder: Path, resumes: int) -> None:
    """The runs `whole` and `killed`, the second of which went on so often."""
    log = (folder / "killed" / "log.txt").read_text(encoding="utf-8")
    assert log.count("going on after step") == resumes
    for name in ("model/model.safetensors", "model/gloss_head.safetensors", "best/model.safetensors"):
        assert (folder / "whole" / name).read_bytes() == (folder / "killed" / name).read_bytes(), name
    assert metrics(folder / "whole") == metrics(folder / "killed")


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bits(folder: Path, bert: Path, tmp_path: Path) -> None:
    """Contract 2, with SIGKILL."""
    recipe = gloss_recipe(folder, bert, **RESUMED)
    gloss(recipe, tmp_path / "whole")
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    command = [sys.executable, "-m", "limbeck", "gloss", str(path), "--output", str(tmp_path / "killed")]
    checkpoints = tmp_path / "killed" / "checkpoints"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=CHILD)
    while process.poll() is None and not (checkpoints / "step-00000005").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before"
    gloss(recipe, tmp_path / "killed")
    same_bits(tmp_path, resumes=1)


@pytest.fixture(scope="module")
def headless(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder alone, with a pooler, as a sentence encoder is saved."""
    target = tmp_path_factory.mktemp("headless")
    AutoModel.from_pretrained(bert).save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert / name, target / name)
    return target


def test_a_headless_encoder_runs_lmgc(folder: Path, headless: Path, tmp_path: Path) -> None:
    results = trained(folder, headless, tmp_path / "run", masked=False)
    assert results["words"] is None
    assert not results["model"]["masked_lm_head"]
    before, after = (shapes(AutoModel.from_pretrained(p)) for p in (headless, tmp_path / "run" / "model"))
    assert before == after


def test_a_missing_head_is_trained_first(
    folder: Path, headless: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="limbeck"):
        results = trained(folder, headless, tmp_path / "run", head_steps=30, save_every=10)
    assert "has no masked-LM head: training one of" in caplog.text
    assert "for 30 steps, the rest frozen" in caplog.text
    assert "its pooler takes no part and is left out" in caplog.text
    assert results["model"]["head_trained"]
    body, first = load_file(headless / "model.safetensors"), tmp_path / "run" / "head" / "model"
    kept = load_file(first / "model.safetensors")
    for name, tensor in body.items():
        if not name.startswith("pooler."):
            assert torch.equal(kept[f"bert.{name}"], tensor), name
    lines = [line for line in metrics(tmp_path / "run" / "head") if line["kind"] == "train"]
    assert lines[-1]["ce"] < lines[0]["ce"]
    expected = shapes(AutoModelForMaskedLM.from_pretrained(headless))
    assert shapes(AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model")) == expected


def full_recipe(folder: Path, teachers: dict[str, Path] | None = None, **changes: Any) -> Recipe:
    """A student of text, and gloss training that goes on from it."""
    named = [{"name": name, "model": str(model), "device": "cpu"} for name, model in (teachers or {}).items()]
    init = changes.pop("init", None)
    section = gloss_tables(init, lexicon=str(folder / "wordnet"), **changes)["gloss"]
    made = tables(student={"max_length": 128}, train={"steps": 2})
    return recipe_from(made | {"gloss": section, "teachers": named}, folder)


def test_run_goes_on_from_the_student(folder: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_text(folder)
    teachers = {"t": checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1)}
    recipe = full_recipe(folder, teachers, cohesive=True, max_length=128)
    results = run(recipe, tmp_path / "run")
    assert results["student"]["parameters"] == results["gloss"]["model"]["parameters"]
    assert read_json(tmp_path / "run" / FOLDER / "results.json") == results["gloss"]
    assert "gloss" not in read_json(tmp_path / "run" / "results.json")
    own = {row["name"]: row["temperature"] for row in results["teachers"]}
    assert {row["name"]: row["temperature"] for row in results["gloss"]["teachers"]} == own
    student, after = (
        AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / place / "model") for place in (".", FOLDER)
    )
    assert shapes(student) == shapes(after)
    assert results["gloss"]["words"]["data"] == results["words"]["data"], "the same held-out text"
    assert run(recipe, tmp_path / "run") == results
    # Another objective is another run of the second stage alone.
    other = full_recipe(folder, teachers, cohesive=True, max_length=128, objective="pairs")
    again = gloss(other, tmp_path / "pairs", student=tmp_path / "run")
    assert again["settings"]["objective"] == "pairs"
    with pytest.raises(UserError, match=r"gloss holds a run with other settings: gloss.objective"):
        run(other, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": ["nowhere.jsonl"]}, "gloss.train: .*nowhere.jsonl does not exist"),
        ({"valid": ["nowhere.jsonl"]}, "gloss.valid: .*nowhere.jsonl does not exist"),
        (
            {"valid": None, "train": ["wordnet-examples"]},
            "there is no development set: semeval2007 is not found",
        ),
        ({"init": "nowhere/at/all"}, "gloss.init: .* does not exist"),
        ({"device": "cuda"}, "CUDA devices"),
        ({"max_length": 500}, "gloss.max_length is 500, but the model takes 64 pieces at most"),
        ({"max_length": 16}, "longer than the length limit"),
        ({"lexicon": "nowhere"}, "is no lexicon"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path,
    bert: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    init = changes.pop("init", bert)
    if "lexicon" in changes:
        changes["lexicon"] = str(folder / changes["lexicon"])
    with pytest.raises(UserError, match=said) as caught:
        gloss(gloss_recipe(folder, init, **changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_refusals_by_family_and_stage(
    folder: Path, bert: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    xlnet = make_checkpoint("xlnet", tmp_path / "xlnet", tokenizer=family_tokenizer("xlnet"))
    with pytest.raises(UserError, match="the packed layout does not work for the family 'xlnet'"):
        gloss(gloss_recipe(folder, xlnet, layout="packed"), tmp_path / "run")
    recipe = full_recipe(folder)
    with pytest.raises(
        UserError, match="the student of the recipe is not trained yet; `limbeck run` trains it"
    ):
        gloss(recipe, tmp_path / "run")
    with pytest.raises(UserError, match=r"the recipe has no \[gloss\]"):
        gloss(recipe_from(tables(), folder))
    with pytest.raises(UserError, match="not the student of this recipe"):
        run(full_recipe(folder, init=str(bert)), tmp_path / "run")
    refused = recipe.model_copy(
        update={"student": recipe.student.model_copy(update={"family": "deberta-v2"})}
    )
    packed = refused.model_copy(update={"gloss": refused.gloss.model_copy(update={"layout": "packed"})})  # type: ignore[union-attr]
    with pytest.raises(UserError, match="packed layout does not work for the family 'deberta-v2'"):
        run(packed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command(folder: Path, bert: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from limbeck.cli import app

    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(gloss_recipe(folder, bert)), encoding="utf-8")
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["gloss", str(path), "--output", str(out), "--set", "gloss.limit=9"])
    assert done.exit_code == 0, done.output
    for said in ("LMGC-M, development set", "F1 of the first sense, of chance", "before", "9 instances"):
        assert said in done.stdout
    again = CliRunner().invoke(
        app, ["gloss", str(path), "--output", str(out), "--set", "gloss.limit=9", "--json"]
    )
    assert json.loads(again.stdout) == read_json(out / "results.json")
    alone = CliRunner().invoke(app, ["run", str(path), "--output", str(out), "--set", "gloss.limit=9"])
    assert alone.exit_code == 0, alone.output
    assert "LMGC-M, development set" in alone.stdout
    wrong = CliRunner().invoke(app, ["pretrain", str(path)])
    assert wrong.exit_code == 2
    assert "has no [text] to train a student on" in wrong.output


def test_the_step_of_distillation_is_the_same(folder: Path, bert: Path, checkpoint: Checkpoint) -> None:
    teachers = {"words": checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1)}
    recipe = gloss_recipe(folder, bert, teachers, cohesive=True)
    made = assemble_gloss(recipe, str(bert))
    step = teaching(made)
    assert isinstance(step, DistillStep)
    assert step.settings == recipe.distill
    assert [p.teacher.name for p in step.placed] == ["words"]
