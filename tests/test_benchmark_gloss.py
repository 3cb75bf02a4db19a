"""benchmarks/gloss.py runs through on a tiny model, and its arms are one function and one training."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.gloss.instances import candidates, wordnet_examples, write_jsonl
from tests.gloss_models import family_tokenizer
from tests.models import make_checkpoint
from tests.tiny_gloss import world

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gloss
import gloss_page
from gloss_arms import arms
from gloss_setting import GlossMade, GlossSetting


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> GlossSetting:
    folder = tmp_path_factory.mktemp("world")
    lexicon = world(folder)
    found = [one for one in wordnet_examples(lexicon) if len(candidates(lexicon, one, "gold")) > 1]
    again = [replace(one, id=f"{one.id}.b", context=f"{one.context} Yes.") for one in found]
    write_jsonl(folder / "all.jsonl", found + again)
    return GlossSetting(
        model=str(make_checkpoint("bert", folder / "bert", tokenizer=family_tokenizer("bert"), seed=5)),
        lexicon=str(folder / "wordnet"),
        train=str(folder / "all.jsonl"),
        instances=12,
        published=4,
        batch=4,
        tokens=256,
        pairs=5,
        max_length=64,
        precision="f32",
        threads=1,
    )


@pytest.mark.slow
def test_the_whole_benchmark(setting: GlossSetting, tmp_path: Path) -> None:
    path = tmp_path / "out" / "gloss.json"
    gloss.main(["--rounds", "2", "--windows", "0", "--json", str(path)], setting)
    content = path.read_text(encoding="utf-8")
    assert str(tmp_path.parent) not in content
    found = json.loads(content)
    assert [target["what"] for target in found["targets"]] == [
        "training: pairs / published",
        "training: packed / pairs",
        "prediction: pairs / published",
        "prediction: packed / pairs",
    ]
    window = found["windows"]["0"]
    assert window["agreement"]["same_sense"] == 1
    for phase in ("training", "prediction"):
        rates = window[phase]["instances_per_second"]
        values = zip(rates["packed"]["rounds"], rates["pairs"]["rounds"], strict=True)
        assert window[phase]["ratios"]["packed / pairs"]["rounds"] == [a / b for a, b in values]
        pieces = window[phase]["pieces_per_instance"]
        assert pieces["published"]["fed"] == pytest.approx(64 * window["candidates_per_instance"])
        assert pieces["packed"]["text"] < pieces["pairs"]["text"] <= pieces["pairs"]["fed"]

    for phase in ("training", "prediction"):
        for layout in ("pairs", "packed"):
            shares = found["profile"][phase][layout]["share"]
            assert shares["matrix products"] > 0
            assert ("random numbers" in shares) == (phase == "training")
    written = gloss_page.section(found)
    rate = window["training"]["instances_per_second"]["packed"]["median"]
    assert f"{rate:.1f} (" in written
    assert "### Where the time goes" in written

    kept = {name: value for name, value in found.items() if name != "profile"}
    gloss.main(["--profile-only", "--json", str(path)], setting)
    again = json.loads(path.read_text(encoding="utf-8"))
    assert {name: value for name, value in again.items() if name != "profile"} == kept
    assert again["profile"] != found["profile"]


def test_the_arms_agree(setting: GlossSetting, tmp_path: Path) -> None:
    """Without dropout: the published way and `pairs` have the same probabilities and the same gradients."""
    made = GlossMade(replace(setting, instances=8, published=8, batch=8))
    for module in made.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # of attention as well, which BERT reads from such a module
    kept: list[torch.Tensor] = []

    def keep() -> None:
        kept.append(torch.cat([p.grad.flatten().clone() for p in made.parameters if p.grad is not None]))
        made.optimiser.zero_grad(set_to_none=True)

    made.update = keep  # type: ignore[method-assign]
    every = arms(made, made.sample(0), tmp_path)
    said = {name: arm.predict(0) for name, arm in every.items()}
    for one, other, packed in zip(said["published"], said["pairs"], said["packed"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert len(packed) == len(one) > 1
    for arm in every.values():
        arm.train(0)
    published, pairs, packed = kept
    assert (published - pairs).norm() < 1e-4 * pairs.norm()
    assert (packed - pairs).norm() > 1e-3 * pairs.norm(), "another function"


def test_a_turn_of_the_published_way_is_another_part_each_time(setting: GlossSetting, tmp_path: Path) -> None:
    made = GlossMade(setting)
    items = made.sample(0)
    assert [one.id for one, _ in items] == [one.id for one, _ in made.sample(0)]
    assert all(len(senses) > 1 and {s.key for s in senses} & set(one.gold) for one, senses in items)
    every = arms(made, items, tmp_path)
    assert [every["published"].taken(turn) for turn in range(3)] == [items[:4], items[4:8], items[8:]]
    assert every["packed"].taken(1) == items
    with pytest.raises(SystemExit):
        gloss.options(["--instances", "33"])
