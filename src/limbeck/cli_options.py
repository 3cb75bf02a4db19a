"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
    Path | None, typer.Option(metavar="FOLDER", help="Run directory, instead of the recipe's `output`.")
]
