"""`limbeck eval glue`: the protocol on small data of the right counts, the hub, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from limbeck import tables_tasks
from limbeck.cli import app
from limbeck.errors import Interrupted, UserError
from limbeck.finetune.examples import Examples
from limbeck.finetune.settings import FinetuneSettings, unusual
from limbeck.tasks import glue_baselines
from limbeck.tasks.glue import RESULT, default_output, evaluate_glue, hold_out
from limbeck.tasks.glue_data import TaskData, read_tasks
from limbeck.tasks.glue_result import average, figures_of
from limbeck.tasks.glue_tasks import TASKS, find_task
from limbeck.tasks.rows import rows_of
from tests.tiny_labelled import TEXTS, animals, pairs, write_table

QUICK = FinetuneSettings(epochs=0.2, max_length=32, device="cpu", threads=1, learning_rate=1e-3)
RTE = ("entailment", "not_entailment")


def write_wnli(folder: Path, train: int = 635, dev: int = 71) -> None:
    for name, count, seed in (("train", train, 1), ("dev", dev, 2)):
        made = pairs(count, seed)
        assert made.seconds is not None
        rows = zip(map(str, range(count)), made.texts, made.seconds, made.labels, strict=True)
        columns = ("index", "sentence1", "sentence2", "label")
        write_table(folder / "WNLI" / f"{name}.tsv", columns, rows)


def write_cola(folder: Path, train: int = 8551, dev: int = 1043) -> None:
    for name, count, seed in (("train", train, 1), ("dev", dev, 2)):
        made = animals(count, seed)
        labels = [str(int(label == "animal")) for label in made.labels]
        rows = (("gj04", label, "", text) for text, label in zip(made.texts, labels, strict=True))
        write_table(folder / "CoLA" / f"{name}.tsv", (), rows)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glue")
    write_wnli(folder)
    write_cola(folder)
    return folder


@pytest.fixture(scope="module")
def bert(checkpoint: Callable[..., Path]) -> str:
    return str(checkpoint("bert", texts=TEXTS))


def test_two_tasks_two_seeds(glue: Path, bert: str, tmp_path: Path) -> None:
    settings, told = replace(QUICK, epochs=0.5), "epochs 0.5, learning rate 0.001, max length 32"
    result = evaluate_glue(
        bert, str(glue), tasks=["cola", "wnli"], seeds=[0, 1], settings=settings, output=tmp_path / "out"
    )
    assert json.loads((tmp_path / "out" / RESULT).read_text()) == result
    cola, wnli = result["tasks"]
    assert cola["counts"] == {"train": 8551, "held_out": 0, "dev": 1043}
    assert wnli["counts"] == {"train": 635, "held_out": 0, "dev": 71}
    runs = [run["metrics"]["matthews"] for run in cola["runs"]]
    assert min(runs) > 0.9
    assert cola["metrics"]["matthews"]["mean"] == pytest.approx(np.mean(runs))
    assert cola["metrics"]["matthews"]["std"] == pytest.approx(np.std(runs, ddof=1))
    assert cola["baselines"]["majority"]["metrics"] == {"matthews": 0.0}
    assert cola["baselines"]["tfidf"]["metrics"]["matthews"] > 0.95
    assert 0.3 < wnli["baselines"]["majority"]["metrics"]["accuracy"] < 0.7
    assert result["average"]["tasks"] == ["cola", "wnli"]
    assert result["average"]["mean"] == pytest.approx((cola["score"]["mean"] + wnli["score"]["mean"]) / 2)
    assert result["settings"]["epoch"] == "last"
    assert result["settings"]["unusual"] == told
    named = {row["data"] for row in rows_of(result) if row["metric"] != "parameters"}
    assert len(named) == 3
    assert all(data.endswith(f", {told}") for data in named)
    other = result | {"settings": result["settings"] | {"unusual": ""}}
    assert named.isdisjoint({row["data"] for row in rows_of(other)}), "other settings are another column"
    assert [run["measured_step"] for run in cola["runs"]] == [run["steps"] for run in cola["runs"]]
    left = {path.name for path in (tmp_path / "out/cola/seed-0").iterdir()}
    assert {"results.json", "dev.json", "metrics.jsonl", "recipe.toml"} <= left
    assert left.isdisjoint({"model", "best", "checkpoints"}), "weights are not kept"
    shown = list(tables_tasks.glue_tables(result))
    assert shown[0][1] == ["task", "metric", "model", "majority", "TF-IDF", "train", "dev"]
    assert [row[0] for row in shown[0][2]] == ["cola", "wnli", "average of 2"]
    assert "±" in shown[0][2][0][2]


def test_the_same_call_goes_on(
    glue: Path, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limbeck.finetune import train

    ask: dict[str, Any] = {"tasks": ["wnli"], "seeds": [3, 4], "settings": QUICK}
    whole = evaluate_glue(bert, str(glue), output=tmp_path / "whole", **ask)
    run = train.Job.run

    def stops(self: train.Job, opened: Any) -> Any:
        if self.settings.seed == 4:
            raise Interrupted
        return run(self, opened)

    monkeypatch.setattr(train.Job, "run", stops)
    with pytest.raises(Interrupted):
        evaluate_glue(bert, str(glue), output=tmp_path / "parts", **ask)
    monkeypatch.setattr(train.Job, "run", run)
    parts = evaluate_glue(bert, str(glue), output=tmp_path / "parts", **ask)
    for key in ("metrics", "score", "baselines", "fingerprints"):
        assert parts["tasks"][0][key] == whole["tasks"][0][key]
    with pytest.raises(UserError, match=r"glue\.choose"):
        evaluate_glue(bert, str(glue), output=tmp_path / "parts", choose=True, **ask)


def test_the_best_epoch_is_chosen_on_a_part_of_train(glue: Path, bert: str, tmp_path: Path) -> None:
    result = evaluate_glue(
        bert, str(glue), tasks=["wnli"], settings=replace(QUICK, epochs=2), choose=True,
        output=tmp_path / "out", keep_models=True,
    )  # fmt: skip
    (task,) = result["tasks"]
    assert task["counts"]["train"] + task["counts"]["held_out"] == 635
    assert 60 <= task["counts"]["held_out"] <= 70
    assert task["runs"][0]["measured_step"] in (17, 34, 35, 36)
    assert (tmp_path / "out/wnli/seed-0/best/model.safetensors").is_file()
    assert result["settings"]["epoch"] == "best on a held-out part of train"
    assert result["settings"]["unusual"].endswith(", best epoch")


def test_only_what_decides_a_figure_and_is_unusual_is_told() -> None:
    usual = FinetuneSettings(max_length=128)
    assert unusual(usual, 128) == ""
    assert unusual(replace(usual, seed=5, device="cpu", tokens=99, threads=1), 128) == ""
    assert unusual(usual, 512) == "max length 128"
    changed = replace(usual, epochs=1.0, learning_rate=1e-4, batch=16, precision="bf16")
    assert unusual(changed, 128) == "epochs 1, learning rate 0.0001, batch 16, precision bf16"


def test_held_out_texts_are_not_trained_on() -> None:
    rows = animals(500, 1)
    twice = Examples([*rows.texts] * 2, None, [*rows.labels] * 2, "twice")
    train, held = hold_out(twice)
    assert len(train) + len(held) == 1000
    assert not set(train.texts) & set(held.texts)
    again = hold_out(twice.take(np.arange(1000)[::-1]))[1]
    assert sorted(again.texts) == sorted(held.texts)


def test_mnli_is_measured_on_both_sets() -> None:
    task = TASKS["mnli"]
    rows = Examples(["a", "b"], ["c", "d"], ["neutral", "entailment"], "rows")
    data = TaskData(task, rows, {"dev_matched": rows, "dev_mismatched": rows.take(np.array([1]))})
    outputs = np.eye(3)
    figures = figures_of(data, {"dev_matched": outputs[[1, 2]], "dev_mismatched": outputs[[0]]})
    assert figures == {"accuracy_matched": 0.5, "accuracy_mismatched": 1.0}


def test_f1_is_of_the_paraphrases() -> None:
    rows = Examples(["a"] * 4, ["c"] * 4, ["0", "0", "0", "1"], "rows")
    data = TaskData(TASKS["mrpc"], rows, {"dev": rows})
    assert figures_of(data, {"dev": np.eye(2)[[0, 0, 1, 1]]}) == {
        "accuracy": 0.75,
        "f1": pytest.approx(2 / 3),
    }
    assert average([{"name": "x", "score": {"mean": None}}]) == {"tasks": ["x"], "mean": None}


def test_tfidf_knows_pairs_and_scores() -> None:
    task = replace(TASKS["stsb"], train=None, dev={"dev": None})
    texts = [f"the {a} sat" for a in ("cat", "dog", "fish", "lamp")] * 10
    others = texts[:20] + texts[21:] + texts[20:21]
    scores = ["5.0" if a == b else "0.5" for a, b in zip(texts, others, strict=True)]
    rows = Examples(texts, others, scores, "rows")
    answers = glue_baselines.answers(TaskData(task, rows, {}).labels, rows, {"dev": rows})
    found = figures_of(TaskData(task, rows, {"dev": rows}), answers["tfidf"])
    assert found["pearson"] is not None
    assert found["pearson"] > 0.95
    assert figures_of(TaskData(task, rows, {"dev": rows}), answers["majority"])["pearson"] is None


def test_the_hubs_rows_are_the_folders(glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset in a local folder, read by `datasets` as it reads the hub's."""
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (local,), _ = read_tasks(str(glue), ["wnli"])
    place = tmp_path / "hub"
    (place / "wnli").mkdir(parents=True)
    for split, rows in (("train", local.train), ("validation", local.dev["dev"])):
        columns = {"sentence1": rows.texts, "sentence2": rows.seconds, "label": [int(x) for x in rows.labels]}
        parquet.write_table(pa.table(columns), place / "wnli" / f"{split}-00000.parquet")
    files = "".join(f"  - split: {s}\n    path: wnli/{s}-*\n" for s in ("train", "validation"))
    (place / "README.md").write_text(f"---\nconfigs:\n- config_name: wnli\n  data_files:\n{files}---\n")
    (found,), _ = read_tasks(f"hf:{place}", ["wnli"])
    assert found.train.fingerprint == local.train.fingerprint
    assert found.dev["dev"].fingerprint == local.dev["dev"].fingerprint
    with pytest.raises(UserError, match=r"rte: train of .* cannot be read from the hub"):
        read_tasks(f"hf:{place}", ["rte"])
    with pytest.raises(UserError, match="the hub has none, name the folder"):
        read_tasks(f"hf:{place}", ["mnli-subset"])


def test_names_of_tasks() -> None:
    assert find_task(" SST-2 ").name == find_task("sst2").name == "sst2"
    part = find_task("MNLI-subset")
    assert (part.name, part.folder, part.train, part.dev) == (
        "mnli-subset",
        "MNLI-subset",
        None,
        {"dev": None},
    )
    with pytest.raises(UserError, match="there is no task 'snli'; GLUE has cola, sst2"):
        find_task("snli")
    assert default_output("runs/small student/model") == Path("runs/glue/runs-small-student-model")
    assert default_output("/").name == "model"


def refused(*words: object) -> str:
    done = CliRunner().invoke(app, ["eval", "glue", *map(str, words)])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("limbeck: ")
    return line


def test_bad_data_is_one_line_and_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ["no/model", "--output", tmp_path / "out", "--data", tmp_path]
    assert "has no task of GLUE" in refused(*ask)
    write_wnli(tmp_path, train=600)
    line = refused(*ask, "-t", "wnli")
    assert "has 600 rows, but WNLI's train has 635: this is not WNLI" in line
    assert "name the folder WNLI-subset to measure on it as wnli-subset" in line
    write_wnli(tmp_path)
    rows = [("0", "a", "b")] * 71
    write_table(tmp_path / "WNLI/dev.tsv", ("index", "sentence1", "sentence2"), rows)
    assert "dev.tsv has no column 'label'" in refused(*ask, "-t", "wnli")
    write_table(
        tmp_path / "WNLI/dev.tsv", ("index", "sentence1", "sentence2", "label"), [(*rows[0], "")] * 71
    )
    assert "dev.tsv has no label at all in column 'label'; give a labelled file" in refused(
        *ask, "-t", "wnli"
    )
    write_table(
        tmp_path / "WNLI/dev.tsv", ("index", "sentence1", "sentence2", "label"), [(*rows[0], "2")] * 71
    )
    assert "dev.tsv has the label '2' (71 rows)" in refused(*ask, "-t", "wnli")
    (tmp_path / "WNLI/dev.tsv").write_bytes("café".encode("latin-1"))
    assert "dev.tsv, line 1, is not UTF-8" in refused(*ask, "-t", "wnli")
    (tmp_path / "WNLI/dev.tsv").write_bytes(b"")
    assert "dev.tsv is empty" in refused(*ask, "-t", "wnli")
    write_table(tmp_path / "CoLA/train.tsv", (), [("gj04", "1", "", "a")] * 8551)
    write_table(tmp_path / "CoLA/dev.tsv", (), [("0", "a")] * 1043)
    assert "dev.tsv has 2 columns, so there is no column 4" in refused(*ask, "-t", "cola")
    (tmp_path / "QNLI").mkdir()
    write_table(
        tmp_path / "QNLI/dev.tsv", ("index", "question", "sentence", "label"), [("0", "a", "b", RTE[0])]
    )
    assert "qnli: " + str(tmp_path / "QNLI") + " has no train.tsv" in refused(*ask, "-t", "qnli")
    (tmp_path / "MNLI-subset").mkdir()
    assert "has no folder MNLI (MNLI-subset is a part, and goes by that name)" in refused(*ask, "-t", "mnli")
    assert not any(path.is_dir() for path in (tmp_path / "out").iterdir())


def test_bad_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ["no/model", "--output", tmp_path / "out"]
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    assert "no GLUE data; name its folder with --data" in refused(*ask)
    assert "there is no folder" in refused(*ask, "--data", tmp_path / "none")
    for seeds in ("a", "", "-1", "1,1"):
        assert "such as 0,1,2" in refused(*ask, "--data", tmp_path, f"--seeds={seeds}")
    assert "epochs is 0" in refused(*ask, "--epochs", "0")
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    assert "install limbeck with its extra: limbeck[eval]" in refused(*ask)


def test_a_part_of_a_task_goes_by_its_own_name(glue: Path, bert: str, tmp_path: Path) -> None:
    write_wnli(tmp_path, train=64, dev=32)
    (tmp_path / "WNLI").rename(tmp_path / "WNLI-subset")
    result = evaluate_glue(
        bert, str(tmp_path), tasks=["wnli-subset"], settings=QUICK, output=tmp_path / "out"
    )
    assert [one["name"] for one in result["tasks"]] == ["wnli-subset"]
    assert result["tasks"][0]["counts"] == {"train": 64, "held_out": 0, "dev": 32}


def test_a_part_that_is_too_small(bert: str, tmp_path: Path) -> None:
    folder = tmp_path / "RTE-subset"
    columns = ("index", "sentence1", "sentence2", "label")
    write_table(folder / "dev.tsv", columns, [("0", "a cat", "a dog", RTE[0])])
    ask = [bert, "--data", tmp_path, "--output", tmp_path / "out", "-t", "rte-subset", "--device", "cpu"]
    one_class = [("0", "the cat", "the dog", RTE[1])] * 3
    no_word = [("0", "cat", "dog", RTE[0]), ("1", "lamp", "chair", RTE[1])]
    letters = [("0", "a", "b", RTE[0]), ("1", "c", "d", RTE[1])]
    for rows, said in (
        (one_class, "train.tsv has one class only: all 3 rows are 'not_entailment'; give"),
        (no_word, "train.tsv has no word that stands in two of its texts (2 rows), so"),
        (letters, "train.tsv has no word that stands in two of its texts (2 rows), so"),
    ):
        write_table(folder / "train.tsv", columns, rows)
        done = CliRunner().invoke(app, ["eval", "glue", *map(str, ask)])
        assert done.exit_code == 2, done.output
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("limbeck: ")]
        assert said in line


@pytest.mark.data
def test_the_real_files_have_the_known_counts() -> None:
    place = Path(os.environ.get("LIMBECK_DATA", "nowhere")) / "glue"
    if not place.is_dir():
        pytest.skip("LIMBECK_DATA has no glue")
    found, left_out = read_tasks(str(place), [])
    assert {one.task.name: len(one.train) for one in found} == {
        "cola": 8551, "sst2": 67_349, "mrpc": 3668, "stsb": 5749, "rte": 2490, "wnli": 635,
    }  # fmt: skip
    assert {one.task.name: len(one.dev["dev"]) for one in found} == {
        "cola": 1043, "sst2": 872, "mrpc": 408, "stsb": 1500, "rte": 277, "wnli": 71,
    }  # fmt: skip
    assert [line.split(" ", 1)[0] for line in left_out] == ["qqp", "mnli", "qnli"]
    (part,), _ = read_tasks(str(place), ["mnli-subset"])
    assert (len(part.train), len(part.dev["dev"])) == (16_671, 1536)
