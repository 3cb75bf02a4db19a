"""The fields of a recipe: their types, ranges, defaults and meaning, and which of them affect the result.

Everything that speaks of the fields (the errors, the commented template, `docs/recipe.md`) is made from here.
Use `limbeck.recipe`, which gives these names and the functions that read a recipe file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

Precision = Literal["f32", "bf16", "f16"]
Schedule = Literal["linear", "cosine", "constant"]
Sharding = Literal["none", "fsdp"]


@dataclass(frozen=True)
class Allowed:
    """What a field may be, in words, where its type does not say it well."""

    words: str


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[
    tuple[Text, ...],
    Strict(False),
    Field(min_length=1),
    Allowed('a list of texts in quotes, such as ["a.txt"]'),
]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Index = Annotated[int, Field(ge=0)]
Layers = Annotated[
    tuple[Index, ...], Strict(False), Field(min_length=1), Allowed("a list of layers, such as [0, 2, 4]")
]
Decay = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Decay, Decay], Strict(False), Allowed("two numbers, each at least 0 and below 1")]
Device = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$"),
    Allowed("one of auto, cpu, cuda, or one GPU such as cuda:1"),
]
Name = Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$"), Allowed("a text of letters, digits, . - and _")]
TeacherName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]+$"), Allowed("a text of letters, digits, - and _")
]
Seed = Annotated[int, Field(ge=0, lt=2**63), Allowed("a whole number, at least 0 and below 2^63")]
AnyDict = dict[str, Any]


def field(
    description: str,
    *,
    affects: bool | Literal["contents", "stage"],
    default: Any = ...,
    derived: tuple[str, Callable[[AnyDict], Any]] | None = None,
    example: Any = None,
) -> Any:
    """A field of a recipe.

    Args:
        affects: whether it changes the trained weights or the numbers reported (more than by rounding); only
            such fields block a resume. "contents": what it names does, not its name or its place. "stage": it
            decides a stage after the training, which is done again when it changes.
        derived: the default in words, and the function that finds it from the section's fields above it.
        example: what the template shows for a field without a plain default.
    """
    extra: AnyDict = {"affects_result": affects, "example": example}
    if derived is None:
        return Field(default, description=description, json_schema_extra=extra)
    words, factory = derived
    extra["derived"] = words
    return Field(default_factory=factory, description=description, json_schema_extra=extra)


class Section(BaseModel):
    """A table of a recipe: frozen, no unknown keys, no silent conversions (`"3"` is no number)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class TextSection(Section):
    """The text to train on and the text to measure on."""

    train: Texts = field(
        'Training text: files, folders, patterns, compressed or not (.zst .gz .xz), addresses ("s3://..."), '
        'datasets ("hf:DATASET/CONFIG:SPLIT:COLUMN"), or "wordnet:noun/train".',
        affects="contents",
        example=("corpus/*.txt",),
    )
    valid: Texts = field(
        "Held-out text, in the same forms; it chooses the best model and is never trained on.",
        affects="contents",
        example=("valid.txt",),
    )
    words: Annotated[int, Field(ge=2, le=4096)] = field(
        "Words of a passage, at most. Text is cut by words, so that no tokenizer moves a boundary.",
        affects=True,
        default=96,
    )
    min_words: Count = field("Passages with fewer words are left out.", affects=True, default=4)
    on_error: Literal["stop", "skip"] = field(
        "Lines that are not valid UTF-8, or far too long: stop, or skip and count.",
        affects=True,
        default="stop",
    )
    workers: Count | None = field(
        "Processes that prepare the text.",
        affects=False,
        derived=("one per CPU", lambda _: None),
        example=2,
    )


@dataclass(frozen=True)
class StudentSize:
    """What a student built new needs to know; None: in the family's usual proportion to `hidden`."""

    family: str
    layers: int
    hidden: int
    heads: int | None
    intermediate: int | None
    max_length: int


class StudentSection(Section):
    """The model to train: built new from a family and sizes, or taken from an existing model with `init`."""

    init: Text | None = field(
        'Start from a model instead of a new one: a path, a hub id, or "teacher:NAME". '
        "Leave out family and sizes then.",
        affects="contents",
        derived=("a new model", lambda _: None),
        example="runs/teacher-a/model",
    )
    family: Text | None = field(
        "Family of a new student: any masked-LM model type of transformers.",
        affects=True,
        derived=("modernbert without init", lambda data: None if data["init"] else "modernbert"),
        example="modernbert",
    )
    layers: Count | Layers | None = field(
        "Number of layers; with init the list of layers to take from it, such as [0, 2, 4].",
        affects=True,
        derived=("4; with init all of them", lambda data: None if data["init"] else 4),
        example=4,
    )
    hidden: Count | None = field(
        "Width of the layers.",
        affects=True,
        derived=("256 without init", lambda data: None if data["init"] else 256),
        example=256,
    )
    heads: Count | None = field(
        "Attention heads; they divide the width.",
        affects=True,
        derived=("one per 64 of width", lambda data: _heads(data["hidden"])),
        example=4,
    )
    intermediate: Count | None = field(
        "Width of the feed-forward part.",
        affects=True,
        derived=("the family's usual multiple of the width", lambda _: None),
        example=768,
    )
    max_length: Annotated[int, Field(ge=8)] = field(
        "Pieces of a passage, at most, special tokens included; longer passages are cut at a word.",
        affects=True,
        default=512,
    )
    tokenizer: Text | None = field(
        'Tokenizer: "train:wordpiece:8000" (also bpe, unigram, sentencepiece-bpe), "teacher:NAME", a path '
        "or a hub id.",
        affects="contents",
        derived=("train:wordpiece:8000, or the one of init", lambda data: _tokenizer(data["init"])),
        example="train:wordpiece:8000",
    )

    @property
    def size(self) -> StudentSize:
        """Family and size of a student built new; not to be asked of one with `init`."""
        assert self.family is not None and isinstance(self.layers, int) and self.hidden is not None
        return StudentSize(
            self.family, self.layers, self.hidden, self.heads, self.intermediate, self.max_length
        )

    @property
    def taken_layers(self) -> tuple[int, ...] | None:
        """The layers to take from `init`; None: all of them."""
        assert self.init is not None and not isinstance(self.layers, int)
        return self.layers


def _heads(hidden: int | None) -> int | None:
    """One head per 64 of width, if that divides the width; else the nearest smaller number that does."""
    if hidden is None:
        return None
    return next(heads for heads in range(max(1, hidden // 64), 0, -1) if hidden % heads == 0)


def _tokenizer(init: str | None) -> str | None:
    return None if init else "train:wordpiece:8000"


class TeacherSection(Section):
    """One frozen masked language model that teaches the student."""

    name: TeacherName = field(
        "Name of the teacher in tables and figures.", affects=True, example="encyclopedia"
    )
    model: Text = field(
        "Path or hub id of a masked language model.", affects="contents", example="runs/teacher-a/model"
    )
    prior: Annotated[float, Field(ge=0)] = field(
        "Weight before any evidence, relative to the other teachers'.", affects=True, default=1.0
    )
    precision: Precision = field("Precision of the teacher: f32, bf16, f16.", affects=True, default="f32")
    batch: Count = field(
        "Passages of one forward, at most; halved when memory runs out.", affects=False, default=64
    )
    device: Device = field('Where it runs: "auto", "cpu", "cuda", "cuda:1".', affects=False, default="auto")


class TrainSection(Section):
    """The training loop."""

    steps: Count = field("Optimiser steps.", affects=True, default=2000)
    batch: Count = field("Passages of an optimiser step.", affects=True, default=64)
    micro_batch: Count = field(
        "Passages of one forward and backward; smaller saves memory.",
        affects=True,
        derived=("batch", lambda data: data["batch"]),
        example=64,
    )
    learning_rate: Positive = field("Learning rate at its highest.", affects=True, default=3e-3)
    warmup: Annotated[float, Field(ge=0, lt=1)] = field(
        "Share of the steps in which the learning rate rises.", affects=True, default=0.1
    )
    schedule: Schedule = field(
        "Learning rate after that: linear or cosine down to 0, or constant.", affects=True, default="linear"
    )
    weight_decay: Annotated[float, Field(ge=0)] = field(
        "Weight decay of matrices (never of biases and norms).", affects=True, default=0.01
    )
    clip: Annotated[float, Field(ge=0)] = field(
        "Largest norm of the gradient; 0: no clipping.", affects=True, default=1.0
    )
    betas: Betas = field("Decay of AdamW's two averages.", affects=True, default=(0.9, 0.98))
    precision: Precision = field(
        "Precision of the student's forward: f32, bf16, f16.", affects=True, default="bf16"
    )
    device: Literal["auto", "cpu", "cuda"] = field(
        "Where the student trains: auto, cpu, cuda.", affects=True, default="auto"
    )
    threads: Count | None = field(
        "CPU threads.", affects=False, derived=("what torch chooses", lambda _: None), example=2
    )
    sharding: Sharding = field(
        "Under several processes: none, each holds the whole student (DDP); fsdp, each holds a share of "
        "weights, gradients and moments.",
        affects=False,
        default="none",
    )
    log_every: Count = field("Steps from one line of metrics to the next.", affects=False, default=10)
    eval_every: Count = field("Steps from one measurement on valid to the next.", affects=True, default=250)
    save_every: Count = field("Steps from one checkpoint to the next.", affects=False, default=250)
    keep: Count = field("Checkpoints kept, beside the best model.", affects=False, default=2)
