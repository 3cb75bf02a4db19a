"""Scoring by the official rule, intervals, McNemar's test, and `limbeck score`."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from limbeck.cli import app
from limbeck.tasks.wsd_score import (
    Gold,
    Marks,
    compare,
    key_pos,
    load_gold,
    measure,
    measure_parts,
    score_files,
)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), prog_name="limbeck")


def refused(*words: object) -> str:
    """The one line that a refused command says."""
    result = invoke(*words)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert len(said) == 1, result.stderr
    return said[0].removeprefix("limbeck: ")


GOLD = {
    "d0.s0.t0": ("a%1:00:00::",),
    "d0.s0.t1": ("b%2:00:00::", "b%2:00:01::"),
    "d0.s1.t0": ("c%5:00:00:x:00",),
    "d0.s1.t1": ("d%4:00:00::",),
    "d0.s2.t0": ("e%1:00:00::",),
}
ANSWERS = {
    "d0.s0.t0": ("a%1:00:00::",),  # right
    "d0.s0.t1": ("b%2:00:01::", "b%2:00:07::"),  # one of two answers is right: half
    "d0.s1.t0": ("c%3:00:00::",),  # wrong
    "d0.s2.t0": ("e%1:00:00::", "f%1:00:00::", "g%1:00:00::", "h%1:00:00::"),  # a quarter
}


def gold_of(rows: dict[str, tuple[str, ...]], trained: Iterable[str] | None = None) -> Gold:
    known = None if trained is None else set(trained)
    return Gold.of(((name, key_pos(keys[0]), keys) for name, keys in rows.items()), known)


def test_the_official_rule_by_hand() -> None:
    gold = gold_of(GOLD, ["b%2:00:01::", "e%1:00:00::"])
    measured = measure_parts(gold, Marks.of(gold, ANSWERS))
    precision, recall = 1.75 / 4, 1.75 / 5
    assert (measured["instances"], measured["answered"]) == (5, 4)
    assert measured["precision"] == pytest.approx(precision)
    assert measured["recall"] == pytest.approx(recall)
    assert measured["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    low, high = measured["f1_interval"]
    assert low < measured["f1"] < high
    parts = measured["parts"]
    assert {name: part["instances"] for name, part in parts.items()} == {
        "n": 2,
        "v": 1,
        "a": 1,
        "r": 1,
        "seen": 2,
        "unseen": 3,
    }
    assert parts["n"]["f1"] == pytest.approx(1.25 / 2)
    assert parts["v"]["f1"] == 0.5
    assert parts["v"]["f1_interval"] is None, "one sentence has no interval"
    assert (parts["r"]["answered"], parts["r"]["precision"], parts["r"]["f1"]) == (0, 0.0, 0.0)
    assert parts["seen"]["recall"] == pytest.approx(0.75 / 2)
    assert "seen" not in measure_parts(gold_of(GOLD), Marks.of(gold, ANSWERS))["parts"]


def test_perfect_and_empty_answers() -> None:
    gold = gold_of(GOLD)
    perfect = measure(gold, Marks.of(gold, GOLD))
    assert perfect
    assert (perfect["precision"], perfect["recall"], perfect["f1"]) == (1, 1, 1)
    assert perfect["f1_interval"] == [1, 1]
    nothing = measure(gold, Marks.of(gold, {}))
    assert nothing
    assert (nothing["answered"], nothing["precision"], nothing["recall"], nothing["f1"]) == (0, 0, 0, 0)
    assert measure(gold, Marks.of(gold, {}), np.zeros(5, dtype=np.bool_)) is None


def test_parts_of_speech_of_keys() -> None:
    keys = ["a%1:0", "a%2:0", "a%3:0", "a%4:0", "a%5:0", "a%9:0", "oewn-a-n-1", "%%2:0"]
    assert [key_pos(key) for key in keys] == ["n", "v", "a", "r", "a", None, None, None]


def test_instances_of_a_sentence_are_drawn_together() -> None:
    """Ten sentences of ten equal instances have the interval of ten draws, not of a hundred."""
    rows = {f"d.s{s}.t{t}": (f"k{s}",) for s in range(10) for t in range(10)}
    half = {name: keys if int(name[3]) % 2 else ("x",) for name, keys in rows.items()}
    gold = gold_of(rows)
    together = measure(gold, Marks.of(gold, half))
    apart = gold_of({name.replace(".t", "-"): keys for name, keys in rows.items()})
    single = measure(apart, Marks.of(apart, {name.replace(".t", "-"): keys for name, keys in half.items()}))
    assert together
    assert single
    width = together["f1_interval"][1] - together["f1_interval"][0]
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 10), rel=0.15)
    assert single["f1_interval"][1] - single["f1_interval"][0] == pytest.approx(
        width / math.sqrt(10), rel=0.2
    )


def test_mcnemar_is_the_exact_binomial() -> None:
    rows = {f"d.s{n}.t0": ("k",) for n in range(40)}
    gold = gold_of(rows)

    def right(numbers: Iterable[int]) -> Marks:
        return Marks.of(gold, {f"d.s{n}.t0": ("k",) if n in set(numbers) else ("x",) for n in range(40)})

    found = compare(gold, right(range(2, 20)), right([0, *range(5, 30)]))
    # only the first: 2, 3, 4; only the second: 0 and 20 to 29
    assert found["mcnemar"]["only_first"] == 3
    assert found["mcnemar"]["only_second"] == 11
    p = 2 * sum(math.comb(14, k) for k in range(4)) / 2**14
    assert found["mcnemar"]["p"] == pytest.approx(p)
    assert found["f1_difference"] == pytest.approx(8 / 40)
    low, high = found["f1_difference_interval"]
    assert 0 < low < 0.2 < high
    same = compare(gold, right(range(5)), right(range(5)))
    assert same["mcnemar"] == {"only_first": 0, "only_second": 0, "p": 1.0}
    assert same["f1_difference_interval"] == [0, 0]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    gold, answers = tmp_path / "x.gold.key.txt", tmp_path / "p.key"
    for path, rows in ((gold, GOLD), (answers, ANSWERS)):
        path.write_text("".join(f"{name} {' '.join(keys)}\n" for name, keys in rows.items()))
    return gold, answers


def test_score_files_says_what_it_measured(files: tuple[Path, Path], tmp_path: Path) -> None:
    gold, answers = files
    result = score_files(gold, [answers, gold], trained=answers)
    assert result["data"]["fingerprint"] == load_gold(gold).fingerprint
    assert [round(system["recall"], 4) for system in result["systems"]] == [0.35, 1.0]
    assert result["comparison"]["mcnemar"]["only_second"] == 4
    assert set(result["versions"]) >= {"limbeck", "scipy"}
    other = tmp_path / "y.gold.key.txt"
    other.write_text(gold.read_text().replace("e%1", "f%1"))
    assert load_gold(other).fingerprint != load_gold(gold).fingerprint


def test_score_at_the_command_line(files: tuple[Path, Path]) -> None:
    gold, answers = files
    shown = invoke("score", gold, answers)
    assert shown.exit_code == 0, shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines() if line.strip()]
    whole = next(line for line in lines if line[0] == "all")
    assert whole[:6] == ["all", "5", "4", "43.75", "35.00", "38.89"]
    assert not any(line[0] in ("seen", "McNemar's") for line in lines)
    both = invoke("score", gold, answers, gold, "--train", answers)
    assert "McNemar's test" in both.stdout
    assert "unseen" in both.stdout
    as_json = json.loads(invoke("score", gold, answers, "--json").stdout)
    assert as_json["systems"][0]["answered"] == 4


def test_score_loads_no_model_library(files: tuple[Path, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from limbeck.tasks.wsd_score import score_files\n"
        "score_files(*[Path(sys.argv[1]), [Path(sys.argv[2])] * 2])\n"
        "print([name for name in ('torch', 'transformers', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("d9.s0.t0 a%1:00:00::\nd0.s0.t0 a%1:00:00::\n", "answers 1 instance (d9.s0.t0) that"),
        ("d0.s0.t0 a%1:00:00::\n" * 2, "more than one line for 1 instance (d0.s0.t0)"),
        ("d0.s0.t0\n", "line 1: 'd0.s0.t0' has no sense key"),
    ],
)
def test_bad_prediction_files(files: tuple[Path, Path], content: str, says: str) -> None:
    gold, answers = files
    answers.write_text(content)
    assert says in refused("score", gold, answers)
    assert says in refused("score", gold, gold, answers)


def test_files_that_are_missing(files: tuple[Path, Path], tmp_path: Path) -> None:
    gold, answers = files
    assert "cannot read" in refused("score", tmp_path / "none", answers)
    assert "cannot read" in refused("score", gold, tmp_path / "none")
    assert "cannot read" in refused("score", gold, answers, "--train", tmp_path / "none")
