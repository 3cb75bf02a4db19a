"""The benchmark of a step runs through, on models and text so small that its figures mean nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_recipes import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import step
import step_measure
from step_setting import SAME, Made, Setting
from step_variants import Ours


@pytest.fixture
def setting(tmp_path: Path, cache: Path) -> Setting:
    write_text(tmp_path)
    return Setting(
        student_tokenizer="train:wordpiece:300",
        other_tokenizer="bpe:400",
        third_tokenizer="unigram:300",
        train_text=str(tmp_path / "train.txt"),
        step_text=str(tmp_path / "valid.txt"),
        words=24,
        batch=4,
        length=24,
        batches=2,
        teacher=(1, 32),
        student=(1, 32),
        threads=1,
    )


def here(function: Callable[..., Any], *arguments: Any, environment: dict[str, str] | None = None) -> Any:
    """In place of a fresh process, of which each would import torch again."""
    return function(*arguments)


@pytest.mark.slow
def test_the_whole_benchmark(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "isolated", here)
    files = tmp_path / "out" / "step.json", tmp_path / "out" / "step.md"
    counts = ["--rounds", "2", "--steps", "1", "--parts-steps", "2", "--text-rounds", "1"]
    step.main([*counts, "--json", str(files[0]), "--page", str(files[1])], setting)

    result, page = (file.read_text(encoding="utf-8") for file in files)
    assert str(tmp_path) not in result
    found = json.loads(result)
    assert {len(target) for target in found["targets"]} == {5}
    assert len(found["targets"]) == 5
    for precision in step.PRECISIONS:
        speed = found["speed"][precision]
        rates = speed["tokens_per_second"]
        assert set(rates) == {"plain", "online", "online_other", "usual"}
        pairs = zip(rates["online"]["rounds"], rates["usual"]["rounds"], strict=True)
        assert speed["ratios"]["online / usual"]["rounds"] == [a / b for a, b in pairs]
        for timed in found["parts"][precision].values():
            assert len(timed["milliseconds"]) == 14
            assert min(timed["milliseconds"].values()) > 0
            assert sum(timed["share"].values()) == pytest.approx(1)
    assert found["batches"]["coverage_same"] == 1
    assert 0 < found["batches"]["coverage_other"] < 1
    assert found["text"]["words"] > 0
    assert "## Where the time of an online step goes" in page


def test_the_parts_are_the_whole_step(setting: Setting) -> None:
    """The stopwatches leave nothing out, and the step is as it was when they are gone."""
    made = Made(setting)
    variant = Ours(made, "f32", SAME)
    with step_measure.stopwatch(variant) as watch:
        step_measure.timed_step(variant, watch, 0)
        whole = watch.last - watch.first
    assert sum(watch.seconds.values()) == pytest.approx(whole)
    assert not variant.student.model.base_model._forward_hooks
    assert variant(1) > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's size from /proc")
@pytest.mark.slow
def test_memory_in_a_process_of_its_own(setting: Setting) -> None:
    used = step_measure.isolated(step_measure.memory, setting, "f32", "plain", 2)
    assert used["before"] > 50e6
    assert used["over"] >= 0
