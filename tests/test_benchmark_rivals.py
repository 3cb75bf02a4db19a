"""The comparison with other programs runs through, and compares like with like."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny_recipes import write_text

pytest.importorskip("textbrewer", reason="needs the bench extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import rivals
import rivals_flops
import rivals_measure
from rivals_hosts import AS_THEY_COME, Host, hosted
from rivals_ratios import best, memory_shares, ratios, targets
from rivals_setting import RivalMade, RivalSetting
from rivals_store import StoreFed
from rivals_variants import KINDS
from step_measure import spread
from step_variants import Ours

from limbeck.teachers.store import StoredTeacher


@pytest.fixture
def setting(tmp_path: Path, cache: Path) -> RivalSetting:
    write_text(tmp_path)
    return RivalSetting(
        student_tokenizer="train:wordpiece:300",
        other_tokenizer="bpe:400",
        train_text=str(tmp_path / "train.txt"),
        step_text=str(tmp_path / "valid.txt"),
        words=24,
        batch=4,
        length=24,
        batches=2,
        teacher=(1, 32),
        student=(1, 32),
        threads=1,
        product=32,
    )


@contextmanager
def hosted_here(setting: RivalSetting, names: Sequence[str], _: dict[str, str]) -> Iterator[Any]:
    """As `hosted`, without a process."""
    host = Host(setting, names)
    yield lambda method, *arguments: getattr(host, method)(*arguments)


def here(function: Callable[..., Any], *arguments: Any, environment: dict[str, str] | None = None) -> Any:
    """In place of a fresh process, of which each would import torch again."""
    return function(*arguments)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's size from /proc")
@pytest.mark.slow
def test_the_whole_comparison(setting: RivalSetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "isolated", here)
    monkeypatch.setattr(rivals_measure, "hosted", hosted_here)
    files = tmp_path / "out" / "rivals.json", tmp_path / "out" / "speed.md"
    counts = [
        "--rounds",
        "2",
        "--kept-rounds",
        "1",
        "--steps",
        "1",
        "--profile-steps",
        "1",
        "--compiled-turns",
        "2",
    ]
    rivals.main([*counts, "--json", str(files[0]), "--page", str(files[1])], setting)

    content, page = (file.read_text(encoding="utf-8") for file in files)
    assert str(tmp_path) not in content
    found = json.loads(content)
    there = {name for name in KINDS if name != "torchdistill"}
    expected = {f"{kind} {precision}" for kind in there for precision in ("f32", "bf16")}
    assert set(found["speed"]["tokens_per_second"]) == set(found["memory"]) == expected
    assert set(found["speed"]["absent"]) == {"torchdistill f32", "torchdistill bf16"}
    assert {row["sense"] for row in found["targets"]} == {"at least", "at most"}
    assert len(found["targets"]) == 9
    profile = found["profile"]["store bf16"]
    assert sum(profile["parts"]["share"].values()) == pytest.approx(1)
    assert "teachers" in found["profile"]["online f32"]["parts"]["milliseconds"]
    assert "teachers" not in profile["parts"]["milliseconds"]
    if shutil.which("g++"):
        assert set(found["compiled"]["f32"]["milliseconds"]) == {"plain", "compiled"}
        assert "| f32 |" in page.partition("## torch.compile")[2]
    for title in ("Targets", "Speed", "Peak memory", "Where the time of a step goes"):
        assert f"## {title}" in page

    rivals.main([*counts, "--parts", "compiled", "--json", str(files[0]), "--page", str(files[1])], setting)
    again = json.loads(files[0].read_text(encoding="utf-8"))
    assert {part for part in again if again[part] != found[part]} <= {"compiled"}

    before = files[0].read_text(encoding="utf-8")
    rivals.main(["--page-only", "--json", str(files[0]), "--page", str(files[1])])
    assert files[0].read_text(encoding="utf-8") == before


@pytest.mark.slow  # a process that imports torch and TextBrewer
def test_programs_in_processes_of_their_own_have_their_own_memory_settings(setting: RivalSetting) -> None:
    with hosted(setting, ["plain f32"], {}) as ask, hosted(setting, ["trainer f32"], AS_THEY_COME) as other:
        assert ask("facts")["flops"].keys() == {"plain f32"}
        assert other("facts")["flops"].keys() == {"trainer f32"}
        assert ask("turn", "plain f32", 2) > 0
        assert other("turn", "trainer f32", 1) > 0
        assert (ask("environment"), other("environment")) == ("1", "0")


def after_a_step(made: RivalMade, kind: str) -> dict[str, torch.Tensor]:
    variant = KINDS[kind].make(made, "f32")
    assert variant(0) == made.collate(0).tokens
    return {name: value.detach().clone() for name, value in variant.student.named_parameters()}


def test_the_programs_learn_the_same(setting: RivalSetting) -> None:
    """Weights after a step. Limbeck's geometric mixture of equal weights is the others' mean of logits."""
    made = RivalMade(setting)
    start = dict(made.new_student().named_parameters())
    textbrewer = after_a_step(made, "textbrewer")
    trainer = after_a_step(made, "trainer")
    masked = after_a_step(made, "textbrewer_masked")
    made.distill = made.distill.model_copy(update={"mixture": "geometric", "weighting": "uniform"})
    online = after_a_step(made, "online")
    for name, value in textbrewer.items():
        assert not torch.equal(value, start[name])
        torch.testing.assert_close(trainer[name], value, rtol=0, atol=1e-5)
        torch.testing.assert_close(online[name], masked[name], rtol=0, atol=1e-5)
    assert any(not torch.allclose(masked[name], textbrewer[name], atol=1e-4) for name in masked)


def gradient(made: RivalMade, kind: str) -> torch.Tensor:
    variant = KINDS[kind].make(made, "f32")
    assert isinstance(variant, Ours)
    variant.loss(made.collate(0, variant.which)).backward()
    return torch.cat([p.grad.flatten() for p in variant.parameters if p.grad is not None])


def test_the_store_fed_step_learns_what_the_online_one_does(setting: RivalSetting) -> None:
    """With every piece kept, but for the rounding of the store."""
    made = RivalMade(setting)
    made.distill = made.distill.model_copy(update={"kept": made.vocabulary})
    plain, store, online = (gradient(made, kind) for kind in ("plain", "store", "online"))
    assert (store - online).norm() < 0.02 * online.norm()
    assert (plain - online).norm() > 0.5 * online.norm()
    variant = StoreFed(made, "bf16")
    assert all(isinstance(placed.teacher, StoredTeacher) for placed in variant.placed)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_operations_of_a_forward(setting: RivalSetting, family: str) -> None:
    """As torch counts them, with attention written as matrix products."""
    made = RivalMade(replace(setting, family=family))
    student, batch = made.new_student(), made.collate(0)
    student.model.set_attn_implementation("eager")
    rows, length = batch.input_ids.shape
    slots = torch.arange(32)  # a multiple of SLOT_MULTIPLE: nothing is padded
    with FlopCounterMode(display=False) as counter:
        student(batch.input_ids, batch.attention_mask, slots)
    assert rivals_flops.forward_flops(student, rows, length, 32) == counter.get_total_flops()


def test_ratios_are_taken_within_rounds_and_from_the_faster_variant() -> None:
    rates = {
        "plain bf16": [30.0, 40.0],
        "store bf16": [30.0, 20.0],
        "online f32": [12.0, 18.0],
        "online bf16": [20.0, 20.0],
        "textbrewer f32": [1.0, 3.0],
        "textbrewer_masked f32": [2.0, 3.0],
        "textbrewer bf16": [4.0, 2.0],
    }
    speed = {"tokens_per_second": {name: spread(values) for name, values in rates.items()}}
    assert best(speed, ["textbrewer", "textbrewer_masked"], "f32") == "textbrewer_masked f32"
    found = ratios(speed)
    assert found["online / TextBrewer, f32"]["rounds"] == [6.0, 6.0]
    assert found["online / TextBrewer, each at its best"]["rounds"] == [5.0, 10.0]
    assert found["step of store / step of plain, bf16"]["rounds"] == [1.0, 2.0]
    memory = {
        "textbrewer f32": {"over": 100},
        "textbrewer_masked f32": {"over": 80},
        "online f32": {"over": 20},
    }
    shares = memory_shares(memory)
    assert shares["online f32"] == {"share": 0.25, "over": "textbrewer_masked f32"}
    measured = {
        "ratios": found,
        "memory_shares": shares,
        "shares_of_peak": {"store bf16": {"needed_share": 0.41}},
    }
    met = {row["what"]: row["met"] for row in targets(measured, gpu=True)}
    assert met["online / TextBrewer, f32"]
    assert not met["online / TextBrewer, each at its best"]
    assert not met["step of store / step of plain, bf16"]
    assert met["peak memory of online f32 / TextBrewer"]
    assert met["share of the peak, store bf16"]
