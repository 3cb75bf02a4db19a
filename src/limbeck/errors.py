"""Errors that are the user's to mend: one line each, no traceback, exit code 2; and training's early ends."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in what the user gave us.

    The message is one line that says what is wrong and how to mend it. The command line prints it and exits
    with 2.
    """


class RecipeError(UserError):
    """Every mistake found in a recipe, together.

    `problems` holds one line each: the place, what is wrong, what is allowed.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class ChangedRun(UserError):  # noqa: N818 - says what happened
    """A run directory holds a run with other settings; the message names what changed."""


class TrainingDiverged(Exception):  # noqa: N818 - says what happened
    """Training cannot go on: a loss, a gradient or an evaluation is not finite. One line, exit code 1."""


class Interrupted(KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM after a whole step, with everything saved. Exit code 130."""


class Ended(Exception):  # noqa: N818 - says what happened
    """Another process of the group ended the run; this one ends with the same exit code.

    `told`: another process on this machine has said the line already.
    """

    def __init__(self, line: str, code: int, *, told: bool) -> None:
        self.code, self.told = code, told
        super().__init__(line)


def columns_told(names: Sequence[str]) -> str:
    """A table's columns for an error's one line: the header of what is no table may be a paragraph."""
    return ", ".join(repr(name[:40]) for name in names[:8]) + (" and more" if len(names) > 8 else "")
