"""The demo from end to end on WordNet itself, with a handful of steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.lexicon.wordnet import find_wordnet
from limbeck.pipeline.demo import run_demo
from limbeck.tasks.wsd_baselines import FIRST, RANDOM
from limbeck.tools.words import MODEL, ONLY


def _no_wordnet() -> bool:
    try:
        find_wordnet()
    except UserError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(_no_wordnet(), reason="WordNet is not installed")
def test_the_demo_measures_all_it_shows(tmp_path: Path) -> None:
    few = ["train.steps=3", "train.eval_every=3", "eval.passages=64", "gloss.steps=3", "gloss.valid_limit=50"]
    result = run_demo(tmp_path, few)
    assert {model["name"] for model in result["words"]["all"]["models"]} == {
        "alone",
        "student",
        "nouns",
        "others",
    }
    for name, found in result["senses"].items():
        assert found["instances"] == 50
        assert 0 <= found["f1"] <= 1
        assert found["baselines"][FIRST] > found["baselines"][RANDOM]
        for nats in found["nats"].values():
            assert nats["after"] != nats["before"], name
    assert {"bank", "river", "firm"} <= {word["text"] for word in result["paragraph"]}
    assert {word["source"] for word in result["paragraph"]} <= {MODEL, ONLY}
    page = Path(result["report"])
    assert page == tmp_path / "report.html"
    said = page.read_text(encoding="utf-8")
    for words in ("nouns", "others", "lmgc-m", "first sense", "chance", "What running costs", "Teachers"):
        assert words in said, words
    evaluation = json.loads((tmp_path / "eval" / "results.json").read_text(encoding="utf-8"))
    assert evaluation["tasks"]["mlm"] == result["words"]["all"]
    assert [evaluation[name] for name in ("left_out", "kept", "settings")] == [[], {}, {}]
    assert {row["model"] for row in evaluation["rows"] if row["task"] == "cost"} == {
        "student",
        "nouns",
        "others",
    }
    assert (tmp_path / "lmgc" / "model" / "README.md").is_file()
    titles = [table["title"] for table in result["tables"]]
    assert len(titles) == 4
    again = run_demo(tmp_path, few)  # all is there: nothing is trained again
    assert again["senses"] == result["senses"]
