"""Variants in processes of their own that take turns: each program with the memory settings it comes with."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from rivals_flops import Product, step_flops
from rivals_others import NotInstalledError
from rivals_setting import RivalMade, RivalSetting
from rivals_variants import KINDS
from step_measure import SMALL_PAGES
from step_setting import SAME
from step_variants import Variant

PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}
# Importing Limbeck, as the benchmark does, makes torch ask for large pages; the other programs do not.
AS_THEY_COME = SMALL_PAGES
Ask = Callable[..., Any]


def build(made: RivalMade, names: Sequence[str]) -> tuple[dict[str, Variant], dict[str, str]]:
    """The variants of these names (`kind precision`), and why others are not there."""
    variants: dict[str, Variant] = {}
    absent: dict[str, str] = {}
    for name in names:
        kind, precision = name.split()
        try:
            variants[name] = KINDS[kind].make(made, precision)
        except NotInstalledError as error:
            absent[name] = str(error)
    return variants, absent


class Host:
    """Some variants, built and warm; a turn of one at a time."""

    def __init__(self, setting: RivalSetting, names: Sequence[str]) -> None:
        self.made = RivalMade(setting)
        self.variants, self.absent = build(self.made, names)
        for variant in self.variants.values():
            variant(0)  # the first step makes the optimiser's moments and warms everything up
        self.done: dict[str, int] = defaultdict(int)
        self.products: dict[str, Product] = {}

    def facts(self) -> dict[str, Any]:
        """Why variants are absent; of the others, tokens and operations of a step, means over the batches."""
        count = self.made.setting.batches
        return {
            "absent": self.absent,
            "tokens": sum(self.made.collate(n).tokens for n in range(count)) / count,
            "flops": {name: self._flops(name) for name in self.variants},
        }

    def turn(self, name: str, steps: int) -> float:
        """Tokens per second over some steps; batches go on where the variant's last turn ended.

        A step before them does not count: it finds the memory as another program has left it.
        """
        self._step(name)
        tokens, began = 0, time.perf_counter()
        for _ in range(steps):
            tokens += self._step(name)
        return tokens / (time.perf_counter() - began)

    def _step(self, name: str) -> int:
        self.done[name] += 1
        return self.variants[name](self.done[name])

    def environment(self) -> str | None:
        """Whether torch asks for large pages here."""
        return os.environ.get("THP_MEM_ALLOC_ENABLE")

    def product(self, precision: str) -> float:
        """Operations per second of a large product of matrices."""
        if precision not in self.products:
            size, device = self.made.setting.product, self.made.device
            self.products[precision] = Product(size, PRECISIONS[precision], device)
        return self.products[precision]()

    def _flops(self, name: str) -> dict[str, float]:
        kind, made = KINDS[name.split()[0]], self.made
        student = made.new_student()
        teachers = [p.teacher.module for p in made.placed(SAME, "f32")] if kind.teachers else []
        batches = [made.collate(n) for n in range(made.setting.batches)]
        found = [step_flops(student, teachers, batch, kind.full) for batch in batches]
        return {what: statistics.mean(getattr(each, what) for each in found) for what in ("needed", "done")}


@contextmanager
def hosted(setting: RivalSetting, names: Sequence[str], environment: dict[str, str]) -> Iterator[Ask]:
    """Asks a `Host` in a fresh process with these environment variables: `ask(method, *arguments)`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, setting, names))
    with patch.dict(os.environ, environment):
        process.start()
    theirs.close()

    def ask(method: str, *arguments: Any) -> Any:
        ours.send((method, arguments))
        return ours.recv()  # EOFError: it failed, and its traceback is on stderr

    try:
        yield ask
    finally:
        ours.close()
        process.join()


def _serve(pipe: Any, setting: RivalSetting, names: Sequence[str]) -> None:
    """What the fresh process does, until nobody asks any more."""
    host = Host(setting, names)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(host, method)(*arguments))
