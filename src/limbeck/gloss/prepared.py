"""Training instances on disk: read, checked against the lexicon and measured once, then memory-mapped.

What is kept is the text of each instance and how much room it takes; its pieces are made when its step comes
(`Encoder`, a fraction of a millisecond), so that memory does not grow with the corpus. The folder is named
after a fingerprint of everything that decides its content.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limbeck import __version__
from limbeck.errors import UserError
from limbeck.files import atomic_folder
from limbeck.gloss.encode import Encoder
from limbeck.gloss.instances import Candidates, Instance, candidates
from limbeck.gloss.layout import Layout
from limbeck.gloss.sources import contents, read_sources
from limbeck.lexicon.lexicon import check_keys
from limbeck.text.mixing import mix64
from limbeck.text.words import WORD_RULE_VERSION, passage_hash

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Lexicon, Sense

FORMAT_VERSION = 1
ROWS = 4096
"""Rows of a record batch; only the last may have fewer."""
LONGEST_CONTEXT = 60_000
"""Most characters of a context; the model sees some hundreds of them, around the target."""

_CHUNK = 512  # instances encoded together
_FILE, _ABOUT = "instances.arrow", "about.json"

Ints = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass
class Counts:
    """What became of the instances that were read; the last three kinds cannot be trained on.

    read, kept; no_gold: nobody has said their sense; no_candidates: the lexicon has no sense of the word;
    gold_is_no_candidate: the lexicon has the gold sense, but of another word or part of speech.
    """

    read: int = 0
    kept: int = 0
    no_gold: int = 0
    no_candidates: int = 0
    gold_is_no_candidate: int = 0


class PreparedInstances:
    """Instances on disk. Of each, in arrays: hash uint64 [N]; candidates, rows, width: int64 [N].

    candidates: their number; rows: of the model's input in the layout; width: pieces of the longest. counts:
    what became of all that were read; fingerprint: of all that decides these.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        import pyarrow as pa

        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            reader = pa.ipc.open_file(pa.memory_map(str(folder / _FILE)))
            self._batches = [reader.get_batch(b) for b in range(reader.num_record_batches)]
            whole = about["fingerprint"] == fingerprint
            whole &= sum(b.num_rows for b in self._batches) == about["counts"]["kept"]
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise UserError(
                f"prepared instances are damaged: delete the folder {folder} and run again ({error})"
            ) from error
        if not whole:
            raise UserError(f"prepared instances are incomplete: delete the folder {folder} and run again")
        self.folder, self.fingerprint = folder, fingerprint
        self.counts = Counts(**about["counts"])
        self.hashes: npt.NDArray[np.uint64] = self._column("hash", np.uint64)
        self.candidates: Ints = self._column("candidates", np.int64)
        self.rows: Ints = self._column("rows", np.int64)
        self.width: Ints = self._column("width", np.int64)

    def _column(self, name: str, kind: Any) -> npt.NDArray[Any]:
        parts = [batch.column(name).to_numpy() for batch in self._batches]
        return np.concatenate([np.zeros(0, kind), *parts]).astype(kind, copy=False)

    def __len__(self) -> int:
        return len(self.hashes)

    def instance(self, index: int) -> Instance:
        """Instance `index`, 0 to `len(self) - 1`."""
        batch, row = divmod(index, ROWS)
        fields = {name: self._batches[batch].column(name)[row].as_py() for name in _TEXTS}
        return Instance(**fields | {"gold": tuple(fields["gold"])})

    def texts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Context and gold keys of every instance, in order."""
        for batch in self._batches:
            for context, gold in zip(batch.column("context"), batch.column("gold"), strict=True):
                yield context.as_py(), tuple(gold.as_py())


def choose(
    prepared: PreparedInstances, *, seed: int, share: float, limit: int | None, monosemous: bool
) -> Ints:
    """The rows to train on, ascending; which are taken depends on the instances and the seed alone.

    A smaller share is a part of a larger one, and a limit takes the same ones first.

    Args:
        monosemous: those with one candidate as well.
    """
    rows = np.arange(len(prepared))
    if not monosemous:
        rows = rows[prepared.candidates[rows] > 1]
    order = np.argsort(mix64(prepared.hashes[rows] ^ mix64(np.uint64(seed))), kind="stable")
    count = max(1, round(share * len(rows)))
    return np.sort(rows[order[: min(count, limit or count)]])


def instance_hash(instance: Instance) -> int:
    """Identity of an instance: of its id, its target's place and its context, 64 bits."""
    return passage_hash(f"{instance.id}\n{instance.start}\n{instance.context}")


def prepare_instances(
    names: Sequence[str],
    lexicon: Lexicon,
    encoder: Encoder,
    layout: Layout,
    *,
    of: Candidates,
    window: int,
    cache: Path,
    label: str,
    progress: Progress | None = None,
) -> PreparedInstances:
    """Reads instances that can be trained on, or opens what an earlier call left in `cache`.

    Args:
        names: as in a recipe's `gloss.train`. of: whose senses compete. label: where the names were given,
            for messages. progress: called with (instances read, 0).

    Raises:
        UserError: files that cannot be read (see gloss/sources.py), sense keys that the lexicon does not
            have (named, counted), a context that is far too long, none left to train on.
    """
    settings = [
        FORMAT_VERSION, __version__, WORD_RULE_VERSION, contents(names, lexicon, label), lexicon.fingerprint,
        encoder.tokenizer.fingerprint, encoder.marks, encoder.max_length, layout.kind, layout.row_length, of,
        window,
    ]  # fmt: skip
    fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    folder = cache / f"instances-{fingerprint[:20]}"
    if not folder.exists():
        instances = checked(read_sources(names, lexicon, window, label), lexicon, label)
        with atomic_folder(folder) as temporary:
            counts = _write(temporary / _FILE, instances, lexicon, encoder, layout, of, progress)
            about = {"fingerprint": fingerprint, "counts": asdict(counts)}
            (temporary / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
    prepared = PreparedInstances(folder, fingerprint)
    if not len(prepared):
        said = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in asdict(prepared.counts).items())
        raise UserError(
            f"{label}: there is no instance left to train on ({said}); give words with their senses"
        )
    return prepared


def checked(instances: Iterable[Instance], lexicon: Lexicon, label: str) -> Iterator[Instance]:
    """The same; the first sense key that the lexicon lacks ends it, with all such keys of the rest told."""
    instances = iter(instances)
    for instance in instances:
        if len(instance.context) > LONGEST_CONTEXT:
            raise UserError(
                f"{label}: the context of {instance.id} has {len(instance.context):,} characters; give at "
                f"most {LONGEST_CONTEXT:,} around the word"
            )
        if any(lexicon.sense(key) is None for key in instance.gold):
            rest = itertools.chain([instance], instances)
            check_keys(lexicon, (key for one in rest for key in one.gold), label)
        yield instance


def _write(
    path: Path,
    instances: Iterable[Instance],
    lexicon: Lexicon,
    encoder: Encoder,
    layout: Layout,
    of: Candidates,
    progress: Progress | None,
) -> Counts:
    import pyarrow as pa

    schema = _schema()
    counts = Counts()
    waiting: list[dict[str, Any]] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for chunk in _chunks(instances):
            items = [item for one in chunk if (item := _usable(one, lexicon, of, counts)) is not None]
            waiting += _measured(items, encoder, layout)
            while len(waiting) >= ROWS:
                writer.write_batch(pa.RecordBatch.from_pylist(waiting[:ROWS], schema))
                waiting = waiting[ROWS:]
            if progress is not None:
                progress(counts.read, 0)
        if waiting:
            writer.write_batch(pa.RecordBatch.from_pylist(waiting, schema))
    return counts


_TEXTS = ("id", "context", "start", "end", "lemma", "pos", "gold")


def _schema() -> Any:
    """The Arrow columns: the fields of an `Instance`, and what `PreparedInstances` says of each."""
    import pyarrow as pa

    text, number = pa.large_utf8(), pa.int32()
    kinds = (text, text, number, number, text, text, pa.list_(text))
    fields = [pa.field(name, kind) for name, kind in zip(_TEXTS, kinds, strict=True)]
    return pa.schema(
        [*fields, ("hash", pa.uint64()), *((n, number) for n in ("candidates", "rows", "width"))]
    )


def _chunks(instances: Iterable[Instance]) -> Iterator[list[Instance]]:
    instances = iter(instances)
    while chunk := list(itertools.islice(instances, _CHUNK)):
        yield chunk


def _usable(
    instance: Instance, lexicon: Lexicon, of: Candidates, counts: Counts
) -> tuple[Instance, tuple[Sense, ...]] | None:
    """The instance with its candidates, if one of them is known to be right; counts what became of it."""
    counts.read += 1
    if not instance.gold:
        counts.no_gold += 1
        return None
    senses = candidates(lexicon, instance, of)
    if not senses:
        counts.no_candidates += 1
        return None
    if not {sense.key for sense in senses} & set(instance.gold):
        counts.gold_is_no_candidate += 1
        return None
    counts.kept += 1
    return instance, senses


def _measured(
    items: Sequence[tuple[Instance, tuple[Sense, ...]]], encoder: Encoder, layout: Layout
) -> Iterator[dict[str, Any]]:
    for (instance, senses), encoded in zip(items, encoder.encode(items), strict=True):
        rows = layout.rows(encoded)
        measures = {
            "hash": instance_hash(instance),
            "candidates": len(senses),
            "rows": len(rows),
            "width": max(row.length for row in rows),
        }
        yield {name: getattr(instance, name) for name in _TEXTS} | measures
