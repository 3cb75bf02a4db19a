"""How models are measured side by side: which tasks, on what, how much of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from limbeck.errors import UserError
from limbeck.files import data_dir

TASKS = ("mlm", "wsd", "glue", "paraphrase", "cost")
"""In the order in which they are measured."""

WORDNET_VALID = "wordnet:/valid"

_QUICK: dict[str, Any] = {
    "passages": 256,
    "quick_sets": True,
    "glue_tasks": ("rte",),
    "epochs": 1.0,
    "sizes": (200,),
    "first": (32,),
    "test_limit": 500,
    "cross": False,
    "lengths": (64,),
    "seconds": 0.2,
}


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how. None and empty: as `limbeck eval TASK` does by itself.

    tasks: of TASKS. named: the user asked for just these, so that one that no model can do is an error.
    texts: of masked words; empty: see `default_texts`. words, mask, passages, seed: as `eval mlm`. min_words,
    on_error: how they are read, as a recipe's `[text]`; no min_words: as `eval mlm`.
    wsd, wsd_sets: folder and names of the sets; quick_sets: the development set alone, where it is there.
    glue, glue_tasks: place and names. paraphrase, sizes, first, test_limit: place, numbers of training texts,
    numbers of first words (0: all), texts of each set measured on. cross: whether sets of other places are
    measured on as well. seeds, epochs: of GLUE's and the detector's trainings. lengths, seconds: as
    `eval cost`.

    Raises:
        UserError: a task that is not known, a value out of range.
    """

    tasks: tuple[str, ...] = TASKS
    named: bool = False
    texts: tuple[str, ...] = ()
    words: int = 96
    min_words: int | None = None
    on_error: Literal["stop", "skip"] = "stop"
    mask: float = 0.15
    passages: int | None = None
    seed: int = 0
    wsd: str | None = None
    wsd_sets: tuple[str, ...] = ()
    quick_sets: bool = False
    glue: str | None = None
    glue_tasks: tuple[str, ...] = ()
    paraphrase: str | None = None
    sizes: tuple[int, ...] = ()
    first: tuple[int, ...] | None = None
    test_limit: int | None = None
    cross: bool = True
    seeds: tuple[int, ...] = (0,)
    epochs: float | None = None
    lengths: tuple[int, ...] = (16, 64, 256)
    seconds: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if unknown := [name for name in self.tasks if name not in TASKS]:
            raise UserError(f"there is no task {unknown[0]!r}; tasks are all, or some of {', '.join(TASKS)}")
        if not self.tasks:
            raise UserError(f"no task to measure; tasks are all, or some of {', '.join(TASKS)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError("seeds must be one or more different numbers, such as 0,1,2")
        if self.epochs is not None and not 0 < self.epochs < float("inf"):
            raise UserError(f"epochs is {self.epochs}; it must be more than 0")
        object.__setattr__(self, "tasks", tuple(name for name in TASKS if name in self.tasks))

    @classmethod
    def of(cls, tasks: str, *, quick: bool = False, **given: Any) -> Self:
        """Of the command line: `all` or names with commas; options that were not given are None.

        quick: less of everything, where nothing else was asked for.

        Raises:
            UserError: as the class.
        """
        names = tuple(name.strip() for name in tasks.split(",") if name.strip())
        everything = names == ("all",)
        settings = cls(
            tasks=TASKS if everything else names, named=not everything, **(_QUICK if quick else {})
        )
        given = {name: value for name, value in given.items() if value is not None}
        if "wsd_sets" in given:
            given["quick_sets"] = False
        return replace(settings, **given)

    def as_json(self) -> dict[str, Any]:
        """For a result."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def default_texts() -> tuple[str, ...]:
    """Text to mask where none is named: the folder `text` in LIMBECK_DATA, or WordNet's held-out synsets."""
    if (folder := data_dir("text")) and folder.is_dir():
        return (str(folder),)
    return (WORDNET_VALID,)
