"""Operations of a step by a formula, and what the machine can do at most.

A forward of a Transformer takes, for N weights of its linear layers, L layers of width H and rows of n
positions:

    body = 2 · N_body · positions  +  4 · n · H · L · positions          (products with weights, attention)
    head = 2 · N_head · rows                                             (rows: the slots, or every position)

and a backward twice that. Embeddings, norms, softmax and losses are not counted (as in PaLM's model FLOP
utilisation, arXiv 2204.02311, appendix B). `needed` counts the head at the slots only, which is all that the
loss asks for; `done` counts what a variant that makes full logits computes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.teachers.masked_lm import MaskedLM
from limbeck.text.batches import Batch


@dataclass(frozen=True)
class Flops:
    """Of one step."""

    needed: float
    done: float


def forward_flops(module: MaskedLM, rows: int, length: int, slots: int) -> float:
    """Of a forward of [rows, length] whose head runs at `slots` positions."""
    model = module.model
    inside = {id(layer) for layer in model.base_model.modules()}
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    body = sum(layer.weight.numel() for layer in linear if id(layer) in inside)
    head = sum(layer.weight.numel() for layer in linear if id(layer) not in inside)
    positions = rows * length
    attention = 4 * length * model.config.hidden_size * model.config.num_hidden_layers
    return (2 * body + attention) * positions + 2.0 * head * slots


def step_flops(student: MaskedLM, teachers: list[MaskedLM], batch: Batch, full: bool) -> Flops:
    """Of one step: the teachers' forward, the student's forward and backward."""
    rows, length = batch.input_ids.shape

    def step(slots: int) -> float:
        each = [forward_flops(teacher, rows, length, slots) for teacher in teachers]
        return 3 * forward_flops(student, rows, length, slots) + sum(each)

    needed = step(batch.count)
    return Flops(needed, step(rows * length) if full else needed)


class Product:
    """A large matrix product, whose speed stands for the machine's peak in its type."""

    def __init__(self, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        self.left = torch.randn(rows, rows, device=device).to(dtype)
        self.right = torch.randn(rows, rows, device=device).to(dtype)
        self.out = torch.empty_like(self.left)
        self.flops = 2.0 * rows**3
        self()

    def __call__(self, times: int = 1) -> float:
        """Operations per second."""
        self.wait()
        began = time.perf_counter()
        for _ in range(times):
            torch.mm(self.left, self.right, out=self.out)
        self.wait()
        return times * self.flops / (time.perf_counter() - began)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.out.device.type == "cuda":
            torch.cuda.synchronize(self.out.device)
