"""Where the weights go: the groups of words, the slots' words, weights and gains by group, the page."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from study import slots, words
from study.setting import FULL, TEACHERS, Setting
from study.words_page import sentences

from limbeck.distill.weighting import DEFAULT_TEMPERATURE, TeacherStats
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.pipeline.assemble import assemble
from limbeck.text.words import word_spans
from tests.mini_wordnet import write_wordnet
from tests.tiny_recipes import tiny_recipe, write_text

TEXTS = ("encyclopedia", "fiction", "glosses")
TEMPERATURES = {name: DEFAULT_TEMPERATURE[name] for name in words.WEIGHTINGS}


def test_words_have_groups(tmp_path: Path) -> None:
    lexicon = open_lexicon(str(write_wordnet(tmp_path, polysemous=True)))

    def groups(word: str) -> tuple[str, str]:
        kind, senses = slots.kind_of(word, lexicon)
        return slots.KINDS[kind], slots.SENSES[senses]

    assert groups("limbeck") == ("noun", "1")
    assert groups("attorneys") == ("noun", "1")
    assert groups("banks") == ("several", "2–4"), "a noun as well as a verb"
    assert groups("quickly") == ("adverb", "1")
    assert groups("The") == ("function word", "not asked")
    assert groups("1,904") == ("figure or mark", "not asked")
    assert groups("qwertz") == ("not in WordNet", "not asked")


def test_frequencies_are_ranks() -> None:
    known = slots.ranks(iter(["b a a.", "A c, b"]))
    assert [known[word] for word in ("a", "b", ",", ".", "c")] == [1, 2, 3, 4, 5]
    found = [slots.FREQUENCY[slots.frequency_of(rank)] for rank in (1, 100, 101, 1000, 10_000, 10_001, None)]
    assert found == [
        "rank 1–100", "rank 1–100", "rank 101–1,000", "rank 101–1,000", "rank 1,001–10,000", "rarer",
        "never seen",
    ]  # fmt: skip


def test_the_words_of_slots_are_those_that_are_masked(
    tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    write_text(tmp_path)
    models = {"a": checkpoint("bert", seed=1), "b": checkpoint("roberta", tokenizer="bpe", seed=2)}
    made = assemble(tiny_recipe(tmp_path, models))
    lexicon = open_lexicon(str(write_wordnet(tmp_path / "wordnet")))
    text = "".join(made.valid_corpus.text(int(row)) + "\n" for row in made.valid_rows)
    kept = slots.collect(made, lexicon, slots.ranks(iter([text])))
    found = slots.slots_of(kept)
    count = len(found.passage)
    assert count > 0
    assert found.stats.covered.shape == found.true.shape == (2, count)
    assert int(found.frequency.max()) < len(slots.FREQUENCY) - 1, "every word of the text is known"
    masked = slots.slot_words(made, [int(row) for row in made.valid_rows])
    assert len(masked) == count
    tokens = {text[start:end] for start, end in word_spans(text)}
    assert set(masked) <= tokens
    covered = found.stats.covered
    assert torch.equal(found.agreement >= 0, covered.all(0))
    assert ((found.true >= 0) & (found.true <= 1 + 1e-5)).all()
    # The share of what can be said at all is at least the share of everything; 1e-4: rounding.
    assert (found.true.log()[covered] >= found.stats.log_gold[covered] - 1e-4).all()


def made_up(count: int, text: int) -> slots.Slots:
    """The teacher of each text is surer there, and right; the last tenth is not answered by all."""
    generator = torch.Generator().manual_seed(text)
    true = torch.rand(3, count, generator=generator) * 0.2 + 0.05
    true[text] += 0.6
    covered = torch.ones(3, count, dtype=torch.bool)
    covered[0, -count // 10 :] = False
    log = true.log()
    stats = TeacherStats(covered, log, log, true, log)
    return slots.Slots(
        stats,
        true,
        torch.where(covered.all(0), torch.arange(count) % 3, -1),
        torch.arange(count) // 5,
        torch.arange(count) % len(slots.FREQUENCY),
        torch.arange(count) % len(slots.KINDS),
        torch.arange(count) % len(slots.SENSES),
    )


def result(setting: str = "full") -> dict[str, Any]:
    found = words.summary({name: made_up(500, place) for place, name in enumerate(TEXTS)}, TEMPERATURES)
    return {
        "question": "words", "setting": setting, "seconds": 60.0, "teachers": list(TEACHERS),
        "weightings": list(words.WEIGHTINGS), "blind": list(words.BLIND), "temperatures": TEMPERATURES,
        "temperatures_from": "defaults", "passages": 2000, "student_tokenizer": "train:wordpiece:8000",
        "environment": {
            "versions": {"torch": "2", "transformers": "5"}, "processor": "a processor", "cores": 2,
        },
        **found,
    }  # fmt: skip


def test_weights_and_gains_by_group() -> None:
    found = result()
    every = found["all"]
    assert (every["slots"], every["n"]) == (1500, 1350)
    assert every["covered"] == {"encyclopedia": 0.9, "fiction": 1.0, "lexicon": 1.0}
    texts = {name: made_up(500, place) for place, name in enumerate(TEXTS)}
    one = texts["fiction"]
    expected = -(one.true[:, one.together].mean(0)).log().mean()
    row = found["groups"]["text"][1]
    assert row["nats"]["uniform"] == pytest.approx(float(expected), abs=1e-5)
    assert row["teacher_nats"]["fiction"] == pytest.approx(
        float(-one.true[1, one.together].log().mean()), abs=1e-5
    )
    for name in words.WEIGHTINGS:
        assert sum(row["weights"][name].values()) == pytest.approx(1, abs=1e-5)
    gain = row["gain"]["entropy"]
    assert gain["mean"] == pytest.approx(row["nats"]["uniform"] - row["nats"]["entropy"], abs=1e-6)
    assert 0 < gain["low"] < gain["mean"] < gain["high"]
    assert found["home"]["entropy"]["lexicon"]["low"] > 0
    assert sum(row["n"] for row in found["groups"]["part of speech"]) == 1350


def test_an_underflow_has_finite_nats() -> None:
    none = words.nats(torch.zeros(2, 3), torch.full((2, 3), 0.5))
    assert math.isfinite(float(none.max()))
    even = words.nats(torch.tensor([[0.5], [0.1]]), torch.tensor([[0.5], [0.5]]))
    assert float(even) == pytest.approx(-math.log(0.3))


def test_page(tmp_path: Path) -> None:
    found = result("quick")
    text = words.page(found, tmp_path)
    assert (tmp_path / "study-words.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "3 of 3 teachers have more weight on their own text than on the others" in text
    assert "On all words `entropy` is better than equal weights: +0." in text
    assert "prove nothing" in text
    assert text.count("| rank 1–100 |") == 1
    assert "heard more on their own text" in words.headline(found)[0]


def test_a_loss_is_said() -> None:
    found = result()
    found["all"]["gain"]["entropy"] = {"mean": -0.2, "low": -0.3, "high": -0.1}
    found["all"]["gain"]["margin"] = {"mean": 0.0001, "low": 0.00005, "high": 0.0002}
    text = "\n".join(sentences(found))
    assert "`entropy` is worse than equal weights: -0.200 [-0.300, -0.100]" in text
    assert "`margin` is no different from equal weights within the interval" in text


def test_temperatures_are_those_of_question_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "results", tmp_path)
    assert words.chosen_temperatures(FULL) == (TEMPERATURES, "defaults")
    kept = '{"temperatures": {"texts": {}, "chosen": {"entropy": 0.7}}}'
    (tmp_path / "study-convergence.json").write_text(kept, encoding="utf-8")
    assert words.chosen_temperatures(FULL) == (TEMPERATURES | {"entropy": 0.7}, "convergence")
    assert np.isfinite(list(TEMPERATURES.values())).all()
