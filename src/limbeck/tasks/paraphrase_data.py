"""Sets for the detection of machine paraphrase: paragraphs, each original or paraphrased (docs/evaluate.md).

    found = read_paraphrases(Path("spinbot-wiki.valid.tsv.zst"))
    found.examples.texts, found.examples.labels          # "original" or "paraphrased", in the file's order

Three forms are read: a table (TSV) of pairs with the columns `original` (or `text`) and `spun`; one with
`text` and `label`; a folder with a file for each paragraph, as the published sets are.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.finetune.examples import Examples
from limbeck.finetune.labels import Labels
from limbeck.tasks.paraphrase_rows import EITHER, ORIGINAL, PARAPHRASED, Form, open_rows
from limbeck.text.documents import KINDS

_log = logging.getLogger("limbeck")

LABELS = Labels((ORIGINAL, PARAPHRASED))


@dataclass(frozen=True)
class Paraphrases:
    """Paragraphs and what each is.

    examples: N texts labelled "original" or "paraphrased"; of pairs the original, then its paraphrase.
    groups: uint64 [N], equal for texts that belong together and should not be parted between training and
    validation: the article (`article_id`, or what stands before ORIG or SPUN), else the pair, else the text.
    synthetic: how it was made, where the table says so as `limbeck spin` writes it. unchanged: pairs that
    were left out, as nothing in them is paraphrased.
    """

    examples: Examples
    groups: npt.NDArray[np.uint64]
    form: Form
    synthetic: str | None = None
    unchanged: int = 0

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, rows: npt.NDArray[np.int64]) -> Paraphrases:
        """Those of these indices, in that order."""
        return Paraphrases(
            self.examples.take(rows), self.groups[rows], self.form, self.synthetic, self.unchanged
        )


def read_examples(path: Path) -> Examples:
    """The texts of `read_paraphrases`, labelled "original" and "paraphrased"."""
    return read_paraphrases(path).examples


def read_paraphrases(path: Path) -> Paraphrases:
    """The paragraphs of a table (.tsv, or packed: .zst .gz .xz) or of a folder of the published form.

    Pairs whose sides are the same text are left out, and counted.

    Raises:
        UserError: nothing there, empty, not UTF-8, a column that is not there, a row of another width or
            without text, a label that is not known, one class only, no pair with two different texts.
    """
    found = _read(path)
    if len(classes := sorted(set(found.examples.labels))) < 2:
        raise UserError(
            f"{path} has one class only: all {len(found):,} texts are {classes[0]}; give originals and "
            f"paraphrases, as {EITHER}"
        )
    if found.unchanged:
        _log.warning(
            "%s of %s pairs of %s have the same text on both sides and are left out",
            f"{found.unchanged:,}",
            f"{found.unchanged + len(found) // 2:,}",
            path,
        )
    return found


def read_originals(path: Path) -> Examples:
    """The paragraphs of a table without labels (column `text` or `original`): originals, to be spun.

    Raises:
        UserError: as `read_paraphrases`; the set has labels.
    """
    found = _read(path)
    if found.form != "originals":
        raise UserError(f"{path} is labelled; name a table of originals alone, with the column 'text'")
    return found.examples


def is_unlabelled(path: Path) -> bool:
    """Whether it is a table of originals alone; raises UserError where it is of no form."""
    return open_rows(path)[0] == "originals"


def _read(path: Path) -> Paraphrases:
    form, rows = open_rows(path)
    texts: list[str] = []
    labels: list[str] = []
    groups: list[int] = []
    synthetic, unchanged = "", 0
    for row in rows:
        if row.unchanged:
            unchanged += 1
            continue
        texts.append(row.text)
        labels.append(row.label)
        digest = hashlib.blake2b(row.group.encode(), digest_size=8).digest()
        groups.append(int.from_bytes(digest, "little"))
        synthetic = synthetic or row.synthetic
    if unchanged and not texts:
        raise UserError(
            f"{path} has no pair with two different texts (of {unchanged:,}): nothing was paraphrased; spin "
            "longer texts, or at a higher rate"
        )
    if not texts:
        raise UserError(f"{path} has no paragraph; give it {EITHER}")
    examples = Examples(texts, None, labels, str(path))
    return Paraphrases(examples, np.array(groups, np.uint64), form, synthetic or None, unchanged)


def find_part(place: Path, part: str) -> Path | None:
    """What a folder has of `part` (train, valid or test), or None.

    That is the folder `train`, the file `train.tsv` or one `NAME.train.tsv`; files may be packed.

    Raises:
        UserError: several such.
    """
    endings = [f".tsv{packed}" for packed in ("", *KINDS)]
    found = [place / part] if (place / part).is_dir() else []
    for file in sorted(place.iterdir()):
        name = file.name.lower()
        if file.is_file() and any(name == part + end or name.endswith(f".{part}{end}") for end in endings):
            found.append(file)
    if len(found) > 1:
        raise UserError(f"{place} has {found[0].name} and {found[1].name}, both {part}; name one of them")
    return found[0] if found else None


def cut(examples: Examples, words: int) -> Examples:
    """The first words of each text, those between white space; 0: all of it."""
    if not words:
        return examples
    texts = [" ".join(text.split(maxsplit=words)[:words]) for text in examples.texts]
    return Examples(texts, None, examples.labels, examples.name)


def undecidable(examples: Examples) -> int:
    """How many texts stand there with the other label too, such as a start in which no word was changed."""
    kinds: dict[int, int] = {}
    hashes = examples.hashes.tolist()
    for key, label in zip(hashes, examples.labels, strict=True):
        kinds[key] = kinds.get(key, 0) | (1 if label == ORIGINAL else 2)
    return sum(kinds[key] == 3 for key in hashes)
