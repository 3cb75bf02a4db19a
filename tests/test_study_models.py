"""The study's questions 3 to 6: arithmetic, and pages of made-up results for any outcome."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from scipy.stats import t
from study import glue, lexical, models, paraphrase, parts, wsd
from study.glue_page import beside
from study.intervals import over_seeds
from study.lexical_page import lost
from study.setting import FULL, QUICK, SMALL, Setting
from study.students import Arm

from limbeck.tasks.glue_data import read_tasks
from limbeck.tasks.wsd_score import Gold

SEEDS = (11, 12, 13)


@pytest.fixture(autouse=True)
def no_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = {"valid": {"encyclopedia": 33, "fiction": 1}, "test": {"encyclopedia": 30, "fiction": 2}}
    monkeypatch.setattr("study.parts.documents", lambda: held_out)


def test_t_interval_of_one_block_is_students() -> None:
    found = parts.paired([3.0, 5.0, 7.0], [1.0, 2.0, 3.0])
    assert found["values"] == [2.0, 3.0, 4.0]
    reach = 4.302653 / 3**0.5  # t(2, 0.975), deviation 1
    assert found["mean"] == pytest.approx(3.0)
    assert found["low"] == pytest.approx(3.0 - reach, abs=1e-4)
    assert found["high"] == pytest.approx(3.0 + reach, abs=1e-4)


def test_a_tie_is_no_win() -> None:
    assert parts.paired([57.0, 58.0], [59.999999999999986, 55.0])["mean"] == 0.0


def test_no_interval_claims_a_certainty_that_is_not_there() -> None:
    assert parts.paired([3.0], [1.0])["low"] is None
    assert parts.paired([3.0, 4.0], [1.0, 2.0])["low"] is None


def test_aims_are_met_missed_or_cannot_be_told() -> None:
    found = {"mean": 0.2, "low": -0.1, "high": 0.5}
    assert parts.aim("x", "y", found)["met"] is True
    assert parts.aim("x", "y", found, decides="low")["met"] is False
    assert parts.aim("x", "y", found, decides="low", least=-0.1)["met"] is True
    assert parts.aim("x", "y", found, decides="low", least=-0.1, above=True)["met"] is False
    alone = parts.aim("x", "y", {"mean": 0.2, "low": None, "high": None}, decides="low")
    assert alone["met"] is None
    text = parts.said([alone, parts.aim("x", "y", found, decides="low", unit="points")])
    assert "**Cannot be told**: x." in text
    assert "**Missed**, short by 0.100: x. Wanted: y. Measured: +0.200 [-0.100, +0.500] points." in text


def test_averages_of_tasks_with_different_seeds() -> None:
    worse = {"cola": {0: 10.0, 1: 20.0, 2: 30.0}, "sst2": {0: 50.0, 1: 50.0}}
    better = {"cola": {0: 12.0, 1: 23.0, 2: 31.0}, "sst2": {0: 54.0, 1: 52.0}}
    found = glue.average(worse)
    assert found["mean"] == pytest.approx((20 + 50) / 2)
    assert found["values"] == [30.0, 35.0]
    # Seeds 0 and 2 are of one student, whose differences are averaged task by task: (1.5 + 4) / 2 and 2.5.
    difference = glue.paired_average(better, worse, {0: "a", 1: "b", 2: "a"})
    assert difference["values"] == [2.75, 2.5]
    assert difference["low"] == pytest.approx(parts.paired([2.75, 2.5], [0.0, 0.0])["low"])
    assert glue.paired_average(better, worse, dict.fromkeys(range(3), "a"))["low"] is None


def test_an_interval_over_seeds_and_text_is_as_wide_as_both() -> None:
    """Three seeds bound what is not known of seeds by Student's t; text adds what is not known of it."""
    steady = np.tile([1.0, 2.0, 3.0], (1000, 1))
    found = over_seeds([1.0, 2.0, 3.0], steady)
    assert (found["low"], found["high"]) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    noise = np.random.default_rng(0).normal(size=(1000, 1))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    wider = over_seeds([1.0, 2.0, 3.0], steady + noise)
    variance, freedom = 1 / 3 + 1.0, 2 * (4 / 3) ** 2 / (1 / 3) ** 2
    assert wider["high"] - 2 == pytest.approx(t.ppf(0.975, freedom) * variance**0.5)
    alone = over_seeds([2.0], 2.0 + noise)
    assert (alone["low"], alone["high"]) == pytest.approx((2 - 1.959964, 2 + 1.959964))


def test_tuning_seeds_take_the_students_in_turn() -> None:
    folders = {name: [Path(f"{name}-{seed}") for seed in SEEDS] for name in models.MODELS}
    found = glue.plan(FULL, folders, {"MiniLM": Path("big")})
    mine = [one for one in found if one.model == "scratch"]
    assert [one.place.name for one in mine] == [f"scratch-{s}" for s in (11, 12, 13, 11, 12)]
    assert ["sst2" in one.tasks for one in mine] == [True] * 3 + [False] * 2
    big = [one for one in found if one.model == "MiniLM"]
    assert [one.seed for one in big] == list(FULL.tuning_seeds[: FULL.big_seeds])
    assert not any("sst2" in one.tasks for one in big)


def test_f1_differences_are_paired_by_seed_and_sentence() -> None:
    ids = [f"d.s{number // 2:03d}.t{number % 2:03d}" for number in range(40)]
    gold = Gold.of([(name, "n", ("k",)) for name in ids], None)
    found = wsd.paired_f1(np.tile([[1.0, 3.0]], (40, 1)), gold)
    assert found["mean"] == pytest.approx(2.0)
    assert found["values"] == pytest.approx([1.0, 3.0])
    assert found["high"] == pytest.approx(2.0 + 12.7062)  # sentences agree, two seeds do not


def test_a_rate_is_chosen_by_f1_and_the_lower_of_equals() -> None:
    assert models.chosen_rate({1e-3: 40.0, 3e-4: 41.0, 3e-3: 39.0}) == 3e-4
    assert models.chosen_rate({3e-3: 40.0, 1e-3: 40.0}) == 1e-3


def test_what_question_1_recommends_is_how_students_are_distilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Setting, "results", tmp_path)
    assert models.recommended(FULL)["by"] == "the defaults"
    none = Arm("none-mask", teachers=(), sees="mask")
    taught = Arm("geometric-gold", weighting="gold", temperature=0.5, mixture="geometric", calibrate=False)
    answer = {
        "arms": {"none-mask": asdict(none)},
        "parts": {"none": "none-mask"},
        "recommended": {"arm": asdict(taught)},
    }
    (tmp_path / "study-convergence.json").write_text(json.dumps(answer), encoding="utf-8")
    assert models.arm(FULL, "distilled+LMGC") == taught, "the same students, not trained again"
    assert models.arm(FULL, "scratch+LMGC") == none
    assert models.recommended(FULL)["by"] == "question 1"
    assert models.student(FULL, "distilled+LMGC", 12).size == SMALL


def test_what_is_kept_goes_by_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (glue, paraphrase):
        monkeypatch.setattr(module, "fingerprint", lambda place: place.name)
    place = Path("model")

    def of_paraphrase(setting: Setting) -> Path:
        return paraphrase._kept(setting, place, 0)

    def of_gloss(setting: Setting) -> Path:
        return models.gloss_folder(setting, "distilled+LMGC", 11, 1e-3)

    for kept, change in (
        (of_paraphrase, {"paraphrase_words": (8,)}),
        (of_paraphrase, {"paraphrase_limit": 7}),
        (of_gloss, {"gloss_instances": 3}),
        (of_gloss, {"steps": 7}),
    ):
        assert kept(QUICK) == kept(replace(QUICK, name=QUICK.name))
        assert kept(QUICK) != kept(replace(QUICK, **change)), change
    tuning = glue.Tuning("distilled", place, 0, ("rte",))
    before = glue._kept(QUICK, tuning, "rte")
    monkeypatch.setattr(glue, "MAX_LENGTH", 32)
    assert glue._kept(QUICK, tuning, "rte") != before


@pytest.mark.data
def test_the_first_rows_of_a_task_are_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "scratch", tmp_path)
    if not (glue.DATA / "glue" / "CoLA").is_dir():
        pytest.skip("no GLUE")
    place = glue.data(replace(QUICK, tasks=("cola", "mrpc", "rte"), rows=64))
    found, _ = read_tasks(str(place), ["cola-subset", "mrpc-subset", "rte-subset"])
    assert [len(one.train) for one in found] == [64, 64, 64]
    assert [len(one.dev["dev"]) for one in found] == [1043, 408, 277]


def base(question: str, seeds: tuple[int, ...], quick: bool) -> dict[str, Any]:
    setting = replace(QUICK if quick else FULL, seeds=seeds)
    return {
        "question": question,
        "setting": setting.name,
        "seconds": 7200.0,
        "scale": parts.scale(setting),
        "made": {
            "recommended": {
                "weighting": "margin", "temperature": None, "mixture": "arithmetic",
                "calibrate": False, "by": "question 1",
            },
            "rates": {"0.001": 40.1, "0.003": 41.2},
            "rate": 3e-3,
            "training": {name: {"instances": 64_000} for name in models.LEXICAL},
        },
        "environment": {
            "processor": "A processor", "cores": 2, "versions": {"torch": "2.0", "transformers": "5.0"},
        },
    }  # fmt: skip


def values(mean: float, count: int) -> dict[str, Any]:
    return parts.spread([mean + 0.1 * number for number in range(count)])


def gain(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "values": [mean]}


@pytest.mark.parametrize(("seeds", "quick", "sign"), [(SEEDS, False, 1), ((11,), True, -1)])
def test_pages_of_nats_and_senses(seeds: tuple[int, ...], quick: bool, sign: int, tmp_path: Path) -> None:
    count = len(seeds)
    gains = {m: dict.fromkeys(("general", "test"), gain(0.1 * sign)) for m in models.LEXICAL}
    texts = ("encyclopedia", "fiction", "glosses", "mixed")
    for found in gains.values():
        found["valid"] = {text: gain(0.1 * sign) for text in texts}
    f1_gains = {m: gain(1.0 * sign) for m in lexical.DISTILLED[1:]}
    tests = ("encyclopedia (test)", "fiction (test)", "mixed")
    result = base("lexical", seeds, quick) | {
        "passages": 64,
        "models": {
            name: {
                "nats": {text: values(5.0, count) for text in texts},
                "general": values(5.0, count),
                "test_nats": {text: values(5.0, count) for text in tests},
                "f1": values(40.0, count) if "+" in name else None,
            }
            for name in models.MODELS
        },
        "gains": gains,
        "f1_gains": f1_gains,
        "parameters": {"counts": dict.fromkeys(models.MODELS, 1_300_000), "equal": sign > 0},
        "aims": lexical.aims(gains, values(5.0, count), values(5.0, count), f1_gains),
    }
    text = lexical.page(result, tmp_path)
    assert (tmp_path / "study-lexical.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert text.count("**Met**") == (6 if sign > 0 else 2)
    assert ("**equal in number and shape**" in text) == (sign > 0)
    assert ("prove nothing" in text) == quick
    assert ("5.100 ± 0.100" in text) == (count > 1)
    assert "test (before less after)" in lexical.headline(result)[0]


def test_what_gloss_training_loses_is_told_by_what_comes_before_it() -> None:
    def gains(scratch: float, plain: float, cohesive: float) -> dict[str, Any]:
        names = ("scratch+LMGC-M", "distilled+LMGC-M", "distilled+cohesive")
        rows = zip(names, (scratch, plain, cohesive), strict=True)
        return {name: {"test": {"mean": mean, "low": None, "high": None}} for name, mean in rows}

    told = lost(gains(0.0, -0.5, -0.1))
    assert "from scratch by +0.000 (no interval), a distilled one by -0.500" in told
    assert told.endswith("Their targets keep 80% of what is lost without them.")
    for plain, cohesive in ((-0.1, -0.5), (-0.1, 0.1), (0.1, 0.2)):
        assert lost(gains(0.0, plain, cohesive)).endswith("(cohesive).")


def wsd_result(seeds: tuple[int, ...], taught: dict[str, Any]) -> dict[str, Any]:
    one = {
        "f1_difference": 0.01,
        "f1_difference_interval": [-0.01, 0.03],
        "mcnemar": {"only_first": 5, "only_second": 9, "p": 0.42},
    }
    row = values(41.0, len(seeds))
    return base("wsd", seeds, False) | {
        "whole": "ALL",
        "instances": {"semeval2007": 455, "ALL": 7253},
        "models": {
            name: {"f1": row, "sets": {"semeval2007": row, "ALL": row}, "parts": {"n": row, "seen": row}}
            for name in models.LEXICAL
        },
        "baselines": {
            name: {"first_sense": 65.19, "most_frequent_sense": 65.45, "random": 38.75}
            for name in ("semeval2007", "ALL")
        },
        "comparisons": {
            f"{b} - {a}": {"mean over seeds": taught, "seeds": {str(s): one for s in seeds}}
            for a, b in wsd.PAIRS
        },
        "left_out": dict.fromkeys(models.STARTS, wsd.NO_HEAD),
        "aims": [parts.aim("it helps", "more", taught, decides="low", above=True)],
    }


@pytest.mark.parametrize("seeds", [SEEDS, (11,)])
def test_page_of_senses(seeds: tuple[int, ...], tmp_path: Path) -> None:
    text = wsd.page(result := wsd_result(seeds, gain(1.0)), tmp_path)
    assert "**Met**, by 0.95: it helps" in text
    assert "points below *WordNet's first sense*" in text
    assert "points above *chance*" in text
    assert "`scratch` is left out" in text
    assert "| 11 | +1.00 [-1.00, +3.00] | 9 and 5 | 0.42 |" in text
    assert "65.19" in wsd.headline(result)[0]


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0,)])
def test_page_of_glue(seeds: tuple[int, ...], tmp_path: Path) -> None:
    students = {
        name: {task: {s: 60.0 + 2 * s + place for s in seeds} for task in ("rte", "sst2")}
        for place, name in enumerate(models.MODELS)
    }
    made = {seed: f"student-{seed}" for seed in seeds}
    scores = students | {"MiniLM": {"rte": {s: 70.0 + s for s in seeds}}}
    result = base("glue", SEEDS, False) | {
        "tasks": ["rte", "sst2"],
        "subset": False,
        "counts": {task: {"train": 2490, "dev": 277} for task in ("rte", "sst2")},
        "models": {
            name: {"tasks": {t: parts.spread(list(by.values())) for t, by in tasks.items()}}
            | {"average": glue.average(tasks), "shared": glue.average({"rte": tasks["rte"]})}
            for name, tasks in scores.items()
        },
        "undefined": {"scratch": 1},
        "baselines": {task: {"majority": 50.0, "tfidf": 52.0} for task in ("rte", "sst2")},
        "differences": (found := glue.differences(scores, dict.fromkeys(scores, made))),
        "aims": glue.aims(found),
    }
    text = glue.page(result, tmp_path)
    # Differences that are the same in every seed have no interval, so nothing is claimed.
    assert text.count("**Cannot be told**") == 3
    assert "`scratch` gave the same answer everywhere in 1 fine-tunings" in text
    assert "| average | of rte |" in text
    assert "| *TF-IDF* | 52.00 | 52.00 | 52.00 | 52.00 |" in text
    best = 66.0 + 2 * max(seeds) / 2
    assert (
        f"- On rte alone the best student is `{models.MODELS[-1]}` ({best:.2f}); beside it stands `MiniLM` (7"
        in text
    )
    assert "MiniLM" not in (tmp_path / "study-glue.svg").read_text(encoding="utf-8")
    assert "all-MiniLM-L6-v2 stands beside" in text
    assert f"- The best model, `{models.MODELS[-1]}` (6" in text
    assert "is above TF-IDF's average, 52.00." in text
    rows = {name: result["models"][name] for name in students}
    alone = result | {"models": {name: row | {"shared": row["average"]} for name, row in rows.items()}}
    assert "MiniLM" not in glue.page(alone, tmp_path)
    low = {task: {"tfidf": 99.0} for task in ("rte", "sst2")}
    assert beside(alone["models"], low).endswith("below TF-IDF's average, 99.00; it is behind in rte, sst2.")
    assert "+1.00" in glue.headline(result)[0]


@pytest.mark.parametrize("better", [True, False])
def test_page_of_paraphrases(better: bool, tmp_path: Path) -> None:
    def cells(value: float) -> list[dict[str, Any]]:
        sizes = (200, 1000, 5000)
        return [{"words": w, "size": s, "f1": values(value, 2)} for w in (16, 32) for s in sizes]

    found = {n: {"cells": cells(60.0 if n in models.STARTS else 65.0)} for n in models.MODELS}
    tfidf = {name: cells(62.0 if better else 70.0) for name in paraphrase.BASELINES}
    compared = paraphrase.comparisons(found, tfidf)
    result = base("paraphrase", SEEDS, False) | {
        "test": {"name": "test", "texts": 16254, "of": 16254, "undecidable": {"16": 3, "32": 0}},
        "valid_texts": 500,
        "learning_rate": 3e-4,
        "models": found,
        "baselines": {name: {"cells": rows} for name, rows in tfidf.items()},
        "few": paraphrase.FEW,
        "comparisons": compared,
        "aims": paraphrase.aims(compared),
    }
    assert len(result["aims"]) == 5 * 4 * 2
    text = paraphrase.page(result, tmp_path)
    assert ("**Met**" in text) == better
    assert f"in {40 if better else 20} of 40 comparisons" in text
    assert "against TF-IDF better in " + ("4 of 4" if better else "0 of 4") in text
    assert "3 with 16 words" in text
    assert f"{40 if better else 20} of 40" in paraphrase.headline(result)[0]
