"""What the benchmark of the store measures: speed of building and of training, divergence of what is kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_measure import spread
from step_setting import Made, Setting
from torch import Tensor

from limbeck.distill.stored import make_step
from limbeck.pipeline.assemble import assemble
from limbeck.pipeline.train import build as build_student
from limbeck.pipeline.train import training_batches
from limbeck.recipe import Recipe
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.teachers.precision import mixed
from limbeck.teachers.store_build import Shown, build_chunks
from limbeck.teachers.store_chunk import Chunk, pack
from limbeck.teachers.store_files import Place
from limbeck.teachers.store_format import Layout, decode
from limbeck.teachers.store_header import Masks, Plan
from limbeck.teachers.store_top import said, summarise
from limbeck.teachers.teacher import CPU_PART, Teacher
from limbeck.text.batches import Batch, Collator, TeacherBatch
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare import prepare_texts
from limbeck.training.engine import Autocast
from limbeck.training.interface import StepContext
from limbeck.training.optimiser import adamw, clip_gradients, trainable

RATE = 0.15
CHUNKS = 4


def build_speed(made: Made, precision: str, passages: int, rounds: int) -> dict[str, Any]:
    """Pieces per second of building `CHUNKS` chunks, text to file, and of the forwards alone, in turns.

    The forwards: the same passages in the same batches, collated before; logits at the masked pieces, left
    as the model gives them. reading: texts to batches alone, which a build does beside the forwards; keeping:
    of logits that are there, what is kept of them.
    """
    tokenizer = made.teacher_tokenizers[0]
    teacher = Teacher("t", made.model(made.setting.teacher, tokenizer, 1), tokenizer, "cpu", precision)
    corpus = made.corpus(made.setting.step_text, made.setting.words)
    texts = corpus.texts(range(min(passages, len(corpus))))
    collator = Collator(tokenizer, [], seed=0, rate=RATE, student_sees="mask")
    size = -(-len(texts) // CHUNKS)
    plan = Plan("m", precision, tokenizer.fingerprint, teacher.width, "t", len(texts), Masks(0, RATE), 16,
                size, calibration=1.1)  # fmt: skip
    places = [Place(0, number) for number in range(-(-len(texts) // size))]

    def shown() -> list[Shown]:
        parts = (texts[i : i + size] for i in range(0, len(texts), size))
        return [Shown(part, collator, 0, CPU_PART) for part in parts]

    read = shown()
    batches = [batch for part in read for batch in part.batches]
    pieces = sum(part.pieces for part in read)

    def said_of(b: Batch) -> Iterator[Tensor]:
        given = TeacherBatch(b.input_ids, b.attention_mask, b.position, torch.arange(b.count))
        return (logits for _, logits in teacher.parts(given))

    def bare() -> None:
        for b in batches:
            for _ in said_of(b):
                pass

    one = batches[len(batches) // 2]
    logits = torch.cat(list(said_of(one)))
    draw = torch.arange(one.count) * 0.618034 % 1

    def keeping() -> None:
        for _ in batches:
            summarise(logits, one.gold, draw, plan.layout, plan.temperatures)

    def built() -> None:
        with tempfile.TemporaryDirectory() as name:
            build_chunks(Path(name), plan, teacher, tokenizer, lambda r: texts[r.start : r.stop], places)

    times = _in_turns({"bare": bare, "build": built, "reading": shown, "keeping": keeping}, rounds)
    ratio = [a / b for a, b in zip(times["bare"], times["build"], strict=True)]
    rates = {name: spread([pieces / t for t in found]) for name, found in times.items()}
    return {"pieces_per_second": rates, "ratio": spread(ratio), "passages": len(texts), "chunks": len(places)}


def _in_turns(what: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, round by round, each round in another order."""
    names = list(what)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        what[name]()  # warms up
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            what[name]()
            times[name].append(time.perf_counter() - began)
    return times


def step_speed(stored: Recipe, plain: Recipe, rounds: int, steps: int) -> dict[str, Any]:
    """Time of whole training steps from the store, over that of plain masked-LM steps of the same student."""
    runs = {"stored": _Training(stored), "plain": _Training(plain)}
    assert runs["stored"].made.from_store
    times = _in_turns({name: lambda run=run: run.go(steps) for name, run in runs.items()}, rounds)
    ratio = [a / b for a, b in zip(times["stored"], times["plain"], strict=True)]
    return {
        "seconds_per_step": {name: spread([t / steps for t in found]) for name, found in times.items()},
        "ratio": spread(ratio),
    }


class _Training:
    """A training, step by step, as the loop does it; batches are made in time with the rest."""

    def __init__(self, recipe: Recipe) -> None:
        self.made = assemble(recipe)
        self.student = build_student(self.made).train()
        dtype = mixed(recipe.train.precision)
        self.forward = Autocast(self.student, torch.device("cpu"), dtype) if dtype else self.student
        self.step = make_step(self.made.placed, recipe.distill, self.student.width)
        self.source, self.number = training_batches(self.made), 0
        self.optimiser = adamw(self.student, recipe.train)
        self.parameters = [parameter for _, parameter in trainable(self.student)]

    def go(self, steps: int) -> None:
        for _ in range(steps):
            for batch in self.source.micro_batches(self.number):
                loss, count, _ = self.step(self.forward, batch, StepContext(0, 1))
                (loss / max(1, count)).backward()
            clip_gradients(self.parameters, 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.number += 1
            float(loss.detach())


def divergence(setting: Setting, teacher: Path, kept: Sequence[int], passages: int) -> list[dict[str, Any]]:
    """What is written of a trained teacher's predictions, read again, against the exact ones, by k.

    rounding: nats of KL between the exact and the written pieces, the rest taken together; rest: mass outside
    the pieces whose own mass is kept; apart: half the sum of absolute differences between the target made of
    all k pieces and the exact one; blind: nats of KL from the exact prediction to the written one if the rest
    were spread evenly over all other pieces, as without the drawn ones.
    """
    logits, gold = _predictions(setting, teacher, passages)
    exact = torch.softmax(logits.double(), 1)
    rows = []
    for k in kept:
        if k > logits.shape[1]:
            continue
        layout = Layout(k, 1, logits.shape[1])
        draw = torch.arange(len(gold)) * 0.618034 % 1
        records = said([summarise(logits, gold, draw, layout, (1.0,))])
        content = pack(records, np.array([len(gold)]), 1, layout, b"-" * 16, 0, 0)
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(content)
            chunk = Chunk(Path(file.name), layout, b"-" * 16, 0, 0)
            found = decode(*chunk.passage(0), chunk.table[None], np.zeros(len(gold), np.int64), layout)
        ids = torch.cat([gold[:, None], torch.from_numpy(found.others)], 1)
        tail = torch.from_numpy(found.tail[:, 0]).double()
        mass = torch.softmax(torch.from_numpy(found.logit).double(), 1) * (1 - tail)[:, None]
        own = exact.gather(1, ids)
        rest = (1 - own.sum(1)).clamp_min(0)
        rounding = (own * (own / mass).log()).sum(1) + torch.xlogy(rest, rest / tail.clamp_min(1e-12))
        target = torch.zeros_like(exact).scatter_(1, ids, mass)
        blind = target + (tail / max(1, layout.width - ids.shape[1]))[:, None] * (target == 0)
        if layout.drawn:
            each = (tail / layout.drawn)[:, None].expand(-1, layout.drawn)
            target.scatter_add_(1, torch.from_numpy(found.drawn), each)
        rows.append({
            "k": k,
            "bytes_per_prediction": len(content) / len(gold),
            "rounding": float(rounding.mean()),
            "rest": float(rest.mean()),
            "apart": float((target - exact).abs().sum(1).mean() / 2),
            "blind": float((exact * (exact / blind.clamp_min(1e-30)).log()).sum(1).mean()),
        })  # fmt: skip
    return rows


@torch.no_grad()
def _predictions(setting: Setting, teacher: Path, passages: int) -> tuple[Tensor, Tensor]:
    """Logits float32 [n, V] and gold [n] at masked pieces of held-out text."""
    module, hf, report = load_masked_lm(teacher, what="the teacher")
    tokenizer = PieceTokenizer.from_hf(hf, limit=report.limit, name="the teacher")
    corpus = Made(setting).corpus(setting.step_text, setting.words)
    rows = np.linspace(0, len(corpus) - 1, min(passages, len(corpus))).astype(int)
    shown = prepare_texts(corpus.texts(rows), tokenizer, [], [])
    collator = Collator(tokenizer, [], seed=0, rate=RATE, student_sees="mask")
    found = []
    for start in range(0, len(shown), CPU_PART):
        b = collator(shown[start : start + CPU_PART], 0)
        found.append((module(b.input_ids, b.attention_mask, b.position), b.gold))
    return torch.cat([logits for logits, _ in found]), torch.cat([gold for _, gold in found])
