"""Splits the large corpus into its two domains, encyclopedia and fiction, by its list of documents.

    python benchmarks/domains.py FOLDER

writes {encyclopedia,fiction}.{train,valid,test}.txt and mixed.train.txt (all the fiction, and as much of the
encyclopedia) into FOLDER. Non-fiction books are left out. Streams: memory stays flat.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

DATA = Path(os.environ.get("LIMBECK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
DOMAIN = {
    "litbank": "fiction",
    "ag-gipp/wikiextractor": "encyclopedia",
    "JohanMadsen/02807_Project": "encyclopedia",
}


def documents(path: Path) -> Iterator[list[str]]:
    """The documents of a corpus file: lists of lines."""
    with path.open("rb") as raw:
        reader = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8")
        found: list[str] = []
        for line in reader:
            if line.strip():
                found.append(line)
            elif found:
                yield found
                found = []
        if found:
            yield found


def listing() -> list[dict[str, str]]:
    """The rows of the list of documents."""
    with (DATA / "corpus-large" / "documents.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def split(target: Path) -> dict[str, int]:
    """Writes the domain files; returns bytes per file. Files that are there already stay."""
    target.mkdir(parents=True, exist_ok=True)
    source = DATA / "corpus-large"
    rows = listing()
    for part in ("train", "valid", "test"):
        listed = [row for row in rows if row["split"].split("+")[0] == part]
        if (target / f"fiction.{part}.txt").exists():
            continue
        wanted = sum(int(row["bytes"]) for row in listed if DOMAIN.get(row["source"]) == "fiction")
        names = ["encyclopedia", "fiction", *(["mixed"] if part == "train" else [])]
        out = {name: (target / f".{name}.{part}.txt").open("w", encoding="utf-8") for name in names}
        taken = 0
        for row, lines in zip(listed, documents(source / f"{part}.txt.zst"), strict=True):
            assert len(lines) == int(row["paragraphs"]), (row, len(lines))
            domain = DOMAIN.get(row["source"])
            if domain is None:
                continue
            text = "".join(lines) + "\n"
            out[domain].write(text)
            if part == "train" and (domain == "fiction" or taken < wanted):
                out["mixed"].write(text)
                taken += len(text) if domain == "encyclopedia" else 0
        for name, handle in out.items():
            handle.close()
            (target / f".{name}.{part}.txt").rename(target / f"{name}.{part}.txt")
    return {path.name: path.stat().st_size for path in sorted(target.glob("*.txt"))}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/domains.py FOLDER")
    for name, size in split(Path(sys.argv[1])).items():
        print(f"{size:>12} {name}")
