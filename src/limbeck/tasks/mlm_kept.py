"""What one model said of the words of a text, in a file: to be compared with others without loading it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from limbeck.files import atomic_write
from limbeck.tasks.mlm_words import Measured, WordScores

_ARRAYS = ("passage", "nats", "correct", "single", "state")


def keep(path: Path, measured: Measured) -> None:
    """Writes a safetensors file: an array per field of `WordScores`, the rest as its metadata.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.numpy import save

    scores = measured.scores
    about = {
        "described": measured.described,
        "probe": measured.probe,
        "pieces": scores.pieces,
        "words": scores.words,
    }
    arrays = {name: np.ascontiguousarray(getattr(scores, name)) for name in _ARRAYS}
    atomic_write(path, save(arrays, metadata={"about": json.dumps(about)}))


def kept(path: Path) -> Measured | None:
    """What `keep` wrote; None where there is no such file, or one that is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = json.loads(file.metadata()["about"])
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            scores = WordScores(**arrays, pieces=about["pieces"], words=about["words"])
            return Measured(about["described"], about["probe"], scores)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
