"""What keeps question 1's aims from being met: what is compared, what is counted, and the page."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from defusedxml import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from study import nats, why
from study.chosen import chosen, parts
from study.setting import FULL, QUICK, Setting
from study.students import MASK, Arm, store_folder
from study.why_page import says, title

from limbeck.errors import UserError
from limbeck.tasks.mlm_model import OK

NONE, BEST = Arm("none", teachers=()), Arm("evidence", weighting="evidence", temperature=2.0)
ARMS = {"none": NONE, "single": Arm("only-fiction", teachers=("fiction",)), "uniform": Arm("uniform"),
        "best": BEST}  # fmt: skip
TEXTS = ["encyclopedia", "fiction", "glosses"]
N = FULL.steps
HALF = f"{N // 2:,} against {N:,} steps"


def test_one_thing_at_a_time_is_changed() -> None:
    found = list(why.comparisons(FULL, ARMS))
    assert {one.kind for one in found} == {"longer", "kd", "mask", "seeds"}
    for one in found:
        taught, other = one.better, one.worse
        if one.kind == "longer":
            assert one.size == FULL.sizes[0]
            assert taught.steps in (other.steps, other.steps // 2)
            assert one.known == (other.steps == N)
        else:
            assert one.size == FULL.sizes[1]
        if one.kind == "mask" and taught.arm.teachers and not other.arm.teachers:
            assert taught.arm.mask == other.arm.mask
        assert taught.arm.name != other.arm.name or taught.steps != other.steps
    assert [one.better.arm.kd for one in found if one.kind == "kd"] == [0.5, 0.7, 0.9, 1.0]
    assert [one.known for one in found if one.kind == "kd"] == [False, True, False, False]
    assert [len(one.seeds) for one in found if one.kind == "seeds"] == [3, 6]
    # A name is a run directory: what is trained otherwise has another.
    arms = {side.arm for one in found for side in (one.better, one.worse)}
    assert len({arm.name for arm in arms}) == len(arms)


def test_where_uniform_is_best_it_is_not_compared_with_itself() -> None:
    found = list(why.comparisons(FULL, ARMS | {"best": ARMS["uniform"]}))
    assert all(one.better != one.worse for one in found)
    assert "seeds" not in {one.kind for one in found}


def test_masks_have_stores_of_their_own() -> None:
    places = [store_folder(FULL, arm) for arm in (BEST, replace(BEST, mask=0.3), replace(BEST, stage=25))]
    assert [place.name for place in places] == ["store-100", "store-100-mask-0.3", "store-25"]
    assert why.masked(BEST, MASK) is BEST


def test_question_1_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "results", tmp_path)
    with pytest.raises(UserError, match="ask it first"):
        why.answer(QUICK)
    assert parts(QUICK) is chosen(QUICK) is None
    result = {
        "arms": {arm.name: asdict(arm) for arm in ARMS.values()},
        "parts": {part: arm.name for part, arm in ARMS.items()},
        "recommended": {"arm": asdict(BEST)},
    }
    (tmp_path / "study-convergence.json").write_text(json.dumps(result))
    assert parts(QUICK) == ARMS
    assert chosen(QUICK) == (NONE, BEST)


def test_words_are_told_apart_by_who_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight words of two passages: the student knows seven as one piece; teachers know fewer and fewer."""
    student = np.array([1, 1, 1, 1, 1, 1, 1, 0], bool)
    ok = np.full(8, OK)

    def scores(model: str, nats_each: list[float]) -> SimpleNamespace:
        known = {"encyclopedia": 6, "fiction": 4, "lexicon": 2}
        single = np.arange(8) < known[model] if model in known else student
        passage = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        return SimpleNamespace(nats=np.array(nats_each), state=ok, single=single, passage=passage)

    table = {
        "encyclopedia": scores("encyclopedia", [0.0] * 8),
        "fiction": scores("fiction", [0.0] * 8),
        "lexicon": scores("lexicon", [0.0] * 8),
        "taught": scores("taught", [1, 1, 2, 2, 3, 3, 4, 9]),
        "untaught": scores("untaught", [2, 2, 2, 2, 2, 2, 2, 2]),
    }
    monkeypatch.setattr(nats, "measure", lambda *_: None)
    monkeypatch.setattr(nats, "words", lambda _, place, __: SimpleNamespace(scores=table[place.name]))
    monkeypatch.setattr(why, "teacher_model", lambda _, name: Path(name))
    rows = why.coverage(QUICK, [Path("taught")], [Path("untaught")])
    assert [row["teachers"] for row in rows] == [0, 1, 2, 3, None]
    assert [round(row["gain"]["mixed"]["mean"], 6) for row in rows] == [-2, -1, 0, 1, -7]
    assert [row["share"] for row in rows] == [1 / 8, 2 / 8, 2 / 8, 2 / 8, 1 / 8]


def made_up(setting: str = "full") -> dict[str, Any]:
    """Every comparison that there is, 0.1 ahead, but kd 0.9, which is 0.2 ahead, and kd 1, behind."""

    def gain(value: float) -> dict[str, Any]:
        one = {"mean": value, "low": value - 0.05, "high": value + 0.05, "values": [value]}
        return dict.fromkeys([*TEXTS, "mixed"], one)

    by_kd = {0.9: 0.2, 1.0: -0.3}
    return {
        "question": "why",
        "setting": setting,
        "seconds": 60.0,
        "environment": {"versions": {"torch": "2", "transformers": "5"}, "processor": "one", "cores": 2},
        "scale": {
            "seeds": [11, 12, 13],
            "texts": TEXTS,
            "documents": {part: {"encyclopedia": 33, "fiction": 1} for part in ("valid", "test")},
        },
        "comparisons": [
            {
                "kind": one.kind,
                "size": one.size.name,
                "better": asdict(one.better.arm),
                "worse": asdict(one.worse.arm),
                "steps": [one.better.steps, one.worse.steps],
                "seeds": len(one.seeds),
                "known": one.known,
                "valid": gain(by_kd.get(one.better.arm.kd, 0.1)),
                "test": gain(0.0),
            }
            for one in why.comparisons(FULL, ARMS)
        ],
        "coverage": [
            {"teachers": 0, "share": 0.1, "gain": gain(-0.5)},
            {"teachers": 1, "share": 0.2, "gain": gain(0.0)},
            {"teachers": 3, "share": 0.6, "gain": gain(0.25)},
            {"teachers": None, "share": 0.1, "gain": gain(-1.0)},
        ],
    }


@pytest.mark.parametrize("setting", ["full", "quick"])
def test_the_page(tmp_path: Path, setting: str) -> None:
    result = made_up(setting)
    page = why.page(result, tmp_path)
    assert ("A slice of the study" in page) == (setting == "quick")
    assert f"| `evidence`, τ 2 over no teacher, {N:,} against {2 * N:,} steps | 2×128 | 3 | +0.100" in page
    assert f"| `evidence`, τ 2, kd 0.9 over no teacher, {HALF} | 4×256 | 3 | +0.200" in page
    assert "| one piece, and for no teacher | 10% | -0.500 [-0.550, -0.450]" in page
    assert ElementTree.parse(tmp_path / "study-why.svg").getroot().tag.endswith("svg")
    (line,) = why.headline(result)
    assert f"over `uniform`, {2 * N:,} steps (2×128) +0.100" in line
    assert f"over `uniform`, {N:,} steps (4×256) +0.100" in line
    assert "|" not in line


def test_what_is_said_is_counted() -> None:
    lines = says(made_up())
    text = "\n".join(lines)
    assert "Of the shares of the teachers in the loss 0.9 has the highest mean, +0.200" in text
    assert f"kd 1 over no teacher, {HALF}: -0.300 [-0.350, -0.250] (behind, beyond" in text
    assert "kd 0.7" not in text  # question 1 has said it
    assert "for 3 teachers the gain is +0.250 [+0.200, +0.300] nats (60% of the words)" in text
    assert "for no teacher -0.500" in text


def test_masks_are_named() -> None:
    rows = [row for row in made_up()["comparisons"] if row["kind"] == "mask"]
    assert title(rows[-1]) == f"no teacher, 30% masked over no teacher, 15% masked, {N:,} steps"
