from __future__ import annotations

import time

import numpy as np
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from limbeck.text.words import SHOW_KEEP, SHOW_MASK, SHOW_RANDOM, mask_plan, passage_hash, word_spans

# The word rule as one regular expression; slow, and what `word_spans` must agree with.
RULE = regex.compile(r"(?V1)[\p{Han}--\p{M}]\p{M}*|[[\p{L}\p{M}\p{N}]--[\p{Han}--\p{M}]]+|[^\s\p{C}]\p{M}*")
ALPHABET = (
    "ab1é .,\n\t中々\u0301\u0300\ufe0f\u200d\u00adกั゛あ\U00016ff0\u302a👩🏽\u0378\ue000\u3000\x1c\x85\0"
)


HASHES = [13020603013274838756, 4091270821991363467]
PLANS = [
    ([6, 19, 25, 27, 30, 35], [0, 0, 0, 0, 0, 0]),
    ([2, 5, 11, 20, 28, 34], [0, 0, 1, 1, 0, 0]),
    ([4, 7, 8, 19, 23, 29], [0, 0, 0, 0, 0, 0]),
    ([0, 1, 2], [0, 0, 0]),
]
DIGEST = 5609558869206389728


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


def test_words() -> None:
    assert words("Well-known (hello) 3rd  naïve.") == [
        "Well",
        "-",
        "known",
        "(",
        "hello",
        ")",
        "3rd",
        "naïve",
        ".",
    ]
    assert words("東京 2020年") == ["東", "京", "2020", "年"]
    assert words("nai\u0308ve e\u0301") == ["nai\u0308ve", "e\u0301"]
    assert words("!\u0301a") == ["!\u0301", "a"]
    assert words(" \u0301a") == ["\u0301a"]
    assert words("❤\ufe0f👩\u200d👩") == ["❤\ufe0f", "👩", "👩"]
    assert words("हिन्दी ไทย") == ["हिन्दी", "ไทย"]
    assert words("don't $5.00") == ["don", "'", "t", "$", "5", ".", "00"]
    for blank in ("", " \n\t\u3000", "\u200b\u200d\x00"):
        assert word_spans(blank).shape == (0, 2)
    assert word_spans("a b").dtype == np.int64


@given(st.one_of(st.text(ALPHABET, max_size=30), st.text(max_size=30)))
@example("\u0301")
@example("a\u0301\u0301b中\u0301c \u0301中")
def test_word_spans_follow_the_rule(text: str) -> None:
    assert [tuple(span) for span in word_spans(text).tolist()] == [
        match.span() for match in RULE.finditer(text)
    ]


def test_every_character_follows_the_rule() -> None:
    everything = " ".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    expected = np.array([match.span() for match in RULE.finditer(everything)])
    assert np.array_equal(word_spans(everything), expected)


def test_passage_hash_known_answers() -> None:
    assert passage_hash("") == HASHES[0]
    assert passage_hash("naïve 東京") == HASHES[1]


def test_mask_plan_known_answers() -> None:
    """Fails when the plan changes: then every experiment does, and `WORD_RULE_VERSION` must be raised."""
    plans = [
        mask_plan(40, passage_hash("one"), seed=42, variant=0, rate=0.15),
        mask_plan(40, passage_hash("one"), seed=42, variant=1, rate=0.15),
        mask_plan(40, passage_hash("two"), seed=43, variant=0, rate=0.15),
        mask_plan(3, 2**64 - 1, seed=-1, variant=0, rate=0.9),
    ]
    assert [(plan.selected.tolist(), plan.show.tolist()) for plan in plans] == PLANS
    digest = [mask_plan(n, n * n, seed=7, variant=2, rate=0.3) for n in (1, 2, 96, 1024, 1025, 65535)]
    assert passage_hash(repr([(plan.selected.tolist(), plan.show.tolist()) for plan in digest])) == DIGEST


@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.integers(0, 5), st.floats(0.01, 1.0))
def test_mask_plan_properties(n_words: int, key: int, variant: int, rate: float) -> None:
    plan = mask_plan(n_words, key, seed=1, variant=variant, rate=rate)
    assert len(plan.selected) == len(plan.show) == max(1, round(rate * n_words))
    assert plan.selected.dtype == np.int64
    assert plan.show.dtype == np.uint8
    assert (np.diff(plan.selected) > 0).all()
    assert 0 <= plan.selected[0] <= plan.selected[-1] < n_words
    wider = mask_plan(n_words, key, seed=1, variant=variant, rate=min(1.0, 2 * rate))
    assert set(plan.selected.tolist()) <= set(wider.selected.tolist())


def test_mask_plan_shares() -> None:
    """Every word is as likely as any other; 80/10/10 of them are masked, replaced and kept."""
    chosen, shown = np.zeros(50), np.zeros(3)
    for key in range(4000):
        plan = mask_plan(50, key, seed=5, variant=0, rate=0.2)
        chosen[plan.selected] += 1
        shown += np.bincount(plan.show, minlength=3)
    assert np.abs(chosen / 4000 - 0.2).max() < 0.03  # 4.7 standard deviations
    assert shown[[SHOW_MASK, SHOW_RANDOM, SHOW_KEEP]] / shown.sum() == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.01
    )


def test_mask_plan_is_fast() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        for key in range(500):
            mask_plan(96, key, seed=1, variant=0, rate=0.15)
        return (time.perf_counter() - start) / 500

    assert min(seconds() for _ in range(5)) < 60e-6  # 12 µs on an idle machine
