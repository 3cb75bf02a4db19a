"""What the benchmark of paraphrase detection learns from and is measured on (docs/evaluate.md)."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import UserError
from limbeck.files import data_dir
from limbeck.finetune.examples import Examples, overlap
from limbeck.tasks.paraphrase_data import Paraphrases, find_part, read_paraphrases
from limbeck.text.mixing import mix64

_log = logging.getLogger("limbeck")

PARTS = ("train", "valid", "test")
HELD_OUT = 20
"""Without a validation set, one of so many groups of the training set (articles, see `Paraphrases`) is it."""

VALID_TEXTS = 500
"""Validation texts by which an epoch is chosen: as many in each training."""


@dataclass(frozen=True)
class EvalSet:
    """Texts to measure on.

    name: in results; a part of a set never has the name of the whole. of: texts of the whole set. synthetic:
    how it was made, where a machine of ours made it.
    """

    name: str
    examples: Examples
    of: int
    synthetic: dict[str, Any] | None = None


@dataclass(frozen=True)
class Sets:
    """The parts of a set: train and valid, and what is measured on, by name, the test set first.

    place: as it was named. valid_is: where the validation texts come from. overlap: how many texts of each
    part stand in train as well.
    """

    place: str
    train: Paraphrases
    valid: Examples
    valid_is: str
    tests: tuple[EvalSet, ...]
    overlap: Mapping[str, int]

    def with_more(self, more: tuple[EvalSet, ...]) -> Sets:
        """The same, to be measured on other sets as well.

        Raises:
            UserError: two of the same name.
        """
        tests = (*self.tests, *more)
        name, count = Counter(one.name for one in tests).most_common(1)[0]
        if count > 1:
            raise UserError(f"{count} sets to measure on are named {name}; rename their files or folders")
        counted = dict(self.overlap) | {one.name: overlap(self.train.examples, one.examples) for one in more}
        _warn(more, counted)
        return Sets(self.place, self.train, self.valid, self.valid_is, tests, counted)


def data_folder() -> Path:
    """Where the set is by default: `plagiarism` in `LIMBECK_DATA`.

    Raises:
        UserError: the variable is not set.
    """
    if (found := data_dir("plagiarism")) is None:
        raise UserError(
            "no paraphrase data; name its folder with --data (with several tasks --paraphrase-data), its "
            "parts with --train, --valid and --test, or set LIMBECK_DATA to a folder that has it in its "
            "folder plagiarism"
        )
    return found


def read_sets(
    place: Path | None = None,
    *,
    parts: Mapping[str, Path | None] | None = None,
    test_limit: int | None = None,
    valid_limit: int = VALID_TEXTS,
) -> Sets:
    """The parts of a folder (see `find_part`), or those that are named one by one.

    Where there is no validation set, a part of train is held out for it.

    Args:
        place: the folder; None: `data_folder`, unless train and test are named. parts: those named one by
            one. test_limit, valid_limit: so many texts of them, always the same ones.

    Raises:
        UserError: no such folder, or a part that it has not; see `read_paraphrases`; a limit below 2.
    """
    for name, limit in (("test-limit", test_limit), ("valid-limit", valid_limit)):
        if limit is not None and limit < 2:
            raise UserError(f"{name} is {limit}; it must be at least 2")
    named = {part: path for part, path in (parts or {}).items() if path is not None}
    folder = place
    if folder is None and not {"train", "test"} <= named.keys():
        folder = data_folder()
    if folder is not None and not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name that of the paraphrase set with --data")
    found = {part: named.get(part) or (find_part(folder, part) if folder else None) for part in PARTS}
    for part in ("train", "test"):
        if found[part] is None:
            raise UserError(
                f"{folder} has no {part}: no folder {part}, no {part}.tsv, no NAME.{part}.tsv (or packed); "
                f"name it with --{part}"
            )
    read = {part: read_paraphrases(path) for part, path in found.items() if path is not None}
    train, valid, valid_is = read["train"], read.get("valid"), "valid"
    if valid is None:
        train, valid = hold_out(train)
        valid_is = "held out of train"
    whole = len(valid)
    chosen, test = sample(valid.examples, valid_limit), read["test"]
    if len(chosen) < whole:
        valid_is = f"{len(chosen):,} texts of {whole:,} of {valid_is}"
    tests = (limited("test", test.examples, test_limit, _said(test)),)
    shared = {
        "valid": overlap(train.examples, chosen),
        tests[0].name: overlap(train.examples, tests[0].examples),
    }
    _warn(tests, shared)
    return Sets(str(folder or found["train"]), train, chosen, valid_is, tests, shared)


def limited(
    name: str, examples: Examples, limit: int | None, synthetic: dict[str, Any] | None = None
) -> EvalSet:
    """A set to measure on, or a fixed sample of it, which goes by a name that says so."""
    some = examples if limit is None else sample(examples, limit)
    named = name if len(some) == len(examples) else f"{name}-sample-{len(some)}"
    return EvalSet(named, some, len(examples), synthetic)


def labelled_set(path: Path, limit: int | None = None) -> EvalSet:
    """A set of another place to measure on as well, under the name of its file or folder."""
    found = read_paraphrases(path)
    return limited(set_name(path), found.examples, limit, _said(found))


def set_name(path: Path) -> str:
    """The name of a file without what it is packed in, or that of a folder."""
    return path.resolve().name.split(".tsv")[0] or path.name


def sample(examples: Examples, limit: int) -> Examples:
    """So many of the texts, chosen by what they are, not by where they stand; in the order of the set."""
    if limit >= len(examples):
        return examples
    chosen = np.argsort(mix64(examples.hashes), kind="stable")[:limit]
    return examples.take(np.sort(chosen))


def training_texts(train: Examples, count: int, seed: int) -> Examples:
    """The first so many of the training texts in an order by `seed`: that of the published reference scores.

    All texts in the order of the set (of pairs the original, then its paraphrase), shuffled by Python's
    `random.Random(seed)`.

    Raises:
        UserError: there are fewer; all of those chosen are of one class.
    """
    if count > len(train):
        raise UserError(f"sizes has {count:,}, and {train.name} has {len(train):,} texts; take fewer")
    rows = list(range(len(train)))
    random.Random(seed).shuffle(rows)
    found = train.take(np.array(rows[:count], np.int64))
    if len(set(found.labels)) < 2:
        raise UserError(f"{count:,} texts of {train.name} by seed {seed} are of one class; take more")
    return found


def hold_out(train: Paraphrases) -> tuple[Paraphrases, Paraphrases]:
    """Training texts and those held out for validation: whole articles, or pairs, chosen by their names.

    Raises:
        UserError: there are not two groups.
    """
    groups = np.unique(train.groups)
    if len(groups) < 2:
        raise UserError(f"{train.examples.name} is one article, so none can be held out; name --valid")
    order = groups[np.argsort(mix64(groups), kind="stable")]
    held = np.isin(train.groups, order[: max(1, len(groups) // HELD_OUT)])
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))


def _said(found: Paraphrases) -> dict[str, Any] | None:
    """What a set says of how it was made; the pairs without a change as `spin_sets` counts them."""
    if found.synthetic is None:
        return None
    return {"said": found.synthetic} | ({"left_out": found.unchanged} if found.unchanged else {})


def _warn(tests: tuple[EvalSet, ...], shared: Mapping[str, int]) -> None:
    for one in tests:
        if shared[one.name]:
            _log.warning(
                "%s of %s texts of %s stand in the training set as well: figures on them will flatter",
                f"{shared[one.name]:,}",
                f"{len(one.examples):,}",
                one.examples.name,
            )
