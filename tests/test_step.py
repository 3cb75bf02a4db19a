"""The step of distillation against a slow reading of its formula, on real tiny models of other tokenizers."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.distill.step import DistillStep, Placed
from limbeck.distill.weighting import DEFAULT_TEMPERATURE
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm
from limbeck.teachers.projection import Projection
from limbeck.teachers.teacher import Teacher
from limbeck.text.batches import Batch, Collator
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare import prepare
from limbeck.training.interface import StepContext
from tests.models import TEXTS
from tests.tiny_recipes import sentences
from tests.vocabularies import Memory

PASSAGES = [*TEXTS[:5], *sentences(7, seed=4)]
NOW = StepContext(0, 10)


@dataclasses.dataclass(frozen=True)
class Settings:
    weighting: str = "uniform"
    weighting_temperature: float | None = None
    mixture: str = "arithmetic"
    temperature: float = 1.0
    kd: float = 0.7
    kd_final: float | None = None


@dataclasses.dataclass(frozen=True)
class Problem:
    """A student, two teachers of other tokenizers, and one batch."""

    student: MaskedLM
    tokenizer: PieceTokenizer
    placed: list[Placed]
    batches: dict[str, Batch]

    @property
    def vocabulary(self) -> int:
        return self.student.width

    def step(
        self, module: torch.nn.Module | None = None, **settings: Any
    ) -> tuple[float, int, dict[str, float]]:
        """Loss, count and the averages of the metrics of one step in the middle of nothing."""
        sees, context = settings.pop("sees", "mask"), settings.pop("context", NOW)
        placed = settings.pop("placed", self.placed)
        made = DistillStep(placed, Settings(**settings), self.vocabulary)
        loss, count, metrics = made(module or self.student, self.batches[sees], context)
        averages = {name: float(a) / float(b) for name, (a, b) in metrics.items() if b}
        return float(loss.detach()), count, averages


def place(path: Path, name: str, student: PieceTokenizer, width: int, prior: float, c: float) -> Placed:
    module, hf, report = load_masked_lm(path, what=name)
    tokenizer = PieceTokenizer.from_hf(hf, limit=report.limit, name=name)
    projection = Projection.build(tokenizer, student, teacher_width=module.width, student_width=width)
    return Placed(Teacher(name, module, tokenizer, temperature=c), projection, prior)


def batches_of(
    student: PieceTokenizer, placed: Sequence[Placed], cache: Path, texts: list[str] = PASSAGES
) -> dict[str, Batch]:
    tokenizers = [p.teacher.tokenizer for p in placed]
    maps = [p.projection.gold_map for p in placed]
    prepared = prepare(Memory(texts), student, tokenizers, maps, cache=cache, workers=1)
    passages = [prepared.passage(i) for i in range(len(prepared))]
    return {
        sees: Collator(student, tokenizers, seed=1, rate=0.3, student_sees=sees)(passages, 0)
        for sees in ("mask", "bert")
    }


@pytest.fixture(scope="module")
def problem(checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Problem:
    module, hf, report = load_masked_lm(checkpoint("modernbert", tokenizer="wordpiece"), what="student")
    student = PieceTokenizer.from_hf(hf, limit=report.limit, name="student")
    placed = [
        place(checkpoint("roberta", tokenizer="bpe", seed=1), "sea", student, module.width, 2.0, 1.3),
        place(checkpoint("albert", tokenizer="unigram", seed=2), "hill", student, module.width, 0.5, 0.8),
    ]
    return Problem(module, student, placed, batches_of(student, placed, tmp_path_factory.mktemp("cache")))


def said_by(placed: Placed, batch: Batch, number: int, divisor: float) -> dict[int, tuple[np.ndarray, float]]:
    """Slot -> projected mass and inexpressible mass of a teacher, by the whole model and plain loops."""
    part, maps = batch.teachers[number], placed.projection.gold_map
    with torch.no_grad():
        whole = placed.teacher.module.model(
            input_ids=part.input_ids, attention_mask=part.attention_mask
        ).logits.double()
    said = {}
    width = part.input_ids.shape[1]
    for slot, position in zip(part.slot.tolist(), part.position.tolist(), strict=True):
        probabilities = torch.softmax(whole[position // width, position % width] / divisor, -1).tolist()
        mass, lost = np.zeros(placed.projection.student_width), 0.0
        for id_, p in enumerate(probabilities):
            target = int(maps[int(batch.kind[slot]), id_])
            if target >= 0:
                mass[target] += p
            else:
                lost += p
        said[slot] = (mass, lost)
    return said


def score(
    weighting: str, said: dict[int, tuple[np.ndarray, float]], slot: int, batch: Batch, common: set[int]
) -> float:
    """s_t(i) of the table in docs/architecture.md §3.1."""
    mass, lost = said[slot]
    if weighting == "gold":
        return math.log(mass[int(batch.gold[slot])])
    if weighting == "evidence":
        passage = batch.passage[slot]
        others = [j for j in common if j != slot and batch.passage[j] == passage]
        return sum(math.log(said[j][0][int(batch.gold[j])]) for j in others)
    if weighting == "entropy":
        entropy = -sum(p * math.log(p) for p in mass.tolist() if p > 0)
        return -(entropy + lost * math.log(len(mass)))
    if weighting == "max_prob":
        return math.log(mass.max())
    if weighting == "margin":
        return float(np.sort(mass)[-1] - np.sort(mass)[-2])
    return 0.0


def slow_loss(problem: Problem, sees: str = "mask", **given: Any) -> float:
    """Σ_i λ_kd·T²·KL(q‖p^T) + λ_ce·CE, in plain Python and float64."""
    settings, batch = Settings(**given), problem.batches[sees]
    tau = settings.weighting_temperature or DEFAULT_TEMPERATURE[settings.weighting]
    at_one = [said_by(p, batch, t, p.teacher.temperature) for t, p in enumerate(problem.placed)]
    at_t = [
        said_by(p, batch, t, p.teacher.temperature * settings.temperature)
        for t, p in enumerate(problem.placed)
    ]
    by_passage: dict[int, list[set[int]]] = {}
    for row in range(len(PASSAGES)):
        here = [{slot for slot in said if batch.passage[slot] == row} for said in at_one]
        by_passage[row] = [slots for slots in here if slots]
    with torch.no_grad():
        whole = problem.student.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    rows = whole.reshape(-1, whole.shape[-1])[batch.position].double()
    total = 0.0
    for slot in range(batch.count):
        own = torch.log_softmax(rows[slot], -1)
        ce = -float(own[batch.gold[slot]])
        sets = by_passage[int(batch.passage[slot])]
        common = set.intersection(*sets) if sets else set()
        covering = [t for t, said in enumerate(at_one) if slot in said]
        if not covering or not bool(batch.masked[slot]):
            total += ce
            continue
        logits = [
            math.log(problem.placed[t].prior)
            + score(settings.weighting, at_one[t], slot, batch, common) / tau
            for t in covering
        ]
        shares = [math.exp(x - max(logits)) for x in logits]
        parts = [at_t[t][slot][0] / (1 - at_t[t][slot][1]) for t in covering]
        weights = [share / sum(shares) for share in shares]
        if settings.mixture == "arithmetic":
            q = sum(w * p for w, p in zip(weights, parts, strict=True))
        else:
            with np.errstate(divide="ignore"):
                q = np.exp(sum(w * np.log(p) for w, p in zip(weights, parts, strict=True)))
            q = q / q.sum()
        tempered = torch.log_softmax(rows[slot] / settings.temperature, -1).tolist()
        kl = sum(a * (math.log(a) - b) for a, b in zip(q.tolist(), tempered, strict=True) if a > 0)
        total += settings.kd * settings.temperature**2 * kl + (1 - settings.kd) * ce
    return total


@pytest.mark.parametrize("weighting", list(DEFAULT_TEMPERATURE))
def test_loss_is_the_formula(problem: Problem, weighting: str) -> None:
    loss, count, metrics = problem.step(weighting=weighting)
    assert count == problem.batches["mask"].count
    assert loss == pytest.approx(slow_loss(problem, weighting=weighting), rel=1e-4)
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"mixture": "geometric"},
        {"temperature": 2.0},
        {"mixture": "geometric", "temperature": 0.5, "weighting": "gold"},
        {"weighting": "evidence", "weighting_temperature": 2.5, "kd": 1.0},
        {"sees": "bert", "weighting": "entropy"},
    ],
)
def test_loss_is_the_formula_with_other_settings(problem: Problem, settings: dict[str, Any]) -> None:
    assert problem.step(**settings)[0] == pytest.approx(slow_loss(problem, **settings), rel=1e-4)


def test_the_teachers_differ_and_cover_some_slots_only(problem: Problem) -> None:
    """Or the tests above would say little."""
    batch = problem.batches["mask"]
    targets = DistillStep(problem.placed, Settings("gold"), problem.vocabulary).targets(batch)
    covered = targets.covered.sum(0)
    assert {0, 1, 2} <= set(covered.tolist())
    both = targets.weights[0][covered == 2]
    assert both.std() > 0.05
    assert torch.allclose(targets.weights.sum(0), (covered > 0).float(), atol=1e-6)
    target = targets.mixture.targets(slice(None))
    assert torch.allclose(target.sum(1), (covered > 0).float(), atol=1e-5)
    assert not target.requires_grad


def cross_entropy(problem: Problem, sees: str) -> torch.Tensor:
    batch = problem.batches[sees]
    with torch.no_grad():
        logits = problem.student(batch.input_ids, batch.attention_mask, batch.position)
    return torch.nn.functional.cross_entropy(logits, batch.gold, reduction="none")


def test_without_teachers_it_is_cross_entropy(problem: Problem) -> None:
    for sees in ("mask", "bert"):
        loss, count, metrics = problem.step(placed=[], sees=sees)
        wanted = cross_entropy(problem, sees)
        assert loss == pytest.approx(float(wanted.sum()), rel=1e-5)
        assert metrics == {"ce": pytest.approx(float(wanted.mean()), rel=1e-5)}
        assert count == len(wanted)


def test_kd_runs_from_its_first_share_to_its_last(problem: Problem) -> None:
    settings = {"kd": 0.9, "kd_final": 0.1}
    made = DistillStep(problem.placed, Settings(**settings), problem.vocabulary)
    shares = [made.kd_share(StepContext(step, 5)) for step in range(5)]
    assert shares == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    assert made.kd_share(StepContext(0, 1)) == 0.9
    constant = DistillStep(problem.placed, Settings(kd=0.9), problem.vocabulary)
    assert [constant.kd_share(StepContext(step, 5)) for step in (0, 4)] == [0.9, 0.9]
    for step, share in ((0, 0.9), (2, 0.5), (4, 0.1)):
        loss = problem.step(**settings, context=StepContext(step, 5))[0]
        assert loss == pytest.approx(problem.step(kd=share)[0], rel=1e-6)


def test_soft_targets_apply_only_where_the_student_sees_the_mask(problem: Problem) -> None:
    batch = problem.batches["bert"]
    assert 0 < int((~batch.masked).sum()) < batch.count
    only_kd = problem.step(kd=1.0, sees="bert")[0]
    covered = DistillStep(problem.placed, Settings(), problem.vocabulary).targets(batch).covered.any(0)
    hard = cross_entropy(problem, "bert")[~(covered & batch.masked)].sum()
    metrics = problem.step(kd=1.0, sees="bert")[2]
    taught = int((covered & batch.masked).sum())
    assert only_kd == pytest.approx(float(hard) + metrics["kd"] * taught, rel=1e-5)


@pytest.mark.parametrize("weighting", list(DEFAULT_TEMPERATURE))
def test_a_prior_of_0_shuts_a_teacher_out(problem: Problem, weighting: str, tmp_path: Path) -> None:
    first, second = problem.placed
    shut = [first, dataclasses.replace(second, prior=0.0)]
    alone = batches_of(problem.tokenizer, [first], tmp_path)
    only = dataclasses.replace(problem, placed=[first], batches=alone)
    assert torch.equal(alone["mask"].input_ids, problem.batches["mask"].input_ids)
    loss, _, metrics = problem.step(placed=shut, weighting=weighting)
    assert loss == pytest.approx(only.step(weighting=weighting)[0], rel=1e-6)
    assert metrics["coverage/hill"] == metrics["heaviest/hill"] == 0
    assert metrics["heaviest/sea"] == 1
    assert "weight/sea" not in metrics, "it has no company"


def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint("bert", tokenizer="wordpiece", seed=7)
    module, hf, report = load_masked_lm(path, what="teacher")
    student = PieceTokenizer.from_hf(hf, limit=report.limit, name="student")
    placed = [place(path, "self", student, module.width, 1.0, 1.0)]
    assert placed[0].projection.identity
    problem = Problem(copy.deepcopy(module), student, placed, batches_of(student, placed, tmp_path))
    module_ = problem.student.requires_grad_(True)
    for temperature in (1.0, 3.0):
        loss, count, metrics = problem.step(module_, kd=1.0, temperature=temperature)
        assert metrics["coverage/self"] == 1.0
        assert abs(metrics["kd"]) < 1e-5
        assert abs(loss) / count < 1e-5
    made = DistillStep(placed, Settings(kd=1.0), problem.vocabulary)
    made(module_, problem.batches["mask"], NOW)[0].backward()
    largest = max(float(p.grad.abs().max()) for p in module_.parameters() if p.grad is not None)
    assert largest < 1e-3
    assert all(p.grad is None for p in placed[0].teacher.module.parameters())


def test_a_teacher_that_covers_nothing(problem: Problem) -> None:
    batch = problem.batches["mask"]
    nowhere = torch.zeros(0, dtype=torch.int64)
    silent = [dataclasses.replace(part, position=nowhere, slot=nowhere) for part in batch.teachers]
    mute = dataclasses.replace(problem, batches={"mask": dataclasses.replace(batch, teachers=tuple(silent))})
    for weighting in DEFAULT_TEMPERATURE:
        loss, _, metrics = mute.step(weighting=weighting)
        assert loss == pytest.approx(float(cross_entropy(problem, "mask").sum()), rel=1e-5)
        assert metrics["coverage/sea"] == 0
        assert "kd" not in metrics, "there was nothing to measure"


def test_students_may_share_what_the_teachers_say(problem: Problem) -> None:
    batch = problem.batches["mask"]
    steps = [
        DistillStep(problem.placed, Settings(weighting, mixture=mixture, temperature=2.0), problem.vocabulary)
        for weighting in DEFAULT_TEMPERATURE
        for mixture in ("arithmetic", "geometric")
    ]
    said = steps[0].predict(batch)
    for step in steps:
        loss, _, _ = step(problem.student, batch, NOW)
        shared, _, _ = step(problem.student, batch, NOW, said)
        assert torch.equal(loss, shared)


def test_a_batch_without_slots_back_propagates_zero(problem: Problem) -> None:
    nowhere = torch.zeros(0, dtype=torch.int64)
    batch = problem.batches["mask"]
    parts = tuple(dataclasses.replace(part, position=nowhere, slot=nowhere) for part in batch.teachers)
    empty = dataclasses.replace(
        batch,
        position=nowhere,
        gold=nowhere,
        kind=nowhere,
        passage=nowhere,
        masked=nowhere.bool(),
        teachers=parts,
    )
    student = copy.deepcopy(problem.student).requires_grad_(True)
    for placed in ([], problem.placed):
        for weighting in DEFAULT_TEMPERATURE:
            loss, count, _ = DistillStep(placed, Settings(weighting), problem.vocabulary)(student, empty, NOW)
            assert count == 0
            loss.backward()
    assert all(float(p.grad.abs().sum()) == 0 for p in student.parameters() if p.grad is not None)


def test_metrics(problem: Problem) -> None:
    batch = problem.batches["mask"]
    made = DistillStep(problem.placed, Settings("gold"), problem.vocabulary)
    targets = made.targets(batch)
    _, _, metrics = problem.step(weighting="gold")
    assert metrics["weight/sea"] + metrics["weight/hill"] == pytest.approx(1)
    assert metrics["heaviest/sea"] + metrics["heaviest/hill"] == pytest.approx(1)
    for number, part in enumerate(batch.teachers):
        name = problem.placed[number].teacher.name
        assert metrics[f"coverage/{name}"] == pytest.approx(len(part.slot) / batch.count)
    together = targets.covered.all(0)
    assert metrics["weight/sea"] == pytest.approx(float(targets.weights[0, together].mean()))
    taught = targets.covered.any(0)
    heaviest = (targets.weights[0] > targets.weights[1])[taught].float().mean()
    assert metrics["heaviest/sea"] == pytest.approx(float(heaviest))
    assert metrics["ce"] == pytest.approx(float(cross_entropy(problem, "mask").mean()), rel=1e-5)


def test_micro_batches_add_up(problem: Problem, tmp_path: Path) -> None:
    """The loss is a sum over slots: in parts it is the same."""
    total = count = 0.0
    for number, texts in enumerate((PASSAGES[:5], PASSAGES[5:6], PASSAGES[6:])):
        batches = batches_of(problem.tokenizer, problem.placed, tmp_path / str(number), texts)
        loss, slots, _ = dataclasses.replace(problem, batches=batches).step(weighting="evidence")
        total, count = total + loss, count + slots
    whole, slots, _ = problem.step(weighting="evidence")
    assert count == slots
    assert total == pytest.approx(whole, rel=1e-5)
