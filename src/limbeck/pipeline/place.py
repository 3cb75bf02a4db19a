"""What a recipe asks of the place it runs in, refused at once; what its processes must agree on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from limbeck.distill.student import check_family
from limbeck.errors import UserError
from limbeck.pipeline.stored import folder_of
from limbeck.processes.group import current
from limbeck.recipe import Recipe, affecting
from limbeck.run import environment
from limbeck.run_folder import check_folder
from limbeck.teachers.loading import find_source
from limbeck.teachers.store_header import HEADER
from limbeck.training.engine import check_share, choose_device, choose_precision
from limbeck.training.place import check_run_folder


def check_place(
    recipe: Recipe, folder: Path, *, extend: bool = False, later: Callable[[str], bool] = lambda _: False
) -> None:
    """Refuses at once what would otherwise be refused only when text and teachers are ready.

    later: says of a model's path that it is still to be made.

    Raises:
        UserError: no text, device or precision that this machine lacks, a student's family or a model's path
            that does not exist, a run directory that cannot be written, a number of processes that does not
            divide the batch.
    """
    if recipe.text is None:
        raise UserError(
            "the recipe has no [text] to train a student on; add it, or use `limbeck gloss` for its [gloss]"
        )
    device = choose_device(recipe.train.device)
    choose_precision(recipe.train.precision, device)
    check_share(current(), recipe.train.batch, device)
    student = recipe.student
    if student.family is not None:
        check_family(student.family)
    for spec in recipe.teachers:
        # A store stands in for a model that is not here.
        stored = recipe.distill.predictions != "online" and (folder_of(recipe, spec) / HEADER).is_file()
        if not stored and not later(spec.model):
            find_source(spec.model, f"teacher {spec.name!r}: {spec.model!r}")
    if student.init is not None and not student.init.startswith("teacher:") and not later(student.init):
        find_source(student.init, f"student.init: {student.init!r}")
    if current().main:
        check_run_folder(folder)
        check_folder(folder, affecting(recipe), extend=extend)


def common(recipe: Recipe, stage: Literal["student", "gloss"]) -> dict[str, Any]:
    """What all processes of a stage must agree on before they begin: their steps are taken together."""
    name, section = ("train", recipe.train) if stage == "student" else ("gloss", recipe.gloss)
    fields = {f"{name}.{field}": value for field, value in section or () if field != "threads"}
    versions: dict[str, str] = environment()["versions"]
    return affecting(recipe, stage) | fields | versions
