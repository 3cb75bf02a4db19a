"""The rows of sets for the detection of machine paraphrase, as they stand in tables and folders.

What is read of them has single blanks for white space, so that line ends and indents betray nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from limbeck.errors import UserError, columns_told
from limbeck.text.documents import file_lines, opened

ORIGINAL, PARAPHRASED = "original", "paraphrased"

WORDS = {
    **dict.fromkeys(("original", "orig", "og", "0"), ORIGINAL),
    **dict.fromkeys(("paraphrased", "paraphrase", "spun", "mg", "1"), PARAPHRASED),
}
"""How a label or the folder of a class may be written, in capitals as well."""

LONGEST = 1_000_000
"""Characters of a paragraph, at most: what is longer is a whole text."""

Form = Literal["pairs", "labelled", "folder", "originals"]
"""Where labels come from; `originals`: a table with `text` or `original` and neither `label` nor `spun`.

Of `pairs` the first side is `original`, or `text` as `limbeck spin --tsv text` leaves it."""

EITHER = (
    "pairs (columns 'original' or 'text', and 'spun') or labelled paragraphs (columns 'text' and 'label')"
)

_CLASS = re.compile(r"(?:^|[-_.])(ORIG|SPUN)(?:[-_.]|$)", re.IGNORECASE)


class Row(NamedTuple):
    """A paragraph. group: what it belongs to; synthetic: how it was made, where a table says so.

    unchanged: it stands for a pair whose sides are the same text, of which nothing can be learnt or measured.
    """

    text: str
    label: str
    group: str
    synthetic: str = ""
    unchanged: bool = False


def open_rows(path: Path) -> tuple[Form, Iterator[Row]]:
    """The form of a table or folder, and its rows as they are read.

    Raises:
        UserError: nothing is there, an empty file, none of the forms; while the rows are read: not UTF-8, a
            row of another width or without text, a label that is none of `WORDS`.
    """
    if path.is_dir():
        return "folder", _folder(path)
    lines = file_lines(path)
    header = next(lines, None)
    if header is None:
        raise UserError(f"{path} is empty; give it {EITHER}")
    names = header.split("\t")
    form = _form(names, path)
    return form, _table(lines, names, form, path)


def _form(names: Sequence[str], path: Path) -> Form:
    """What the columns make of a table."""
    for name in ("original", "spun", "text", "label"):
        if names.count(name) > 1:
            raise UserError(f"{path} has {names.count(name)} columns named {name!r}; rename all but one")
    if "original" in names:
        return "pairs" if "spun" in names else "originals"
    if "text" in names:
        if "label" in names and "spun" in names:
            raise UserError(
                f"{path} has 'label' and 'spun' beside 'text': is a row a labelled text or a pair? take "
                "one of the two columns out"
            )
        return "pairs" if "spun" in names else "labelled" if "label" in names else "originals"
    lacking = "'text'" if "label" in names else "'text' or 'original'"
    raise UserError(
        f"{path} has no column {lacking}; its header (the first line) has {columns_told(names)}; give it "
        f"{EITHER}"
    )


def _table(lines: Iterator[str], names: Sequence[str], form: Form, path: Path) -> Iterator[Row]:
    """The rows of a table; a pair is two, or one that is `unchanged`."""
    columns = [names.index("original" if form != "labelled" and "original" in names else "text")]
    if form == "pairs":
        columns.append(names.index("spun"))
    article, label, mark = (
        names.index(name) if name in names else None for name in ("article_id", "label", "synthetic")
    )
    for number, line in enumerate(lines, 2):
        cells, where = line.split("\t"), f"{path}, line {number:,},"
        if len(cells) != len(names):
            raise UserError(
                f"{where} has {len(cells)} columns instead of {len(names)}; a row is one line, and no "
                "text may hold a tab"
            )
        texts = [_single(cells[column], where) for column in columns]
        group = texts[0] if article is None else f"article {cells[article]}"
        kinds = [ORIGINAL, PARAPHRASED]
        if form == "labelled":
            assert label is not None
            kinds = [_label(cells[label], where)]
        made = "" if mark is None else cells[mark]
        if len(set(texts)) < len(columns):
            yield Row(texts[0], ORIGINAL, group, made, unchanged=True)
            continue
        for text, kind in zip(texts, kinds, strict=False):
            yield Row(text, kind, group, made)


def _single(text: str, where: str) -> str:
    """A paragraph with single blanks."""
    if len(text) > LONGEST:
        raise UserError(
            f"{where} has a text of {len(text):,} characters; part it into paragraphs, of {LONGEST:,} at most"
        )
    found = " ".join(text.split())
    if not found:
        raise UserError(f"{where} has no text; take it out")
    return found


def _label(written: str, where: str) -> str:
    found = WORDS.get(written.strip().lower())
    if found is None:
        known = ([word for word, label in WORDS.items() if label == kind] for kind in (ORIGINAL, PARAPHRASED))
        raise UserError(
            f"{where} has the label {written.strip()[:40]!r}, which is none of "
            f"{' and '.join(', '.join(one) for one in known)}; correct it"
        )
    return found


def _folder(path: Path) -> Iterator[Row]:
    """Files of one paragraph: in folders named as the classes, or with ORIG and SPUN in their names.

    In the order of classes and names, which is the same on every machine.
    """
    inner = sorted(
        (WORDS[one.name.lower()], one) for one in path.iterdir() if one.is_dir() and one.name.lower() in WORDS
    )
    if inner:
        found = [(label, file) for label, folder in inner for file in _texts(folder)]
    else:
        found = sorted((_by_name(file), file) for file in _texts(path))
    if not found:
        raise UserError(
            f"{path} has no paragraphs; give it the folders og and mg (or original and paraphrased) with a "
            ".txt file for each paragraph, or files such as 17-ORIG-3.txt and 17-SPUN-3.txt"
        )
    return (_file(label, file) for label, file in found)


def _texts(folder: Path) -> list[Path]:
    """The .txt files of a folder and those below it, by their names."""
    found = (file for file in folder.rglob("*.txt") if not file.name.startswith("."))
    return sorted(file for file in found if file.is_file())


def _by_name(file: Path) -> str:
    named = _CLASS.search(file.stem)
    if named is None:
        raise UserError(
            f"{file} has neither ORIG nor SPUN in its name and is in no folder that says its class, such "
            "as og or mg; take it out or move it"
        )
    return WORDS[named[1].lower()]


def _file(label: str, file: Path) -> Row:
    named = _CLASS.search(file.stem)
    if named is not None and WORDS[named[1].lower()] != label:
        raise UserError(f"{file} is {named[1]} by its name and {label} by its folder; move it")
    if (size := file.stat().st_size) > 4 * LONGEST:
        raise UserError(f"{file} has {size:,} bytes, so it is no paragraph; part it, or take it out")
    with opened(file) as handle:
        content = handle.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8; convert all files of the set in the same way") from error
    return Row(_single(text, str(file)), label, file.stem[: named.start()] if named else file.stem)
