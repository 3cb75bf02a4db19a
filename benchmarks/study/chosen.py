"""What question 1 has chosen, for the questions that build on it."""

from __future__ import annotations

import json
from typing import Any

from .setting import Setting
from .students import Arm


def chosen(setting: Setting) -> tuple[Arm, Arm] | None:
    """How the untaught students are trained, and how the others are best taught; None before the answer."""
    found = _answer(setting)
    if found is None:
        return None
    return _arm(found["arms"][found["parts"]["none"]]), _arm(found["recommended"]["arm"])


def parts(setting: Setting) -> dict[str, Arm] | None:
    """The arms by the parts they play: `none`, `single`, `uniform`, `best`; None before the answer."""
    found = _answer(setting)
    return found and {part: _arm(found["arms"][name]) for part, name in found["parts"].items()}


def _answer(setting: Setting) -> dict[str, Any] | None:
    file = setting.results / "study-convergence.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def _arm(fields: dict[str, Any]) -> Arm:
    return Arm(**(fields | {"teachers": tuple(fields["teachers"])}))
