"""benchmarks/cost.py measures checkpoints and their exports, and writes no path of the machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs the onnx extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import cost


@pytest.mark.slow  # two exports, and four processes whose memory is measured
def test_the_page_and_its_figures(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    files = tmp_path / "cost.json", tmp_path / "cost.md"
    few = ["--lengths", "8", "--seconds", "0.01", "--model", str(checkpoint("bert"))]
    cost.main([*few, "--json", str(files[0]), "--page", str(files[1])])
    content, page = (file.read_text(encoding="utf-8") for file in files)
    found = json.loads(content)
    assert [one["name"] for one in found["models"]] == ["student", "student-onnx", "minilm", "minilm-onnx"]
    assert [one["runtime"] for one in found["models"]] == ["torch", "onnxruntime"] * 2
    assert all(one["lengths"][0]["latency"]["p50_ms"] > 0 for one in found["models"])
    assert "/tmp" not in content + page
    for title in ("Size", "Passages of 8 pieces", "Memory, resident in a process of its own", "Notes"):
        assert f"## {title}" in page
