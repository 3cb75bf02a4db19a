"""The stages of a recipe in order: what the commands call."""

from limbeck.pipeline.check import check
from limbeck.pipeline.gloss import gloss, run

__all__ = ["check", "gloss", "run"]
