"""Weightings and mixtures against a plain-Python reference (dicts, loops, math.log), and their limits."""

from __future__ import annotations

import math

import pytest
import torch

from limbeck.distill.mixture import MIXTURES, Mixture
from limbeck.distill.weighting import (
    DEFAULT_TEMPERATURE,
    LOG_MASS_FLOOR,
    Projected,
    scores,
    stats,
    weights,
)

TEACHERS, SLOTS, VOCABULARY = 3, 14, 9
PASSAGE = torch.tensor([0] * 5 + [1] * 4 + [2] * 4 + [3])
INF = math.inf


def mix(said, w, mixture):
    return Mixture(said, w, VOCABULARY, mixture).rows(slice(None))


# ---- reference


def reference_teacher(said: Projected) -> dict[int, dict]:
    """slot -> {mass: list, kept: set, u, r}, of the slots that the teacher covers."""
    out = {}
    for row, slot in enumerate(said.slot.tolist()):
        u, r = float(said.inexpressible[row]), float(said.tail[row])
        if 1 - u < 1e-6:
            continue
        kept = (
            set(range(VOCABULARY))
            if said.kept is None
            else {v for v in range(VOCABULARY) if said.kept[row, v]}
        )
        out[slot] = {"mass": said.mass[row].double().tolist(), "kept": kept, "u": u, "r": r}
    return out


def log(x: float) -> float:
    return math.log(x) if x > 0 else -INF


def reference_score(weighting, teachers, t, slot, gold):
    said = teachers[t][slot]
    ordered = sorted(said["mass"], reverse=True)
    if weighting in ("uniform", "static"):
        return 0.0
    if weighting == "gold":
        return log(said["mass"][gold[slot]])
    if weighting == "entropy":
        entropy = -sum(m * math.log(m) for m in said["mass"] if m > 0)
        return -(entropy + (said["u"] + said["r"]) * math.log(VOCABULARY))
    if weighting == "max_prob":
        return log(ordered[0])
    if weighting == "margin":
        return ordered[0] - ordered[1]
    assert weighting == "evidence"
    total, passage = 0.0, PASSAGE.tolist()
    mates = [j for j in range(SLOTS) if passage[j] == passage[slot]]
    active = [k for k in range(len(teachers)) if any(j in teachers[k] for j in mates)]
    for j in mates:
        if j != slot and all(j in teachers[k] for k in active):
            total += max(log(teachers[t][j]["mass"][gold[j]]), LOG_MASS_FLOOR)
    return total


def reference_weights(weighting, teachers, gold, priors, tau):
    out = [[0.0] * SLOTS for _ in teachers]
    for slot in range(SLOTS):
        there = [t for t in range(len(teachers)) if slot in teachers[t] and priors[t] > 0]
        raw = {t: reference_score(weighting, teachers, t, slot, gold) for t in there}
        if not there:
            continue
        if all(s == -INF for s in raw.values()):
            raw = dict.fromkeys(there, 0.0)
        logit = {t: math.log(priors[t]) + s / tau for t, s in raw.items()}
        top = max(logit.values())
        total = sum(math.exp(x - top) for x in logit.values())
        for t in there:
            out[t][slot] = math.exp(logit[t] - top) / total
    return out


def reference_mix(teachers, w, mixture):
    target = [[0.0] * VOCABULARY for _ in range(SLOTS)]
    tail, kept = [0.0] * SLOTS, [[False] * VOCABULARY for _ in range(SLOTS)]
    for slot in range(SLOTS):
        there = [t for t in range(len(teachers)) if w[t][slot] > 0]
        if not there:
            continue
        union = set().union(*(teachers[t][slot]["kept"] for t in there))
        outside = VOCABULARY - len(union)
        values, last = {}, 0.0
        if mixture == "arithmetic":
            for t in there:
                said = teachers[t][slot]
                for v in said["kept"]:
                    values[v] = values.get(v, 0.0) + w[t][slot] * said["mass"][v] / (1 - said["u"])
                last += w[t][slot] * said["r"] / (1 - said["u"])
        else:
            spread = {t: VOCABULARY - len(teachers[t][slot]["kept"]) for t in there}

            def probability(t, v, slot=slot, spread=spread):
                said = teachers[t][slot]
                return (said["mass"][v] if v in said["kept"] else said["r"] / spread[t]) / (1 - said["u"])

            for v in union:
                values[v] = math.prod(probability(t, v) ** w[t][slot] for t in there)
            if outside:
                absent = {t: teachers[t][slot]["r"] / spread[t] / (1 - teachers[t][slot]["u"]) for t in there}
                last = outside * math.prod(absent[t] ** w[t][slot] for t in there)
            total = sum(values.values()) + last
            values, last = {v: x / total for v, x in values.items()}, last / total
        for v in union:
            target[slot][v], kept[slot][v] = values.get(v, 0.0), True
        tail[slot] = last
    return target, tail, kept


# ---- inputs


def random_teacher(generator, gold, *, kept: bool, slots=None) -> Projected:
    if slots is None:
        slots = torch.nonzero(torch.rand(SLOTS, generator=generator) < 0.7).squeeze(1)
    slots = slots[torch.randperm(len(slots), generator=generator)]
    logits = 2 * torch.randn(len(slots), VOCABULARY + 1, generator=generator)
    full = torch.softmax(logits, 1)
    mass, u = full[:, :-1].clone(), full[:, -1].clone()
    if len(slots) > 2:  # one row all inexpressible: it does not cover
        mass[1], u[1] = 0.0, 1.0
    if not kept:
        return Projected(slots, mass, u, torch.zeros(len(slots)), None)
    keep = torch.rand(len(slots), VOCABULARY, generator=generator) < 0.5
    keep[torch.arange(len(slots)), gold[slots]] = True
    tail = (mass * ~keep).sum(1)
    return Projected(slots, mass * keep, u, tail, keep)


def random_case(seed: int, kept: bool):
    generator = torch.Generator().manual_seed(seed)
    gold = torch.randint(0, VOCABULARY, (SLOTS,), generator=generator)
    return gold, [random_teacher(generator, gold, kept=kept) for _ in range(TEACHERS)]


def pipeline(weighting, gold, said, priors, tau):
    found = stats(said, gold, SLOTS, VOCABULARY)
    log_prior = torch.tensor([log(p) for p in priors])
    return found, weights(scores(weighting, found, PASSAGE), log_prior, tau, found.covered)


def full_teacher(seed: int, u: float = 0.1) -> Projected:
    generator = torch.Generator().manual_seed(seed)
    mass = torch.softmax(2 * torch.randn(SLOTS, VOCABULARY, generator=generator), 1) * (1 - u)
    return Projected(torch.arange(SLOTS), mass, torch.full((SLOTS,), u), torch.zeros(SLOTS), None)


GOLD = torch.randint(0, VOCABULARY, (SLOTS,), generator=torch.Generator().manual_seed(5))


# ---- against reference


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_weights_agree_with_the_reference(weighting, kept):
    for seed in range(6):
        gold, said = random_case(seed, kept)
        priors, tau = [1.0, 0.5, 2.0], 0.7
        found, w = pipeline(weighting, gold, said, priors, tau)
        teachers = [reference_teacher(p) for p in said]
        for t, teacher in enumerate(teachers):
            assert set(torch.nonzero(found.covered[t]).squeeze(1).tolist()) == set(teacher)
        expected = torch.tensor(reference_weights(weighting, teachers, gold.tolist(), priors, tau))
        torch.testing.assert_close(w, expected, atol=2e-5, rtol=1e-4)
        covered = found.covered.any(0)
        torch.testing.assert_close(w.sum(0), covered.float())


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixtures_agree_with_the_reference(mixture, kept):
    for seed in range(8):
        gold, said = random_case(seed, kept)
        if kept and seed % 2:  # a stored and an online teacher together
            said[0] = random_teacher(torch.Generator().manual_seed(seed), gold, kept=False)
        _, w = pipeline("gold", gold, said, [1.0, 1.0, 1.0], 1.0)
        target, tail, keep = mix(said, w, mixture)
        expected, last, union = reference_mix([reference_teacher(p) for p in said], w.tolist(), mixture)
        torch.testing.assert_close(target, torch.tensor(expected), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(tail, torch.tensor(last), atol=1e-5, rtol=1e-4)
        assert (keep is None) == (not kept)
        if keep is not None:
            assert keep.tolist() == union
        torch.testing.assert_close(target.sum(1) + tail, w.sum(0), atol=1e-5, rtol=0)


def test_some_rows_are_the_same_as_in_the_whole(monkeypatch):
    gold, said = random_case(1, kept=True)
    _, w = pipeline("gold", gold, said, [1.0] * 3, 1.0)
    for m in MIXTURES:
        made, whole = Mixture(said, w, VOCABULARY, m), mix(said, w, m)
        for which in (slice(3, 4), slice(3, 9), torch.tensor([5, 0, 5])):
            for some, all_ in zip(made.rows(which), whole, strict=True):
                torch.testing.assert_close(some, all_[which])
        torch.testing.assert_close(made.at(torch.tensor([5, 0, 5, 1]))(slice(1, 3)), whole[0][[0, 5]])
    one = stats(said, gold, SLOTS, VOCABULARY)
    monkeypatch.setattr("limbeck.distill.weighting._CHUNK_CPU", 1)
    torch.testing.assert_close(
        stats(said, gold, SLOTS, VOCABULARY).neg_uncertainty, one.neg_uncertainty, equal_nan=True
    )


@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_statistics_not_asked_for_are_not_needed(weighting):
    gold, said = random_case(2, kept=False)
    all_of_them = stats(said, gold, SLOTS, VOCABULARY)
    few = stats(said, gold, SLOTS, VOCABULARY, weighting)
    prior = torch.zeros(TEACHERS)
    expected = weights(scores(weighting, all_of_them, PASSAGE), prior, 1.0, all_of_them.covered)
    assert torch.equal(weights(scores(weighting, few, PASSAGE), prior, 1.0, few.covered), expected)


# ---- limits


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_one_teacher_is_its_own_mixture(weighting, mixture):
    gold, said = random_case(3, kept=True)
    found, w = pipeline(weighting, gold, said[:1], [0.3], 1.0)
    assert torch.equal(w[0], found.covered[0].float())
    target, tail, kept = mix(said[:1], w, mixture)
    rows = found.covered[0][said[0].slot]
    slot = said[0].slot[rows]
    whole = (1 - said[0].inexpressible[rows])[:, None]
    torch.testing.assert_close(target[slot], said[0].mass[rows] / whole, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(tail[slot], said[0].tail[rows] / whole.squeeze(1), atol=1e-6, rtol=1e-4)
    assert torch.equal(kept[slot], said[0].kept[rows])


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_identical_teachers_mix_to_each_of_them_with_equal_weights(weighting, mixture):
    said = [full_teacher(1)] * 3
    _, w = pipeline(weighting, GOLD, said, [1.0] * 3, 1.0)
    torch.testing.assert_close(w, torch.full((3, SLOTS), 1 / 3))
    target, tail, kept = mix(said, w, mixture)
    torch.testing.assert_close(target, said[0].mass / 0.9, atol=1e-6, rtol=1e-5)
    assert tail.abs().max() == 0
    assert kept is None


@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_slot_nobody_covers_has_no_weights_and_no_target(mixture):
    said = [full_teacher(1), full_teacher(2)]
    said = [Projected(p.slot[1:], p.mass[1:], p.inexpressible[1:], p.tail[1:], None) for p in said]
    for weighting in DEFAULT_TEMPERATURE:
        _, w = pipeline(weighting, GOLD, said, [1.0, 1.0], 1.0)
        target, tail, _ = mix(said, w, mixture)
        assert w[:, 0].tolist() == [0.0, 0.0]
        assert target[0].abs().sum() == tail[0] == 0
        assert not target.isnan().any()


def test_no_slots_and_teachers_without_slots():
    empty = Projected(
        torch.empty(0, dtype=torch.int64), torch.empty(0, VOCABULARY), torch.empty(0), torch.empty(0)
    )
    for slots in (0, 4):
        gold = torch.zeros(slots, dtype=torch.int64)
        found = stats([empty, empty], gold, slots, VOCABULARY)
        for weighting in DEFAULT_TEMPERATURE:
            w = weights(scores(weighting, found, gold), torch.zeros(2), 1.0, found.covered)
            assert torch.equal(w, torch.zeros(2, slots))
        for mixture in MIXTURES:
            target, _, _ = mix([empty, empty], w, mixture)
            assert torch.equal(target, torch.zeros(slots, VOCABULARY))


def test_equal_confidences_are_uniform():
    a = full_teacher(1)
    turn = torch.arange(VOCABULARY).roll(1)
    b = Projected(a.slot, a.mass[:, turn], a.inexpressible, a.tail, None)  # as sure, of other pieces
    for weighting in ("entropy", "max_prob", "margin"):
        _, w = pipeline(weighting, GOLD, [a, b], [1.0, 1.0], DEFAULT_TEMPERATURE[weighting])
        torch.testing.assert_close(w, torch.full((2, SLOTS), 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("weighting", ["gold", "evidence", "entropy", "max_prob", "margin"])
def test_temperature_towards_zero_leaves_the_best_teacher(weighting):
    said = [full_teacher(s) for s in (1, 2, 3)]
    found, _ = pipeline(weighting, GOLD, said, [1.0] * 3, 1.0)
    s = scores(weighting, found, PASSAGE)
    alone = PASSAGE == 3  # a passage of one slot has no other evidence: there all scores are equal
    for tau in (1e-6, 1e-30, 1e-44):
        w = weights(s, torch.zeros(3), tau, found.covered)
        assert not w.isnan().any()
        assert torch.equal(w.argmax(0)[~alone], s.argmax(0)[~alone])
        assert w.max(0).values[~alone].min() > 0.999
    if weighting == "evidence":
        torch.testing.assert_close(w[:, alone], torch.full((3, 1), 1 / 3))


@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_a_teacher_with_all_its_mass_inexpressible_never_wins(weighting):
    good = full_teacher(1, u=0.9)
    none = Projected(good.slot, torch.zeros_like(good.mass), torch.ones(SLOTS), torch.zeros(SLOTS), None)
    found, w = pipeline(weighting, GOLD, [none, good], [1000.0, 1.0], 1.0)
    assert not found.covered[0].any()
    assert torch.equal(w, torch.stack([torch.zeros(SLOTS), torch.ones(SLOTS)]))


@pytest.mark.parametrize("weighting", ["entropy", "max_prob", "margin"])
def test_inexpressible_mass_counts_against_a_teacher(weighting):
    rest = full_teacher(1, u=0.0)
    half = Projected(rest.slot, rest.mass / 2, torch.full((SLOTS,), 0.5), rest.tail, None)
    _, w = pipeline(weighting, GOLD, [rest, half], [1.0, 1.0], 1.0)
    assert (w[0] > w[1]).all()


@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_a_prior_of_zero_shuts_a_teacher_out(weighting):
    said = [full_teacher(1), full_teacher(2)]
    _, w = pipeline(weighting, GOLD, said, [0.0, 1.0], 1.0)
    assert torch.equal(w, torch.stack([torch.zeros(SLOTS), torch.ones(SLOTS)]))


def test_static_weights_are_the_priors():
    _, w = pipeline("static", GOLD, [full_teacher(1), full_teacher(2)], [1.0, 3.0], 1.0)
    torch.testing.assert_close(w, torch.tensor([[0.25], [0.75]]).expand(2, SLOTS))


def test_evidence_never_uses_the_slots_own_label():
    said = [full_teacher(s) for s in (1, 2)]
    _, before = pipeline("evidence", GOLD, said, [1.0, 1.0], 8.0)
    for slot in range(SLOTS):
        gold = GOLD.clone()
        gold[slot] = (gold[slot] + 1) % VOCABULARY
        _, after = pipeline("evidence", gold, said, [1.0, 1.0], 8.0)
        assert torch.equal(after[:, slot], before[:, slot])
        here = PASSAGE.eq(PASSAGE[slot])
        mates = here & (torch.arange(SLOTS) != slot)
        assert bool((after[:, mates] != before[:, mates]).all())
        assert torch.equal(after[:, ~here], before[:, ~here])


def test_no_mass_on_the_true_piece():
    a, b = full_teacher(1), full_teacher(2)
    a.mass[torch.arange(3), GOLD[:3]] = 0.0
    b.mass[0, GOLD[0]] = 0.0
    found, w = pipeline("gold", GOLD, [a, b], [1.0, 3.0], 1.0)
    assert found.log_gold[0, :3].tolist() == [-INF] * 3
    torch.testing.assert_close(w[:, 0], torch.tensor([0.25, 0.75]))  # nobody has any: the priors
    assert w[:, 1:3].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    for weighting in DEFAULT_TEMPERATURE:
        _, w = pipeline(weighting, GOLD, [a, b], [1.0, 3.0], DEFAULT_TEMPERATURE[weighting])
        assert not w.isnan().any()


def test_a_geometric_product_of_nothing_gives_way_to_the_arithmetic_mixture():
    one, other = torch.zeros(1, VOCABULARY), torch.zeros(1, VOCABULARY)
    one[0, 0] = other[0, 1] = 1.0
    said = [Projected(torch.tensor([2]), m, torch.zeros(1), torch.zeros(1)) for m in (one, other)]
    w = torch.zeros(2, 4)
    w[:, 2] = torch.tensor([0.25, 0.75])
    target, tail, _ = mix(said, w, "geometric")
    assert target[2, :2].tolist() == [0.25, 0.75]
    assert target.sum() == 1
    assert tail.sum() == 0


def test_a_geometric_mixture_with_equal_weights_is_the_softmax_of_the_mean_logits():
    """Where the vocabularies are one and nothing is calibrated: what is called teaching by mean logits."""
    logits = torch.randn(3, SLOTS, VOCABULARY) * 3
    said = [
        Projected(torch.arange(SLOTS), one.softmax(1), torch.zeros(SLOTS), torch.zeros(SLOTS))
        for one in logits
    ]
    _, w = pipeline("uniform", GOLD, said, [1.0] * 3, 1.0)
    target, tail, _ = mix(said, w, "geometric")
    torch.testing.assert_close(target, logits.mean(0).softmax(1))
    torch.testing.assert_close(tail, torch.zeros(SLOTS))


def test_nearly_all_inexpressible_still_sums_to_one():
    mass = torch.full((1, VOCABULARY), 2e-6 / VOCABULARY)
    said = Projected(torch.tensor([0]), mass, 1 - mass.sum(1), torch.zeros(1))
    found = stats([said], torch.tensor([0]), 1, VOCABULARY)
    w = weights(scores("uniform", found, torch.tensor([0])), torch.zeros(1), 1.0, found.covered)
    target, _, _ = mix([said], w, "arithmetic")
    torch.testing.assert_close(target.sum(), torch.tensor(1.0))
