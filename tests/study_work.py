"""Jobs of tests of the study's processes, which import no more than they must."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def who(seconds: float) -> dict[str, Any]:
    """The process it is done in."""
    time.sleep(seconds)
    return {"process": os.getpid()}


def fails_after(file: Path) -> dict[str, Any]:
    """As soon as the file is there."""
    while not file.exists():
        time.sleep(0.05)
    raise ValueError("it cannot be done")


def until_stopped(file: Path) -> dict[str, Any]:
    """As a training: Ctrl-C makes it save, the file, and stop. It says that it has begun by another file."""
    file.with_suffix(".begun").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        file.touch()
        raise
    return {}
