"""Writes docs/cli.md and docs/recipe.md from the program itself: `make docs`. A test keeps them current."""

from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.recipe import reference_page

TERMINAL = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
"""What help is laid out for."""


def commands() -> list[list[str]]:
    """The words of every command and group, the program itself first as []."""
    found: list[list[str]] = []

    def walk(command: object, words: list[str]) -> None:
        found.append(words)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*words, name])

    walk(get_command(app), [])
    return found


def help_text(words: list[str]) -> str:
    """What `limbeck WORDS --help` prints."""
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="limbeck", env=TERMINAL)
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def cli_page() -> str:
    """The page of all help texts."""
    page = [
        "# The command line",
        "",
        "<!-- Made from src/limbeck/cli.py by `make docs`; a test checks that it is current. -->",
        "",
        "Results go to stdout, as tables or with `--json`; log and progress go to stderr. Exit codes:",
        "0 done, 1 a failure, 2 your mistake, told in a line each with its mend, 130 interrupted.",
    ]
    for words in commands():
        page += ["", f"## {' '.join(['limbeck', *words])}", "", "```text", help_text(words), "```"]
    return "\n".join(page) + "\n"


PAGES = {"cli.md": cli_page, "recipe.md": reference_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(__file__).parent / name).write_text(page(), encoding="utf-8")
