"""The benchmark of the store runs through, on models and text so small that its figures mean nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_recipes import tiny_recipe, write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import faithful
import store
import store_page
from step_setting import Setting

from limbeck.recipe import to_toml


def test_the_whole_benchmark(tmp_path: Path, cache: Path) -> None:
    write_text(tmp_path)
    setting = Setting(
        student_tokenizer="train:wordpiece:300",
        other_tokenizer="bpe:400",
        third_tokenizer="unigram:300",
        train_text=str(tmp_path / "train.txt"),
        step_text=str(tmp_path / "valid.txt"),
        words=24,
        batch=4,
        length=24,
        teacher=(1, 32),
        student=(1, 32),
        threads=1,
    )
    file = tmp_path / "out" / "store.json"
    counts = "--rounds 2 --steps 2 --passages 20 --built 20 --large 2 32 --teacher-steps 2"
    counts += " --threads 1 --precisions f32"
    store.main([*counts.split(), "--json", str(file)], setting)
    text = file.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    found = json.loads(text)
    assert [row["k"] for row in found["divergence"]] == [4, 8, 16, 32, 64]
    blind = [row["blind"] for row in found["divergence"]]
    assert blind == sorted(blind, reverse=True), "the more pieces are kept, the less is lost"
    assert max(row["rounding"] for row in found["divergence"]) < 1e-3
    assert 2 < found["bytes"]["bytes_per_token"] < 10
    assert found["bytes"]["complete"]
    assert [target["what"].split(",")[0] for target in found["targets"]] == [
        "bytes per token",
        "speed of building / bare forwards",
        "time of a step",
    ]
    page = tmp_path / "store.md"
    store_page.main(["--json", str(file), "--faithful", str(tmp_path / "none.json"), "--page", str(page)])
    written = page.read_text(encoding="utf-8")
    assert f"{found['bytes']['bytes_per_token']:.2f} bytes per token" in written
    assert "As good as online" not in written


def test_faithful_compares_students_that_differ_in_their_targets_alone(
    tmp_path: Path, cache: Path, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path)
    monkeypatch.setattr(faithful, "PART", 1)
    models = {"a": checkpoint("bert", seed=1), "b": checkpoint("roberta", tokenizer="bpe", seed=2)}
    recipe = tiny_recipe(tmp_path, models, train={"steps": 3, "eval_every": 3, "save_every": 3})
    (tmp_path / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    file = tmp_path / "faithful.json"
    words = ["--seeds", "1", "2", "--kept", "8", "12", "--steps", "3", "--threads", "1"]
    words += ["--recipe", tmp_path / "recipe.toml", "--json", file]
    faithful.main([*map(str, words), "--scratch", str(tmp_path / "scratch")])
    text = file.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    found = json.loads(text)
    assert list(found["seeds"]) == ["1", "2"]
    for seed, arms in found["seeds"].items():
        assert list(arms) == ["none", "store8", "store12", "online"]
        results = {
            a: json.loads((tmp_path / "scratch" / f"{a}-{seed}" / "results.json").read_text()) for a in arms
        }
        assert {a: r["valid"]["nats"] for a, r in results.items()} == {a: r["nats"] for a, r in arms.items()}
        assert results["none"]["teachers"] == []
        assert len(results["online"]["teachers"]) == len(results["store8"]["teachers"]) == 2
        assert results["none"]["text"] == results["online"]["text"]
    nats = found["seeds"]["1"]
    apart = [found["summary"][name]["apart"][0] for name in found["stores"]]
    assert apart == [nats[name]["nats"] - nats["online"]["nats"] for name in ("store8", "store12")]
    assert 0 not in apart
    assert apart[0] != apart[1]
    part = store_page._faithful(found)
    assert f"{nats['online']['nats']:.4f}" in part
