"""benchmarks/wsd.py and its page run through, and go on, on tiny models and a mini WordNet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limbeck.gloss.instances import load_keys
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.tasks.wsd_sets import ALL, FIVE
from tests.mini_wordnet import write_wordnet
from tests.test_wsd import write_set
from tests.tiny_gloss import TRAINING_TEXT
from tests.tiny_recipes import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import wsd
import wsd_page

Checkpoint = Callable[..., Path]
SMALL = ("steps=2", "batch=4", "max_length=64", "tokens=512", "save_every=9")


@pytest.fixture
def data(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SemCor and the five sets, on a few words of the mini WordNet."""
    folder = write_wordnet(tmp_path / "wordnet", polysemous=True)
    monkeypatch.setenv("LIMBECK_WORDNET", str(folder))
    lexicon = open_lexicon(str(folder))
    senses = [(s.lemma, s.lemma, s.key) for word in ("bank", "dog", "run") for s in lexicon.senses(word, "n")]
    assert len(senses) > 5
    for place, name in enumerate(FIVE):
        write_set(tmp_path / "wsd" / "eval", name, senses[place:])
    write_set(tmp_path / "wsd" / "semcor", "semcor", senses * 2)
    return tmp_path / "wsd"


def study(data: Path, *more: str) -> dict[str, Any]:
    folder = data.parent
    sets = [word for field in SMALL for word in ("--set", f"gloss.{field}")]
    given = ["--data", data, "--scratch", folder / "scratch", "--json", folder / "results" / "wsd.json"]
    wsd.main([*map(str, given), "--precision", "f32", "--device", "cpu", "--threads", "1", *sets, *more])
    found: dict[str, Any] = json.loads((folder / "results" / "wsd.json").read_text(encoding="utf-8"))
    return found


def right(data: Path, variant: str) -> int:
    """Answers of a variant that are right, over the five sets."""
    folder = data.parent / "scratch" / f"minilm-{variant}-1x1-1" / "wsd-f32"
    files = [(data / "eval" / f"{name}.gold.key.txt", folder / f"{name}.key") for name in FIVE]
    return sum(load_keys(said)[key] == keys for gold, said in files for key, keys in load_keys(gold).items())


def written(data: Path) -> str:
    results, page = data.parent / "results", data.parent / "page" / "wsd.md"
    wsd_page.main(["--results", str(results), "--page", str(page)])
    return page.read_text(encoding="utf-8")


def test_the_variants_and_their_page(data: Path, checkpoint: Checkpoint) -> None:
    model = str(checkpoint("bert", texts=TRAINING_TEXT, vocabulary=500, seed=5))
    words = "--only", "minilm", "--model", model, "--part", "full", "--evaluations", "9"
    (group,) = study(data, *words, "--variants", "pairs", "choice")["groups"]
    assert set(group["variants"]) == {"pairs", "choice"}
    run = data.parent / "scratch" / "minilm-pairs-1x1-1"
    results, keys = run / "results.json", run / "wsd-f32" / "senseval2.key"
    before = results.stat().st_mtime_ns, keys.stat().st_mtime_ns

    content = json.dumps(again := study(data, *words))
    assert str(data.parent) not in content
    assert (results.stat().st_mtime_ns, keys.stat().st_mtime_ns) == before, "nothing is done twice"
    (whole,) = again["groups"]
    assert whole["variants"]["pairs"] == group["variants"]["pairs"]
    assert set(whole["comparisons"]) == {"choice - pairs", "packed - choice", "packed_examples - packed"}
    assert {name: runs["1"]["layout"] for name, runs in whole["variants"].items()} == {
        "pairs": "pairs", "choice": "pairs", "packed": "packed", "packed_examples": "packed",
    }  # fmt: skip
    used = {name: runs["1"]["train"]["used"] for name, runs in whole["variants"].items()}
    assert used["pairs"] == used["choice"] == used["packed"] < used["packed_examples"]
    for runs in whole["variants"].values():
        assert set(runs["1"]["sets"]) == {*FIVE, ALL}
        assert runs["1"]["cost"]["steps"] == 2
        assert runs["1"]["valid"]["best_f1"] is not None
    assert whole["baselines"][ALL].keys() == {"first_sense", "most_frequent_sense", "random"}
    test = whole["comparisons"]["packed - choice"]["1"]["mcnemar"]
    assert test["only_second"] - test["only_first"] == right(data, "packed") - right(data, "choice")

    page = written(data)
    assert "Not measured yet: `python benchmarks/wsd.py --only student`." in page
    assert "Not measured yet: `python benchmarks/gloss.py`." in page
    assert "F1 on ALL, all of SemCor" in page
    shown = next(row for row in page.splitlines() if row.startswith("| `choice`, packed |"))
    assert f"{100 * whole['variants']['packed']['1']['sets'][ALL]['f1']:.2f}" in shown


def test_a_student_before_and_after(data: Path, checkpoint: Checkpoint) -> None:
    models = [checkpoint("bert", texts=TRAINING_TEXT, vocabulary=500, seed=number) for number in range(3)]
    (data.parent / "first-1").symlink_to(models[0])
    write_text(data.parent)
    fields = [f'text.{part}=["{data.parent / part}.txt"]' for part in ("train", "valid")]
    teachers = zip(("encyclopedia", "fiction"), models[1:], strict=True)
    fields += [f"teachers.{name}.model={model}" for name, model in teachers]
    sets = [word for field in (*fields, "gloss.eval_every=2") for word in ("--set", field)]
    words = "--only", "student", "--student", str(data.parent / "first-{seed}"), *sets
    (group,) = study(data, *words)["groups"]
    methods = {name: runs["1"]["method"] for name, runs in group["variants"].items()}
    assert methods == {"lmgc": "LMGC", "lmgcm": "LMGC-M", "cohesive": "cohesive LMGC-M"}
    assert len(group["variants"]["cohesive"]["1"]["teachers"]) == 2
    before = {runs["1"]["words"]["headline"]["before"] for runs in group["variants"].values()}
    after = {runs["1"]["words"]["headline"]["after"] for runs in group["variants"].values()}
    assert (len(before), len(after)) == (1, 3)
    page = written(data)
    assert "LMGC-M, cohesive less LMGC-M" in page
    assert f"| {before.pop():.3f} |" in page


def test_without_results_or_data(tmp_path: Path) -> None:
    (tmp_path / "wsd").mkdir()
    page = written(tmp_path / "wsd")
    assert "Nothing measured yet." in page
    assert page.count("Not measured yet: ") == 3
    with pytest.raises(SystemExit, match=r"0 files semeval2007\.data\.xml"):
        study(tmp_path / "wsd", "--only", "minilm")
    with pytest.raises(SystemExit):
        wsd.options(["--part", "1.5"])
