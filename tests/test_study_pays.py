"""When it pays: what is counted, and the page, on made-up results."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from defusedxml import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from study import pays
from study.pays_page import says
from study.setting import FULL, QUICK, TEACHERS, Setting
from study.students import Arm

TEXTS = ["encyclopedia", "fiction", "glosses"]
ENVIRONMENT = {"versions": {"torch": "2", "transformers": "5"}, "processor": "a processor", "cores": 2}


def point(size: str, steps: int, stage: int, kd: str, gain: float) -> dict[str, Any]:
    values = [gain] * (2 if size == "2x128" else 1)
    value = {"mean": gain, "low": gain - 0.05, "high": gain + 0.05, "values": values}
    return {
        "size": size,
        "steps": steps,
        "stage": stage,
        "kd": kd,
        "ahead": {"teacher": {}, **dict.fromkeys([*TEXTS, "mixed"], stage / 100 - 0.5)},
        "gain": dict.fromkeys([*TEXTS, "mixed"], value),
    }


def made_up(
    gains: dict[str, float], stages: tuple[int, ...] = (25, 50, 100), setting: str = "full"
) -> dict[str, Any]:
    """Gains by kd, plus what the stage adds: −0.5, 0 and 0.5."""
    return {
        "question": "pays",
        "setting": setting,
        "seconds": 60.0,
        "environment": ENVIRONMENT,
        "scale": {
            "sizes": ["2x128", "4x256"],
            "steps": 4000,
            "seeds": [11, 12],
            "texts": TEXTS,
            "stages": list(stages),
            "documents": {part: {"encyclopedia": 33, "fiction": 1} for part in ("valid", "test")},
        },
        "weighting": "entropy",
        "mixture": "arithmetic",
        "temperature": 2.0,
        "calibrate": False,
        "kd": 0.7,
        "points": [
            point(size, steps, stage, kd, gain + (stage > 50) / 2 - (stage < 50) / 2)
            for size in ("2x128", "4x256")
            for steps in (1000, 4000)
            for stage in stages
            for kd, gain in gains.items()
        ],
    }


def test_what_is_said_is_counted() -> None:
    lines = "\n".join(says(made_up({"constant": 0.1, "falling": 0.02})))
    # At 25% all 8 do harm, at 50% four of 8 are beyond their interval, at 100% all 8 are.
    assert "Of 24 settings teachers help in 12, do harm in 8, and in 4 the interval holds 0: with" in lines
    assert "with 2×128 (2 seeds) teachers help in 6, do harm in 4, and in 2 the interval holds 0;" in lines
    assert "with 4×256 (one seed, intervals over passages alone) teachers help in 6, do harm in 4" in lines
    assert "behind the untaught student (16), teachers help in 4, do harm in 8, and in 4" in lines
    assert "at which a gain is beyond its interval is +0.000 nats" in lines
    assert "largest lead at which teachers do harm is -0.250 nats" in lines
    assert "better than a constant one in 0 of 12 settings; mean gain +0.020 against +0.100" in lines
    assert "-0.440 at 25%, +0.060 at 50%, +0.560 at 100%" in lines
    assert "+0.600 [+0.550, +0.650] nats in 1,000 steps and +0.600" in lines


def test_what_never_happens_is_not_said() -> None:
    lines = "\n".join(says(made_up({"constant": 0.0, "falling": 0.0}, stages=(50,))))
    assert "smallest lead" not in lines
    assert "largest lead" not in lines
    assert "Mean gain by how far" not in lines


@pytest.mark.parametrize("setting", ["full", "quick"])
def test_the_page(tmp_path: Path, setting: str) -> None:
    result = made_up({"constant": 0.1, "falling": -0.7}, setting=setting)
    page = pays.page(result, tmp_path)
    assert ("A slice of the study" in page) == (setting == "quick")
    assert "under `entropy`, τ 2, not calibrated, the recommended mixture" in page
    assert "after 25, 50 and 100% of their training" in page
    assert len([line for line in page.splitlines() if line.startswith("|")]) == 2 + 24
    assert ElementTree.parse(tmp_path / "study-pays.svg").getroot().tag.endswith("svg")
    assert "24 settings of teachers, students and lengths: with 2×128 (2 seeds)" in pays.headline(result)[0]


def test_the_best_teacher_of_each_text_counts() -> None:
    def row(*nats: float) -> dict[str, Any]:
        return {text: {"mean": value} for text, value in zip(TEXTS, nats, strict=True)}

    single = {"none 2x128 1000": row(6.0, 5.0, 4.0)}
    single |= {f"{TEACHERS[0]}@50": row(5.0, 6.0, 6.0), f"{TEACHERS[1]}@50": row(7.0, 4.5, 6.0)}
    single |= {f"{TEACHERS[2]}@50": row(7.0, 7.0, 4.6)}
    found = pays.ahead(single, 50, "none 2x128 1000", TEXTS)
    assert found["teacher"] == dict(zip(TEXTS, TEACHERS, strict=True))
    assert [round(found[text], 3) for text in [*TEXTS, "mixed"]] == [1.0, 0.5, -0.6, 0.3]


def test_arms_of_every_stage_and_share_are_told_apart() -> None:
    best = Arm("entropy", weighting="entropy", temperature=2.0)
    assert pays.staged(best, 100, "constant") == best  # question 1 has trained it
    arms = [pays.staged(best, stage, kd) for stage in (25, 50, 100) for kd in pays.SHARES]
    assert len({arm.name for arm in arms}) == 6
    assert {(arm.stage, arm.kd_final) for arm in arms} == {(s, k) for s in (25, 50, 100) for k in (None, 0.0)}


def test_question_1_is_read_where_it_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "results", tmp_path)
    none, best = Arm("none-mask", teachers=(), sees="mask"), Arm("raw-margin", weighting="margin")
    best = replace(best, calibrate=False, temperature=0.4)
    result = {
        "arms": {"none": asdict(Arm("none", teachers=())), "none-mask": asdict(none)},
        "parts": {"none": "none-mask"},
        "recommended": {"arm": asdict(best)},
    }
    (tmp_path / "study-convergence.json").write_text(json.dumps(result))
    assert pays.arms(QUICK) == (none, best)


def test_seeds_and_lengths() -> None:
    assert [len(pays.seeds_of(FULL, size)) for size in FULL.sizes] == [3, 1]
    assert pays.lengths(FULL) == (4, 1)
