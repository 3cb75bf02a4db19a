"""The fields of a recipe's `[gloss]`: gloss training, LMGC and LMGC-M (docs/architecture.md, section 3.2).

Use `limbeck.recipe`. The defaults lie in the published range (arXiv 2301.08130, section on LMGC).
"""

from typing import Annotated, Literal

from pydantic import Field

from limbeck.recipe_fields import (
    AnyDict,
    Betas,
    Count,
    Index,
    Positive,
    Precision,
    Schedule,
    Section,
    Text,
    Texts,
    field,
)

Objective = Literal["pairs", "choice"]
Layout = Literal["auto", "pairs", "packed"]
Candidates = Literal["gold", "all"]
Marks = Literal["quotes", "none"]

WORDNET_EXAMPLES = ("wordnet-examples", "wordnet-examples/train", "wordnet-examples/valid")
"""Names of training instances that are no file: the lexicon's own usage examples, all or a part of them."""


def _monosemous(data: AnyDict) -> bool:
    return data.get("objective") == "pairs" or bool(data.get("masked"))


class GlossSection(Section):
    """Gloss training: which gloss of a lexicon fits a word in its context. No table: none of it."""

    init: Text | None = field(
        "Encoder to start from, a path or a hub id.",
        affects="contents",
        derived=("the student of this recipe", lambda _: None),
        example="runs/small-student/model",
    )
    lexicon: Text = field(
        'Lexicon: "wordnet", a folder of Princeton\'s files, or "wn:" and a lexicon of the package wn, such '
        'as "wn:oewn:2024".',
        affects="contents",
        default="wordnet",
    )
    train: Texts = field(
        'Words with their senses: "wordnet-examples/train" (the lexicon\'s own usage examples), .data.xml '
        "files with their .gold.key.txt beside them (SemCor; .xz too), .jsonl files.",
        affects="contents",
        default=("wordnet-examples/train",),
    )
    valid: Texts | None = field(
        "Development set, in the same forms; its F1 chooses the best model.",
        affects="contents",
        derived=("SemEval-2007 where it is found, else wordnet-examples/valid", lambda _: None),
        example=("wordnet-examples/valid",),
    )
    share: Annotated[float, Field(gt=0, le=1)] = field(
        "Share of the training instances to take, chosen by the seed.", affects=True, default=1.0
    )
    limit: Count | None = field(
        "Training instances to take at most, chosen by the seed.",
        affects=True,
        derived=("all", lambda _: None),
        example=50_000,
    )
    valid_limit: Count = field(
        "Instances of valid measured on at most, chosen by their text.", affects=True, default=2000
    )
    window: Index = field(
        "Sentences of the same document shown before the target's and behind it, each.",
        affects=True,
        default=0,
    )
    objective: Objective = field(
        "pairs: every gloss fits or does not; choice: one of a word's glosses fits best.",
        affects=True,
        default="choice",
    )
    layout: Layout = field(
        "pairs: the context once per gloss; packed: once, with all its glosses behind it; auto: packed for "
        "choice in the families that can.",
        affects=True,
        default="auto",
    )
    candidates: Candidates = field(
        "Glosses that compete: gold, of the word's part of speech; all, of all parts of speech.",
        affects=True,
        default="gold",
    )
    marks: Marks = field(
        "How the target stands in its context: in quotes, or as it is (none).", affects=True, default="quotes"
    )
    max_length: Annotated[int, Field(ge=16)] = field(
        "Pieces of a context with one gloss, at most; neither the target nor the gloss is cut away.",
        affects=True,
        default=160,
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = field(
        "Dropout before the gloss head.", affects=True, default=0.2
    )
    masked: bool = field(
        "LMGC-M: words of context and gloss are masked and predicted as well.", affects=True, default=True
    )
    mask: Annotated[float, Field(gt=0, lt=1)] = field(
        "Share of the words masked, if masked.", affects=True, default=0.15
    )
    mask_weight: Positive = field(
        "Weight of the masked words in the loss; the glosses have 1.", affects=True, default=1.0
    )
    cohesive: bool = field(
        "The [[teachers]], as [distill] says, give the targets of the masked words.",
        affects=True,
        default=False,
    )
    monosemous: bool = field(
        "Also train on words that have one candidate.",
        affects=True,
        derived=("true with objective pairs or masked", _monosemous),
        example=True,
    )
    head_steps: Count = field(
        "Steps that train the masked-LM head alone, where masked is asked of an encoder that has none.",
        affects=True,
        default=500,
    )
    epochs: Positive = field("Times through the training instances.", affects=True, default=3.0)
    steps: Count | None = field(
        "Optimiser steps; if given, epochs do not count.",
        affects=True,
        derived=("epochs", lambda _: None),
        example=5000,
    )
    batch: Count = field("Instances of an optimiser step.", affects=True, default=32)
    tokens: Annotated[int, Field(ge=16)] = field(
        "Pieces of one forward and backward, padding included; smaller saves memory.",
        affects=True,
        default=8192,
    )
    learning_rate: Positive = field("Learning rate at its highest.", affects=True, default=2e-5)
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
    betas: Betas = field("Decay of AdamW's two averages.", affects=True, default=(0.9, 0.999))
    precision: Precision = field("Precision of the forward: f32, bf16, f16.", affects=True, default="bf16")
    device: Literal["auto", "cpu", "cuda"] = field(
        "Where it trains: auto, cpu, cuda.", affects=True, default="auto"
    )
    threads: Count | None = field(
        "CPU threads.", affects=False, derived=("what torch chooses", lambda _: None), example=2
    )
    log_every: Count = field("Steps from one line of metrics to the next.", affects=False, default=10)
    eval_every: Count = field("Steps from one measurement on valid to the next.", affects=True, default=500)
    save_every: Count = field("Steps from one checkpoint to the next.", affects=False, default=500)
    keep: Count = field("Checkpoints kept, beside the best model.", affects=False, default=2)
