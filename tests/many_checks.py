"""What the tests of several processes check again and again."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.many_processes import Ended
from tests.tiny_training import metrics

WHOLE = "model/model.safetensors"
"""The weights of a finished run, in its folder."""


def close(one: Path, two: Path, limit: float = 1e-5, but: str = " ") -> None:
    """Every tensor of two files, in norm relative to the first's; but for names that end so."""
    a, b = load_file(one), load_file(two)
    assert a.keys() == b.keys()
    for name in (name for name in a if not name.endswith(but)):
        difference = float((a[name] - b[name]).norm() / a[name].norm())
        assert difference < limit, f"{name}: {difference}"


def same_metrics(one: Path, two: Path) -> None:
    """Two runs' lines, without what depends on the clock."""
    first, second = metrics(one), metrics(two)
    assert [line["kind"] for line in first] == [line["kind"] for line in second]
    for a, b in zip(first, second, strict=True):
        assert {**a, "kind": 0} == pytest.approx({**b, "kind": 0}, rel=1e-4)
        assert (a.get("tokens"), a.get("step")) == (b.get("tokens"), b.get("step"))


def one_line(done: Ended, code: int, *parts: str) -> None:
    """Every process ended with `code`; one of them told it, in a line with these parts."""
    assert done.codes == [code] * len(done.codes), done.err
    assert len(done.lines) == 1, done.err
    for part in parts:
        assert part in done.lines[0]
    assert "Traceback" not in "".join(done.err)


def machines(folder: Path) -> list[dict[str, str]]:
    """Two caches, as of two machines."""
    return [{"LIMBECK_CACHE": str(folder / f"cache-{rank}")} for rank in range(2)]
