"""benchmarks/spin.py runs through on a small table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.mini_wordnet import write_wordnet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import spin


@pytest.mark.slow
def test_it_runs_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tsv").write_text("id\ttext\n1\tThe lawyers ran into the banks.\n2\tThe lawyer.\n")
    write_wordnet(tmp_path / "wordnet", polysemous=True)
    out = tmp_path / "spin.json"
    spin.main(
        ["--rounds", "2", "--rates", "1", "--text", str(tmp_path / "a.tsv"), "--lexicon",
         str(tmp_path / "wordnet"), "--json", str(out)]
    )  # fmt: skip
    result = json.loads(out.read_text())
    one = result["rates"]["1.0"]
    assert (one["paragraphs"], one["words"], one["changed"]) == (2, 8, 5)
    assert one["first_wall"]["low"] > 0
    assert len(one["again_process"]["rounds"]) == 2
    assert result["peak_bytes_by_times"]["4"] > 1e6
    assert "rate 1.0: reached 0.625" in capsys.readouterr().out
