"""The labelled sets that `limbeck eval wsd` finds in a folder, and what training text they are compared with.

A set is `NAME.data.xml` with `NAME.gold.key.txt` beside it, in the folder or up to two folders down, as in
the unified evaluation framework's own archive; or a JSONL file of a user's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import UserError
from limbeck.files import data_dir
from limbeck.gloss.instances import Instance, gold_beside, read_jsonl, read_keys, read_unified
from limbeck.gloss.unified import DATA, PACKED

FIVE = ("senseval2", "senseval3", "semeval2007", "semeval2013", "semeval2015")
"""The unified evaluation sets; together they are ALL."""

ALL = "ALL"

DEVELOPMENT = "semeval2007"
"""The set on which models are chosen, by the field's habit."""

_SHORT = dict(zip(("se2", "se3", "se07", "se13", "se15"), FIVE, strict=True)) | {"se7": "semeval2007"}
_TRAINING = "semcor"  # what a training text's file name begins with


@dataclass(frozen=True)
class LabelledSet:
    """Instances with gold keys in a file: `.data.xml` (perhaps packed) or `.jsonl`."""

    name: str
    path: Path

    @property
    def keys_in(self) -> Path:
        """The file that its gold keys stand in."""
        return gold_beside(self.path) if DATA in self.path.name else self.path

    def instances(self, window: int) -> Iterator[Instance]:
        """Its instances, streamed; window: as `read_unified` (a JSONL file has the contexts it has).

        Raises:
            UserError: as `read_unified` or `read_jsonl`; an instance without a gold key.
        """
        if DATA in self.path.name:
            yield from read_unified(self.path, self.keys_in, window=window)
            return
        for instance in read_jsonl(self.path):
            if not instance.gold:
                raise UserError(
                    f"{self.path}: the instance {instance.id!r} has no gold key; add it to score it"
                )
            yield instance


@dataclass(frozen=True)
class Found:
    """The sets found, by name, and the training text's gold keys if they lie there too."""

    sets: dict[str, LabelledSet]
    trained: Path | None


def data_folder() -> Path:
    """Where the sets are by default: `wsd` in `LIMBECK_DATA`.

    Raises:
        UserError: the variable is not set.
    """
    if (found := data_dir("wsd")) is None:
        raise UserError(
            "no sets to measure on; name their folder with --data (with several tasks --wsd-data), or set "
            "LIMBECK_DATA to a folder that has them in its folder wsd (docs/wsd.md tells where to get them)"
        )
    return found


def find_sets(place: Path) -> Found:
    """What a folder holds, or the one set of a file.

    Raises:
        UserError: there is no such place, or no set in it; two sets of one name; a set without gold keys.
    """
    if place.is_file():
        if DATA not in place.name and place.suffix != ".jsonl":
            raise UserError(
                f"{place} is neither NAME{DATA} nor NAME.jsonl; name a set or the folder of several"
            )
        name = place.name.partition(DATA)[0] if DATA in place.name else place.stem
        return Found({name: LabelledSet(name, place)}, None)
    if not place.is_dir():
        raise UserError(f"there is no {place}; name the folder of the sets with --data")
    sets: dict[str, LabelledSet] = {}
    trained = None
    for path in sorted(
        path
        for depth in ("", "*/", "*/*/")
        for ending in PACKED
        for path in place.glob(f"{depth}*{DATA}{ending}")
    ):
        name = path.name.partition(DATA)[0]
        if name.lower().startswith(_TRAINING):
            trained = gold_beside(path) if name.lower() == _TRAINING else trained
        elif name in sets:
            raise UserError(f"{sets[name].path} and {path} are sets of one name; name one folder with --data")
        else:
            gold_beside(path)
            sets[name] = LabelledSet(name, path)
    if not sets:
        raise UserError(
            f"{place} has no set: no NAME{DATA} in it or up to two folders down; name another with --data"
        )
    return Found(sets, trained)


def choose(found: Found, names: Sequence[str]) -> list[LabelledSet]:
    """The sets asked for by name (`se07` is `semeval2007`, and so on), in the usual order.

    Without names all, where ALL is what the five are together. ALL itself is read as the five, if they are
    there: each is measured and ALL is what they are together.

    Raises:
        UserError: a set that was not found.
    """
    five = [name for name in FIVE if name in found.sets]
    rest = [name for name in found.sets if name not in FIVE]
    if len(five) == len(FIVE):
        rest = [name for name in rest if name != ALL]
    wanted = [_SHORT.get(name.lower(), name) for name in names]
    wanted = [ALL if name.lower() == "all" else name for name in wanted]
    if ALL in wanted and len(five) == len(FIVE):
        wanted += five
        wanted.remove(ALL)
    if unknown := [name for name in wanted if name not in found.sets]:
        raise UserError(f"there is no set {unknown[0]!r} in the data; it has {', '.join([*five, *rest])}")
    return [found.sets[name] for name in [*five, *rest] if not wanted or name in wanted]


def count_keys(path: Path) -> dict[str, int]:
    """How often each sense occurs in a gold-key file; each sense of an instance counts."""
    counts: dict[str, int] = {}
    for _, keys in read_keys(path):
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
    return counts


class Digest:
    """SHA-256 of instances, whatever file they came from."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, instance: Instance) -> None:
        """Takes one more in."""
        row = (
            instance.id,
            instance.context,
            instance.start,
            instance.end,
            instance.lemma,
            instance.pos,
            instance.gold,
        )
        self._hash.update(f"{row!r}\n".encode())

    def hex(self) -> str:
        """The digest of those taken in so far."""
        return self._hash.hexdigest()
