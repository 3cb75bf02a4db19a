"""How a model is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, fields

from limbeck.errors import UserError
from limbeck.finetune.labels import KINDS, Kind
from limbeck.teachers.masked_lm import resolve_device
from limbeck.teachers.precision import check_precision


@dataclass(frozen=True)
class FinetuneSettings:
    """How a model is trained.

    epochs: times through the training rows, also parts of one. learning_rate: at its highest; None: by the
    model's width, see `default_rate`. batch: texts of a step. max_length: pieces of a text or pair, special
    ones included; longer ones are cut. kind: whether the labels are classes or scores. tokens: pieces of one
    forward, padding included. precision: f32, bf16 or f16. device: auto, cpu, cuda or cuda:N. threads: of the
    CPU; None: torch's own number. The others are those of a recipe's `[train]`.

    Raises:
        UserError: a value out of range.
    """

    epochs: float = 3.0
    learning_rate: float | None = None
    batch: int = 32
    max_length: int = 256
    seed: int = 0
    kind: Kind = "auto"
    precision: str = "f32"
    device: str = "auto"
    tokens: int = 16_384
    threads: int | None = None
    warmup: float = 0.1
    schedule: str = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{name} is {value}; it must be more than 0")
        for name, least in (("batch", 1), ("max_length", 8), ("tokens", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.kind not in KINDS:
            raise UserError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        device = resolve_device(self.device)
        if device.type not in ("cpu", "cuda"):
            raise UserError(f"device {self.device!r} cannot be trained on; use auto, cpu or cuda")
        check_precision(self.precision, device)


_NOT_TOLD = ("seed", "kind", "device", "tokens", "threads")


def unusual(settings: FinetuneSettings, max_length: int) -> str:
    """The settings that decide a figure and are not the defaults, in words: `epochs 1, batch 16`.

    Seeds are left out, because a figure is a mean over several, and so is a learning rate that follows the
    width. max_length: the task's default.
    """
    usual = FinetuneSettings(max_length=max_length)
    names = [one.name for one in fields(settings) if one.name not in _NOT_TOLD]
    given = {name: getattr(settings, name) for name in names}
    return ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in given.items()
        if value != getattr(usual, name)
    )


def default_rate(width: int) -> float:
    """Learning rate for a model of this width: small models take a higher one. A guess, not yet measured."""
    return 3e-4 if width <= 256 else 1e-4 if width <= 512 else 3e-5
