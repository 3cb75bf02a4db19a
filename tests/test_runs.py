"""`limbeck ls` and `limbeck diff`: runs listed and compared by their files."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from limbeck.pipeline import run
from limbeck.pipeline.evaluation import EvaluationSettings, evaluate, named_model
from limbeck.report.catalogue import catalogue
from limbeck.report.comparison import compare
from limbeck.tasks.mlm import evaluate_files
from tests.test_bad_input import done, refused
from tests.tiny_recipes import read_json, tiny_recipe, write_text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/a` and `runs/more/b`, of other learning rates. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("made")
    write_text(folder)
    run(tiny_recipe(folder), folder / "runs" / "a")
    run(tiny_recipe(folder, train={"learning_rate": 0.01}), folder / "runs" / "more" / "b")
    return folder / "runs"


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {one["path"]: one for one in catalogue(folder)["runs"]}


def test_every_run_below_is_listed(runs: Path) -> None:
    found = listed(runs)
    assert list(found) == ["a", "more/b"]
    results = read_json(runs / "a" / "results.json")
    one = found["a"]
    assert (one["kind"], one["state"], one["step"], one["steps"]) == ("pretrain", "finished", 2, 2)
    assert one["result"] == f"{results['words']['models'][0]['headline']['nats']:.3f} nats/word"
    assert one["parameters"] == results["student"]["parameters"]
    assert one["seconds"] == results["cost"]["seconds"]
    assert listed(runs / "a") == {".": one | {"path": "."}}
    shown = done("ls", runs)
    assert "finished, 2 steps" in shown.stdout
    assert json.loads(done("ls", runs, "--json").stdout) == catalogue(runs)


def test_states(runs: Path) -> None:
    status, place = runs / "a" / "status.json", runs / "a"
    status.write_text('{"state": "running", "step": 1, "steps": 2}')
    assert listed(runs)["a"]["state"] == "stopped", "it says so, but nobody is at work on it"
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert listed(runs)["a"]["state"] == "running"
    status.write_text('{"state": "interrupted", "step": 1, "steps": 2}')
    (place / "results.json").unlink()
    one = listed(runs)["a"]
    assert (one["state"], one["step"]) == ("stopped", 1)
    assert one["result"].endswith("nats/piece so far")
    assert "stopped at step 1 of 2" in done("ls", runs).stdout
    status.write_text('{"state": "failed", "step": 1, "steps": 2}')
    assert listed(runs)["a"]["state"] == "failed"
    status.unlink()
    assert listed(runs)["a"]["state"] == "stopped"
    assert "finished" in done("diff", place, runs / "more" / "b").stdout


def test_a_damaged_run_does_not_hide_the_others(runs: Path) -> None:
    (runs / "a" / "results.json").write_text('{"version": 1, "na')
    found = listed(runs)
    assert (found["a"]["state"], found["more/b"]["state"]) == ("damaged", "finished")
    assert "results.json is damaged" in found["a"]["problem"]
    assert "Damaged" in done("ls", runs).stdout


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions do not bind root: what is done here is done as another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared(made: Path) -> Iterator[Path]:
    """Runs in a folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(made, folder / "runs")
        yield folder / "runs"
        for place in [folder / "runs", *(folder / "runs").rglob("*")]:
            place.chmod(0o755)


def test_a_folder_that_may_not_be_read_does_not_hide_the_others(shared: Path) -> None:
    """Folders closed in every way, and files: each is told in a line."""
    done("ls", shared)  # all modules are imported, which another user may not read
    for name in ("closed", "names", "files"):
        shutil.copytree(shared / "a", shared / name)
    (shared / "closed").chmod(0o000)
    (shared / "names").chmod(0o444)
    for file in (shared / "files").iterdir():
        file.chmod(0o000)
    (shared / "result").mkdir()
    (shared / "result" / "results.json").touch(0o000)
    with as_nobody():
        found = catalogue(shared)
        shown = done("ls", shared)
    states = {one["path"]: one["state"] for one in found["runs"]}
    assert states == {"a": "finished", "files": "unreadable", "more/b": "finished", "names": "unreadable"}
    told = found["unreadable"]
    assert f"{shared}/closed cannot be read (Permission denied); ask its owner for permission" in told
    assert any(line.startswith(f"{shared}/result/results.json cannot be read") for line in told)
    assert "Damaged or not readable" in shown.stdout
    assert "cannot be read (Permission denied)" in " ".join(shown.stdout.split())
    with as_nobody():
        assert "affecting.json cannot be read (Permission denied)" in refused(
            "diff", shared / "a", shared / "files"
        )
        assert "closed cannot be read (Permission denied)" in refused("ls", shared / "closed")


def test_evaluations_are_listed(runs: Path) -> None:
    (runs / "eval").mkdir()
    content = {"version": 1, "kind": "evaluation", "models": [{"name": "m"}], "tasks": {"mlm": {}}}
    (runs / "eval" / "results.json").write_text(json.dumps(content))
    assert listed(runs)["eval"]["result"] == "1 model: mlm"


def test_how_two_runs_differ(runs: Path) -> None:
    a, b = runs / "a", runs / "more" / "b"
    found = compare(a, b)
    assert [row["name"] for row in found["recipe"]] == ["train.learning_rate"]
    assert found["recipe"][0] == {
        "name": "train.learning_rate", "first": 0.003, "second": 0.01, "affects": True,
    }  # fmt: skip
    assert (found["data"], found["environment"]) == ([], [])
    assert [one["state"] for one in found["runs"]] == ["finished", "finished"]
    nats = next(row for row in found["results"] if row["metric"] == "nats per masked word")
    figures = [
        read_json(place / "results.json")["words"]["models"][0]["headline"]["nats"] for place in (a, b)
    ]
    assert (nats["first"]["value"], nats["second"]["value"]) == tuple(figures)
    assert nats["difference"] == pytest.approx(figures[1] - figures[0])
    assert any("gives it too" in note for note in found["notes"])
    shown = done("diff", a, b)
    for said in ("train.learning_rate *", "0.003", "0.01", "nats per masked word"):
        assert said in shown.stdout
    assert json.loads(done("diff", a, b, "--json").stdout) == found
    environment = read_json(b / "environment.json")
    environment["versions"]["torch"] = "0.1"
    (b / "environment.json").write_text(json.dumps(environment))
    assert [row["name"] for row in compare(a, b)["environment"]] == ["versions.torch"]
    (b / "results.json").unlink()
    (b / "status.json").write_text('{"state": "interrupted", "step": 1}')
    half = compare(a, b)
    assert half["notes"][0] == f"{b} is not finished (stopped): its figures will change."
    assert all(row["second"] is None and row["difference"] is None for row in half["results"])


def test_evaluated_on_one_text_the_difference_is_paired(runs: Path, tmp_path: Path) -> None:
    places = [runs / "a", runs / "more" / "b"]
    write_text(tmp_path)
    settings = EvaluationSettings(tasks=("mlm",), texts=(str(tmp_path / "valid.txt"),), device="cpu")
    for place in places:
        evaluate([named_model("student", str(place / "model"))], settings, place / "eval")
    found = compare(*places)
    rows = [row for row in found["results"] if row["data"].endswith("of both, paired")]
    assert [row["metric"] for row in rows] == ["nats per masked word", "accuracy"]
    models = [str(place / "model") for place in places]
    direct = evaluate_files(models, [str(tmp_path / "valid.txt")], device="cpu")
    paired = direct["differences"][0]["all_words"]
    assert rows[0]["difference"] == pytest.approx(paired["nats"])
    assert [rows[0]["low"], rows[0]["high"]] == pytest.approx(paired["nats_interval"])
    other = EvaluationSettings(tasks=("mlm",), texts=settings.texts, seed=5, device="cpu")
    evaluate([named_model("student", models[1])], other, places[1] / "eval")
    assert not any(row["data"].endswith("paired") for row in compare(*places)["results"])


def test_two_evaluations_of_one_name_have_an_interval(runs: Path, tmp_path: Path) -> None:
    write_text(tmp_path)
    text = str(tmp_path / "valid.txt")
    settings = EvaluationSettings(tasks=("mlm",), texts=(text,), device="cpu")
    models = [str(runs / place / "model") for place in ("a", "more/b")]
    for folder, path in zip(("one", "two"), models, strict=True):
        measured = [named_model("mine", path), named_model(path, path), named_model("same", models[0])]
        evaluate(measured, settings, tmp_path / folder)
    found = compare(tmp_path / "one", tmp_path / "two")
    rows = [row for row in found["results"] if row["data"].endswith("of both, paired")]
    assert [(row["model"], row["metric"]) for row in rows] == [
        (name, metric) for name in ("mine", "same") for metric in ("nats per masked word", "accuracy")
    ]
    direct = evaluate_files(models, [text], device="cpu")["differences"][0]["all_words"]
    assert rows[0]["difference"] == pytest.approx(direct["nats"])
    assert [rows[0]["low"], rows[0]["high"]] == pytest.approx(direct["nats_interval"])
    assert [rows[2][part] for part in ("difference", "low", "high")] == [0, 0, 0]


def test_results_of_another_form_are_one_line(runs: Path, tmp_path: Path) -> None:
    write_text(tmp_path)
    settings = EvaluationSettings(tasks=("mlm",), texts=(str(tmp_path / "valid.txt"),), device="cpu")
    evaluate([named_model("mine", str(runs / "a" / "model"))], settings, tmp_path / "one")
    whole = read_json(tmp_path / "one" / "results.json")
    (tmp_path / "two").mkdir()
    for changed in (
        {"models": [{"name": "mine"}]},
        {"models": 3},
        {"rows": [{"model": "mine"}]},
        {"rows": None},
        {"settings": []},
        {"tasks": {"mlm": {"models": []}}},
        {"tasks": []},
    ):
        (tmp_path / "two" / "results.json").write_text(json.dumps(whole | changed))
        said = refused("diff", tmp_path / "one", tmp_path / "two")
        assert f"{tmp_path / 'two' / 'results.json'} is not in the form of docs/results-schema.md" in said
    b = runs / "more" / "b"
    results = read_json(b / "results.json")
    for words in ({"models": [{}]}, 3):
        (b / "results.json").write_text(json.dumps(results | {"words": words}))
        assert "is not in the form of docs/results-schema.md" in refused("diff", runs / "a", b)
    (b / "results.json").write_text(json.dumps(results))
    (b / "eval").mkdir()
    (b / "eval" / "results.json").write_text('{"kind": "evaluation", "tasks": {"mlm": {"data": 1}}}')
    assert "is not in the form of docs/results-schema.md" in refused("diff", runs / "a", b)


def test_what_is_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    a = runs / "a"
    assert "is not a folder; give the folder that your runs" in refused("ls", tmp_path / "nowhere")
    assert "holds no run of limbeck" in refused("ls", tmp_path / "empty")
    assert "is not a folder" in refused("diff", a, tmp_path / "nowhere")
    assert "neither a run directory nor an evaluation" in refused("diff", a, tmp_path / "empty")
    content = {"kind": "evaluation", "models": [], "tasks": {}, "rows": []}
    (tmp_path / "empty" / "results.json").write_text(json.dumps(content))
    assert "are a run and an evaluation" in refused("diff", a, tmp_path / "empty")
    for damage in ("{", "[]"):
        (a / "results.json").write_text(damage)
        assert "is damaged" in refused("diff", a, runs / "more" / "b")
