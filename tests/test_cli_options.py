"""The group whose default command needs no name."""

import os
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from limbeck.cli_options import DefaultGroup


class Group(DefaultGroup):
    """As `limbeck detect` would have it."""

    default: ClassVar[str] = "files"


app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode=None)
inner = typer.Typer(
    cls=Group, no_args_is_help=True, rich_markup_mode=None, subcommand_metavar="MODEL... | COMMAND [ARGS]..."
)
app.add_typer(inner, name="look")


@inner.command("files")
def files(names: list[str], twice: Annotated[bool, typer.Option("--twice")] = False) -> None:
    """Looks at files: limbeck look NAME..."""
    print("files", *names, *(names if twice else []))


@inner.command()
def train(name: str) -> None:
    """Trains."""
    print("train", name)


@app.callback()
def _root() -> None:
    pass


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["owner/model", "b"], "files owner/model b"),
        (["bert-base", "--twice"], "files bert-base bert-base"),
        (["--twice", "a/b"], "files a/b a/b"),
        (["files", "train"], "files train"),
        (["train", "x"], "train x"),
        (["./train"], "files ./train"),
        (["folder"], "files folder"),
    ],
)
def test_the_default_is_meant_where_no_sub_command_is_named(
    words: list[str], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    done = CliRunner().invoke(app, ["look", *words])
    assert (done.exit_code, done.stdout) == (0, shown + "\n"), done.output


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_sub_commands_and_the_default_form(option: str) -> None:
    text = CliRunner().invoke(app, ["look", option]).stdout
    assert "look [OPTIONS] MODEL... | COMMAND [ARGS]..." in text
    assert "limbeck look NAME..." in text
    assert "  train  Trains." in text
    assert "--twice" in CliRunner().invoke(app, ["look", "a/b", option]).stdout


def test_a_mistyped_sub_command_is_refused_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["look", "trian", "x"])
    assert done.exit_code == 2
    assert "trian is neither a sub-command nor a folder; sub-commands: train." in done.stderr
    assert CliRunner().invoke(app, ["look"]).exit_code == 2  # help, as for any group without words
