"""What question 1 has chosen, for the questions that build on it."""

from __future__ import annotations

import json

from .setting import Setting
from .students import Arm


def chosen(setting: Setting) -> tuple[Arm, Arm] | None:
    """How the untaught students are trained, and how the others are best taught; None before the answer."""
    file = setting.results / "study-convergence.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    none, taught = (
        Arm(**(fields | {"teachers": tuple(fields["teachers"])}))
        for fields in (found["arms"][found["parts"]["none"]], found["recommended"]["arm"])
    )
    return none, taught
