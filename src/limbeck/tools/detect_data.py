"""What a detector learns from: labelled texts, whole and in shorter cuts, so that it knows short ones too."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.finetune.examples import Examples, read_table
from limbeck.tasks.paraphrase_data import find_part, read_paraphrases
from limbeck.tasks.paraphrase_rows import PARAPHRASED
from limbeck.tools.detect_text import parts, plain, words


class Labelled(NamedTuple):
    """Labelled texts. groups: uint64 [N], equal for texts of one article. synthetic: how made, or "".

    unchanged: pairs that were left out, as both sides are the same text.
    """

    examples: Examples
    groups: npt.NDArray[np.uint64]
    synthetic: str = ""
    unchanged: int = 0


class Rows(NamedTuple):
    """What a model is shown: texts, whole ones and cuts. groups, sizes: [N], of the source, in words.

    left_out: texts that are shorter than the shortest allowed.
    """

    examples: Examples
    groups: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64]
    left_out: int


def read_sets(
    data: Path | None, train: Path | None, valid: Path | None, paraphrased: str | None
) -> tuple[Labelled, Labelled, str]:
    """Training and validation texts, and the label that means paraphrased.

    Args:
        data: a folder with both, found by their names. train, valid: files instead. paraphrased: given, the
            files are tables of `text` and `label` with labels of their own, of which it is one.

    Raises:
        UserError: neither or both ways, a set that is not there, or what its reader raises.
    """
    if (data is None) == (train is None) or (train is None) != (valid is None):
        raise UserError("name the texts by --data PLACE, or by --train FILE and --valid FILE")
    if data is not None:
        if not data.is_dir():
            raise UserError(f"there is no folder {data}; give one with a train and a valid set")
        train, valid = find_part(data, "train"), find_part(data, "valid")
        for found, part in ((train, "train"), (valid, "valid")):
            if found is None:
                raise UserError(f"{data} has no {part} set ({part}.tsv, NAME.{part}.tsv or a folder {part})")
    assert train is not None and valid is not None
    if paraphrased is None:
        return _read_set(train), _read_set(valid), PARAPHRASED
    first, second = (_read_table(path) for path in (train, valid))
    check_labels(first.examples, paraphrased)
    return first, second, paraphrased


def _read_set(path: Path) -> Labelled:
    found = read_paraphrases(path)
    return Labelled(found.examples, found.groups, found.synthetic or "", found.unchanged)


def _read_table(path: Path) -> Labelled:
    examples = read_table(path)
    if examples.seconds is not None:
        raise UserError(f"{path} has pairs of texts (a column 'text2'); a detector is shown one text")
    return Labelled(examples, examples.hashes)


def check_labels(train: Examples, paraphrased: str) -> None:
    """Raises UserError where training texts have not two labels, `paraphrased` one of them."""
    found = sorted(set(train.labels))
    if len(found) != 2 or paraphrased not in found:
        listed = ", ".join(map(repr, found[:5]))
        raise UserError(
            f"{train.name} has the labels {listed}; a detector needs two, one of them {paraphrased!r}: "
            "correct them, or name the one that means paraphrased by --paraphrased"
        )


def take(labelled: Labelled, most: int | None, seed: int) -> Labelled:
    """The first `most` of the texts in an order drawn by the seed; all for None."""
    if most is None or most >= len(labelled.examples):
        return labelled
    order = list(range(len(labelled.examples)))
    random.Random(seed).shuffle(order)
    chosen = np.array(order[:most], np.int64)
    return labelled._replace(examples=labelled.examples.take(chosen), groups=labelled.groups[chosen])


def make_rows(
    labelled: Labelled,
    *,
    least: int,
    most: int | None,
    fits: Callable[[str], bool],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Each text as a detector will meet it, and once more as a shorter cut of it.

    A text that does not fit is cut into parts as documents are. Of each text or part of at least twice
    `least` words comes one cut: its length is drawn log-uniformly between `least` words and all, its place
    uniformly; the text and the seed decide both.

    Args:
        least: words; shorter texts are left out. most: words; longer texts do not fit. progress: called with
            (done, total).

    Raises:
        UserError: no text is long enough.
    """
    texts: list[str] = []
    labels: list[str] = []
    groups: list[int] = []
    sizes: list[int] = []
    examples, left_out = labelled.examples, 0

    def fit(text: str) -> bool:
        return fits(text) and (most is None or len(words(text)) <= most)

    for number, (text, label) in enumerate(zip(examples.texts, examples.labels, strict=True)):
        made = [row for part in parts(plain(text), fit) for row in _rows(part, least, f"{seed} {part}")]
        left_out += not made
        texts += [row for row, _ in made]
        sizes += [size for _, size in made]
        labels += [label] * len(made)
        groups += [int(labelled.groups[number])] * len(made)
        if progress is not None and number % 512 == 0:
            progress(number, len(examples))
    if not texts:
        raise UserError(f"{examples.name} has no text of {least} words or more; give longer ones")
    return Rows(
        Examples(texts, None, labels, examples.name),
        np.array(groups, np.uint64),
        np.array(sizes, np.int64),
        left_out,
    )


def _rows(text: str, least: int, seed: str) -> list[tuple[str, int]]:
    """A text and a cut of it, each with its words."""
    spans = words(text)
    if len(spans) < least:
        return []
    found = [(text, len(spans))]
    if len(spans) >= 2 * least:
        draw = random.Random(seed)
        size = int(math.exp(draw.uniform(math.log(least), math.log(len(spans)))))
        first = draw.randint(0, len(spans) - size)
        found.append((text[spans[first][0] : spans[first + size - 1][1]], size))
    return found
