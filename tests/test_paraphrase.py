"""`limbeck eval paraphrase`: the protocol on small sets, sets made of originals, what is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
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
from limbeck.files import folder_name
from limbeck.finetune.settings import FinetuneSettings
from limbeck.tasks import paraphrase, paraphrase_baselines
from limbeck.tasks.paraphrase import RESULT, check_models, evaluate_paraphrase
from limbeck.tasks.paraphrase_data import read_examples, read_paraphrases
from limbeck.tasks.paraphrase_result import figures
from limbeck.tasks.paraphrase_sets import hold_out, read_sets, sample, training_texts
from limbeck.tasks.rows import rows_of
from limbeck.tools.spin_sets import cross_sets
from tests.mini_wordnet import write_wordnet
from tests.tiny_labelled import ANIMALS, OTHERS, TEXTS, THINGS, write_table

QUICK = FinetuneSettings(epochs=1, max_length=16, device="cpu", threads=1, learning_rate=1e-3, batch=16)
PARTS = {"train": (120, 1), "valid": (20, 2), "test": (40, 3)}


def write_pairs(path: Path, count: int, seed: int) -> Path:
    """A paraphrase has a thing where its original has an animal: the first word decides."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        rest = " ".join(draw.choices(OTHERS, k=6))
        pair = f"{draw.choice(ANIMALS)} {rest}", f"{draw.choice(THINGS)} {rest}"
        rows.append((f"{seed}-{number // 3}", str(number), *pair))
    return write_table(path, ("article_id", "paragraph", "original", "spun"), rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plagiarism")
    for part, (count, seed) in PARTS.items():
        write_pairs(folder / f"tiny.{part}.tsv", count, seed)
    return folder


@pytest.fixture(scope="module")
def bert(checkpoint: Callable[..., Path]) -> str:
    return str(checkpoint("bert", texts=TEXTS))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paraphrase, "LEAST_STEPS", 60)


@pytest.mark.usefixtures("cache")
def test_lengths_sizes_and_seeds(place: Path, bert: str, tmp_path: Path) -> None:
    ask: dict[str, Any] = {"sizes": [64, 200], "words": [2], "seeds": [0, 1]}
    result = evaluate_paraphrase(bert, read_sets(place), settings=QUICK, output=tmp_path / "out", **ask)
    assert json.loads((tmp_path / "out" / RESULT).read_text()) == result
    assert result["task"] == "paraphrase"
    assert [(one["words"], one["size"]) for one in result["cells"]] == [(2, 64), (2, 200)]
    data = result["data"]
    assert data["train"]["classes"] == {"original": 120, "paraphrased": 120}
    assert (data["valid"]["is"], data["valid"]["texts"]) == ("valid", 40)
    (test,) = data["tests"]
    assert (test["name"], test["texts"], test["whole"], test["synthetic"]) == ("test", 80, True, None)
    for cell in result["cells"]:
        runs = [run["tests"]["test"]["f1_micro"] for run in cell["runs"]]
        figure = cell["tests"]["test"]["f1_micro"]
        assert figure["mean"] == pytest.approx(np.mean(runs))
        assert figure["std"] == pytest.approx(np.std(runs, ddof=1))
        assert [run["seed"] for run in cell["runs"]] == [0, 1]
        assert all(run["steps"] == 60 for run in cell["runs"])
        baselines = {name: one["tests"]["test"]["f1_micro"] for name, one in cell["baselines"].items()}
        assert baselines["majority"] == {"mean": 0.5, "std": 0.0}
        assert baselines["tfidf_50000"]["mean"] == 1.0, "one word decides"
    assert result["cells"][1]["tests"]["test"]["f1_micro"]["mean"] > 0.9
    assert result["settings"]["least_steps"] == 60
    told = "epochs 1, learning rate 0.001, batch 16, max length 16"
    assert result["settings"]["unusual"] == told
    named = {row["data"] for row in rows_of(result) if row["metric"] != "parameters"}
    assert all(data.endswith(f", {told}") for data in named)
    assert result["versions"]["scikit-learn"]
    left = {path.name for path in (tmp_path / "out/words-2/texts-64/seed-0").iterdir()}
    assert {"results.json", "measured.json", "recipe.toml"} <= left
    assert left.isdisjoint({"model", "best", "checkpoints"}), "weights are not kept"
    shown = list(tables_tasks.paraphrase_tables(result))
    title, columns, rows = shown[0]
    assert title == "F1-micro in % on test (80 texts), mean ± standard deviation over seeds"
    assert columns[-3:] == ["majority", "TF-IDF 300", "TF-IDF 50,000"]
    assert [row[:2] for row in rows] == [["2", "64"], ["2", "200"]]
    assert all(len(row) == len(columns) and "±" in row[2] for row in rows)
    both = list(tables_tasks.paraphrase_tables({"models": [result, result]}))
    assert both[0][1][2:4] == [bert, bert]
    assert [row[1] for row in shown[-1][2]] == result["notes"]


def test_the_same_call_goes_on(
    place: Path, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    from limbeck.finetune import train

    ask: dict[str, Any] = {"sizes": [32], "words": [2], "seeds": [3, 4], "settings": QUICK}
    sets = read_sets(place)
    whole = evaluate_paraphrase(bert, sets, output=tmp_path / "whole", **ask)
    kept = list((cache / "paraphrase").iterdir())
    assert len(kept) == 2
    run = train.Job.run

    def stops(self: train.Job, opened: Any) -> Any:
        if self.settings.seed == 4:
            raise Interrupted
        return run(self, opened)

    def never(*_: object) -> Any:
        raise AssertionError("a baseline is measured again")

    with monkeypatch.context() as patch:
        patch.setattr(paraphrase_baselines, "_tfidf", never)
        patch.setattr(train.Job, "run", stops)
        with pytest.raises(Interrupted):
            evaluate_paraphrase(bert, sets, output=tmp_path / "parts", **ask)
        patch.setattr(train.Job, "run", run)
        parts = evaluate_paraphrase(bert, sets, output=tmp_path / "parts", **ask)
    for key in ("tests", "baselines"):
        assert parts["cells"][0][key] == whole["cells"][0][key]
    with pytest.raises(UserError, match=r"paraphrase\.tests"):
        evaluate_paraphrase(bert, read_sets(place, test_limit=10), output=tmp_path / "parts", **ask)


def test_the_sample_is_that_of_the_reference(place: Path) -> None:
    """Rows in file order, original then spun, shuffled with random.Random(seed), the first n."""
    found = read_examples(place / "tiny.train.tsv")
    rows = [line.split("\t") for line in (place / "tiny.train.tsv").read_text().splitlines()[1:]]
    flat = [(text, kind) for row in rows for text, kind in zip(row[2:], found.labels[:2], strict=True)]
    random.Random(0).shuffle(flat)
    chosen = training_texts(found, 50, 0)
    assert list(zip(chosen.texts, chosen.labels, strict=True)) == flat[:50]
    with pytest.raises(UserError, match=r"sizes has 241, and .* has 240 texts; take fewer"):
        training_texts(found, 241, 0)
    with pytest.raises(UserError, match="are of one class; take more"):
        training_texts(found, 1, 0)


def test_a_sample_of_the_test_is_never_called_test(place: Path) -> None:
    sets = read_sets(place, test_limit=30, valid_limit=10)
    (test,) = sets.tests
    assert (test.name, len(test.examples), test.of) == ("test-sample-30", 30, 80)
    assert sets.valid_is == "10 texts of 40 of valid"
    whole = read_examples(place / "tiny.test.tsv")
    again = sample(whole.take(np.arange(80)[::-1]), 30)
    assert sorted(again.texts) == sorted(test.examples.texts), "whatever the order of the file"
    result = evaluate_paraphrase(None, sets, sizes=[100], words=[1])
    assert "test-sample-30 is a fixed sample, 30 texts of 80." in result["notes"]
    assert "model" not in result
    assert list(result["cells"][0]) == ["words", "size", "baselines"]
    shown = list(tables_tasks.paraphrase_tables(result))
    assert shown[0][:2] == (
        "F1-micro in % on test-sample-30 (30 texts)",
        ["words", "training texts", "majority", "TF-IDF 300", "TF-IDF 50,000"],
    )


def test_without_valid_whole_articles_are_held_out(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "tiny.train.tsv", tmp_path / "train.tsv")
    sets = read_sets(tmp_path, parts={"test": place / "tiny.test.tsv"})
    assert sets.valid_is == "held out of train"
    assert (len(sets.train), len(sets.valid)) == (228, 12), "2 of 40 articles"
    train, held = hold_out(read_paraphrases(tmp_path / "train.tsv"))
    assert not set(train.groups.tolist()) & set(held.groups.tolist())


def test_overlap_is_warned_of_and_counted(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = (place / "tiny.train.tsv").read_text().splitlines()
    (tmp_path / "test.tsv").write_text("\n".join(rows[:6]).replace(" ", "   ") + "\n")
    sets = read_sets(place, parts={"test": tmp_path / "test.tsv"})
    assert sets.overlap["test"] == 10, "whatever the white space"
    assert "10 of 10 texts" in caplog.text
    assert "figures on them will flatter" in caplog.text
    result = evaluate_paraphrase(None, sets, sizes=[50], words=[0])
    said = "Texts of test that stand in the training set as well: 10 of 10 whole."
    assert said in result["notes"]


def test_overlap_is_counted_at_each_length(place: Path, tmp_path: Path) -> None:
    """Texts of which only the start is read stand in train more often than whole ones."""
    rows = [line.split("\t") for line in (place / "tiny.train.tsv").read_text().splitlines()[1:5]]
    own = [(first, f"{second} of its own") for *_, first, second in rows[:3]] + [("x y", "z y")]
    write_table(tmp_path / "test.tsv", ("original", "spun"), own)
    sets = read_sets(place, parts={"test": tmp_path / "test.tsv"})
    result = evaluate_paraphrase(None, sets, sizes=[50], words=[7, 2])
    (test,) = result["data"]["tests"]
    assert (test["overlap"], test["overlap_by_words"]) == (3, {"7": 6, "2": 6})
    said = "Texts of test that stand in the training set as well: 3 of 8 whole, "
    assert f"{said}6 of 8 with 7 words, 6 of 8 with 2 words." in result["notes"]
    assert result["data"]["valid"]["overlap_by_words"]["2"] > 0


def test_originals_of_another_place_are_spun(place: Path, tmp_path: Path) -> None:
    write_wordnet(tmp_path / "wordnet", polysemous=True)
    texts = [
        ("1", "The lawyers ran into the banks."),
        ("2", "Zzz qqq."),
        ("3", "The bank lends money to a dog."),
    ]
    write_table(tmp_path / "more.original.tsv", ("article_id", "text"), texts)
    found, left = cross_sets(tmp_path, lexicon=str(tmp_path / "wordnet"))
    assert left == []
    assert [one.name for one in found] == ["more-every-4th", "more-every-2nd"]
    for one, rate in zip(found, (0.25, 0.5), strict=True):
        made = one.synthetic
        assert made is not None
        assert made["rate"] == rate
        assert 0 < made["rate_reached"] <= 1
        assert made["left_out"] >= 1, "what cannot be spun has no place in it"
        assert len(one.examples) == 2 * (3 - made["left_out"])
        assert one.examples.labels[:2] == ["original", "paraphrased"]
        assert one.examples.texts[0] != one.examples.texts[1]
    sets = read_sets(place).with_more(found)
    result = evaluate_paraphrase(None, sets, sizes=[50], words=[0])
    assert [one["name"] for one in result["data"]["tests"]] == ["test", "more-every-4th", "more-every-2nd"]
    assert any("more-every-4th is synthetic: synonyms by limbeck" in note for note in result["notes"])
    titles = [title for title, _, _ in tables_tasks.paraphrase_tables(result)]
    assert titles[1].startswith("F1-micro in % on more-every-4th (synthetic, ")
    with pytest.raises(UserError, match="2 sets to measure on are named more-every-4th"):
        sets.with_more(found[:1])
    sampled, _ = cross_sets(tmp_path, lexicon=str(tmp_path / "wordnet"), limit=2)
    assert sampled[0].name == "more-every-4th-sample-2"
    assert sampled[0].of == 6
    missing, left = cross_sets(tmp_path, lexicon=str(tmp_path / "none"))
    assert missing == ()
    assert "more.original.tsv could not be spun" in left[0]
    with pytest.raises(UserError):
        cross_sets(None, [str(tmp_path / "more.original.tsv")], lexicon=str(tmp_path / "none"))
    assert cross_sets(tmp_path, ["none"]) == ((), [])


def test_labelled_sets_of_another_place_are_taken_as_they_are(place: Path, tmp_path: Path) -> None:
    spun = write_table(
        tmp_path / "arxiv.tsv", ("original", "spun", "synthetic"), [("a b", "a c", "by limbeck spin")]
    )
    for name, label in (("1-ORIG-1", "og"), ("1-SPUN-1", "mg")):
        (tmp_path / "theses" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "theses" / label / f"{name}.txt").write_text(name)
    found, _ = cross_sets(place, [str(spun), str(tmp_path / "theses")])
    assert [(one.name, one.synthetic) for one in found] == [
        ("arxiv", {"said": "by limbeck spin"}),
        ("theses", None),
    ]


def test_figures_are_of_the_classes() -> None:
    found = figures(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert found == {
        "f1_micro": 0.75,
        "f1_original": pytest.approx(0.8),
        "f1_paraphrased": pytest.approx(2 / 3),
    }


def test_the_command(place: Path, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_DATA", str(tmp_path / "data"))
    shutil.copytree(place, tmp_path / "data/plagiarism")
    ask = [bert, "--sizes", "16", "--words", "1", "--output", str(tmp_path / "out"), "--precision", "bf16"]
    done = CliRunner().invoke(app, ["eval", "paraphrase", *ask])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "F1-micro in % on test (80 texts)" in done.stdout
    assert (tmp_path / "out" / folder_name(bert) / RESULT).is_file()
    again = CliRunner().invoke(app, ["eval", "paraphrase", *ask, "--json"])
    assert json.loads(again.stdout)["model"]["name"] == bert


def refused(*words: object) -> str:
    done = CliRunner().invoke(app, ["eval", "paraphrase", *map(str, words)])
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("limbeck: ")
    return line


def test_bad_questions(place: Path, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    assert "no paraphrase data; name its folder with --data" in refused()
    assert "there is no folder" in refused("--data", tmp_path / "none")
    assert "has no train: no folder train, no train.tsv" in refused("--data", tmp_path)
    assert "has no test" in refused("--data", tmp_path, "--train", place / "tiny.train.tsv")
    for option in ("--sizes", "--words", "--seeds"):
        assert "are no whole numbers with commas" in refused("--data", place, option, "a")
        assert "different numbers of at least" in refused("--data", place, option, "3,3")
    assert "sizes has 999, and" in refused("--data", place, "--sizes", "999")
    assert "test-limit is 1; it must be at least 2" in refused("--data", place, "--test-limit", "1")
    assert "epochs is 0" in refused("--data", place, "--epochs", "0")
    assert "no/model" in refused("no/model", "--data", place)
    one = write_table(tmp_path / "test.tsv", ("text", "label"), [("a", "0"), ("b", "0")])
    assert "has one class only: all 2 texts are original" in refused("--data", place, "--test", one)
    assert "cannot read" in refused("--data", place, "--cross", tmp_path / "none.tsv")
    empty = write_table(tmp_path / "t.tsv", ("text", "label"), [("!", "0"), ("?", "1")] * 5)
    assert "has no words that TF-IDF counts" in refused(
        "--train", empty, "--valid", empty, "--test", empty, "--sizes", "8"
    )
    with pytest.raises(UserError, match="would have the same folder"):
        check_models([bert, f"/{bert}"])
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    assert "install limbeck with its extra: limbeck[eval]" in refused("--data", place, "--sizes", "8")


def test_few_texts_are_met_often() -> None:
    long_enough = paraphrase._long_enough
    assert long_enough(replace(QUICK, epochs=12, batch=32), 200).epochs == 12
    assert long_enough(replace(QUICK, epochs=3, batch=32), 64).epochs == 30
    assert long_enough(replace(QUICK, epochs=1, batch=32), 8).epochs == 60


@pytest.mark.data
def test_the_reference_scores_come_out() -> None:
    folder = Path(os.environ.get("LIMBECK_DATA", "nowhere")) / "plagiarism"
    if not folder.is_dir():
        pytest.skip("LIMBECK_DATA has no plagiarism")
    result = evaluate_paraphrase(None, read_sets(folder), sizes=[200, 1000], words=[16])
    found = [one["baselines"]["tfidf_50000"]["tests"]["test"]["f1_micro"]["mean"] for one in result["cells"]]
    assert found == pytest.approx([0.585, 0.710], abs=0.005)
    assert result["data"]["tests"][0]["texts"] == 2 * 8127
    assert result["data"]["tests"][0]["overlap"] == 5, "paragraphs that stand in two articles"
