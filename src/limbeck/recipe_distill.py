"""The fields of a recipe's `[distill]`: the loss with teachers, and the store of their predictions.

Use `limbeck.recipe`.
"""

from typing import Annotated, Literal

from pydantic import Field

from limbeck.recipe_fields import Count, Positive, Section, Seed, Share, Text, field

Weighting = Literal["uniform", "static", "gold", "evidence", "entropy", "max_prob", "margin"]
Mixture = Literal["arithmetic", "geometric"]
StudentSees = Literal["mask", "bert"]
Source = Literal["auto", "online", "store"]


class DistillSection(Section):
    """How predictions become the student's loss. Without teachers only `student_sees` and `mask` count."""

    weighting: Weighting = field(
        "Weights of the teachers per masked word: uniform, static (the priors), gold, evidence, entropy, "
        "max_prob, margin.",
        affects=True,
        default="evidence",
    )
    weighting_temperature: Positive | None = field(
        "Temperature of the weights: towards 0 the best teacher wins alone.",
        affects=True,
        derived=("the weighting's own", lambda _: None),
        example=1.0,
    )
    mixture: Mixture = field(
        "Mixture of the teachers: arithmetic or geometric.", affects=True, default="arithmetic"
    )
    temperature: Positive = field(
        "Temperature of teachers and student in the loss.", affects=True, default=1.0
    )
    kd: Share = field(
        "Share of the teachers in the loss; the true word has the rest.", affects=True, default=0.7
    )
    kd_final: Share = field(
        "That share at the last step; it changes evenly over the run.",
        affects=True,
        derived=("kd", lambda data: data["kd"]),
        example=0.7,
    )
    student_sees: StudentSees = field(
        "At a selected word the student sees: mask, always the mask; bert, 80% mask, 10% a random word, 10% "
        "the word.",
        affects=True,
        default="bert",
    )
    mask: Annotated[float, Field(gt=0, lt=1)] = field(
        "Share of the words selected.", affects=True, default=0.15
    )
    calibrate: bool = field(
        "Fit a temperature per teacher on training text before anything else.", affects=True, default=True
    )
    masking_seed: Seed | None = field(
        "Seed of the masks alone, so that runs of several seeds can share a store.",
        affects="contents",
        derived=("seed", lambda _: None),
        example=42,
    )
    predictions: Source = field(
        "The teachers' predictions: online, computed in every step; store, read from a store that `limbeck "
        "store build` made, and no teacher is loaded; auto, from the store where all of it is there.",
        affects="contents",
        default="auto",
    )
    store: Text = field(
        "Folder of the store, with a folder per teacher in it.", affects="contents", default="store"
    )
    kept: Annotated[int, Field(ge=4)] = field(
        "Pieces that a store keeps of a prediction: the true one, the likeliest others, and some drawn from "
        "the rest to stand for it.",
        affects="contents",
        default=32,
    )
    variants: Count | None = field(
        "Masks of the text that are used in turn, epoch by epoch; a store holds each of them.",
        affects="contents",
        derived=(
            "a new one every epoch; in a store as many as the run has epochs, at most 10",
            lambda _: None,
        ),
        example=4,
    )
