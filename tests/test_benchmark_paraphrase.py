"""benchmarks/paraphrase.py measures, keeps what it has, writes no path; its page is the committed one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs the eval extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import paraphrase
import paraphrase_page

from limbeck.tasks import paraphrase as task
from tests.mini_wordnet import write_wordnet
from tests.test_paraphrase import PARTS, write_pairs
from tests.tiny_labelled import TEXTS, write_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.usefixtures("cache")
def test_the_json_and_the_page(
    checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "LEAST_STEPS", 2)
    for part, (count, seed) in PARTS.items():
        write_pairs(tmp_path / "data" / f"tiny.{part}.tsv", count, seed)
    rows = [("The lawyers ran into the banks.",), ("The bank lends money to a dog.",)]
    write_table(tmp_path / "data/more.original.tsv", ("text",), rows)
    write_wordnet(tmp_path / "wordnet", polysemous=True)
    files = {"json": tmp_path / "p.json", "page": tmp_path / "p.md"}
    shared = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    shared += ["--data", str(tmp_path / "data"), "--lexicon", str(tmp_path / "wordnet"), "--threads", "1"]
    shared += ["--sizes", "20", "--words", "2", "--scratch", str(tmp_path / "scratch"), "--device", "cpu"]
    paraphrase.main(["reference", *shared])
    paraphrase.main(
        ["model", *shared, "--model", str(checkpoint("bert", texts=TEXTS)), "--name", "tiny", "--seeds", "0"]
    )
    paraphrase.main(["page", *shared])
    content, page = (file.read_text(encoding="utf-8") for file in files.values())
    found = json.loads(content)
    assert found["reference"]["data"]["tests"][1]["synthetic"]["rate"] == 0.25
    assert found["models"]["tiny"]["cells"][0]["runs"][0]["steps"] == 3, "of three epochs"
    assert str(tmp_path) not in content + page
    for title in ("## The reference scores", "### Another spinner: synthetic", "## tiny on few texts"):
        assert title in page
    assert "| more-every-2nd (synthetic) | 2 | 20 |" in page


def test_the_committed_figures_are_the_reference_scores() -> None:
    found = json.loads((ROOT / "benchmarks/results/paraphrase.json").read_text(encoding="utf-8"))
    compared = paraphrase_page.compared(found["reference"])
    assert len(compared) == len(paraphrase_page.REFERENCE)
    assert max(abs(one.measured - one.expected) for one in compared) < paraphrase.TOLERANCE
    page = (ROOT / "docs/results/paraphrase.md").read_text(encoding="utf-8")
    assert page == paraphrase_page.page(found)
