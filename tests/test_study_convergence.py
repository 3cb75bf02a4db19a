"""Question 1 of the study: its choices and sums, and its page on made-up results of every outcome."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from defusedxml import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from study import convergence, trainings
from study.convergence_says import says
from study.setting import FULL, TEACHERS, Size
from study.students import Arm, Student, student_recipe, train_students
from study.temperature import choose as choose_temperatures

TEXTS = ["encyclopedia", "fiction", "glosses"]
TESTS = ["encyclopedia", "fiction"]
SIZES = ["2x128", "4x256"]


def value(mean: float, seeds: int) -> dict[str, Any]:
    return {"mean": mean, "sd": 0.01 if seeds > 1 else None, "values": [mean] * seeds}


def gain(mean: float, wide: float = 0.05) -> dict[str, Any]:
    return {"mean": mean, "low": mean - wide, "high": mean + wide, "values": [mean]}


def made_up(
    *, ahead: float = 0.3, best: str = "entropy", seeds: int = 3, setting: str = "full", raw: bool = False
) -> dict[str, Any]:
    """A result in which the best weighting is `ahead` of everything."""
    arms = [
        Arm("none", teachers=()), Arm("none-mask", teachers=(), sees="mask"), Arm("uniform"),
        Arm("uniform-mask", sees="mask"), *(Arm(f"only-{t}", teachers=(t,)) for t in TEACHERS),
        Arm("entropy", weighting="entropy", temperature=2.0),
    ]  # fmt: skip
    top = next(arm for arm in arms if arm.name == best)
    arms += [replace(top, name=f"geometric-{best}", mixture="geometric")]
    arms += [replace(top, name=f"raw-{best}", calibrate=False)] if raw else []
    parts = {"none": "none", "single": "only-fiction", "uniform": "uniform", "best": best}
    names = [arm.name for arm in arms]

    def rows(texts: list[str], named: list[str]) -> dict[str, Any]:
        return {name: {text: value(5.0, seeds) for text in [*texts, "mixed"]} for name in named}

    def there(size: str, steps: int) -> list[str]:
        return [best] if (size, steps) == (SIZES[1], 2000) else names

    tables = [
        {
            "size": size, "steps": steps, "valid": rows(TEXTS, there(size, steps)),
            "test": rows(TESTS, there(size, steps)), "seconds": dict.fromkeys(there(size, steps), 100.0),
        }
        for size, lengths in zip(SIZES, ((4000, 2000, 1000), (4000, 2000)), strict=True)
        for steps in lengths
    ]  # fmt: skip

    def paired(mean: float) -> dict[str, Any]:
        return {
            "valid": {text: gain(mean) for text in [*TEXTS, "mixed"]},
            "test": {text: gain(mean) for text in [*TESTS, "mixed"]},
        }

    pairs = [("best", other, size, [4000, 4000]) for size in SIZES for other in ("none", "uniform", "single")]
    pairs += [("best", "none", size, [2000, 4000]) for size in SIZES]
    pairs += [(arm.name, "best", SIZES[0], [2000, 2000]) for arm in arms if arm.mixture == "geometric"]
    mixtures = [
        {"weighting": name, "temperature": tau, "nats": 4.0, "weights": [0.2, 0.3, 0.5]}
        for name, tau in (("uniform", 1.0), ("entropy", 2.0), ("entropy", 1.0))
    ]
    teachers = {name: {"nats": 4.0, "coverage": 0.7, "calibration": 1.1} for name in TEACHERS}
    texts = {text: {"slots": 9, "teachers": teachers, "mixtures": mixtures} for text in TEXTS}
    beside = [*TEACHERS, *(f"{part} {size}" for size in SIZES for part in parts)]
    lead = None if best == "uniform" else paired(ahead)
    return {
        "question": "convergence",
        "setting": setting,
        "seconds": 7300.0,
        "environment": {
            "versions": {"torch": "2", "transformers": "5"}, "processor": "a processor", "cores": 2,
        },
        "scale": {
            "sizes": SIZES, "rates": [3e-3, 2e-3], "steps": 4000, "shares": [1, 2, 4], "batch": 32,
            "seeds": list(range(seeds)), "passages": 2000, "text_words": 1000, "glosses": "wordnet:",
            "kept": 32, "texts": TEXTS, "test_texts": TESTS, "trainings": 99,
            "documents": {part: {"encyclopedia": 33, "fiction": 1} for part in ("valid", "test")},
        },
        "arms": {arm.name: asdict(arm) for arm in arms},
        "mixtures": [arm.name for arm in arms if arm.mixture == "geometric"],
        "parts": parts,
        "recommended": {"arm": asdict(top), "lead": lead},
        "default": {"weighting": "entropy", "temperature": 2.0, "mixture": "arithmetic"},
        "sees": {"none": {"bert": 5.0, "mask": 6.0}, "taught": {"bert": 4.0, "mask": 6.0}},
        "temperatures": {"texts": texts, "chosen": {"uniform": 1.0, "entropy": 2.0}},
        "teachers": {
            name: {"parameters": 5_000_000, "vocabulary": 16000, "steps": 3600, "seconds": 3600.0, "words": 9}
            for name in TEACHERS
        },
        "beside_teachers": {name: {text: value(4.0, 1) for text in [*TEXTS, "mixed"]} for name in beside},
        "stores": {"calibrated": dict.fromkeys(TEACHERS, 60.0), "raw": dict.fromkeys(TEACHERS, 60.0)},
        "tables": tables,
        "gains": [
            {"better": better, "worse": worse, "size": size, "steps": steps, "seeds": seeds} | paired(ahead)
            for better, worse, size, steps in pairs
            if (better, worse, steps[0]) != ("best", "uniform", 4000) or best != "uniform"
        ],
        "curves": {
            size: {part: [[1, [6.0] * seeds], [2, [5.0] * seeds]] for part in parts} for size in SIZES
        },
    }  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("curves", "budgets"):
        monkeypatch.setattr(f"study.convergence_figures.{name}", lambda *_: None)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("change", "there", "missing"),
    [
        ({}, ["**met**", "is beyond its interval"], ["missed", "A slice", "Not every aim"]),
        ({"ahead": 0.01}, ["**not shown**", "**met on average**", "not beyond"], ["missed"]),
        ({"ahead": -0.01}, ["**not shown**: not ahead", "Not every aim"], ["**met"]),
        ({"ahead": -0.3}, ["**missed**", "is worse than"], ["**met", "not shown"]),
        ({"best": "uniform"}, ["is itself the best", "nothing leads it"], ["None"]),
        ({"seeds": 1}, ["one seed", "passages alone"], ["±"]),
        ({"setting": "quick"}, ["A slice of the study"], []),
    ],
)
def test_the_page_says_what_the_figures_say(
    tmp_path: Path, change: dict[str, Any], there: list[str], missing: list[str]
) -> None:
    result = made_up(**change)
    page = convergence.page(result, tmp_path)
    told = page + "\n".join(convergence.headline(result))
    for words in there:
        assert words in told
    body = told.replace("mean ± standard deviation", "")
    for words in [*missing, "None", "nan"]:
        assert words not in body


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_figures_are_there(tmp_path: Path, seeds: int) -> None:
    images = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", convergence.page(made_up(seeds=seeds), tmp_path))
    assert len(images) == 2
    for text, name in images:
        assert "best single teacher (fiction)" in text
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")


@pytest.mark.usefixtures("undrawn")
def test_the_tables_have_all_their_cells(tmp_path: Path) -> None:
    rows = [line for line in convergence.page(made_up(raw=True), tmp_path).split("\n\n") if line[0] == "|"]
    assert len(rows) == 7
    for table in rows:
        assert len({line.count("|") for line in table.splitlines()}) == 1
        assert len(table.splitlines()) > 2


def test_an_aim_missed_shows_what_is_known_of_the_teachers() -> None:
    result = made_up(ahead=-0.3)
    result["beside_teachers"]["fiction"]["glosses"]["mean"] = 3.5
    lines = "\n".join(says(result))
    assert "+0.500 on glosses (*fiction*)" in lines
    assert "70% *lexicon*" in lines


def test_a_temperature_at_the_edge_is_said() -> None:
    assert any("at the edge" in line and "`entropy` (2)" in line for line in says(made_up()))


def test_temperatures_are_chosen_by_the_mean_over_the_texts() -> None:
    def found(*nats: float) -> dict[str, Any]:
        rows = zip((1.0, 2.0, 4.0), nats, strict=True)
        return {"mixtures": [{"weighting": "entropy", "temperature": t, "nats": n} for t, n in rows]}

    assert choose_temperatures({"a": found(1.0, 2.0, 3.0)}) == {"entropy": 1.0}
    assert choose_temperatures({"a": found(1.0, 2.0, 3.0), "b": found(5.0, 2.0, 3.0)}) == {"entropy": 2.0}


class Pretended(trainings.Trainings):
    """Nothing is trained: the nats of an arm are told by its name."""

    def __init__(self, nats: dict[str, float]) -> None:
        super().__init__(FULL)
        self.nats = nats
        self.asked: list[Student] = []

    def train(self, what: str, students: list[Student]) -> None:  # type: ignore[override]
        self.asked += students

    def mixed(self, arms: list[Arm], size: Size) -> dict[str, float]:  # type: ignore[override]
        return {arm.name: self.nats.get(arm.name, 5.0) for arm in arms}


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = dict.fromkeys(FULL.weightings, 2.0)
    monkeypatch.setattr(convergence, "temperatures", lambda _: {"texts": {}, "chosen": chosen})


@pytest.mark.usefixtures("swept")
def test_the_arms_follow_from_what_was_chosen() -> None:
    pretended = Pretended({"none-mask": 4.0, "only-lexicon": 4.0, "margin": 4.0, "raw-margin": 3.0})
    choice = convergence.choose(FULL, pretended)
    assert {part: arm.name for part, arm in choice.main.items()} == {
        "none": "none-mask", "single": "only-lexicon", "uniform": "uniform", "best": "margin",
    }  # fmt: skip
    assert choice.main["best"].temperature == 2.0
    assert choice.main["uniform"].temperature is None
    recommended = choice.recommended
    assert (recommended.weighting, recommended.mixture, recommended.calibrate) == (
        "margin",
        "arithmetic",
        False,
    )
    arms = {student.arm for student in pretended.asked}
    assert arms == set(choice.arms)
    assert len({arm.name for arm in arms}) == len(arms) == 4 + 3 + 5 + 2
    # As many as were promised, with the shorter trainings of four parts and of the mixtures beside them, and
    # those of more seeds.
    runs = len(set(pretended.asked)) + (4 * 2 + len(choice.mixtures)) * len(FULL.seeds)
    runs += (4 * 2 + 1) * len(FULL.more_seeds)
    assert f"at most {runs} trainings of 2x128 and 15 of 4x256" in convergence.planned(FULL)
    assert {arm.name for arm in arms if not arm.calibrate} == {"raw-uniform", "raw-margin"}
    assert all(arm.mixture == "geometric" for arm in choice.mixtures)
    assert {arm.name: arm.online for arm in choice.mixtures} == {
        "geometric-uniform": True, "geometric-margin": True,
        "geometric-stored-uniform": False,
    }  # fmt: skip


def test_gains_that_aims_are_about_have_more_seeds() -> None:
    small, large = FULL.sizes
    more = FULL.seeds + FULL.more_seeds
    assert convergence.seeds_of(FULL, small, 1) == convergence.seeds_of(FULL, small, 2) == more
    assert convergence.seeds_of(FULL, small, 4) == convergence.seeds_of(FULL, large, 1) == FULL.seeds
    assert not set(FULL.seeds) & set(FULL.more_seeds)


@pytest.mark.usefixtures("swept")
def test_taught_students_that_see_the_mask_have_names_of_their_own() -> None:
    choice = convergence.choose(FULL, Pretended({"uniform-mask": 3.0}))
    assert choice.main["none"].sees == "bert"
    assert choice.main["uniform"] == choice.main["best"] == Arm("uniform-mask", sees="mask")
    taught = [arm for arm in choice.arms if arm.teachers and arm.name != "uniform"]
    assert all(arm.sees == "mask" and arm.name.endswith("-mask") for arm in taught)


def test_teachers_that_are_not_calibrated_have_stores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.students.write_texts", lambda _: {"fiction": Path("fiction.txt")})
    stores = set()
    for calibrate in (True, False):
        arm = Arm("uniform", calibrate=calibrate)
        recipe = student_recipe(FULL, Student(arm, FULL.sizes[0], 40, 11))
        assert recipe.distill.calibrate is calibrate
        stores.add(Path(recipe.distill.store).name)
    assert stores == {"store-100", "store-100-raw"}


def test_an_arm_may_ask_its_teachers_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.students.write_texts", lambda _: {"fiction": Path("fiction.txt")})
    asked = []
    monkeypatch.setattr("study.students.build_stores", lambda *_, **__: asked.append("a store"))
    monkeypatch.setattr("study.students.do_all", lambda _, __, jobs: [{} for _ in jobs])
    arm = Arm("geometric", mixture="geometric", online=True)
    student = Student(arm, FULL.sizes[0], 40, 11)
    assert student_recipe(FULL, student).distill.predictions == "online"
    train_students(FULL, "students", [student])
    assert asked == []
    train_students(FULL, "students", [replace(student, arm=replace(arm, online=False))])
    assert asked == ["a store"]
