"""The command `eval paraphrase`, registered in cli.py."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from limbeck import tables_tasks
from limbeck.cli_options import (
    AsJson,
    Batch,
    Device,
    Epochs,
    KeepModels,
    MaxLength,
    Precision,
    Rate,
    Seeds,
    Tokens,
    Verbose,
    numbers,
)
from limbeck.files import folder_name
from limbeck.terminal import show, work


def eval_paraphrase(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL", help="Folders or hub ids of any encoders; none: the baselines alone."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="With train, valid, test; by default plagiarism in LIMBECK_DATA."
        ),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(metavar="PLACE", help="File or folder to learn from, instead.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(metavar="PLACE", help="File or folder to choose the epoch on, instead.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="PLACE", help="File or folder to measure on, instead.")
    ] = None,
    cross: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Another set to measure on; originals alone are spun. By default what --data has, "
            "NAME.original.tsv; or none. Repeatable.",
        ),
    ] = None,
    sizes: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Training texts, with commas, a training each.")
    ] = "200,1000,5000",
    words: Annotated[
        str, typer.Option(metavar="NUMBERS", help="First words seen of each text, with commas; 0: all.")
    ] = "0,32,16",
    seeds: Seeds = "0",
    test_limit: Annotated[
        int | None, typer.Option(metavar="N", help="Measure on a fixed sample of so many texts of each set.")
    ] = None,
    valid_limit: Annotated[
        int, typer.Option(metavar="N", help="Choose the epoch on so many validation texts.")
    ] = 500,
    epochs: Epochs = 3,
    learning_rate: Rate = None,
    batch: Batch = 32,
    max_length: MaxLength = 512,
    precision: Precision = "f32",
    tokens: Tokens = 16_384,
    device: Device = "auto",
    lexicon: Annotated[
        str,
        typer.Option(metavar="L", help="For spinning: wordnet, a folder of its files, or wn:NAME:VERSION."),
    ] = "wordnet",
    keep_models: KeepModels = False,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="For the runs and paraphrase.json, in a folder of each model.",
        ),
    ] = Path("runs/paraphrase"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune to tell originals from machine paraphrase, and measure F1-micro beside majority and TF-IDF.

    One paragraph in, original or paraphrased out. Small sizes are trained for 150 steps at least; the epoch
    is chosen on the validation texts. The same command goes on where it was stopped.
    """
    with work(verbose) as progress:
        asked = [
            numbers(name, text, example)
            for name, text, example in (
                ("sizes", sizes, "200,1000"), ("words", words, "0,32,16"), ("seeds", seeds, "0,1,2"),
            )
        ]  # fmt: skip
        from limbeck.finetune.settings import FinetuneSettings
        from limbeck.tasks.paraphrase import check_models, evaluate_paraphrase
        from limbeck.tasks.paraphrase_sets import read_sets
        from limbeck.tools.spin_sets import cross_sets

        settings = FinetuneSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch=batch,
            max_length=max_length,
            precision=precision,
            device=device,
            tokens=tokens,
        )
        check_models(models or [])
        progress("reading the texts", 0, 0)
        sets = read_sets(
            data,
            parts={"train": train, "valid": valid, "test": test},
            test_limit=test_limit,
            valid_limit=valid_limit,
        )
        more, remarks = cross_sets(
            Path(sets.place), cross or [], lexicon=lexicon, limit=test_limit, progress=progress
        )
        sets = sets.with_more(more)
        chosen: list[str | None] = [*models] if models else [None]
        results = [
            evaluate_paraphrase(
                model,
                sets,
                sizes=asked[0],
                words=asked[1],
                seeds=asked[2],
                settings=settings,
                output=None if model is None else output / folder_name(model),
                keep_models=keep_models,
                remarks=remarks,
                resume_hint=shlex.join(["limbeck", *sys.argv[1:]]),
                progress=progress,
            )
            for model in chosen
        ]
        together = results[0] if len(results) == 1 else {"task": "paraphrase", "models": results}
        show(together, as_json, tables_tasks.paraphrase_tables)
