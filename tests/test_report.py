"""The report: made of what runs wrote, well-formed, escaped, and honest about what is not there."""

from __future__ import annotations

import html
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.pipeline import run
from limbeck.report.figures import Curve, teacher_weights
from limbeck.report.markdown import code_block, count, duration, fixed, memory, share, table
from limbeck.report.page import write_report
from tests.tiny_recipes import tiny_recipe, write_text


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., Path]) -> tuple[Path, Path]:
    """A student of two teachers, and one without."""
    folder = tmp_path_factory.mktemp("report")
    write_text(folder)
    models = {"first": checkpoint("bert", seed=1), "second": checkpoint("roberta", tokenizer="bpe", seed=2)}
    train = {"steps": 6, "eval_every": 2, "log_every": 1}
    run(tiny_recipe(folder, models, train=train), folder / "taught")
    run(tiny_recipe(folder, train=train), folder / "alone")
    return folder / "taught", folder / "alone"


def figures(page: Path) -> dict[str, str]:
    """The text of every figure that the page links to, by file name; each is well-formed."""
    found = {}
    for link in re.findall(r"!\[[^\]]+\]\(<([^>]+)>\)", page.read_text(encoding="utf-8")):
        file = page.parent / link
        tree = ET.parse(file)
        assert tree.getroot().tag.endswith("svg")
        found[file.name] = " ".join(tree.getroot().itertext()) + file.read_text(encoding="utf-8")
    return found


def test_a_run_of_two_teachers(runs: tuple[Path, Path]) -> None:
    page = write_report([runs[0]])
    assert page == runs[0] / "report.md"
    said = page.read_text(encoding="utf-8")
    results = json.loads((runs[0] / "results.json").read_text(encoding="utf-8"))
    for name in ("first", "second"):
        assert name in said
    student = results["words"]["models"][0]["headline"]
    assert f"{student['nats']:.3f}" in said
    assert f"{results['student']['parameters']:,}" in said
    drawn = figures(page)
    assert len(drawn) >= 3, "learning curve, weights, coverage"
    assert any("first" in svg and "second" in svg for svg in drawn.values())
    assert any("training step" in svg for svg in drawn.values())


def test_a_comparison(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = write_report(runs, tmp_path / "both.md")
    said = page.read_text(encoding="utf-8")
    assert "2 runs compared" in said
    assert "taught" in said
    assert "alone" in said
    assert figures(page)
    assert (tmp_path / "both").is_dir()


def test_all_words_are_what_runs_of_other_teachers_share(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Without the byte-level teacher more words are single pieces."""
    page = write_report(runs, tmp_path)
    said = page.read_text(encoding="utf-8")
    assert "compare all words" in said
    drawn = figures(page)
    for name in ("results.svg", "learning.svg"):
        for label in ("nats per masked word, all words", "taught", "alone", "first", "second", "(teacher)"):
            assert label in drawn[name], (name, label)
    for folder in runs:
        student = json.loads((folder / "results.json").read_text())["words"]["models"][0]
        end = f"{folder.name} {student['all_words']['nats']:.2f}"
        assert end in drawn["learning.svg"], "the curve ends at what the finished model needs per word"


def test_runs_of_other_texts_are_not_ranked(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = copied(runs[1], tmp_path / "other")
    results = json.loads((other / "results.json").read_text())
    results["words"]["data"]["fingerprint"] = "of another text"
    (other / "results.json").write_text(json.dumps(results))
    page = write_report([runs[0], other], tmp_path / "page")
    said = page.read_text(encoding="utf-8")
    assert "their figures are not comparable" in said
    assert "below" not in said
    assert "results.svg" not in figures(page)


@pytest.mark.parametrize("name", ["a|b", "<b>bold</b>", "*x* `y` [z](http://w)", "$1 & @me", "https://x.y"])
def test_text_of_unknown_origin_shows_as_it_is(name: str) -> None:
    made = table(["name"], [[name], [None], [""]])
    rendered = re.sub(r"\\([\\`*_\[\]#~$^])", r"\1", made.splitlines()[2])
    assert html.unescape(rendered) == f"| {name} |"
    assert not re.search(r"(?<!\\)[*`\[\]$]|<|://|@", made.splitlines()[2])
    assert made.splitlines()[3:] == ["| – |", "| – |"]


def test_code_and_numbers() -> None:
    assert code_block("a ``` b").startswith("````\n")
    assert duration(3.21) == "3.2 s"
    assert duration(200) == "3 min 20 s"
    assert duration(4320) == "1 h 12 min"
    assert [f(math.nan) for f in (fixed, share, count, memory, duration)] == ["–"] * 5
    assert (fixed(3.5), share(0.413), count(1048576), memory(2**30)) == (
        "3.500", "41.3%", "1,048,576", "1.00 GiB",
    )  # fmt: skip


def test_the_same_twice(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (write_report(runs, tmp_path / name / "report.md") for name in ("a", "b"))
    assert first.read_text() == second.read_text()
    for file in (tmp_path / "a" / "report").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "report" / file.name).read_bytes()


def copied(run_folder: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("metrics.jsonl", "recipe.toml", "environment.json", "results.json", "status.json"):
        (target / name).write_bytes((run_folder / name).read_bytes())
    return target


def test_names_cannot_write_markup(runs: tuple[Path, Path], tmp_path: Path) -> None:
    folder = copied(runs[0], tmp_path / "evil")
    text = (folder / "results.json").read_text().replace('"first"', '"<script>alert(1)</script>|x"')
    (folder / "results.json").write_text(text)
    said = write_report([folder]).read_text(encoding="utf-8")
    assert "<script>" not in said
    assert "alert(1)" in said


def test_an_unfinished_run_says_so_and_what_is_missing_is_a_dash(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = copied(runs[1], tmp_path / "half")
    (folder / "results.json").unlink()
    (folder / "status.json").write_text(json.dumps({"state": "interrupted", "step": 4, "steps": 6}))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(line for line in lines if '"end"' not in line) + "\n")
    said = write_report([folder]).read_text(encoding="utf-8")
    assert "not finished" in said
    assert "–" in said


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_report([])
    with pytest.raises(UserError, match="nowhere"):
        write_report([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no recipe"):
        write_report([tmp_path])
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    with pytest.raises(UserError, match="no metrics yet"):
        write_report([tmp_path])
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(UserError, match="line 1"):
        write_report([tmp_path])


@pytest.mark.filterwarnings("error")
def test_weights_logged_once_are_points() -> None:
    """A run shorter than train.log_every has one line of metrics."""
    curves = [Curve("a", [(3, 0.4)]), Curve("b", [(3, 0.6)])]
    svg = teacher_weights(curves, title="weights", ylabel="weight")
    points = [Curve(c.label, [*c.points, (9, 0.5)]) for c in curves]
    line = teacher_weights(points, title="weights", ylabel="weight")
    mark = re.compile(r"<use [^>]*fill: #0072b2")
    assert mark.search(svg)
    assert not mark.search(line)
