"""The quick study runs from an empty folder to all pages, so that the full one cannot rot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from defusedxml import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(3600)
def test_quick_study_answers_every_question(tmp_path: Path) -> None:
    from study.questions import QUESTIONS
    from study.setting import DATA

    if not all((DATA / name).is_dir() for name in ("corpus-large", "wsd", "glue", "plagiarism")):
        pytest.skip("no data; LIMBECK_DATA tells where it is")
    paths = [str(ROOT / "benchmarks"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "study", "--quick", "--scratch", str(tmp_path)]
    told = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}}
    before = (ROOT / "README.md").read_bytes()
    first = subprocess.run(command, capture_output=True, text=True, check=False, **told)
    assert first.returncode == 0, first.stderr[-3000:]
    made = tmp_path / "quick"
    for name in QUESTIONS:
        result = json.loads((made / "results" / f"study-{name}.json").read_text(encoding="utf-8"))
        assert result["question"] == name
        assert result["setting"] == "quick"
        assert str(tmp_path) not in json.dumps(result), "a result knows no path of the machine"
        page = (made / "pages" / f"study-{name}.md").read_text(encoding="utf-8")
        assert "prove nothing" in page
        assert "## What it says" in page
        figures = sorted((made / "pages").glob(f"study-{name}*.svg"))
        assert figures, f"{name} has no figure"
        for figure in figures:
            ElementTree.parse(figure)
            assert f"]({figure.name})" in page
    overview = (made / "pages" / "study.md").read_text(encoding="utf-8")
    assert all(f"(study-{name}.md)" in overview for name in QUESTIONS)
    assert "Not answered yet" not in overview
    assert (ROOT / "README.md").read_bytes() == before, "a slice has no place in the README"
    # Everything is kept: nothing is trained again.
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **told)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "glue:" not in again.stderr
    assert "nats:" not in again.stderr
