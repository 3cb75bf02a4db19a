"""Arguments and options that several commands share; the group with a command that needs no name."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe, a TOML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Override a field, such as train.steps=500. Repeatable."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, and let the libraries speak.")]
Extend = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Train N steps more than the recipe says, after a finished run as well."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Run directory, instead of the recipe's `output`."),
]


class DefaultGroup(TyperGroup):
    """A group with a command that is meant where the first word names none: `limbeck eval MODEL`.

    Subclasses name that command as `default`; it is one of the group's and works by its name as well. A
    model's folder that is called as a sub-command is written as a path: `limbeck eval ./mlm`.
    """

    default: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default's name before words that begin with no sub-command.

        A plain word that names no file is a sub-command mistyped, and refused with the names there are:
        folders are looked up, and hub ids have a `/` or a `-`.
        """
        if args and args[0] not in ctx.help_option_names and self.get_command(ctx, args[0]) is None:
            word = args[0]
            if re.fullmatch(r"\w+", word) and not Path(word).exists():
                names = ", ".join(name for name in self.list_commands(ctx) if name != self.default)
                ctx.fail(f"{word} is neither a sub-command nor a folder; sub-commands: {names}.")
            args = [self.default, *args]
        return super().parse_args(ctx, args)
