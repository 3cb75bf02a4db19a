"""Where a recipe's training and development instances come from: files, and the lexicon's own examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import UserError
from limbeck.gloss.instances import Instance, gold_beside, read_jsonl, read_unified, wordnet_examples
from limbeck.recipe_gloss import WORDNET_EXAMPLES

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Lexicon

_PARTS = {WORDNET_EXAMPLES[0]: None, WORDNET_EXAMPLES[1]: "train", WORDNET_EXAMPLES[2]: "valid"}
_FORMS = (
    f"{WORDNET_EXAMPLES[0]} (/train, /valid), NAME.data.xml with NAME.gold.key.txt beside it, or NAME.jsonl"
)


def check_sources(names: Sequence[str], label: str) -> None:
    """Makes sure that every one is there and of a known form, before anything is read.

    Args:
        label: where the names were given, for messages: `gloss.train`.

    Raises:
        UserError: no such file, or a file of another form.
    """
    for name in names:
        _files(name, label)


def contents(names: Sequence[str], lexicon: Lexicon, label: str) -> str:
    """Fingerprint of what the names stand for: of the files, not of their places.

    Raises:
        UserError: as `check_sources`.
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name if name in _PARTS else ''}\n".encode())
        if name in _PARTS:
            digest.update(lexicon.fingerprint.encode())
        for file in _files(name, label):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def read_sources(names: Sequence[str], lexicon: Lexicon, window: int, label: str) -> Iterator[Instance]:
    """The instances of all sources, one after the other, streamed.

    Args:
        window: sentences of the same document before and behind that belong to a context; for the unified
            format alone, which knows them.

    Raises:
        UserError: as `check_sources`, and whatever is wrong with a file.
    """
    for name in names:
        files = _files(name, label)
        if name in _PARTS:
            part = _PARTS[name]
            assert part in ("train", "valid", None)
            yield from wordnet_examples(lexicon, part=part)  # type: ignore[arg-type]
        elif len(files) == 2:
            yield from read_unified(*files, window=window)
        else:
            yield from read_jsonl(files[0])


def _files(name: str, label: str) -> tuple[Path, ...]:
    """The files of a source: a data file and its gold keys, a JSONL file, or none."""
    if name in _PARTS:
        return ()
    path = Path(name)
    if not path.exists():
        raise UserError(f"{label}: {name} does not exist; give {_FORMS}")
    bare = path.name.removesuffix(".xz").removesuffix(".gz")
    if path.is_file() and bare.endswith(".jsonl"):
        return (path,)
    if path.is_file() and bare.endswith(".data.xml"):
        return path, gold_beside(path)
    raise UserError(f"{label}: {name} is of no form that is known; give {_FORMS}")
