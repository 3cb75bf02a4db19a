"""The benchmark of the store runs through, on models and text so small that its figures mean nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.tiny_recipes import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import store
from step_setting import Setting


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
    counts = "--rounds 2 --steps 2 --passages 20 --teacher-steps 2 --threads 1 --precisions f32"
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
