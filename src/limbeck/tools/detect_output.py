"""Documents looked at, and where their passages go as they come: JSON, or the terminal's few lines."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from limbeck.files import shown
from limbeck.tools.detect import Detector, Passage, Summary
from limbeck.tools.detect_files import Document, read_blocks
from limbeck.tools.detect_settings import said

HIGHEST = 10
"""Passages of a document that the terminal shows."""

_QUIET = 2.0  # seconds without a word of progress


class Sink(Protocol):
    """Where documents go."""

    def open(self, name: str) -> None:
        """A document begins."""

    def add(self, passage: Passage) -> None:
        """The next passage of it."""

    def close(self, summary: dict[str, Any]) -> None:
        """It has ended; `summary` is `Summary.record`."""


def examine(
    detector: Detector,
    documents: Iterable[Document],
    sinks: Sequence[Sink],
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Scores documents, one behind the other, in bounded memory.

    Raises:
        UserError: a file that cannot be read, or is empty.
    """
    began = time.monotonic()
    for document in documents:
        summary = Summary()
        for sink in sinks:
            sink.open(document.name)
        for passage in detector.stream(read_blocks(document)):
            summary.add(passage)
            for sink in sinks:
                sink.add(passage)
            if progress is not None and time.monotonic() - began > _QUIET:
                progress(f"reading {document.name}, passages", summary.passages, 0)
        record = summary.record()
        for sink in sinks:
            sink.close(record)


def about(detector: Detector, source: str) -> dict[str, Any]:
    """What every output says of the detector: its name, what it was trained on, what a score is."""
    settings = detector.settings
    return {
        "detector": shown(source),
        "trained_on": {
            **settings.data["train"],
            "min_words": settings.min_words,
            "max_words": settings.max_words,
        },
        "valid": settings.valid,
        "meaning": said(settings),
    }


class JsonSink:
    """Writes a JSON object: what `about` has, and `documents` with `file`, `passages` and `summary` each."""

    def __init__(self, write: Callable[[str], object], about: dict[str, Any]) -> None:
        self._write, self._documents, self._before = write, 0, ""
        head = {"version": 1, "task": "detect", **about}
        write(json.dumps(head, ensure_ascii=False)[:-1] + ', "documents": [\n')

    def open(self, name: str) -> None:
        """Begins a document."""
        comma = ",\n" if self._documents else ""
        self._write(f'{comma}{{"file": {json.dumps(name, ensure_ascii=False)}, "passages": [')
        self._documents, self._before = self._documents + 1, "\n"

    def add(self, passage: Passage) -> None:
        """Writes a passage on a line."""
        self._write(self._before + json.dumps(passage.record(), ensure_ascii=False))
        self._before = ",\n"

    def close(self, summary: dict[str, Any]) -> None:
        """Ends a document."""
        self._write(f'\n], "summary": {json.dumps(summary, ensure_ascii=False)}}}')

    def finish(self) -> None:
        """Ends the object."""
        self._write("\n]}\n")


class HighestSink:
    """Keeps the passages of each document that score highest, for the terminal.

    found: of each document {"file", "passages", "summary"}; passages are at least 0.5, in order of the score.
    """

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self._name = ""
        self._best: list[tuple[float, int, Passage]] = []
        self._count = 0

    def open(self, name: str) -> None:
        """Begins a document."""
        self._name, self._best, self._count = name, [], 0

    def add(self, passage: Passage) -> None:
        """Keeps a passage if it is among the highest."""
        self._count += 1
        if passage.score is not None and passage.score >= 0.5:
            keep = heapq.heappush if len(self._best) < HIGHEST else heapq.heappushpop
            keep(self._best, (passage.score, -self._count, passage))

    def close(self, summary: dict[str, Any]) -> None:
        """Ends a document."""
        passages = [passage.record() for _, _, passage in sorted(self._best, reverse=True)]
        self.found.append({"file": self._name, "passages": passages, "summary": summary})
