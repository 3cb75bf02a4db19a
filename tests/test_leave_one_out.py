"""`limbeck distill --leave-one-out`: one student without each teacher, on the same words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.pipeline import leave_one_out, run
from limbeck.pipeline.leave_one_out import without
from limbeck.recipe import affecting
from limbeck.report.sources import read_sources
from limbeck.tasks.mlm import evaluate_files
from tests.test_bad_input import done, refused
from tests.tiny_recipes import read_json, tiny_recipe, write_text, written_recipe

Checkpoint = Callable[..., Path]


@pytest.fixture
def teachers(checkpoint: Checkpoint, tmp_path: Path) -> dict[str, Path]:
    write_text(tmp_path)
    return {
        "one": checkpoint("bert", seed=1),
        "two": checkpoint("distilbert", seed=2),
    }


def test_each_teacher_is_left_out_once(teachers: dict[str, Path], tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, teachers)
    result = leave_one_out(recipe, tmp_path / "run")
    assert result == read_json(tmp_path / "run" / "leave_one_out.json")
    assert (result["version"], result["metric"]) == (2, "nats per masked word")
    assert [one["name"] for one in result["teachers"]] == ["one", "two"]
    for one in result["teachers"]:
        assert one["usefulness"] == pytest.approx(one["without"] - result["all"]["nats"])
        assert one["low"] <= one["usefulness"] <= one["high"]
        assert one["usefulness"] != 0
    whole = read_json(tmp_path / "run" / "affecting.json")
    for name, other in (("one", "two"), ("two", "one")):
        fields = read_json(tmp_path / "run" / f"without-{name}" / "affecting.json")
        assert fields["teachers"] == [other]
        differing = {key for key in whole if whole[key] != fields.get(key)}
        assert {key for key in differing if not key.startswith(f"teachers.{name}.")} == {"teachers"}
    students = [tmp_path / "run" / place / "model" for place in (".", "without-one", "without-two")]
    direct = evaluate_files(
        students, [str(tmp_path / "valid.txt")], words=24, passages=16, seed=0, device="cpu"
    )
    assert result["all"]["nats"] == pytest.approx(direct["models"][0]["all_words"]["nats"])
    paired = direct["differences"][1]["all_words"]
    assert result["teachers"][1]["usefulness"] == pytest.approx(paired["nats"])
    measured = [result["all"], *result["teachers"]]
    assert [one["weights"] for one in measured] == [model["weights"] for model in direct["models"]]
    assert read_sources([tmp_path / "run"])[0].without == result
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("results.json")}
    assert len(written) == 3
    assert leave_one_out(recipe, tmp_path / "run") == result
    assert {path: path.stat().st_mtime_ns for path in written} == written, "nothing is trained again"
    more = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": 8})})
    run(more, tmp_path / "run", extend=True)
    later = read_sources([tmp_path / "run"])[0]
    assert later.without == {}
    assert "was trained on since" in later.left_out[0], "they are figures of the student before"


def test_a_student_keeps_what_it_took_from_the_teacher_left_out(
    teachers: dict[str, Path], tmp_path: Path
) -> None:
    recipe = tiny_recipe(tmp_path, teachers, student={"tokenizer": "teacher:one"})
    fewer = without(recipe, "one")
    assert fewer.student.tokenizer == str(teachers["one"])
    assert without(recipe, "two").student.tokenizer == "teacher:one"
    assert affecting(fewer)["teachers"] == ["two"]


def test_the_command_and_what_it_refuses(teachers: dict[str, Path], tmp_path: Path) -> None:
    path = written_recipe(tmp_path, teachers)
    shown = done("distill", path, "--leave-one-out")
    for said in ("all teachers", "without one", "without two", "the teacher's use"):
        assert said in shown.stdout
    as_json = done("distill", path, "--leave-one-out", "--json")
    assert json.loads(as_json.stdout) == read_json(tmp_path / "run" / "leave_one_out.json")
    assert "leave out --extend" in refused("distill", path, "--leave-one-out", "--extend", 3)
    alone = written_recipe(tmp_path, {"one": teachers["one"]})
    assert "needs two teachers or more, and the recipe has 1" in refused("distill", alone, "--leave-one-out")
    recipe = tiny_recipe(tmp_path, teachers)
    none = recipe.teachers[0].model_copy(update={"prior": 0.0})
    unheard = recipe.model_copy(update={"teachers": (none, recipe.teachers[1])})
    with pytest.raises(UserError, match="the priors of the teachers sum to 0"):
        without(unheard, "two")
