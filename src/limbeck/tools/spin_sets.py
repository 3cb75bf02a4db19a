"""Cross-domain sets for the benchmark of paraphrase detection: originals of another place, and them spun.

What is spun here is synthetic, and every set says so with the share of words that was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.errors import UserError
from limbeck.finetune.examples import Examples
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tasks.paraphrase_data import is_unlabelled, read_originals
from limbeck.tasks.paraphrase_rows import ORIGINAL, PARAPHRASED
from limbeck.tasks.paraphrase_sets import EvalSet, labelled_set, sample, set_name
from limbeck.text.documents import KINDS
from limbeck.tools.spin import Spinner
from limbeck.tools.spin_files import Totals, made_by

if TYPE_CHECKING:
    from limbeck.tasks.mlm_words import Progress

RATES = {"every-4th": 0.25, "every-2nd": 0.5}
"""Sets made of one table of originals: what their names end in, and the share of words asked for."""

NONE = "none"
SEED = 0


def _originals(data: Path) -> list[Path]:
    """The tables `NAME.original.tsv` of a folder, plain or packed."""
    endings = tuple(f".original.tsv{packed}" for packed in ("", *KINDS))
    return sorted(path for path in data.iterdir() if path.name.lower().endswith(endings))


def cross_sets(
    data: Path | None,
    named: Sequence[str] = (),
    *,
    lexicon: str = "wordnet",
    limit: int | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[EvalSet, ...], list[str]]:
    """Sets of other places to measure on.

    A table of originals alone (`text`, or `original`) is spun at both `RATES`; a labelled table or folder is
    taken as it is.

    Args:
        data: where none is named, each `NAME.original.tsv` (also packed) in this folder is taken.
        named: tables and folders; "none": nothing, whatever `data` has. lexicon: whose synonyms.
        limit: so many texts of each set, always the same ones.

    Returns:
        The sets, and remarks on what was left out.

    Raises:
        UserError: something named that cannot be read; a lexicon that is needed for it and not found.
    """
    if list(named) == [NONE]:
        return (), []
    paths = [Path(one).expanduser() for one in named]
    if not named:
        paths = [] if data is None or not data.is_dir() else _originals(data)
    plain = [path for path in paths if path.is_dir() or not is_unlabelled(path)]
    spun = [path for path in paths if path not in plain]
    found = [labelled_set(path, limit) for path in plain]
    if not spun:
        return tuple(found), []
    told = None if progress is None else partial(progress, "building the lexicon's index")
    try:
        opened = open_lexicon(lexicon, told)
    except UserError as error:
        if named:
            raise
        left = ", ".join(path.name for path in spun)
        return tuple(found), [f"No cross-domain sets: {left} could not be spun ({error})."]
    for path in spun:
        found += spun_sets(path, opened, limit=limit, progress=progress)
    return tuple(found), []


def spun_sets(
    path: Path, lexicon: Lexicon, *, limit: int | None = None, progress: Progress | None = None
) -> list[EvalSet]:
    """The originals of a table beside themselves spun, a set for each of `RATES`.

    What the spinner leaves as it is has no place in a set; how many originals that are is told.

    Raises:
        UserError: see `read_originals`; nothing could be changed.
    """
    originals = read_originals(path)
    some = originals if limit is None else sample(originals, max(1, limit // 2))
    name = set_name(path).removesuffix(".original")
    found = []
    for ending, rate in RATES.items():
        examples, made = _spun(some, Spinner(lexicon, rate=rate, seed=SEED), rate, progress)
        whole = len(some) == len(originals)
        named = f"{name}-{ending}" if whole else f"{name}-{ending}-sample-{len(examples)}"
        found.append(EvalSet(named, examples, len(examples) if whole else 2 * len(originals), made))
    return found


def _spun(
    originals: Examples, spinner: Spinner, rate: float, progress: Progress | None
) -> tuple[Examples, dict[str, Any]]:
    """Each original and, behind it, what it becomes; and how it was made."""
    totals = Totals()
    texts, labels, same = [], [], 0
    for number, text in enumerate(originals.texts):
        parts = list(spinner.stream([text]))
        new = "".join(part.text for part in parts)
        if new == text:
            same += 1
            continue
        for part in parts:
            totals.add(part)
        texts += [text, new]
        labels += [ORIGINAL, PARAPHRASED]
        if progress is not None and not number % 100:
            progress(f"spinning {originals.name}", number, len(originals))
    if not texts:
        raise UserError(f"{originals.name} has no word that could be spun; give English text")
    made = made_by(spinner, rate, SEED, None) | totals.record() | {"left_out": same}
    return Examples(texts, None, labels, originals.name), made
