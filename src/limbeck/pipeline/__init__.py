"""The stages of a recipe in order: what the commands call."""

from limbeck.pipeline.check import check
from limbeck.pipeline.train import run

__all__ = ["check", "run"]
