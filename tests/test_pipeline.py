"""Whole runs of tiny recipes: every weighting, every start of a student, resume, extension, refusals."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from limbeck.distill.step import DistillStep
from limbeck.distill.weighting import DEFAULT_TEMPERATURE
from limbeck.errors import UserError
from limbeck.pipeline import check, run
from limbeck.pipeline.assemble import Assembled, assemble
from limbeck.pipeline.train import build, prepared_teachers, training_batches
from limbeck.recipe import Recipe
from limbeck.teachers.masked_lm import weights_digest
from limbeck.training.interface import StepContext
from tests.models import make_checkpoint
from tests.tiny_recipes import read_json, sentences, tiny_recipe, write_text, written_recipe
from tests.tiny_training import metrics as metric_lines

FAMILIES = {
    "bert": "wordpiece",
    "roberta": "bpe",
    "xlnet": "unigram",
    "bart": "sentencepiece-bpe",
    "modernbert": "wordpiece-cased",
    "albert": "unigram",
}


@dataclasses.dataclass(frozen=True)
class World:
    """A folder with text, and a checkpoint of each family."""

    folder: Path
    models: dict[str, Path]

    def recipe(self, *teachers: str, **changes: Mapping[str, Any]) -> Recipe:
        return tiny_recipe(self.folder, {name: self.models[name] for name in teachers}, **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., Path]) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_text(folder)
    models = {name: checkpoint(name, tokenizer=kind, seed=5) for name, kind in FAMILIES.items()}
    return World(folder, models)


@pytest.fixture(scope="module")
def finished(world: World) -> tuple[Path, Recipe, dict[str, Any]]:
    """A finished run of two teachers: folder, recipe, results. Not to be changed by a test."""
    recipe = world.recipe("bert", "roberta", distill={"weighting": "gold"})
    folder = world.folder / "finished"
    return folder, recipe, run(recipe, folder)


def loads_with_transformers_alone(folder: Path) -> None:
    """The model predicts a mask of its own tokenizer, by nothing but transformers."""
    model, info = AutoModelForMaskedLM.from_pretrained(folder / "model", output_loading_info=True)
    assert not info["missing_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    encoded = tokenizer(f"the old {tokenizer.mask_token} town", return_tensors="pt")
    logits = model(input_ids=encoded["input_ids"]).logits
    assert logits.shape[-1] >= len(tokenizer)
    assert bool(torch.isfinite(logits).all())
    assert tokenizer.model_max_length <= 64
    long = tokenizer("town " * 500, truncation=True, return_tensors="pt")
    assert model(input_ids=long["input_ids"]).logits.shape[1] <= 64


@pytest.mark.parametrize("weighting", list(DEFAULT_TEMPERATURE))
def test_every_weighting_trains(world: World, weighting: str, tmp_path: Path) -> None:
    mixture = "geometric" if weighting == "static" else "arithmetic"
    recipe = world.recipe(
        "bert",
        "xlnet",
        distill={
            "weighting": weighting,
            "mixture": mixture,
            "temperature": 2.0 if weighting == "margin" else 1.0,
        },
    )
    results = run(recipe, tmp_path / "run")
    assert results == read_json(tmp_path / "run" / "results.json")
    assert results["weighting"] == weighting
    assert results["valid"]["best_nats"] > 0
    for line in metric_lines(tmp_path / "run"):
        if line["kind"] == "train":
            assert line["weight/bert"] + line["weight/xlnet"] == pytest.approx(1, abs=1e-6)
            assert line["heaviest/bert"] + line["heaviest/xlnet"] == pytest.approx(1)
            assert 0 < line["coverage/bert"] <= 1
            assert line["kd"] > 0
    loads_with_transformers_alone(tmp_path / "run")


def test_five_families_teach_one_student(world: World, tmp_path: Path) -> None:
    names = ["bert", "roberta", "xlnet", "bart", "modernbert"]
    results = run(world.recipe(*names, distill={"weighting": "evidence"}), tmp_path / "run")
    assert [row["name"] for row in results["teachers"]] == names
    for row in results["teachers"]:
        assert 0.05 < row["coverage"] <= 1
        assert row["coverage"] + sum(row["uncovered"].values()) == pytest.approx(1)
        assert row["nats"] > 0
        assert row["temperature"] != 1.0, "random weights are too sure of themselves"
        assert 0 < row["vocabulary_projected"] <= 1
        assert row["parameters"] > 10_000
    assert [model["name"] for model in results["words"]["models"]] == ["student", *names]
    said = (tmp_path / "run" / "log.txt").read_text()
    for name in names:  # known before training
        assert said.index(f"teacher {name}: ") < said.index("step 1 of 2")
    loads_with_transformers_alone(tmp_path / "run")


def test_without_teachers(world: World, tmp_path: Path) -> None:
    results = run(world.recipe(), tmp_path / "run")
    assert results["teachers"] == []
    assert results["weighting"] is None
    assert results["student"]["student_sees"] == "bert"
    names = {name for line in metric_lines(tmp_path / "run") for name in line}
    assert not {name for name in names if name.startswith(("weight/", "kd", "coverage/"))}
    loads_with_transformers_alone(tmp_path / "run")


STUDENTS: dict[str, dict[str, Any]] = {
    "bpe": {"family": "bert", "tokenizer": "train:bpe:300", "hidden": 16, "layers": 2},
    "unigram": {"family": "roberta", "tokenizer": "train:unigram:300", "hidden": 16, "layers": 1},
    "teacher's tokenizer": {"tokenizer": "teacher:bart", "hidden": 16, "layers": 1},
    "tokenizer on disk": {"tokenizer": "albert", "hidden": 16, "layers": 1},
    "layers of a teacher": {"init": "teacher:roberta", "layers": [1]},
    "layers of a model": {"init": "modernbert", "layers": [0, 1]},
    "a teacher": {"init": "teacher:bart"},
    "a model": {"init": "albert"},
    "a model with a decoder's positions": {"init": "xlnet"},
}


@pytest.mark.parametrize("name", STUDENTS)
def test_every_start_of_a_student(world: World, name: str, tmp_path: Path) -> None:
    student = dict(STUDENTS[name])
    for key in ("init", "tokenizer"):
        if student.get(key) in world.models:
            student[key] = str(world.models[student[key]])
    recipe = world.recipe("roberta", "bart", student=student)
    made = assemble(recipe)
    module = build(made)
    results = run(recipe, tmp_path / "run")
    assert results["student"]["parameters"] == sum(p.numel() for p in module.model.parameters())
    if "xlnet" not in str(student.get("init")):
        loads_with_transformers_alone(tmp_path / "run")
    last = load_file(tmp_path / "run" / "model" / "model.safetensors")
    first = {name: p for name, p in module.model.named_parameters() if name in last}
    frozen = {name for name, p in first.items() if not p.requires_grad}
    assert all("pooler" in name or name.endswith((".r_s_bias", ".seg_embed")) for name in frozen)
    moved = {name for name, p in first.items() if not torch.equal(last[name], p)}
    assert not moved & frozen
    assert len(moved) > 0.8 * (len(first) - len(frozen))
    assert weights_digest(build(made)) == weights_digest(module), "the same first weights every time"


def test_a_student_of_a_teachers_layers_is_a_trainable_copy(world: World) -> None:
    """Training it changes it, and leaves the teacher as it was, in memory as well."""
    for student in ({"init": "teacher:bert", "layers": [1]}, {"init": "teacher:bert"}):
        made = assemble(world.recipe("bert", student=student))
        teacher = made.placed[0].teacher
        before = weights_digest(teacher.module)
        assert not any(p.requires_grad for p in teacher.module.parameters())
        module = build(made)
        own = {p.data_ptr() for p in module.parameters()}
        assert not own & {p.data_ptr() for p in teacher.module.parameters()}
        embedding = module.model.get_input_embeddings().weight
        assert torch.equal(embedding, teacher.module.model.get_input_embeddings().weight)
        first = weights_digest(module)
        (batch, *_) = training_batches(made).micro_batches(0)
        loss, _, metrics = DistillStep(made.placed, made.recipe.distill, module.width)(
            module, batch, StepContext(0, 2)
        )
        loss.backward()
        if "layers" not in student:
            assert float(metrics["kd"][0]) / batch.count < 1e-4, "it is its teacher still"
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        assert weights_digest(module) != first
        assert weights_digest(teacher.module) == before


def test_a_model_is_never_fed_more_than_its_positions(world: World) -> None:
    """The recipe's max_length is 512 by default; a model to start from may have fewer."""
    made = assemble(world.recipe(student={"init": str(world.models["albert"]), "max_length": 512}))
    assert made.student_tokenizer.limit == 62
    assert made.student_tokenizer.hf.model_max_length == 64


def rows_and_gold(made: Assembled) -> list[list[list[int]]]:
    source = training_batches(made)
    batches = [batch for step in range(4) for batch in source.micro_batches(step)]
    return [[batch.gold.tolist(), batch.position.tolist(), batch.passage.tolist()] for batch in batches]


def test_the_same_text_in_the_same_order_with_and_without_teachers(world: World) -> None:
    alone = assemble(world.recipe())
    taught = assemble(world.recipe("bert", "xlnet"))
    assert alone.train_rows.tolist() == taught.train_rows.tolist()
    assert len(alone.calibration_rows) == len(taught.calibration_rows) > 0
    assert rows_and_gold(alone) == rows_and_gold(taught)


def test_calibration_is_kept_for_a_resume(world: World, tmp_path: Path) -> None:
    made = assemble(world.recipe("bert"))
    table = prepared_teachers(made, tmp_path, None)
    fitted = made.placed[0].teacher.temperature
    assert fitted == table[0]["temperature"] != 1.0
    again = assemble(world.recipe("bert"))
    assert prepared_teachers(again, tmp_path, None) == table
    assert again.placed[0].teacher.temperature == fitted
    plain = assemble(world.recipe("bert", distill={"calibrate": False}))
    assert prepared_teachers(plain, None, None)[0]["temperature"] == 1.0


def test_check_says_what_a_run_takes(world: World) -> None:
    recipe = world.recipe("bert", "roberta")
    found = check(recipe)
    assert [row["name"] for row in found["teachers"]] == ["bert", "roberta"]
    assert found["steps"] == 2
    assert found["tokens"] > 0
    assert 0 <= found["padding"] < 0.5
    assert found["seconds"] > 0
    assert found["disk_bytes"] > 0
    assert found["student"]["student_sees"] == "bert"
    assert not Path(recipe.output).exists()


def test_a_finished_run_started_again_only_tells_its_results(
    finished: tuple[Path, Recipe, dict[str, Any]],
) -> None:
    folder, recipe, results = finished
    files = {path: path.stat().st_mtime_ns for path in (folder / "model").iterdir()}
    lines = metric_lines(folder)
    assert run(recipe, folder) == results
    assert {path: path.stat().st_mtime_ns for path in (folder / "model").iterdir()} == files
    assert metric_lines(folder) == lines


def test_the_same_recipe_gives_the_same_weights(
    finished: tuple[Path, Recipe, dict[str, Any]], tmp_path: Path
) -> None:
    folder, recipe, _ = finished
    run(recipe, tmp_path / "again")
    one, other = (path / "model" / "model.safetensors" for path in (folder, tmp_path / "again"))
    assert one.read_bytes() == other.read_bytes()


@pytest.fixture
def begun(finished: tuple[Path, Recipe, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed at will."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def changed_tokenizer(world: World, folder: Path) -> Path:
    """The same weights of the bert teacher with another tokenizer."""
    made = make_checkpoint("bert", folder / "other", tokenizer="wordpiece-cased", vocabulary=320)
    model = shutil.copytree(world.models["bert"], folder / "retokenized")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made / name, model / name)
    return model


@pytest.mark.parametrize("what", ["recipe", "train", "valid", "weights", "tokenizer", "name"])
def test_a_resume_with_something_changed_is_refused(
    world: World, begun: Path, what: str, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"distill": {"weighting": "gold"}}
    models = {name: world.models[name] for name in ("bert", "roberta")}
    if what == "recipe":
        changes["train"] = {"learning_rate": 1e-3}
        field = "train.learning_rate (was 0.003, now 0.001)"
    elif what in ("train", "valid"):
        (tmp_path / "other.txt").write_text("\n\n".join(sentences(100, seed=8)))
        changes["text"] = {what: [str(tmp_path / "other.txt")]}
        field = f"text.{what} (contents)"
    elif what == "weights":
        models["bert"] = make_checkpoint("bert", tmp_path / "bert", seed=99)
        field = "teachers.bert.model (contents)"
    elif what == "tokenizer":
        models["bert"] = changed_tokenizer(world, tmp_path)
        field = "teachers.bert.tokenizer (contents)"
    else:
        models = {"other": models["bert"], "roberta": models["roberta"]}
        field = "teachers.other.prior"
    before = (begun / "model" / "model.safetensors").read_bytes()
    with pytest.raises(UserError) as refused:
        run(tiny_recipe(world.folder, models, **changes), begun)
    assert field in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (begun / "model" / "model.safetensors").read_bytes() == before


def test_the_same_contents_under_other_names_are_no_change(
    world: World, finished: tuple[Path, Recipe, dict[str, Any]], begun: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("train.txt", "valid.txt"):
        shutil.copy(world.folder / name, moved / name)
    models = {name: shutil.copytree(world.models[name], moved / name) for name in ("bert", "roberta")}
    recipe = tiny_recipe(moved, models, distill={"weighting": "gold"})
    assert run(recipe, begun) == finished[2]


def test_extend(world: World, finished: tuple[Path, Recipe, dict[str, Any]], begun: Path) -> None:
    _, recipe, results = finished
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": 5})})
    with pytest.raises(UserError, match=r"train.steps .*--extend"):
        run(longer, begun)
    old = (begun / "results.json").read_text()
    card = begun / "model" / "README.md"
    card.write_text(
        card.read_text(encoding="utf-8").replace("tags:", "license: mit\ntags:"), encoding="utf-8"
    )
    extended = run(longer, begun, extend=True)
    assert "license: mit" in card.read_text(encoding="utf-8"), "what a user wrote stays"
    assert extended["cost"]["steps"] == 5
    assert extended["words"]["models"][0]["weights"] != results["words"]["models"][0]["weights"]
    assert [line["step"] for line in metric_lines(begun) if line["kind"] == "train"] == [1, 2, 3, 4, 5]
    assert run(longer, begun, extend=True) == extended
    # Killed after the training and before the new results: the old ones are not passed off as new.
    (begun / "results.json").write_text(old)
    again = run(longer, begun)
    assert again["cost"]["steps"] == 5
    assert again["words"]["models"] == extended["words"]["models"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_distillation_ends_with_the_same_weights(world: World) -> None:
    changes = {
        "distill": {"weighting": "evidence", "kd_final": 0.2},
        "train": {"steps": 24, "save_every": 3, "eval_every": 8},
    }
    teachers = {name: world.models[name] for name in ("bert", "xlnet")}
    path = written_recipe(world.folder, teachers, **changes)  # type: ignore[arg-type]
    command = [sys.executable, "-m", "limbeck", "run", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints, limit = world.folder / "run" / "checkpoints", time.monotonic() + 150
    while not any(checkpoints.glob("step-*")):
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < limit
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    recipe = tiny_recipe(world.folder, teachers, **changes)  # type: ignore[arg-type]
    killed, whole = world.folder / "run", world.folder / "whole"
    run(recipe, killed)
    assert "going on after step" in (killed / "log.txt").read_text()
    run(recipe, whole)
    one, other = (folder / "model" / "model.safetensors" for folder in (killed, whole))
    assert one.read_bytes() == other.read_bytes()
    assert metric_lines(killed) == metric_lines(whole)


def test_a_vocabulary_with_a_hole_in_it(world: World, tmp_path: Path) -> None:
    """Its largest id decides the width of the student's output, not its number of pieces."""
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(world.models["bert"] / name, tokenizer / name)
    tree = read_json(tokenizer / "tokenizer.json")
    vocabulary = tree["model"]["vocab"]
    last = max(vocabulary.values())
    merged = [p for p, i in vocabulary.items() if i < last and len(p.removeprefix("##")) > 1 and p[0] != "["]
    for piece in merged[:2]:  # which pieces there are varies with the run: the trainer walks hash maps
        del vocabulary[piece]
    (tokenizer / "tokenizer.json").write_text(json.dumps(tree))
    results = run(world.recipe("bert", student={"tokenizer": str(tokenizer)}), tmp_path / "run")
    assert results["student"]["vocabulary"] == max(vocabulary.values()) + 1 > len(vocabulary)
    loads_with_transformers_alone(tmp_path / "run")


def test_cheap_mistakes_come_before_any_text_is_read(world: World) -> None:
    absent = {"text": {"train": ["absent.txt"]}}
    with pytest.raises(UserError, match="no masked-LM family"):
        run(tiny_recipe(world.folder, student={"family": "gpt2"}, **absent))
    with pytest.raises(UserError, match=r"'x'.* does not exist"):
        run(tiny_recipe(world.folder, {"x": world.folder / "nowhere"}, **absent))


def test_words_beyond_the_longest_input_are_counted(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train.txt").write_text("\n\n".join(sentences(60, seed=9, shortest=20)), encoding="utf-8")
    (tmp_path / "valid.txt").write_text("\n\n".join(sentences(9, seed=8)), encoding="utf-8")
    made = assemble(tiny_recipe(tmp_path, student={"max_length": 16}))
    count = made.train.cut_passages
    assert 50 < count <= len(made.train_corpus)
    assert made.train.cut_words > count
    assert f"{count} passages of text.train are longer than student.max_length = 16" in caplog.text
