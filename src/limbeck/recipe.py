"""The typed tree of a recipe: one TOML file that states a whole experiment.

`load_recipe` reads one, with overrides; everything wrong with it is shown together. `fingerprint`,
`affecting` and `differences` tell whether two recipes lead to the same result. `to_toml` writes a recipe,
with a comment per field.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from limbeck.errors import RecipeError
from limbeck.recipe_check import contradictions, describe
from limbeck.recipe_distill import DistillSection
from limbeck.recipe_fields import (
    Name,
    Section,
    Seed,
    StudentSection,
    TeacherSection,
    Text,
    TextSection,
    TrainSection,
    field,
)
from limbeck.recipe_gloss import GlossSection
from limbeck.recipe_read import absolute_paths, apply_overrides, read_toml
from limbeck.recipe_stages import EvalSection, PretrainSection, ReportSection
from limbeck.recipe_text import reference, sections_toml

__all__ = [
    "DistillSection",
    "EvalSection",
    "GlossSection",
    "PretrainSection",
    "Recipe",
    "ReportSection",
    "StudentSection",
    "TeacherSection",
    "TextSection",
    "TrainSection",
    "affecting",
    "differences",
    "extended",
    "fingerprint",
    "load_recipe",
    "recipe_from",
    "reference_page",
    "template",
    "to_toml",
]


class Recipe(Section):
    """A whole experiment. Paths in it are absolute once loaded; a name that is no path is a hub id."""

    name: Name = field("Name of the run.", affects=False, example="small-student")
    seed: Seed = field(
        "Seed of everything random: masks, order of the passages, first weights.", affects=True, default=42
    )
    output: Text = field(
        "Folder of the run.",
        affects=False,
        derived=("runs/ and the name", lambda data: f"runs/{data['name']}"),
        example="runs/small-student",
    )
    pretrain: Annotated[tuple[PretrainSection, ...], Strict(False)] = ()
    text: TextSection | None = None
    student: StudentSection = Field(default_factory=lambda: StudentSection())
    teachers: Annotated[tuple[TeacherSection, ...], Strict(False)] = ()
    distill: DistillSection = Field(default_factory=lambda: DistillSection())
    train: TrainSection = Field(default_factory=lambda: TrainSection())
    eval: EvalSection = Field(default_factory=lambda: EvalSection())
    gloss: GlossSection | None = None
    report: ReportSection | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = contradictions(self.model_dump(), frozenset())
        if problems:
            raise PydanticCustomError("contradiction", "{problems}", {"problems": "\n".join(problems)})
        return self


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file, with overrides such as `"train.steps=500"` or `"teachers.fiction.prior=2"`.

    Paths in the file and in the overrides start from the file's folder; the recipe holds them absolute.

    Raises:
        UserError: no such file, not UTF-8, not TOML.
        RecipeError: everything else that is wrong, a line each with its place and what is allowed.
    """
    path = Path(path)
    data = read_toml(path)
    problems = apply_overrides(data, overrides)
    return recipe_from(data, path.resolve().parent, problems)


def recipe_from(data: dict[str, Any], folder: Path, problems: Sequence[str] = ()) -> Recipe:
    """Makes a recipe of what stands in its file; relative paths start from `folder`.

    Raises:
        RecipeError: all that is wrong with it, after the `problems` already found.
    """
    found = list(problems)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        lines, bad = describe(error, data, Recipe)
        found += lines
        if bad:
            found += contradictions(data, bad)
        raise RecipeError(found) from None
    if found:
        raise RecipeError(found)
    return Recipe.model_validate(absolute_paths(recipe.model_dump(), folder))


OF_TEACHERS = frozenset(
    f"distill.{name}" for name in DistillSection.model_fields if name not in ("student_sees", "mask")
)
"""Fields that count with teachers only."""


def affecting(recipe: Recipe, stage: Literal["student", "gloss"] = "student") -> dict[str, Any]:
    """The fields that affect a stage's result, by dotted name; a teacher's as `teachers.fiction.prior`.

    Names of text and models are left out: their contents affect the result, and whoever has read them adds a
    fingerprint of those. Each stage is a run of its own, which the other's fields do not touch: gloss
    training asks for teachers and `[distill]` only where it is cohesive, and of `[distill]` a student without
    teachers has only what it is shown.
    """
    flat: dict[str, Any] = {}

    def collect(section: Section, prefix: str) -> None:
        for key, info in type(section).model_fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra["affects_result"] is True:
                value = getattr(section, key)
                flat[prefix + key] = list(value) if isinstance(value, tuple) else value

    collect(recipe, "")
    if stage == "gloss":
        assert recipe.gloss is not None
        collect(recipe.gloss, "gloss.")
        if not recipe.gloss.cohesive:
            return flat
    for key in ("text", "student", "distill", "train", "eval") if stage == "student" else ("distill",):
        section = getattr(recipe, key)
        if section is not None:
            collect(section, f"{key}.")
    if not recipe.teachers:
        flat = {name: value for name, value in flat.items() if name not in OF_TEACHERS}
    flat["teachers"] = [teacher.name for teacher in recipe.teachers]
    for teacher in recipe.teachers:
        collect(teacher, f"teachers.{teacher.name}.")
    return flat


def fingerprint(recipe: Recipe) -> str:
    """64 hexadecimal digits, the same for two recipes just when `differences` finds none."""
    text = json.dumps(_of_all_stages(recipe), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Dotted names of the `affecting` fields that are not the same in both recipes."""
    before, after = _of_all_stages(old), _of_all_stages(new)
    missing = object()
    names = [*before, *(name for name in after if name not in before)]
    return [name for name in names if before.get(name, missing) != after.get(name, missing)]


def _of_all_stages(recipe: Recipe) -> dict[str, Any]:
    return affecting(recipe) | (affecting(recipe, "gloss") if recipe.gloss else {})


def extended(recipe: Recipe, steps: int) -> Recipe:
    """The same recipe with so many more training steps; at least 1."""
    assert steps >= 1
    train = recipe.train.model_copy(update={"steps": recipe.train.steps + steps})
    return recipe.model_copy(update={"train": train})


def to_toml(recipe: Recipe, comments: bool = True) -> str:
    """The recipe as TOML that `load_recipe` reads back to an equal one; with the fields' meanings or bare."""
    return sections_toml(recipe, comments=comments, derived=True)


def template() -> str:
    """The commented recipe that `limbeck init` writes: every field, its meaning and its default.

    Fields whose default depends on others stand there as comments.
    """
    teachers = (
        TeacherSection(name="encyclopedia", model="runs/teacher-a/model"),
        TeacherSection(name="fiction", model="answerdotai/ModernBERT-base", precision="bf16"),
    )
    recipe = Recipe(
        name="small-student",
        text=TextSection(train=("corpus/*.txt",), valid=("valid.txt",)),
        student=StudentSection(family="modernbert", layers=4, hidden=256, tokenizer="train:wordpiece:8000"),
        teachers=teachers,
        pretrain=(PretrainSection(recipe="teacher-a.toml"),),
        gloss=GlossSection(),
        report=ReportSection(),
    )
    return sections_toml(recipe, comments=True, derived=False)


def reference_page() -> str:
    """The page `docs/recipe.md`."""
    return reference(
        Recipe,
        [
            ("[[pretrain]]", PretrainSection),
            ("[text]", TextSection),
            ("[student]", StudentSection),
            ("[[teachers]]", TeacherSection),
            ("[distill]", DistillSection),
            ("[train]", TrainSection),
            ("[eval]", EvalSection),
            ("[gloss]", GlossSection),
            ("[report]", ReportSection),
        ],
    )
