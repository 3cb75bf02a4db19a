"""GLUE's rows, from a folder in its own layout or from the hub, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import data_dir
from limbeck.finetune.examples import Examples, overlap, read_table
from limbeck.finetune.labels import Labels
from limbeck.tasks.glue_tasks import SUBSET, TASKS, Task, find_task
from limbeck.text.documents import KINDS
from limbeck.text.remote import HUB

ON_HUB = "hf:nyu-mll/glue"
WHERE = "gluebenchmark.com has it, and --data hub reads it from there"


@dataclass(frozen=True)
class TaskData:
    """A task's rows: train, and each of its dev sets by name."""

    task: Task
    train: Examples
    dev: dict[str, Examples]

    @property
    def labels(self) -> Labels:
        """What is learnt."""
        return Labels(self.task.classes)

    @property
    def overlap(self) -> int:
        """Rows of dev whose texts stand in train (GLUE's own files have some)."""
        return sum(overlap(self.train, dev) for dev in self.dev.values())


def data_folder() -> Path:
    """Where GLUE is by default: `glue` in `LIMBECK_DATA`.

    Raises:
        UserError: the variable is not set.
    """
    if (found := data_dir("glue")) is None:
        raise UserError(
            "no GLUE data; name its folder with --data (with several tasks --glue-data), set LIMBECK_DATA to "
            "a folder that has it in its folder glue, or read it from the hub with --data hub"
        )
    return found


def read_tasks(place: str, names: Sequence[str]) -> tuple[list[TaskData], list[str]]:
    """The tasks asked for, in the order asked for; without names all that the folder has whole.

    Args:
        place: a folder, `hub`, or `hf:DATASET` for another place on the hub.

    Returns:
        The tasks, and why others are left out where none was asked for: a line each.

    Raises:
        UserError: no such place; a task asked for that is not there; missing columns, wrong counts, no or
            unknown labels in any that is read.
    """
    tasks = [find_task(name) for name in dict.fromkeys(names)]
    if place == "hub" or place.startswith(HUB):
        dataset = ON_HUB if place == "hub" else place
        return [_from_hub(task, dataset.removeprefix(HUB)) for task in tasks or TASKS.values()], []
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name that of GLUE with --data, or --data hub")
    left_out = []
    if not tasks:
        for task in TASKS.values():
            lacking = _lacking(task, folder)
            if lacking is None:
                tasks.append(task)
            else:
                left_out.append(f"{task.name} is left out: {lacking}.")
    if not tasks:
        raise UserError(
            f"{folder} has no task of GLUE (such as CoLA/train.tsv and CoLA/dev.tsv); name another with "
            "--data"
        )
    return [_from_folder(task, folder) for task in tasks], left_out


def _files(task: Task) -> Iterator[str]:
    yield "train"
    yield from task.dev


def _find(task: Task, folder: Path, name: str) -> Path | None:
    """A file of a task, plain or packed."""
    paths = (folder / task.folder / f"{name}.tsv{ending}" for ending in ("", *KINDS))
    return next((path for path in paths if path.is_file()), None)


def _lacking(task: Task, folder: Path) -> str | None:
    """What a folder lacks of a task, or None."""
    if not (folder / task.folder).is_dir():
        part = folder / f"{task.folder}{SUBSET}"
        said = f" ({part.name} is a part, and goes by that name)" if part.is_dir() else ""
        return f"{folder} has no folder {task.folder}{said}"
    lacking = [name for name in _files(task) if _find(task, folder, name) is None]
    return f"{folder / task.folder} has no {lacking[0]}.tsv" if lacking else None


def _from_folder(task: Task, folder: Path) -> TaskData:
    if (lacking := _lacking(task, folder)) is not None:
        raise UserError(f"{task.name}: {lacking}; {WHERE}")
    read: dict[str, Examples] = {}
    for name in _files(task):
        path = _find(task, folder, name)
        assert path is not None
        read[name] = read_table(
            path, text=task.text, second=task.second, label=task.label, lenient=task.lenient
        )
    return _checked(task, read)


def _from_hub(task: Task, dataset: str) -> TaskData:
    """The rows of a task from the hub, or from a local folder that `datasets` reads."""
    if task.name.endswith(SUBSET):
        raise UserError(f"{task.name} is a folder's own part of a task; the hub has none, name the folder")
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "--data hub needs the package datasets; install limbeck with its extra: limbeck[hub]"
        ) from error
    from huggingface_hub.utils import logging as hub_logging

    datasets.utils.logging.set_verbosity_error()
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    read: dict[str, Examples] = {}
    for name in _files(task):
        split = name.replace("dev", "validation")
        try:
            rows = datasets.load_dataset(dataset, task.name, split=split)
        except Exception as error:  # datasets and what it calls raise many kinds, the network's among them
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"{task.name}: {split} of {dataset} cannot be read from the hub ({said[0]}); check name and "
                "network, or name a folder with --data"
            ) from error
        read[name] = _hub_rows(task, rows, f"{dataset}/{task.name}:{split}")
    return _checked(task, read)


def _hub_rows(task: Task, rows: Any, name: str) -> Examples:
    wanted = [column for column in (*task.hub, "label") if column is not None]
    if lacking := [column for column in wanted if column not in rows.column_names]:
        raise UserError(f"{name} has no column {lacking[0]!r}; it has {', '.join(rows.column_names)}")
    texts, *seconds, labels = (list(rows[column]) for column in wanted)
    if task.classes is None:
        written = [str(label) for label in labels]
    else:
        if unlabelled := sum(label not in range(len(task.classes)) for label in labels):
            raise UserError(f"{name} has {unlabelled:,} rows without a label; give labelled rows")
        written = [task.classes[label] for label in labels]
    return Examples(texts, seconds[0] if seconds else None, written, name)


def _checked(task: Task, read: dict[str, Examples]) -> TaskData:
    """Counts and labels are those of the task, and there is something to tell apart."""
    labels = Labels(task.classes)
    for name, examples in read.items():
        right = task.train if name == "train" else task.dev[name] and (task.dev[name],)
        if right and len(examples) not in right:
            raise UserError(
                f"{examples.name} has {len(examples):,} rows, but {task.folder}'s {name} has {right[0]:,}: "
                f"this is not {task.folder}; get all of it ({WHERE}), or name the folder "
                f"{task.folder}{SUBSET} to measure on it as {task.name}{SUBSET}"
            )
        labels.encode(examples)
        if name == "train" and task.classes is not None and len(found := set(examples.labels)) < 2:
            raise UserError(
                f"{examples.name} has one class only: all {len(examples):,} rows are {min(found)!r}; give "
                "rows of at least two classes"
            )
    return TaskData(task, read.pop("train"), read)
