"""Precisions, and what else is told in one place alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from limbeck.errors import UserError
from limbeck.files import folder_name
from limbeck.teachers.precision import autocast, check_precision, mixed

SOURCE = Path(__file__).parents[1] / "src" / "limbeck"
CPU = torch.device("cpu")


def test_a_precision_is_known_by_its_name() -> None:
    assert check_precision("f32", CPU) == torch.float32
    assert check_precision("bf16", CPU) == torch.bfloat16
    assert check_precision("f16", torch.device("cuda")) == torch.float16
    with pytest.raises(UserError, match="precision is 'int4'; it must be one of f32, bf16, f16"):
        check_precision("int4", CPU)
    with pytest.raises(UserError, match="teacher 'sea': precision f16 does not work on the CPU; use f32"):
        check_precision("f16", CPU, "teacher 'sea': precision")


def test_autocast_is_of_its_precision() -> None:
    a = torch.ones(2, 2)
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(CPU, name):
            assert (a @ a).dtype == dtype
        assert (mixed(name) or torch.float32) == dtype


@pytest.mark.parametrize(
    ("written", "place"),
    [(r'"bf16": torch\.', "teachers/precision.py"), (re.escape(r'r"[^\w.-]+"'), "files.py")],
)
def test_it_is_written_once(written: str, place: str) -> None:
    found = [path for path in SOURCE.rglob("*.py") if re.search(written, path.read_text(encoding="utf-8"))]
    assert [path.relative_to(SOURCE).as_posix() for path in found] == [place]


def test_models_are_folders_by_their_names() -> None:
    assert folder_name("runs/small student/model") == "runs-small-student-model"
    assert folder_name("../a/b.c_d") == "a-b.c_d"
    assert folder_name("/") == "model"
