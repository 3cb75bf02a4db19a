"""Commands on labelled texts: fine-tuning, and GLUE. Registered in cli.py."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck import tables_tasks
from limbeck.cli_options import (
    AsJson,
    Batch,
    Device,
    Encoder,
    Epochs,
    KeepModels,
    MaxLength,
    Precision,
    Rate,
    RunFolder,
    Seeds,
    Tokens,
    Verbose,
    numbers,
)
from limbeck.processes.group import current
from limbeck.processes.together import command_again
from limbeck.terminal import show, work


def finetune(
    model: Encoder,
    train: Annotated[Path, typer.Option(metavar="F", help="Labelled rows to learn from, .tsv or .tsv.zst.")],
    valid: Annotated[Path, typer.Option(metavar="F", help="Labelled rows to measure on.")],
    text: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the text.")] = "text",
    text2: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a second text; text2 where there is one.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the label.")] = "label",
    kind: Annotated[
        Literal["auto", "classes", "scores"],
        typer.Option(metavar="KIND", help="What labels are: classes, scores, or auto, found from them."),
    ] = "auto",
    epochs: Epochs = 3,
    learning_rate: Rate = None,
    batch: Batch = 32,
    max_length: MaxLength = 256,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the order, the new head, dropout.")] = 0,
    precision: Precision = "f32",
    tokens: Tokens = 16_384,
    device: Device = "auto",
    output: RunFolder = Path("runs/finetune"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on labelled texts of your own: classes or scores.

    Files are tab-separated with a header, without quoting. The run directory gets `model`, of the last step,
    and `best`, of the best epoch: plain AutoModelForSequenceClassification checkpoints. The same command
    goes on with a run that was stopped; torchrun runs it on N processes.
    """
    with work(verbose, several=True) as progress:
        from limbeck.finetune.examples import read_table
        from limbeck.finetune.settings import FinetuneSettings
        from limbeck.finetune.train import finetune as run_finetune
        from limbeck.report.finish import finish

        settings = FinetuneSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch=batch,
            max_length=max_length,
            seed=seed,
            kind=kind,
            precision=precision,
            device=device,
            tokens=tokens,
        )
        rows, held = (read_table(path, text=text, second=text2, label=label) for path in (train, valid))
        again = command_again(sys.argv[1:])
        done = run_finetune(model, rows, held, output, settings, resume_hint=again, progress=progress)
        results = done.results
        if "rows" not in results:  # a finished run is left as it is
            results = current().from_main(lambda: finish(output, done.results))
        show(results, as_json, tables_tasks.finetune_tables)


def eval_glue(
    model: Encoder,
    tasks: Annotated[
        str,
        typer.Option("--tasks", "-t", metavar="NAMES", help="With commas: cola,sst2. By default all found."),
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Folder, or hub; by default glue in LIMBECK_DATA."),
    ] = None,
    seeds: Seeds = "0",
    choose: Annotated[
        bool,
        typer.Option("--choose", help="Measure the best epoch, by a tenth of train held out for it."),
    ] = False,
    epochs: Epochs = 3,
    learning_rate: Rate = None,
    batch: Batch = 32,
    max_length: MaxLength = 128,
    precision: Precision = "f32",
    tokens: Tokens = 16_384,
    device: Device = "auto",
    keep_models: KeepModels = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="For the runs and glue.json; by default runs/glue/MODEL."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune on the tasks of GLUE and measure on dev, beside majority and TF-IDF.

    Tasks: cola sst2 mrpc stsb qqp mnli qnli rte wnli. The last epoch is measured. The same command goes on
    where it was stopped.
    """
    with work(verbose) as progress:
        names = [name for name in tasks.split(",") if name.strip()]
        chosen = numbers("seeds", seeds, "0,1,2")
        from limbeck.finetune.settings import FinetuneSettings
        from limbeck.tasks.glue import evaluate_glue

        settings = FinetuneSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch=batch,
            max_length=max_length,
            precision=precision,
            device=device,
            tokens=tokens,
        )
        result = evaluate_glue(
            model,
            data,
            tasks=names,
            seeds=chosen,
            settings=settings,
            choose=choose,
            output=output,
            keep_models=keep_models,
            resume_hint=shlex.join(["limbeck", *sys.argv[1:]]),
            progress=progress,
        )
        show(result, as_json, tables_tasks.glue_tables)
