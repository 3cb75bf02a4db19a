"""`limbeck run`: a recipe's stages in order, skipped when done, killed anywhere, done anew when asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import UserError
from limbeck.pipeline import run_stages, stages
from limbeck.pipeline.assemble import read_text
from limbeck.pipeline.evaluation_parts import Mlm
from limbeck.recipe import load_recipe, recipe_from
from limbeck.report.card import CARD
from limbeck.tables_pipeline import stages_tables
from tests.test_bad_input import done, refused
from tests.tiny_gloss import gloss_tables, world
from tests.tiny_recipes import read_json, tables, tiny_recipe, write_text

TEACHER = """name = "teacher"
seed = 3
output = "teacher"
"""
STUDENT = """name = "student"
seed = 4
output = "student"
[[pretrain]]
recipe = "teacher.toml"
[[teachers]]
name = "elder"
model = "./teacher/model"
device = "cpu"
"""
AFTER = """[report]
page = true
card = true
"""


def write_recipes(folder: Path) -> Path:
    """`teacher.toml` and `student.toml`, which names it."""
    write_text(folder)
    made = tables(eval={"tasks": ["mlm"]})
    rows = []
    for name in ("text", "student", "train", "eval"):
        rows += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in made[name].items())]
    plain = "\n".join(row for row in rows if not row.startswith("tasks"))
    (folder / "teacher.toml").write_text(TEACHER + plain + "\n", encoding="utf-8")
    (folder / "student.toml").write_text(STUDENT + "\n".join(rows) + "\n" + AFTER, encoding="utf-8")
    return folder / "student.toml"


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Path]:
    return write_recipes(tmp_path)


def states(results: dict[str, Any]) -> dict[str, str]:
    return {row["stage"]: row["state"] for row in results["stages"]}


ALL = ("teacher: pretrain", "distill", "eval", "report")


def test_all_of_it_then_nothing_then_what_changed(recipe: Path) -> None:
    home = recipe.parent
    first = run_stages(load_recipe(recipe))
    assert states(first) == dict.fromkeys(ALL, "ran")
    assert [model["role"] for model in first["eval"]["models"]] == ["student", "teacher"]
    assert first["eval"] == read_json(home / "student" / "eval" / "results.json")
    assert first["eval"]["tasks"]["mlm"]["settings"]["passages"] == 16
    assert set(first["report"]) == {"page", "card"}
    for path in first["report"].values():
        assert Path(path).is_file()
    assert first["words"] == read_json(home / "student" / "results.json")["words"]
    again = run_stages(load_recipe(recipe))
    assert states(again) == dict.fromkeys(ALL, "skipped")
    assert {k: v for k, v in again.items() if k != "stages"} == {
        k: v for k, v in first.items() if k != "stages"
    }
    titles = [title for title, *_ in stages_tables(again)]
    assert titles[-2:] == ["Stages", "Report"]

    # The page is of all places that belong to the runs on it, the teachers' as well.
    shutil.copytree(home / "student" / "eval", home / "teacher" / "eval")
    assert states(run_stages(load_recipe(recipe)))["report"] == "ran"
    (home / "student" / "leave_one_out.json").write_text("{}")
    assert states(run_stages(load_recipe(recipe)))["report"] == "ran"
    (home / "teacher" / "leave_one_out.json").write_text("{}")
    assert states(run_stages(load_recipe(recipe))) == dict(
        zip(ALL, ("skipped", "skipped", "skipped", "ran"), strict=True)
    )
    assert states(run_stages(load_recipe(recipe)))["report"] == "skipped"

    # What comes after the training is done again when it changes.
    other = run_stages(load_recipe(recipe, ["eval.passages=16", "eval.teachers=false"]))
    assert states(other) == dict(zip(ALL, ("skipped", "skipped", "ran", "ran"), strict=True))
    page = ["report.page=false"]
    assert states(run_stages(load_recipe(recipe, page)))["report"] == "ran"
    assert states(run_stages(load_recipe(recipe, page)))["report"] == "skipped"

    # A training is refused, and done anew when that is asked for.
    changed = [*page, "train.learning_rate=0.1"]
    with pytest.raises(UserError, match=r"train.learning_rate .* or do it anew with --again, which deletes"):
        run_stages(load_recipe(recipe, changed))
    kept = (home / "teacher" / "results.json").stat().st_mtime_ns
    anew = run_stages(load_recipe(recipe, changed), again=True)
    assert states(anew) == dict(zip(ALL, ("skipped", "ran", "ran", "ran"), strict=True))
    assert (home / "teacher" / "results.json").stat().st_mtime_ns == kept
    assert anew["words"]["models"][0]["weights"] != first["words"]["models"][0]["weights"]
    text = (home / "teacher.toml").read_text(encoding="utf-8")
    (home / "teacher.toml").write_text(text.replace("seed = 3", "seed = 8"))
    with pytest.raises(UserError, match="--again"):
        run_stages(load_recipe(recipe, changed))
    third = run_stages(load_recipe(recipe, changed), again=True)
    assert states(third) == dict.fromkeys(ALL, "ran"), "another teacher is another student"


def test_masked_words_are_measured_on_text_as_the_recipe_reads_it(tmp_path: Path) -> None:
    write_text(tmp_path)
    with (tmp_path / "valid.txt").open("ab") as file:
        file.write(b"\n\na line that is not \xff UTF-8 text at all\n")
    recipe = tiny_recipe(tmp_path, text={"min_words": 9, "on_error": "skip"}, eval={"tasks": ["mlm"]})
    _, valid = read_text(recipe)
    assert valid.stats.bad_lines == 1
    assert valid.stats.too_short > 0
    measured = Mlm(stages.eval_settings(recipe), None).corpus
    assert (measured.fingerprint, len(measured)) == (valid.fingerprint, len(valid))


def test_the_size_of_paraphrase_detection_is_the_recipes(tmp_path: Path) -> None:
    asked = {"tasks": ["paraphrase"], "sizes": [16], "words": [0, 4], "test_limit": 9}
    settings = stages.eval_settings(tiny_recipe(tmp_path, text={"words": 24}, eval=asked))
    assert (settings.sizes, settings.first, settings.test_limit, settings.words) == ((16,), (0, 4), 9, 24)
    plain = stages.eval_settings(tiny_recipe(tmp_path, eval={"tasks": ["paraphrase"]}))
    assert (plain.sizes, plain.first, plain.test_limit) == ((), None, None)
    for wrong, said in (({"words": [-1]}, r"\[eval\] words"), ({"test_limit": 0}, r"\[eval\] test_limit")):
        with pytest.raises(UserError, match=said):
            tiny_recipe(tmp_path, eval=asked | wrong)


def test_recipes_that_write_one_run_and_models_that_are_not_there(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    shutil.copy(recipe.parent / "teacher.toml", recipe.parent / "copy.toml")
    recipe.write_text(text.replace("[[teachers]]", '[[pretrain]]\nrecipe = "copy.toml"\n[[teachers]]', 1))
    with pytest.raises(UserError, match=r"copy.toml and .*teacher.toml write the same run"):
        run_stages(load_recipe(recipe))
    recipe.write_text(text.replace("[eval]", '[eval]\nbeside = ["./nowhere"]', 1))
    with pytest.raises(UserError, match="nowhere"):
        run_stages(load_recipe(recipe))
    assert not (recipe.parent / "teacher").exists(), "told before anything is trained"


@pytest.mark.parametrize("at", ["teacher", "student", "eval", "report"])
def test_stopped_at_a_stage_it_goes_on(recipe: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train, evaluate, report = stages.student_stage.run, stages.evaluate, stages._report
    loaded = load_recipe(recipe, ["report.page=false"])

    def stops(name: str, function: Any) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            if name == at or (name == "train" and args[0].name == at):
                raise KeyboardInterrupt
            return function(*args, **options)

        return run

    monkeypatch.setattr(stages.student_stage, "run", stops("train", train))
    monkeypatch.setattr(stages, "evaluate", stops("eval", evaluate))
    monkeypatch.setattr(stages, "_report", stops("report", report))
    with pytest.raises(KeyboardInterrupt):
        run_stages(loaded)
    monkeypatch.undo()
    found = states(run_stages(loaded))
    before = ("teacher", "student", "eval", "report").index(at)
    assert list(found.values()) == ["skipped"] * before + ["ran"] * (4 - before)


def test_glosses_come_after_the_student_and_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path)
    monkeypatch.setenv("LIMBECK_WORDNET", str(tmp_path / "wordnet"))
    write_text(tmp_path)
    section = gloss_tables(None, lexicon=str(tmp_path / "wordnet"), max_length=128)["gloss"]
    asked = {"tasks": ["mlm", "wsd"], "wsd": "valid.jsonl"}
    made = tables(student={"max_length": 128}, eval=asked) | {"gloss": section, "output": "run"}
    made["report"] = {"page": False}
    recipe = recipe_from(made, tmp_path)
    found = run_stages(recipe)
    assert states(found) == dict.fromkeys(("pretrain", "gloss", "eval", "report"), "ran")
    cards = [tmp_path / "run" / "model" / CARD, tmp_path / "run" / "gloss" / "model" / CARD]
    assert [Path(path) for path in found["report"].values()] == cards
    wsd = found["eval"]["tasks"]["wsd"]["tiny, glossed"]["sets"][0]
    assert f"{wsd['name']} {wsd['fingerprint'][:8]}" in cards[1].read_text(encoding="utf-8")
    assert "senses of" not in cards[0].read_text(encoding="utf-8")
    assert [model["name"] for model in found["eval"]["models"]] == ["tiny", "tiny, glossed"]
    assert list(found["eval"]["tasks"]["wsd"]) == ["tiny, glossed"]
    assert len(found["eval"]["tasks"]["mlm"]["models"]) == 2
    assert found["gloss"] == read_json(tmp_path / "run" / "gloss" / "results.json")
    assert set(states(run_stages(recipe)).values()) == {"skipped"}
    section = section | {"learning_rate": 2e-3}
    changed = recipe_from(made | {"gloss": section}, tmp_path)
    with pytest.raises(UserError, match=r"gloss.learning_rate .* --again"):
        run_stages(changed)
    anew = run_stages(changed, again=True)
    assert states(anew) == {"pretrain": "skipped", "gloss": "ran", "eval": "ran", "report": "ran"}
    alone = load_recipe(tmp_path / "run" / "gloss" / "recipe.toml")
    assert (alone.text, alone.eval.tasks) == (None, None), "it does its own stage alone"


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_never_killed(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        write_recipes(tmp_path / name)
    child = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "limbeck", "run", "student.toml", "--json"]

    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=tmp_path / name, env=child, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    began = time.monotonic()
    whole, errors = start("whole").communicate(timeout=160)
    took = time.monotonic() - began
    assert "Traceback" not in errors
    kills = 0
    for part in (0.5, 0.7, 0.85):
        process = start("killed")
        try:
            process.communicate(timeout=part * took)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    assert kills >= 2
    killed, errors = start("killed").communicate(timeout=160)
    assert "Traceback" not in errors
    one, other = json.loads(whole), json.loads(killed)
    assert one["eval"]["tasks"]["mlm"]["models"] == [
        model | {"model": model["model"].replace("/killed/", "/whole/")}
        for model in other["eval"]["tasks"]["mlm"]["models"]
    ]
    weights = [
        (tmp_path / name / "student/model/model.safetensors").read_bytes() for name in ("whole", "killed")
    ]
    assert weights[0] == weights[1]


def test_the_command(recipe: Path) -> None:
    shown = done("run", recipe, "--set", "report.page=false", "--set", "report.card=false")
    for said in ("Masked words of valid", "Side by side", "Stages", "teacher: pretrain", "ran"):
        assert said in shown.stdout
    second = done("run", recipe, "--set", "report.page=false", "--set", "report.card=false", "--json")
    assert set(states(json.loads(second.stdout)).values()) == {"skipped"}
    for verb in ("distill", "pretrain"):
        name = "student" if verb == "distill" else "teacher"
        alone = done(verb, recipe.with_name(f"{name}.toml"), "--json")
        assert "stages" not in json.loads(alone.stdout)


def test_what_is_wrong_is_one_line_before_anything_is_trained(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    home, text = recipe.parent, recipe.read_text(encoding="utf-8")

    def says(changed: str, said: str) -> None:
        recipe.write_text(changed, encoding="utf-8")
        assert said in refused("run", recipe)
        assert not (home / "teacher").exists()
        assert not (home / "student").exists()

    says(text.replace('"teacher.toml"', '"none.toml"'), "cannot read the recipe")
    says(text.replace('"teacher.toml"', '"student.toml"'), "is among its own [[pretrain]]")
    says(text.replace('["mlm"]', '["mlm", "glue"]'), "no GLUE data")
    says(text.replace('["mlm"]', '["nonsense"]'), '[eval] tasks = ["nonsense"]: must be a list of "mlm"')
    says(text.replace('["mlm"]', '["wsd"]'), '"wsd" needs a model with a gloss head; add [gloss]')
    says(text.replace('recipe = "teacher.toml"', "recipe = 3"), "[[pretrain]] number 1 recipe = 3: must be")
    says(text.replace("page = true", "pages = true"), "did you mean page?")
    says(text.replace('model = "./teacher/model"', 'model = "./nowhere"'), "nowhere")
    glosses = '\n[gloss]\ntrain = ["./nothing.jsonl"]\nvalid = ["./nothing.jsonl"]\nepochs = 1\n'
    says(text + glosses, "nothing.jsonl")
    unknown = 'lexicon = "./nowhere"\nvalid = ["wordnet-examples/valid"]'
    says(f"{text}\n[gloss]\n{unknown}\nsteps = 1\n", "is no lexicon")

    # Of the recipes that come first as well, and of those before them, though others could be trained first.
    teacher = (home / "teacher.toml").read_text(encoding="utf-8")
    second = teacher.replace('output = "teacher"', 'output = "second"')
    first = '[[pretrain]]\nrecipe = "teacher.toml"\n'
    for changed, said in (
        (second.replace("[eval]", '[eval]\ntasks = ["glue"]'), "no GLUE data"),
        (second.replace("[eval]", '[eval]\ntasks = ["cost"]\nbeside = ["./nobody"]'), "nobody"),
        (second.replace("valid.txt", "no-such.txt"), "text.valid: there is no"),
        (second + glosses, "nothing.jsonl"),
        (f'{second.split("[text]")[0]}[[pretrain]]\nrecipe = "third.toml"\n[text]{second.split("[text]")[1]}',
         "third.toml"),
    ):  # fmt: skip
        assert changed != second
        (home / "second.toml").write_text(changed, encoding="utf-8")
        says(text.replace(first, f'{first}[[pretrain]]\nrecipe = "second.toml"\n'), said)
        assert not (home / "second").exists()
    recipe.write_text(text, encoding="utf-8")
    assert "is not trained yet" in refused("check", recipe)
