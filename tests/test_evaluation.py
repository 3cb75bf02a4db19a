"""`limbeck eval MODEL... --tasks`: models side by side, what is kept, what is left out, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.errors import UserError
from limbeck.gloss.model import GlossModel
from limbeck.pipeline import evaluation_parts
from limbeck.pipeline.evaluation import (
    PARTS,
    EvaluationSettings,
    Model,
    check_data,
    evaluate,
    find_models,
    named_model,
)
from limbeck.pipeline.evaluation_settings import default_texts
from limbeck.tables_pipeline import side_by_side_tables
from limbeck.tasks import efficiency, glue, mlm, paraphrase, wsd
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.rows import COLUMNS
from tests.test_bad_input import invoke, refused
from tests.test_glue import write_wnli
from tests.test_paraphrase import write_pairs
from tests.tiny_gloss import settings as gloss_settings
from tests.tiny_gloss import world
from tests.tiny_recipes import read_json, write_text

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("text")
    write_text(folder)
    return str(folder / "valid.txt")


@pytest.fixture
def two(checkpoint: Checkpoint) -> list[str]:
    return [str(checkpoint("bert")), str(checkpoint("roberta", tokenizer="bpe"))]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models whose words are measured from here on."""
    asked: list[str] = []
    measure = mlm.measure_words

    def counts(compared: mlm.Compared, *rest: Any) -> Any:
        asked.append(compared.name)
        return measure(compared, *rest)

    monkeypatch.setattr(evaluation_parts.mlm, "measure_words", counts)
    return asked


def of_text(text: str, **more: Any) -> EvaluationSettings:
    return EvaluationSettings(tasks=("mlm",), named=True, texts=(text,), device="cpu", **more)


def test_two_models_on_the_same_words(two: list[str], text: str, tmp_path: Path) -> None:
    result = evaluate(find_models(two), of_text(text), tmp_path / "eval")
    assert result == read_json(tmp_path / "eval" / "results.json")
    assert (result["version"], result["kind"]) == (1, "evaluation")
    assert [one["name"] for one in result["models"]] == two
    assert [one["fingerprint"] for one in result["models"]] == [fingerprint(path) for path in two]
    assert result["left_out"] == []
    direct = mlm.evaluate_files(two, [text], device="cpu")
    for key in ("models", "differences", "data", "counts"):
        assert {**result["tasks"]["mlm"], "data": 0}[key] == {**direct, "data": 0}[key]
    assert {tuple(row) for row in result["rows"]} == {COLUMNS}
    assert {row["role"] for row in result["rows"]} == {"model"}
    title, columns, rows = next(iter(side_by_side_tables(result)))
    assert (title, columns[:2]) == ("Side by side", ["model", "parameters"])
    assert [row[0] for row in rows] == two
    assert rows[0][1] == f"{direct['models'][0]['parameters']:,}"


def test_what_was_measured_is_kept(
    two: list[str], text: str, tmp_path: Path, counted: list[str], checkpoint: Checkpoint
) -> None:
    out = tmp_path / "eval"
    first = evaluate(find_models(two), of_text(text), out)
    assert counted == two
    written = (out / "results.json").stat().st_mtime_ns
    assert evaluate(find_models(two), of_text(text), out) == first
    assert counted == two, "nothing is measured again"
    assert (out / "results.json").stat().st_mtime_ns == written, "nor written"

    third = shutil.copytree(checkpoint("distilbert"), tmp_path / "third")
    models = [*find_models(two[1:]), named_model("third", str(third), "student")]
    result = evaluate(models, of_text(text), out)
    assert counted == [*two, "third"]
    assert {row["role"] for row in result["rows"] if row["model"] == "third"} == {"student"}

    for path in checkpoint("distilbert", seed=9).iterdir():
        shutil.copy(path, third)
    evaluate([named_model("third", str(third))], of_text(text), out)
    assert counted[3:] == ["third"], "other weights under the same name"
    evaluate([named_model("again", str(third))], of_text(text), out)
    assert counted[4:] == [], "the same weights under another name"
    evaluate([named_model("third", str(third))], of_text(text, seed=1), out)
    evaluate([named_model("third", str(third))], of_text(text), out, again=True)
    assert counted[4:] == ["third", "third"]


def test_what_another_protocol_measured_is_not_used(
    two: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    models = find_models(two[:1])
    before = evaluate(models, of_text(text), tmp_path)["kept"]["mlm"][two[0]]
    monkeypatch.setattr(PARTS["mlm"], "protocol", 2)
    after = evaluate(models, of_text(text), tmp_path)["kept"]["mlm"][two[0]]
    assert counted == two[:1] * 2
    assert after != before
    assert (tmp_path / before).is_file(), "whoever goes back finds it"


def test_every_task_says_by_which_protocol_it_measures() -> None:
    assert {name: part.protocol for name, part in PARTS.items()} == {
        "mlm": mlm.PROTOCOL,
        "wsd": wsd.PROTOCOL,
        "glue": glue.PROTOCOL,
        "paraphrase": paraphrase.PROTOCOL,
        "cost": efficiency.PROTOCOL,
    }


def test_it_goes_on_where_it_was_stopped(
    two: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    keep = evaluation_parts.mlm_kept.keep

    def stops(path: Path, measured: Any) -> None:
        if len(counted) == 2:
            raise KeyboardInterrupt
        keep(path, measured)

    monkeypatch.setattr(evaluation_parts.mlm_kept, "keep", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate(find_models(two), of_text(text), tmp_path / "eval")
    assert not (tmp_path / "eval" / "results.json").exists()
    monkeypatch.setattr(evaluation_parts.mlm_kept, "keep", keep)
    result = evaluate(find_models(two), of_text(text), tmp_path / "eval")
    assert counted == [*two, two[1]]
    whole = evaluate(find_models(two), of_text(text), tmp_path / "whole")
    assert result == whole


def test_a_damaged_file_is_measured_again(
    two: list[str], text: str, tmp_path: Path, counted: list[str]
) -> None:
    whole = evaluate(find_models(two), of_text(text), tmp_path)
    damaged = next((tmp_path / "parts" / "mlm").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert evaluate(find_models(two), of_text(text), tmp_path) == whole
    assert len(counted) == 3


def test_senses_are_for_models_with_a_gloss_head(
    checkpoint: Checkpoint, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path)
    monkeypatch.setenv("LIMBECK_WORDNET", str(tmp_path / "wordnet"))
    glossed = tmp_path / "glossed"
    GlossModel.start(checkpoint("bert"), gloss_settings()).save(glossed)
    plain = str(checkpoint("bert"))
    settings = EvaluationSettings(
        tasks=("mlm", "wsd"),
        texts=(text,),
        wsd=str(tmp_path / "valid.jsonl"),
        device="cpu",
    )
    result = evaluate(find_models([plain, str(glossed)]), settings, tmp_path / "eval")
    assert list(result["tasks"]["wsd"]) == [str(glossed)]
    left = [{"task": "wsd", "model": plain, "reason": "it has no gloss head; `limbeck gloss` trains one"}]
    assert result["left_out"] == left
    tables = list(side_by_side_tables(result))
    at = tables[0][1].index("WSD F1, valid")
    assert tables[0][2][0][at] == "–"
    assert tables[0][2][1][at] != "–"
    assert f"wsd of {plain} is left out: it has no gloss head" in tables[1][2][0][1]
    with pytest.raises(UserError, match="wsd cannot be measured: it has no gloss head"):
        evaluate(
            find_models([plain]),
            EvaluationSettings(tasks=("wsd",), named=True, wsd=settings.wsd),
            tmp_path / "other",
        )


def test_glue_keeps_its_trainings(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wnli(tmp_path / "glue")
    model = find_models([str(checkpoint("bert"))])
    settings = EvaluationSettings(
        tasks=("glue",), named=True, glue=str(tmp_path / "glue"), epochs=0.1, device="cpu"
    )
    out = tmp_path / "eval"
    first = evaluate(model, settings, out)
    assert first["tasks"]["glue"][model[0].name]["average"]["tasks"] == ["wnli"]
    baselines = [row for row in first["rows"] if row["role"] == "baseline"]
    assert {row["model"] for row in baselines} == {"majority", "tfidf"}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("seed-0/results.json")}
    assert len(before) == 1
    from dataclasses import replace

    two = evaluate(model, replace(settings, seeds=(0, 1)), out)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "seed 0 is not trained again"
    assert len(two["tasks"]["glue"][model[0].name]["tasks"][0]["runs"]) == 2
    write_wnli(tmp_path / "glue", dev=71)
    dev = tmp_path / "glue" / "WNLI" / "dev.tsv"
    dev.write_text(dev.read_text(encoding="utf-8").replace("0\t", "00\t", 1), encoding="utf-8")
    lines = dev.read_text(encoding="utf-8").splitlines()
    dev.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")
    changed = evaluate(model, settings, out)
    one, other = (r["tasks"]["glue"][model[0].name]["tasks"][0]["fingerprints"] for r in (first, changed))
    assert one["train"] == other["train"]
    assert one["dev"] != other["dev"], "other data is measured, not refused"


@pytest.mark.slow
def test_cost_is_of_all_models(two: list[str], tmp_path: Path) -> None:
    settings = EvaluationSettings(tasks=("cost",), named=True, lengths=(16,), seconds=0.05, device="cpu")
    result = evaluate(find_models(two), settings, tmp_path)
    assert [one["name"] for one in result["tasks"]["cost"]["models"]] == two
    _, columns, rows = next(iter(side_by_side_tables(result)))
    assert columns[2:] == ["disk", "latency at 16 pieces", "tokens/s", "peak memory"]
    assert all("–" not in cell for row in rows for cell in row[1:])


def test_a_cost_that_was_kept_is_of_the_model_as_it_is_called_now(
    two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counts(task: Any) -> dict[str, int]:
        asked.append(task.model)
        return {"peak_one": 1, "peak_batch": 2}

    monkeypatch.setattr(efficiency, "memory_of", counts)
    settings = EvaluationSettings(tasks=("cost",), named=True, lengths=(8, 500), seconds=0.01, device="cpu")
    first = evaluate([named_model("one", two[0])], settings, tmp_path / "eval")["tasks"]["cost"]
    copied = shutil.copytree(two[0], tmp_path / "run" / "model")
    (tmp_path / "run" / "status.json").write_text('{"state": "finished", "result": {"tokens": 77}}')
    (tmp_path / "run" / "metrics.jsonl").touch()
    second = evaluate([named_model("other", str(copied))], settings, tmp_path / "eval")["tasks"]["cost"]
    assert asked == two[:1], "measured once"
    ours, theirs = first["models"][0], second["models"][0]
    assert theirs["lengths"] == ours["lengths"]
    assert [(one["name"], one["model"], one["memory"]["model"]) for one in (ours, theirs)] == [
        ("one", two[0], two[0]),
        ("other", str(copied), str(copied)),
    ]
    assert (ours["training"], theirs["training"][0]["tokens"]) == (None, 77)
    assert "one takes at most 64 pieces; not measured at 500." in first["notes"]
    assert "other takes at most 64 pieces; not measured at 500." in second["notes"]
    assert not any("no log of its training" in note for note in second["notes"])


def test_a_model_too_short_for_every_length_is_told_before_anything_is_measured(
    two: list[str], text: str, tmp_path: Path, counted: list[str]
) -> None:
    settings = EvaluationSettings(
        tasks=("mlm", "cost"), named=True, texts=(text,), lengths=(65, 500), device="cpu"
    )
    with pytest.raises(UserError, match=r"cost cannot be measured: model: .* takes at most 64 pieces, fewer"):
        evaluate(find_models(two[:1]), settings, tmp_path / "eval")
    assert counted == []
    from dataclasses import replace

    result = evaluate(find_models(two[:1]), replace(settings, named=False), tmp_path / "eval")
    assert list(result["tasks"]) == ["mlm"]
    assert [one["task"] for one in result["left_out"]] == ["cost"]


def test_a_fingerprint_is_of_all_that_decides(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "a")
    found = fingerprint(folder)
    assert found == fingerprint(checkpoint("bert"))
    (folder / "README.md").write_text("A card.")
    for stray in ("extra.json", "notes.txt", "table.data"):
        (folder / stray).write_text("{}")
    assert fingerprint(folder) == found, "a file that no model is read from"
    (folder / "gloss.json").write_text("{}")
    assert fingerprint(folder) != found
    assert fingerprint(checkpoint("bert", seed=7)) != found
    with pytest.raises(UserError, match="does not exist"):
        fingerprint(tmp_path / "nowhere")


def test_a_run_directory_means_its_model(checkpoint: Checkpoint, tmp_path: Path) -> None:
    shutil.copytree(checkpoint("bert"), tmp_path / "run" / "model")
    model = named_model("run", str(tmp_path / "run"))
    assert model == Model("run", str(tmp_path / "run" / "model"), fingerprint(checkpoint("bert")))


def test_settings_of_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    everything = EvaluationSettings.of("all")
    assert (everything.named, everything.tasks) == (False, ("mlm", "wsd", "glue", "paraphrase", "cost"))
    some = EvaluationSettings.of("cost, mlm", quick=True, passages=9)
    assert (some.named, some.tasks, some.passages) == (True, ("mlm", "cost"), 9)
    assert (some.lengths, some.glue_tasks, some.quick_sets) == ((64,), ("rte",), True)
    assert not EvaluationSettings.of("all", quick=True, wsd_sets=("ALL",)).quick_sets
    for wrong in ("", "nonsense", "mlm,nonsense"):
        with pytest.raises(UserError, match="tasks are all, or some of mlm, wsd, glue, paraphrase, cost"):
            EvaluationSettings.of(wrong)
    with pytest.raises(UserError, match="different numbers"):
        EvaluationSettings.of("all", seeds=(1, 1))
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    assert default_texts() == ("wordnet:/valid",)
    (tmp_path / "text").mkdir()
    monkeypatch.setenv("LIMBECK_DATA", str(tmp_path))
    assert default_texts() == (str(tmp_path / "text"),)


def test_paraphrase_is_as_large_as_it_is_asked(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paraphrase, "LEAST_STEPS", 2)
    for part, (count, seed) in {"train": (24, 1), "valid": (8, 2), "test": (8, 3)}.items():
        write_pairs(tmp_path / "data" / f"tiny.{part}.tsv", count, seed)
    ask = [str(checkpoint("bert")), "--tasks", "paraphrase", "--paraphrase-data", str(tmp_path / "data")]
    ask += ["--output", str(tmp_path / "eval"), "--device", "cpu", "--epochs", "0.1", "--json"]
    ran = CliRunner().invoke(app, ["eval", *ask, "--sizes", "16", "--words", "2", "--test-limit", "6"])
    assert ran.exit_code == 0, ran.stderr
    (result,) = json.loads(ran.stdout)["tasks"]["paraphrase"].values()
    assert [(cell["size"], cell["words"]) for cell in result["cells"]] == [(16, 2)]
    assert [(one["name"], one["texts"]) for one in result["data"]["tests"]] == [("test-sample-6", 6)]
    assert "words must be one or more different numbers" in refused("eval", *ask, "--words", "2,2")
    assert invoke("eval", *ask, "--test-limit", "0").exit_code == 2


def test_what_is_missing_is_told_and_nothing_is_made_up(
    two: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    settings = EvaluationSettings(tasks=("mlm", "wsd", "glue"), texts=(text,), device="cpu")
    result = evaluate(find_models(two), settings, tmp_path / "eval")
    assert list(result["tasks"]) == ["mlm"]
    assert [(one["task"], one["model"]) for one in result["left_out"]] == [("wsd", None), ("glue", None)]
    assert all("LIMBECK_DATA" in one["reason"] for one in result["left_out"])
    with pytest.raises(UserError, match="no GLUE data"):
        check_data(EvaluationSettings(tasks=("glue",)))
    with pytest.raises(UserError, match="nothing can be measured; wsd: no sets"):
        evaluate(find_models(two), EvaluationSettings(tasks=("wsd", "glue")), tmp_path / "none")


def test_bad_input_is_one_line(two: list[str], text: str, tmp_path: Path, checkpoint: Checkpoint) -> None:
    out = ["--output", str(tmp_path / "eval"), "--text", text, "--device", "cpu"]
    assert "does not exist" in refused("eval", str(tmp_path / "nowhere"), *out)
    (tmp_path / "empty").mkdir()
    assert "there is no config.json" in refused("eval", str(tmp_path / "empty"), *out)
    assert "is named twice" in refused("eval", two[0], two[0], *out)
    assert "no task 'nonsense'" in refused("eval", two[0], "--tasks", "nonsense", *out)
    assert "--seeds 'x' are no whole numbers" in refused("eval", two[0], "--seeds", "x", *out)
    assert "no whole numbers with commas" in refused("eval", two[0], "--lengths", "1,", *out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    assert "holds thesis.tex but no evaluation" in refused(
        "eval", two[0], "--tasks", "mlm", *out, "--output", str(tmp_path / "full")
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text('{"mine": 1}')
    assert "holds a results.json that is no evaluation" in refused(
        "eval", two[0], "--tasks", "mlm", *out, "--output", str(tmp_path / "other")
    )
    assert (tmp_path / "other" / "results.json").read_text() == '{"mine": 1}'
    (tmp_path / "full" / ".lock").touch()
    (tmp_path / "full" / "affecting.json").touch()
    assert "is a run directory; choose another folder, such as" in refused(
        "eval", two[0], "--tasks", "mlm", *out, "--output", str(tmp_path / "full")
    )
    said = refused("eval", two[0], "--tasks", "wsd", *out, "--wsd-data", str(tmp_path / "nowhere"))
    assert "wsd cannot be measured: there is no" in said
    assert not (tmp_path / "eval" / "results.json").exists()


def test_the_command(two: list[str], text: str, tmp_path: Path) -> None:
    words = ["eval", *two, "--tasks", "mlm", "--text", text, "--passages", "8", "-o", str(tmp_path / "out")]
    shown = invoke(*words)
    assert shown.exit_code == 0, shown.output
    assert "Side by side" in shown.stdout
    assert "nats/word" in shown.stdout
    as_json = invoke(*words, "--json")
    assert json.loads(as_json.stdout) == read_json(tmp_path / "out" / "results.json")
    assert "measured before" in as_json.stderr
    mistyped = CliRunner().invoke(app, ["eval", "mlmm"])
    assert mistyped.exit_code == 2
    assert "sub-commands: mlm, wsd, cost, glue, paraphrase" in mistyped.stderr
