"""`limbeck eval MODEL... --tasks`: models side by side. Registered in cli.py."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from limbeck import tables_pipeline
from limbeck.cli_options import AsJson, DefaultGroup, Device, Verbose, numbers
from limbeck.terminal import show, work


class EvalGroup(DefaultGroup):
    """`limbeck eval`: sub-commands of a task each, and models side by side without any."""

    default: ClassVar[str] = "models"


def eval_models(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Model folders, run directories or hub ids.")
    ],
    tasks: Annotated[
        str,
        typer.Option("--tasks", "-t", metavar="NAMES", help="all, or with commas: mlm,wsd,glue,..."),
    ] = "all",
    quick: Annotated[
        bool, typer.Option("--quick", help="Less of everything: what runs, and about how it looks.")
    ] = False,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="F",
            help="mlm: text to mask. Repeatable; by default text in LIMBECK_DATA, else wordnet:/valid.",
        ),
    ] = None,
    passages: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="mlm: passages of the text; all by default.")
    ] = None,
    wsd_data: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="wsd: by default wsd in LIMBECK_DATA.")
    ] = None,
    wsd_sets: Annotated[
        str | None, typer.Option(metavar="NAMES", help="wsd: sets, with commas; all by default.")
    ] = None,
    glue_data: Annotated[
        str | None, typer.Option(metavar="PLACE", help="glue: or hub; by default glue in LIMBECK_DATA.")
    ] = None,
    glue_tasks: Annotated[
        str | None, typer.Option(metavar="NAMES", help="glue: with commas: cola,sst2; all found by default.")
    ] = None,
    paraphrase_data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="paraphrase: by default plagiarism in LIMBECK_DATA."),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="paraphrase: training texts; 200,1000,5000 by default."),
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="paraphrase: first words seen; 0,32,16 by default, 0: all."),
    ] = None,
    test_limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="paraphrase: measure on so many texts of each set."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="glue, paraphrase: a training each: 0,1,2.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="glue, paraphrase: times through the training rows.")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(metavar="N,N", help="cost: lengths in pieces; 16,64,256 by default.")
    ] = None,
    device: Device = "auto",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="For all that is measured.")
    ] = Path("runs/eval"),
    again: Annotated[bool, typer.Option("--again", help="Measure what was measured before as well.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure models side by side: limbeck eval MODEL... --tasks all.

    Tasks: mlm wsd glue paraphrase cost, each as its own sub-command measures it. What a model cannot do is
    left out with the reason. What is measured is kept in the folder and not measured again while model,
    data and settings are the same; the same command goes on where it was stopped.
    """
    with work(verbose) as progress:
        from limbeck.pipeline.evaluation import EvaluationSettings, evaluate, find_models

        settings = EvaluationSettings.of(
            tasks,
            quick=quick,
            texts=tuple(text) if text else None,
            passages=passages,
            wsd=wsd_data,
            wsd_sets=_names(wsd_sets),
            glue=glue_data,
            glue_tasks=_names(glue_tasks),
            paraphrase=paraphrase_data,
            sizes=_numbers("sizes", sizes, "200,1000"),
            first=_numbers("words", words, "0,32,16"),
            test_limit=test_limit,
            seeds=_numbers("seeds", seeds, "0,1,2"),
            epochs=epochs,
            lengths=_numbers("lengths", lengths, "16,64,256"),
            device=device,
        )
        result = evaluate(
            find_models(models),
            settings,
            output,
            again=again,
            resume_hint=shlex.join(["limbeck", *(word for word in sys.argv[1:] if word != "--again")]),
            progress=progress,
        )
        show(result, as_json, tables_pipeline.side_by_side_tables)


def _names(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(name.strip() for name in given.split(",") if name.strip())


def _numbers(option: str, given: str | None, example: str) -> tuple[int, ...] | None:
    return None if given is None else numbers(option, given, example)
