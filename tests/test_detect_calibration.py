"""What scores mean: calibration, its errors, and the share of a document; languages told apart."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.tools.detect_calibration import (
    Calibration,
    calibration_error,
    errors,
    fit,
    log_loss,
    rate,
    share,
)
from limbeck.tools.detect_language import Language
from tests.tiny_detect import GERMAN, paragraph


def drawn(slope: float, offset: float, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and flags that are true with P = logistic(slope·margin + offset), as many of either kind."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 4, count)
    return margins, rng.random(count) < 1 / (1 + np.exp(-(slope * margins + offset)))


def test_a_known_calibration_is_found() -> None:
    margins, flags = drawn(0.4, 0.0, 20_000)
    found = fit(margins, flags)
    assert found.slope == pytest.approx(0.4, rel=0.1)
    assert found.offset == pytest.approx(0.0, abs=0.1)
    assert found.floor < 0.02
    other, known = drawn(0.4, 0.0, 20_000, seed=1)
    before, after = Calibration(1.0, 0.0, 0.0).probability(other), found.probability(other)
    assert calibration_error(before, known) > 0.1
    assert calibration_error(after, known) < 0.02
    assert log_loss(after, known) < log_loss(before, known)


def test_classes_weigh_alike() -> None:
    margins, flags = drawn(1.0, 0.0, 40_000)
    rare = ~flags | (np.random.default_rng(2).random(len(flags)) < 0.1)
    found = fit(margins[rare], flags[rare])
    assert found.offset == pytest.approx(0.0, abs=0.15)  # not -log 10
    assert found.slope == pytest.approx(1.0, rel=0.15)


def test_no_score_is_surer_than_the_texts_it_is_fitted_on() -> None:
    margins = np.array([-9.0] * 50 + [9.0] * 50)
    found = fit(margins, margins > 0)
    assert found.floor >= 1 / 52 - 1e-9
    p = found.probability([-1e6, 1e6])
    assert 1 / 53 < p[0] < 0.05 < 0.95 < p[1] < 52 / 53


def test_a_useless_model_scores_a_half() -> None:
    rng = np.random.default_rng(0)
    margins, flags = rng.normal(size=2000), rng.random(2000) < 0.5
    p = fit(margins, flags).probability(margins)
    assert np.abs(p - 0.5).max() < 0.15


def test_errors_by_hand() -> None:
    p, known = np.array([0.1, 0.6, 0.9, 0.95]), np.array([False, False, True, True])
    found = errors(p, known, 0.6, range(4))
    assert (found["false_alarms"]["rate"], found["false_alarms"]["n"], found["found"]["rate"]) == (
        0.5,
        2,
        1.0,
    )
    assert calibration_error(p, known) == pytest.approx((0.1 + 0.6 + 0.1 + 0.05) / 4)
    none = np.zeros(100, bool)
    wilson = rate(none, np.arange(100))
    assert (wilson["rate"], wilson["low"], wilson["n"], wilson["sources"]) == (0.0, 0.0, 100, 100)
    assert wilson["high"] == pytest.approx(0.0370, abs=1e-4)
    assert rate(none, np.arange(100) // 4)["high"] == pytest.approx(rate(none[:25], range(25))["high"])
    assert rate(none[:0], [])["rate"] is None


def test_texts_of_one_source_do_not_narrow_an_interval() -> None:
    """Each source four times over says what it says once; parts that differ say more than that."""
    rng = np.random.default_rng(1)
    hits = rng.random(200) < 0.1
    once, again = rate(hits, np.arange(200)), rate(np.repeat(hits, 4), np.arange(800) // 4)
    for end in ("rate", "low", "high"):
        assert again[end] == pytest.approx(once[end])
    assert (again["n"], again["sources"]) == (800, 200)
    naive = rate(np.repeat(hits, 4), np.arange(800))
    assert again["high"] - again["low"] > 1.8 * (naive["high"] - naive["low"])


@pytest.mark.parametrize("true", [0.03, 0.2])
def test_the_true_rate_is_in_the_interval_although_parts_are_alike(true: float) -> None:
    """In 95 of 100 sets; an interval that takes parts for independent holds it far more seldom."""
    inside = naive = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        sources = np.repeat(np.arange(150), rng.integers(1, 8, 150))
        of_source = rng.beta(true, 1 - true, 150)  # half of the variance is the sources'
        hits = rng.random(len(sources)) < of_source[sources]
        for part, taken in ((True, sources), (False, np.arange(len(sources)))):
            found = rate(hits, taken)
            held = found["low"] <= true <= found["high"]
            inside, naive = inside + (part and held), naive + (not part and held)
    assert 0.92 <= inside / 400 <= 0.98
    assert naive / 400 < 0.85


@pytest.mark.parametrize("true", [0.0, 0.2, 0.7, 1.0])
def test_a_documents_share_is_in_its_interval(true: float) -> None:
    """In nineteen documents of twenty, or a few less by chance; and it does not lean to a half."""
    inside, means = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        spun = rng.random(60) < true
        margins = rng.normal(np.where(spun, 2.0, -2.0), 2.0)  # log odds are 2·2·m/2² = m
        p = 1 / (1 + np.exp(-margins))
        sizes = rng.integers(20, 200, 60)
        found = share(p, sizes)
        really = sizes[spun].sum() / sizes.sum()
        inside += found["low"] - 1e-9 <= really <= found["high"] + 1e-9
        means.append(found["share"] - really)
    assert inside >= 34
    assert abs(float(np.mean(means))) < 0.04
    assert share(p, sizes) == found


def test_few_passages_say_little() -> None:
    one = share([0.9], [50])
    assert one["share"] == pytest.approx(0.9, abs=0.06)
    assert (one["low"], one["high"]) == (0.0, 1.0)
    many = share([0.02] * 100, [50] * 100)
    assert many["share"] < 0.02
    assert many["high"] < 0.1


def test_another_language_is_told() -> None:
    train = [paragraph(number, 5, spun=number % 2 == 1) for number in range(100)]
    valid = [paragraph(1000 + number, 1 + number % 4, spun=number % 2 == 1) for number in range(100)]
    language = Language.learn(train, valid)
    assert language.marked <= 0.02
    assert not any(map(language.is_other, valid))
    assert language.is_other(GERMAN)
    assert not language.is_other("1492, 1493")
    assert Language.read(language.record()) == language
