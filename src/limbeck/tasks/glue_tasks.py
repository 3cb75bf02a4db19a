"""The nine tasks of GLUE (arXiv 1804.07461): their files, counts and metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace

from limbeck.errors import UserError
from limbeck.finetune.examples import Column

SUBSET = "-subset"
"""How a folder is named that holds a part of a task; it is measured under that name alone."""


@dataclass(frozen=True)
class Task:
    """One task.

    name: on the command line; folder: in GLUE's own layout. text, second, label: columns of its files;
    numbers: they have no header. classes: labels as the files have them, in the order of the hub's numbers,
    the one that F1 is of second; None: scores. metrics: names of `finetune.metrics.measure`. train, dev:
    counts of rows that are right (several where versions of the data differ); dev by file, without `.tsv`;
    None: not known. hub: its columns there, text and second text. lenient: its own file has rows with too
    few columns, which every reader leaves out, and blank texts.
    """

    name: str
    folder: str
    text: Column
    second: Column | None
    label: Column
    classes: tuple[str, ...] | None
    metrics: tuple[str, ...]
    train: tuple[int, ...] | None
    dev: dict[str, int | None]
    hub: tuple[str, str | None]
    lenient: bool = False


_YES_NO = ("0", "1")
_ENTAILED = ("entailment", "not_entailment")
_SENTENCES = ("sentence1", "sentence2")
_F1 = ("accuracy", "f1")

# Counts: of the files themselves (a `data` test); of MNLI, QQP and QNLI's train as they are commonly given,
# not checked against files here. QQP's are of two versions, with its broken rows left out.
TASKS = {
    task.name: task
    for task in (
        Task(
            "cola", "CoLA", 3, None, 1, _YES_NO, ("matthews",), (8551,), {"dev": 1043},
            ("sentence", None),
        ),
        Task(
            "sst2", "SST-2", "sentence", None, "label", _YES_NO, ("accuracy",), (67_349,), {"dev": 872},
            ("sentence", None),
        ),
        Task(
            "mrpc", "MRPC", "#1 String", "#2 String", "Quality", _YES_NO, _F1, (3668,), {"dev": 408},
            _SENTENCES,
        ),
        Task(
            "stsb", "STS-B", *_SENTENCES, "score", None, ("pearson", "spearman"), (5749,), {"dev": 1500},
            _SENTENCES,
        ),
        Task(
            "qqp", "QQP", "question1", "question2", "is_duplicate", _YES_NO, _F1, (363_846, 363_849),
            {"dev": 40_430}, ("question1", "question2"), lenient=True,
        ),
        Task(
            "mnli", "MNLI", *_SENTENCES, "gold_label", ("entailment", "neutral", "contradiction"),
            ("accuracy",), (392_702,), {"dev_matched": 9815, "dev_mismatched": 9832},
            ("premise", "hypothesis"),
        ),
        Task(
            "qnli", "QNLI", "question", "sentence", "label", _ENTAILED, ("accuracy",), (104_743,),
            {"dev": 5463}, ("question", "sentence"),
        ),
        Task(
            "rte", "RTE", *_SENTENCES, "label", _ENTAILED, ("accuracy",), (2490,), {"dev": 277}, _SENTENCES
        ),
        Task("wnli", "WNLI", *_SENTENCES, "label", _YES_NO, ("accuracy",), (635,), {"dev": 71}, _SENTENCES),
    )
}  # fmt: skip


def find_task(name: str) -> Task:
    """The task of a name such as `sst2` or `SST-2`; of `mnli-subset` one of that name, of any number of rows.

    Raises:
        UserError: no such task.
    """
    plain = name.strip().lower()
    part = plain.endswith(SUBSET)
    key = plain.removesuffix(SUBSET).replace("-", "")
    if key not in TASKS:
        raise UserError(f"there is no task {name!r}; GLUE has {', '.join(TASKS)}")
    task = TASKS[key]
    if not part:
        return task
    return replace(task, name=task.name + SUBSET, folder=task.folder + SUBSET, train=None, dev={"dev": None})
