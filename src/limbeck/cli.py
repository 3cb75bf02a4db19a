"""The command line: verbs only. What they do stands in the modules they call.

Heavy imports happen inside the commands, so that help is quick. Results go to stdout, log and progress to
stderr. Exit codes: 0 done, 1 a failure, 2 the user's mistake (told in a line each), 130 interrupted.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from limbeck import (
    __version__,
    cli_cost,
    cli_detect,
    cli_eval,
    cli_lexical,
    cli_paraphrase,
    cli_runs,
    cli_spin,
    cli_store,
    cli_tasks,
    cli_train,
    tables,
)
from limbeck.cli_options import AsJson, Device, Overrides, Precision, RecipeFile, ResultFile, Verbose
from limbeck.errors import UserError
from limbeck.files import atomic_write, cache_dir, check_writable
from limbeck.terminal import show, work

app = typer.Typer(
    help="Distil several teacher language models into one small student.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
evaluate = typer.Typer(
    help="Measure models: on one task by its sub-command, or side by side on several.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=cli_eval.EvalGroup,
    subcommand_metavar="MODEL... --tasks NAMES | COMMAND [ARGS]...",
)
data = typer.Typer(
    help="Get data that may not be shipped with Limbeck.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(evaluate, name="eval")
app.add_typer(data, name="data")
app.add_typer(cli_store.store, name="store")
app.add_typer(cli_detect.detect, name="detect")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"limbeck {__version__}")
        raise typer.Exit


@app.callback()
def _limbeck(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def init(path: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.toml")) -> None:
    """Write a recipe with a comment for every field."""
    with work():
        from limbeck.recipe import template

        if path.exists():
            raise UserError(f"{path} is there already; name another file: limbeck init PATH")
        atomic_write(path, template())
        print(f"wrote {path}; next: limbeck check {shlex.quote(str(path))}", file=sys.stderr)


@app.command()
def check(
    recipe: RecipeFile, overrides: Overrides = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Find everything wrong with a recipe before it runs.

    Shows the teachers' quality and coverage, and what the run will take.
    """
    with work(verbose) as progress:
        from limbeck.recipe import load_recipe

        loaded = load_recipe(recipe, overrides or [])
        from limbeck.pipeline import check as check_recipe

        show(check_recipe(loaded, progress), as_json, tables.check_tables)


app.command()(cli_train.run)
app.command()(cli_train.pretrain)
app.command()(cli_train.distill)
evaluate.command("models")(cli_eval.eval_models)


@evaluate.command()
def mlm(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Model folders or hub ids.")],
    text: Annotated[
        list[str],
        typer.Option(metavar="F", help="Text to measure on, as in a recipe's text.valid. Repeatable."),
    ],
    words: Annotated[
        int, typer.Option(metavar="N", min=2, max=4096, help="Words of a passage, at most; up to 4096.")
    ] = 96,
    mask: Annotated[float, typer.Option(metavar="SHARE", help="Share of the words masked.")] = 0.15,
    passages: Annotated[
        int | None, typer.Option(metavar="N", help="Measure on this many passages; all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of masks and passages.")] = 0,
    precision: Precision = "f32",
    batch: Annotated[int, typer.Option(metavar="N", help="Passages of one forward.")] = 32,
    device: Device = "auto",
    as_json: AsJson = False,
    output: ResultFile = None,
    verbose: Verbose = False,
) -> None:
    """Compare masked language models: nats and accuracy per masked word, with 95% intervals."""
    with work(verbose) as progress:
        if output is not None:
            check_writable(output)  # or an hour's measurement would end with an error
        from limbeck.tasks.mlm import evaluate_files

        result = evaluate_files(
            models,
            text,
            words=words,
            mask=mask,
            passages=passages,
            seed=seed,
            precision=precision,
            batch=batch,
            device=device,
            progress=progress,
        )
        show(result, as_json, tables.evaluation_tables)
        if output is not None:
            atomic_write(output, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


evaluate.command("wsd")(cli_lexical.eval_wsd)
evaluate.command("cost")(cli_cost.eval_cost)
evaluate.command("glue")(cli_tasks.eval_glue)
evaluate.command("paraphrase")(cli_paraphrase.eval_paraphrase)
app.command()(cli_tasks.finetune)
app.command()(cli_lexical.gloss)
app.command()(cli_lexical.score)
app.command()(cli_lexical.wsd)
app.command()(cli_cost.export)
app.command()(cli_spin.spin)
app.command("ls")(cli_runs.list_runs)
app.command()(cli_runs.diff)


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run directories, compared; in a page also results of eval."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="page.html, or a Markdown file, or a folder for report.md."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a report of runs: students, teachers and baselines, quality beside cost, with figures.

    An .html file is one page that needs nothing else; the folders and files of `limbeck eval` go into it as
    well. The model cards of the runs are brought up to date.
    """
    with work(verbose):
        from limbeck.report.page import write_report

        written = write_report(runs, output)
        show({"report": str(written)}, as_json, tables.mapping_tables)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the demo's runs.")
    ] = Path("runs/demo"),
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show on WordNet what teaching is worth.

    Trains two teachers on its glosses and examples, distils a student from both, and trains the same student
    without teachers; then the student learns word senses and disambiguates a paragraph. Ends with a page of
    them all. About twelve minutes on two cores. `--set` overrides a field of all its recipes.
    """
    with work(verbose) as progress:
        from limbeck.pipeline.demo import run_demo

        again = shlex.join(["limbeck", *sys.argv[1:]])
        result = run_demo(output, overrides or [], resume_hint=again, progress=progress)
        show(result, as_json, tables.demo_tables)


@data.command()
def wordnet(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where to; in the cache by default, where it is found."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Download WordNet 3.0 from Princeton and check it."""
    with work(verbose) as progress:
        from functools import partial

        from limbeck.lexicon.wordnet import download_wordnet

        cached = cache_dir() / "wordnet"
        folder = download_wordnet(output or cached, progress=partial(progress, "downloading WordNet"))
        if folder != cached.resolve():
            print(f"to have it found, set LIMBECK_WORDNET={shlex.quote(str(folder))}", file=sys.stderr)
        show({"wordnet": str(folder)}, as_json, tables.mapping_tables)


@app.command()
def env(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Show versions, devices, folders, and whether WordNet is found."""
    with work(verbose):
        from limbeck.system import describe_system

        show(describe_system(), as_json, tables.mapping_tables)


def main() -> None:
    """Runs the command line."""
    app(prog_name="limbeck")
