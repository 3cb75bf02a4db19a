"""The study's frame: kept processes, kept words, the overview, the README, teachers and cost."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from study import cost, house, jobs, nats, pages, setting
from study import teachers as study_teachers
from study.__main__ import main
from study.questions import QUESTIONS
from study.setting import FULL, QUICK, TEACHERS

from limbeck.errors import UserError
from tests.study_work import fails_after, until_stopped, who

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"versions": {"torch": "2", "transformers": "5"}, "processor": "a processor", "cores": 2}
TWO = replace(QUICK, workers=2)


@pytest.fixture
def processes() -> Iterator[None]:
    yield
    jobs.end()


@pytest.mark.usefixtures("processes")
def test_processes_are_kept_and_a_failure_makes_the_others_save_and_stop(tmp_path: Path) -> None:
    work = [jobs.Job(str(number), partial(who, 0.3)) for number in range(4)]
    first = {row["process"] for row in jobs.do_all(TWO, "first", work)}
    assert {row["process"] for row in jobs.do_all(TWO, "second", work)} <= first
    assert os.getpid() not in first
    # One fails while the other is at work; what is still waiting must not begin.
    files = [tmp_path / name for name in ("running", "waiting", "later")]

    stopping = [
        jobs.Job("running", partial(until_stopped, files[0])),
        jobs.Job("fails", partial(fails_after, files[0].with_suffix(".begun"))),
        *(jobs.Job(file.name, partial(until_stopped, file)) for file in files[1:]),
    ]
    before = time.monotonic()
    with pytest.raises(ValueError, match="it cannot be done"):
        jobs.do_all(TWO, "failing", stopping)
    assert time.monotonic() - before < 30, "it waited for what ran"
    assert files[0].exists(), "what ran was not stopped in good order"
    assert not files[2].with_suffix(".begun").exists()
    for process in first:
        with pytest.raises(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    assert jobs.do_all(TWO, "again", work[:1])[0]["process"] not in first


def test_words_that_are_kept_go_by_the_text_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats, "fingerprint", lambda model: model.name)
    here = replace(QUICK, root=tmp_path)
    assert not set(here.texts()) & set(here.test_texts()), "one text's words would be another's"
    here.domains.mkdir(parents=True)
    for name in setting.DOMAINS:
        for part in ("valid", "test"):
            (here.domains / f"{name}.{part}.txt").write_text(f"{name} {part}", encoding="utf-8")
    texts = [*here.texts(), *here.test_texts()]
    files = {text: nats._file(here, Path("model"), text) for text in texts}
    assert len(set(files.values())) == len(texts)
    changed = here.domains / "fiction.valid.txt"
    changed.write_text("another text", encoding="utf-8")
    os.utime(changed, ns=(1, 1))
    assert nats._file(here, Path("model"), "fiction") != files["fiction"]
    assert nats._file(here, Path("model"), "encyclopedia") == files["encyclopedia"]


def teacher(nats_of: dict[str, float]) -> dict[str, Any]:
    return {
        "recipe": "recipes/house/x.toml", "recipe_sha256": "0", "overrides": [], "fingerprint": "f" * 16,
        "layers": 4, "hidden": 256, "tokenizer": "train:bpe:16000:cased", "parameters": 7_000_000,
        "vocabulary": 16_000, "train_words": 2_000_000, "steps": 100, "batch": 64, "tokens": 5_000_000,
        "seconds": 4000.0, "energy_joules": None, "valid_nats_per_piece": 4.0,
        "curve": [[step, 9 - step / 20] for step in range(10, 101, 10)],
        "nats": nats_of, "test_nats": {"encyclopedia (test)": 5.0, "fiction (test)": 6.0},
    }  # fmt: skip


def teachers(own: bool) -> dict[str, Any]:
    texts = ["encyclopedia", "fiction", "glosses"]
    rows = {}
    for name, text in house.OWN.items():
        best = text if own else texts[(texts.index(text) + 1) % 3]
        values = {one: 4.0 if one == best else 6.0 for one in texts}
        rows[name] = teacher(values | {"mixed": sum(values.values()) / 3})
    found = {"question": "teachers", "setting": "full", "seconds": 60.0, "environment": ENVIRONMENT}
    return found | {"teachers": rows, "passages": 2000}


@pytest.mark.parametrize("own", [True, False])
def test_page_of_the_teachers(own: bool, tmp_path: Path) -> None:
    page = house.page(teachers(own), tmp_path)
    assert (tmp_path / "study-teachers.svg").is_file()
    assert ("On fiction the best is `fiction` (4.000 nats, 2.000 below the next): its own" in page) == own
    assert ("**not** the teacher that learnt from it" in page) != own
    assert "`lexicon` went from 5.000 to 4.000 nats per piece between step 80 and 100, the last." in page
    assert house.headline(teachers(own))[0].startswith(f"**Teachers**: {3 if own else 0} of 3 are the best")


def value(mean: float, sd: float | None = 0.5) -> dict[str, Any]:
    return {"mean": mean, "sd": sd, "values": [mean]}


OTHERS: dict[str, dict[str, Any]] = {
    "teachers": teachers(True),
    "lexical": {"models": {"scratch": {"test_nats": {"mixed": value(5)}}}},
    "wsd": {"models": {"distilled+LMGC": {"f1": value(40.0)}}},
    "glue": {
        "tasks": ["cola", "sst2"],
        "models": {
            "scratch": {
                "average": value(60.0) | {"tasks": ["cola", "sst2"]},
                "shared": value(50.0) | {"tasks": ["cola"]},
            },
            "MiniLM": dict.fromkeys(("average", "shared"), value(80.0) | {"tasks": ["cola"]}),
        },
    },
    "paraphrase": {
        "models": {
            "scratch": {"cells": [
                {"words": 32, "size": 200, "f1": value(70.0)}, {"words": 16, "size": 200, "f1": value(60.0)},
                {"words": 16, "size": 1000, "f1": value(75.0)},
            ]}
        }
    },
}  # fmt: skip


def cost_result(quality: dict[str, Any], joules: float | None = None) -> dict[str, Any]:
    names = [*(f"teacher {name}" for name in TEACHERS), *cost.STARTS, "distilled+LMGC", *cost.NAMES]
    rows = {
        name: {
            "parameters": 1_000_000 * place, "parameters_without_embeddings": 1000, "head": None,
            "latency_ms": float(place), "passages_per_second": 100.0, "memory_bytes": 5_000_000,
            "joules_per_1000_passages": joules, "quality": quality.get(name, {}),
            "training": {
                "seconds": None if name == "MiniLM" else 100.0 * place, "joules": None,
                "pretrained": "MiniLM" in name,
            },
        }
        for place, name in enumerate(names, 1)
    }  # fmt: skip
    return {
        "question": "cost", "setting": "full", "seconds": 60.0, "environment": ENVIRONMENT, "models": rows,
        "length": 64, "rounds": 5, "precision": "f32", "seeds": [1, 2], "paraphrase": [16, 200],
        "store_seconds": 90.0, "teacher_seconds": 600.0,
    }  # fmt: skip


def test_quality_is_read_from_the_answers_of_other_questions() -> None:
    found = cost.quality(OTHERS)
    assert found["teacher fiction"] == {"nats": {"mean": 5.5, "sd": None}}
    assert found["scratch"]["glue"]["mean"] == 60.0
    assert found["scratch"]["paraphrase"]["mean"] == 60.0, "the fewest texts and the shortest"
    assert found["scratch"]["nats"]["mean"] == 5.0
    assert found["distilled+LMGC"] == {"f1": {"mean": 40.0, "sd": 0.5}}
    assert found["scratch"]["shared"]["mean"] == 50.0
    assert found["MiniLM"] == {"shared": {"mean": 80.0, "sd": 0.5}}, (
        "an average of fewer tasks is another figure"
    )
    assert cost.quality({}) == {}


def test_models_take_turns_and_medians_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(QUICK, root=tmp_path, cost_rounds=3)
    asked: list[str] = []

    def measure(models: list[str], _: Any) -> dict[str, Any]:
        asked.extend(models)
        latency = {1: 9.0, 2: 9.0, 3: 1.0, 4: 2.0, 5: 2.0, 6: 3.0}[len(asked)]
        cell = {
            "latency": {"p50_ms": latency}, "throughput": {"passages_per_second": 10 * latency},
            "energy_per_1000_passages": None,
        }  # fmt: skip
        one = {
            "name": "", "model": "", "parameters": 5, "parameters_without_embeddings": 3, "head": None,
            "memory": {"bytes": {"peak_one": 10 + len(asked), "libraries": 4}}, "lengths": [cell],
        }  # fmt: skip
        return {"models": [one]}

    monkeypatch.setattr(cost, "measure_models", measure)
    monkeypatch.setattr(cost, "fingerprint", lambda place: place.name)
    places = {name: Path(name) for name in ("a", "b")}
    cost._measure_all(here, places)
    cost._measure_all(here, places)  # all is kept
    assert asked == ["a", "b", "a", "b", "a", "b"]
    found = cost.measured(here, Path("b"))  # 9, 2 and 3 ms
    assert (found["latency_ms"], found["passages_per_second"], found["memory_bytes"]) == (3.0, 30.0, 10)
    assert cost.measured(here, Path("a"))["latency_ms"] == 2.0
    assert found["joules_per_1000_passages"] is None


def test_page_of_cost(tmp_path: Path) -> None:
    page = cost.page(cost_result(cost.quality(OTHERS)), tmp_path)
    assert (tmp_path / "study-cost.svg").is_file()
    assert "| `scratch` | 4.00 | 0.00 | 4.00 | 100 | 5 | 400 s" not in page
    assert (
        "| `scratch` | 4.00 | 0.00 | 4.00 | 100 | 5 | 7 min | 5.000 ± 0.500 | – | 60.0 ± 0.5 | 60.0" in page
    )
    assert "| `MiniLM` | 7.00 | 0.00 | 7.00 | 100 | 5 | – | – | – | – | – | 80.0 ± 0.5 |" in page
    assert "- GLUE, shared tasks: best on average is `MiniLM`" in page
    drawn = (tmp_path / "study-cost.svg").read_text(encoding="utf-8")
    assert "<!-- MiniLM -->" in drawn
    assert "MiniLM+LMGC" not in drawn, "nothing is known of what it can do"
    assert "13 min and what it was given" in page
    assert "A distilled student's training takes 1.25 times as long" in page
    assert "Energy could not be measured" in page
    assert "medians of 5 rounds in which the models take turns" in page
    measured = cost.page(cost_result({}, joules=3.0), tmp_path)
    assert "shared tasks" not in measured
    assert "GLUE average: not measured yet." in measured
    assert "| J per 1,000 passages |" in measured


def test_the_readme_has_a_table_and_a_figure_where_there_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = {"teachers": teachers(True)}
    bare = pages.with_study(readme, results, {}, FULL)
    assert f"{pages.BEGIN}\n{pages.END}" in bare
    monkeypatch.setattr(pages, "line_of", lambda name, result: f"answer of {name}")
    shown = {"study-convergence.md": "text\n\n![curves](study-convergence.svg)\n"}
    told = {"sizes": ["2x128", "4x256"], "steps": 2000, "batch": 32, "seeds": [11, 12, 13]}
    made = pages.with_study(readme, results | {"convergence": {"scale": told}}, shown, FULL)
    assert "![curves](docs/results/study-convergence.svg)" in made
    assert "| answer of convergence |" in made
    assert "students of 2×128 (and of 4×256 where a page says so), 2,000 steps of 32 passages" in made
    assert pages.with_study(made, results, {}, FULL) == bare
    with pytest.raises(AssertionError, match="has lost"):
        pages.with_study(readme.replace(pages.END, ""), results, {}, FULL)


def test_the_overview_says_what_is_not_answered() -> None:
    text = pages.overview({"teachers": teachers(True)}, FULL)
    assert (
        "[How good are the three teachers, each on its own text and on the others'?](study-teachers.md)"
        in text
    )
    assert "Not answered yet: `convergence`, `pays`, `why`, `words`" in text
    assert "of 4×256 (7.0 million parameters at most, trained on 15 million tokens in all);" in text
    assert "students of" not in text, "none is measured"
    assert "encyclopedia 67 min" in text


def test_committed_pages_are_those_that_the_json_makes(tmp_path: Path) -> None:
    results = pages.found(FULL)
    fresh = pages.make(results, FULL, tmp_path) if results else {}
    there = {file.name for file in FULL.pages.glob("study*")}
    assert there == {file.name for file in tmp_path.iterdir()}
    for name, page in fresh.items():
        assert (FULL.pages / name).read_text(encoding="utf-8") == page, f"{name} is not current"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert pages.with_study(readme, results, fresh, FULL) == readme


def test_every_question_has_its_three_functions() -> None:
    for name, question in QUESTIONS.items():
        module = question.load()
        assert all(callable(getattr(module, one)) for one in ("answer", "page", "headline")), name


def test_what_cannot_be_asked_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, said in (
        (["nothing"], "no question nothing; there are teachers, convergence"),
        (["--scratch", str(tmp_path)], "--scratch goes with --quick"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    assert json.dumps(list(tmp_path.iterdir())) == "[]"


def test_what_is_missing_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data, a file for a scratch folder, a folder of the system's own."""
    nothing, data, file = tmp_path / "nothing", tmp_path / "data", tmp_path / "file"
    (data / "corpus-large").mkdir(parents=True)
    file.write_text("")
    for texts, scratch, said in (
        (nothing, tmp_path / "scratch", f"no texts in {nothing}: set LIMBECK_DATA"),
        (data, file, "Not a directory; choose a folder that can be written"),
        (data, Path("/proc/study"), "no file can be made there; choose another folder"),
        (data, tmp_path / "scratch", "builds on `convergence`, which is not answered yet: ask it first"),
    ):
        monkeypatch.setattr("study.__main__.DATA", texts)
        with pytest.raises(SystemExit) as ended:
            main(["--quick", "--scratch", str(scratch), "why"])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_other_teachers_are_told_from_those_of_the_scratch_folder(tmp_path: Path) -> None:
    here = replace(QUICK, root=tmp_path)
    made = {name: name for name in TEACHERS}
    study_teachers._same(here, made)
    study_teachers._same(here, made)
    with pytest.raises(UserError, match=r"other teachers \(fiction changed\); move it away"):
        study_teachers._same(here, made | {"fiction": "novels"})


def test_other_teachers_are_told_from_those_that_are_published(tmp_path: Path) -> None:
    here = replace(QUICK, root=tmp_path)
    made = {name: name for name in TEACHERS}
    study_teachers._published(here, made)  # nothing is, so far
    here.results.mkdir(parents=True)
    rows = {name: {"fingerprint": name} for name in TEACHERS}
    (here.results / "study-teachers.json").write_text(json.dumps({"teachers": rows}))
    study_teachers._published(here, made)
    with pytest.raises(UserError, match=r"not those of .*json \(fiction\).*from `teachers` on"):
        study_teachers._published(here, made | {"fiction": "novels"})
