"""What `limbeck run` refuses before anything is trained: of the recipe and of all that come before it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import ChangedRun, UserError
from limbeck.pipeline.assemble import Progress
from limbeck.pipeline.evaluation import EvaluationSettings, check_data
from limbeck.pipeline.gloss import FOLDER, check_gloss
from limbeck.pipeline.place import check_place
from limbeck.recipe import Recipe, load_recipe
from limbeck.tasks.cost_source import check_model
from limbeck.text.readers import find_sources
from limbeck.text.remote import is_remote


@dataclass(frozen=True)
class Planned:
    """A recipe and its run directory. extend: its training may go on past the steps it had."""

    recipe: Recipe
    folder: Path
    extend: bool = False


def planned(recipe: Recipe, folder: Path, *, extend: bool = False) -> list[Planned]:
    """A recipe and all below it, in the order in which they are run, each once.

    Raises:
        UserError: a recipe that cannot be read or waits for itself, two that write one run.
    """
    places = {folder.absolute(): recipe.name}
    return [*_below(recipe, (folder.absolute(),), places), Planned(recipe, folder, extend)]


def _below(recipe: Recipe, above: Sequence[Path], places: dict[Path, str]) -> list[Planned]:
    """above: run directories of the recipes that wait for this one. places: of all, each with its recipe."""
    found: list[Planned] = []
    for one in recipe.pretrain:
        inner = load_recipe(one.recipe)
        place = Path(inner.output).absolute()
        if place in above:
            raise UserError(
                f"{one.recipe} is among its own [[pretrain]], or writes the same run; take it out"
            )
        known = place in places
        if (other := places.setdefault(place, one.recipe)) != one.recipe:
            raise UserError(f"{one.recipe} and {other} write the same run, {place}; give one another output")
        below = _below(inner, (*above, place), places)
        if not known:
            found += [*below, Planned(inner, Path(inner.output))]
    return found


def check_before(
    plan: Sequence[Planned],
    settings_of: Callable[[Recipe], EvaluationSettings],
    *,
    main: bool,
    progress: Progress | None = None,
) -> None:
    """Refuses what can be known to fail: places, text, models, glosses and the data of evaluations.

    Runs of other fields than before are told when their turn comes, and perhaps done anew.

    Args:
        settings_of: see `stages.eval_settings`. main: whether this process measures models later.

    Raises:
        UserError: see `check_place`, `check_gloss`, `check_data` and `check_model`.
    """
    places = [one.folder.absolute() for one in plan]

    def later(path: str) -> bool:
        """Whether a model is one of those that are trained now."""
        return any(Path(path).absolute().is_relative_to(place) for place in places)

    for one in plan:
        recipe, folder = one.recipe, one.folder
        if recipe.text is not None:
            with contextlib.suppress(ChangedRun):
                check_place(recipe, folder, extend=one.extend, later=later)
            for name in ("train", "valid"):
                _check_text(getattr(recipe.text, name), f"text.{name}")
        if recipe.gloss is not None:
            init = recipe.gloss.init
            if recipe.text is not None and init is not None:
                raise UserError(
                    f"[gloss] init is {init}, and not the student of this recipe; leave it out, or use "
                    "`limbeck gloss`"
                )
            with contextlib.suppress(ChangedRun):
                check_gloss(recipe, folder / FOLDER if recipe.text else folder, init=init, later=later)
        if recipe.eval.tasks is not None and main:
            if recipe.eval.text is not None:
                _check_text(recipe.eval.text, "eval.text")
            check_data(settings_of(recipe), progress)
            for path in recipe.eval.beside or ():
                if not later(path):
                    check_model(path)


def _check_text(patterns: Sequence[str], label: str) -> None:
    """That text on this machine is there; what lies elsewhere is fetched in its turn."""
    here = [pattern for pattern in patterns if not is_remote(pattern)]
    if here:
        find_sources(here, Path.cwd(), label)
