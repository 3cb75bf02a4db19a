"""The stages of a recipe in order: what the commands call."""

from limbeck.pipeline.check import check
from limbeck.pipeline.gloss import gloss, run
from limbeck.pipeline.leave_one_out import leave_one_out
from limbeck.pipeline.stages import run_stages

__all__ = ["check", "gloss", "leave_one_out", "run", "run_stages"]
