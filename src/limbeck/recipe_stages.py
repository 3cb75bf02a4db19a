"""The fields of a recipe's other stages: `[[pretrain]]` before the student, `[eval]` and `[report]` after it.

Use `limbeck.recipe`.
"""

from typing import Annotated, Literal

from pydantic import Field, Strict

from limbeck.recipe_fields import Allowed, Count, Positive, Section, Seed, Text, Texts, field

Task = Literal["mlm", "wsd", "glue", "paraphrase", "cost"]
Tasks = Annotated[
    tuple[Task, ...],
    Strict(False),
    Field(min_length=1),
    Allowed('a list of "mlm", "wsd", "glue", "paraphrase", "cost"'),
]
Seeds = Annotated[
    tuple[Seed, ...], Strict(False), Field(min_length=1), Allowed("a list of whole numbers, such as [0, 1]")
]
Lengths = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    Strict(False),
    Field(min_length=1),
    Allowed("a list of whole numbers, such as [0, 32]"),
]
Counts = Annotated[
    tuple[Count, ...],
    Strict(False),
    Field(min_length=1),
    Allowed("a list of whole numbers, at least 1, such as [16, 64]"),
]


class PretrainSection(Section):
    """A recipe that `limbeck run` runs before this one where its run is missing: one that makes a teacher."""

    recipe: Text = field("File of the recipe.", affects=False, example="teacher-a.toml")


class EvalSection(Section):
    """Measurements on `text.valid` while training; with `tasks`, what the finished models are measured on."""

    passages: Count = field(
        "Passages of valid measured on, chosen by their hash; all of them where there are fewer.",
        affects=True,
        default=512,
    )
    tasks: Tasks | None = field(
        "Tasks that `limbeck run` measures the finished models on: mlm, wsd, glue, paraphrase, cost.",
        affects="stage",
        derived=("none, there is no such stage", lambda _: None),
        example=("mlm", "cost"),
    )
    teachers: bool = field("Measure the teachers beside the student.", affects="stage", default=True)
    beside: Texts | None = field(
        "Other models to measure beside them: paths or hub ids.",
        affects="stage",
        derived=("none", lambda _: None),
        example=("google-bert/bert-base-uncased",),
    )
    text: Texts | None = field(
        "mlm: text whose words are masked, in the forms of [text].",
        affects="stage",
        derived=("text.valid", lambda _: None),
        example=("test.txt",),
    )
    wsd: Text | None = field(
        "wsd: folder of the labelled sets.",
        affects="stage",
        derived=("wsd in LIMBECK_DATA", lambda _: None),
        example="data/wsd",
    )
    wsd_sets: Texts | None = field(
        "wsd: names of sets.", affects="stage", derived=("all", lambda _: None), example=("semeval2007",)
    )
    glue: Text | None = field(
        "glue: folder of GLUE, or hub.",
        affects="stage",
        derived=("glue in LIMBECK_DATA", lambda _: None),
        example="data/glue",
    )
    glue_tasks: Texts | None = field(
        "glue: names of tasks.",
        affects="stage",
        derived=("all found", lambda _: None),
        example=("cola", "sst2"),
    )
    paraphrase: Text | None = field(
        "paraphrase: folder of the labelled paragraphs.",
        affects="stage",
        derived=("plagiarism in LIMBECK_DATA", lambda _: None),
        example="data/plagiarism",
    )
    sizes: Counts | None = field(
        "paraphrase: numbers of training texts.",
        affects="stage",
        derived=("those of limbeck eval paraphrase", lambda _: None),
        example=(200, 1000),
    )
    words: Lengths | None = field(
        "paraphrase: first words seen of each text; 0: all.",
        affects="stage",
        derived=("those of limbeck eval paraphrase", lambda _: None),
        example=(0, 32),
    )
    test_limit: Count | None = field(
        "paraphrase: measure on a fixed sample of so many texts of each set.",
        affects="stage",
        derived=("all", lambda _: None),
        example=2000,
    )
    seeds: Seeds = field("glue, paraphrase: a training for each seed.", affects="stage", default=(0,))
    epochs: Positive | None = field(
        "glue, paraphrase: times through the training rows.",
        affects="stage",
        derived=("those of limbeck eval glue, and paraphrase", lambda _: None),
        example=3.0,
    )
    lengths: Counts = field("cost: lengths of passages, in pieces.", affects="stage", default=(16, 64, 256))


class ReportSection(Section):
    """What `limbeck run` writes when all is measured."""

    page: bool = field("The page report.html.", affects="stage", default=True)
    markdown: bool = field("The page report.md with its figures.", affects="stage", default=False)
    card: bool = field("The model card, README.md beside the model.", affects="stage", default=True)
