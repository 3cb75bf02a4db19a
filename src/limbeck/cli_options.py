"""Arguments and options that several commands share; the group with a command that needs no name."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from limbeck.errors import UserError

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
ResultFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the result as JSON to a file as well."),
]
RunFolder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Run directory.")]

Encoder = Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of any encoder.")]
Epochs = Annotated[float, typer.Option(metavar="N", help="Times through the training rows.")]
Rate = Annotated[
    float | None,
    typer.Option(metavar="X", help="By default 3e-4 for models up to 256 wide, 1e-4 up to 512, 3e-5 beyond."),
]
Batch = Annotated[int, typer.Option(metavar="N", help="Texts of a step.")]
MaxLength = Annotated[int, typer.Option(metavar="N", help="Pieces of a text; longer ones are cut.")]
Precision = Annotated[str, typer.Option(metavar="P", help="f32, bf16 or f16.")]
Tokens = Annotated[int, typer.Option(metavar="N", help="Pieces of one forward; fewer save memory.")]
Device = Annotated[str, typer.Option(metavar="D", help="auto, cpu or cuda.")]
Seeds = Annotated[str, typer.Option(metavar="NUMBERS", help="With commas, a training each: 0,1,2.")]
KeepModels = Annotated[bool, typer.Option("--keep-models", help="Keep the weights of every training.")]

GlossModel = Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a gloss model.")]
Lexicon = Annotated[
    str, typer.Option(metavar="L", help="wordnet, a folder of its files, or wn:NAME:VERSION.")
]
Layout = Annotated[str | None, typer.Option(metavar="L", help="pairs or packed; by default as trained.")]
PaddedTokens = Annotated[int, typer.Option(metavar="N", help="Pieces of one forward, padding included.")]


def numbers(option: str, given: str, example: str) -> tuple[int, ...]:
    """The whole numbers of an option's text, which has commas between them.

    Raises:
        UserError: it is something else.
    """
    parts = [part.strip() for part in given.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--{option} {given!r} are no whole numbers with commas, such as {example}")
    return tuple(map(int, parts))


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
