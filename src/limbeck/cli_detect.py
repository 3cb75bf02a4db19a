"""The commands `detect` and `detect train`, registered in cli.py."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from limbeck import tables_detect
from limbeck.cli_options import (
    AsJson,
    Batch,
    DefaultGroup,
    Device,
    Encoder,
    Epochs,
    MaxLength,
    Precision,
    Rate,
    RunFolder,
    Tokens,
    Verbose,
)
from limbeck.errors import UserError
from limbeck.files import check_writable
from limbeck.processes.group import current
from limbeck.processes.together import command_again
from limbeck.terminal import show, show_table, work


class _Group(DefaultGroup):
    default = "score"


detect = typer.Typer(
    cls=_Group,
    help="Find machine-paraphrased passages: limbeck detect MODEL FILE..., short for `detect score`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    subcommand_metavar="MODEL FILE... | COMMAND [ARGS]...",
)


@detect.command("score")
def score(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a detector.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Documents: .txt .md .html; .pdf with limbeck[pdf].")
    ],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page: the documents with marked passages."),
    ] = None,
    precision: Precision = "f32",
    tokens: Tokens = 4096,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score the passages of documents: which read as machine-paraphrased?

    Each paragraph gets a calibrated probability, each document an estimated share with a 95% interval.
    Passages outside what the detector was trained on (too short, another language) get no score. A score is
    no proof; what it is stands in every output. Documents may be of any length.
    """
    with work(verbose) as progress:
        from limbeck.tools.detect_files import find_documents

        documents = find_documents(files)
        if html is not None:
            if any(html.resolve() == one.path.resolve() for one in documents):
                raise UserError(f"{html} is one of the documents; name another file for the page")
            check_writable(html)
        progress("loading the detector", 0, 0)
        from limbeck.tools.detect import Detector
        from limbeck.tools.detect_output import HighestSink, JsonSink, Sink, about, examine

        detector = Detector.from_pretrained(model, device=device, precision=precision, tokens=tokens)
        known, highest, sinks = about(detector, model), HighestSink(), list[Sink]()
        with contextlib.ExitStack() as stack:
            if html is not None:
                from limbeck.tools.detect_page import page

                title = Path(documents[0].name).name if len(documents) == 1 else f"{len(documents)} documents"
                sinks.append(stack.enter_context(page(html, title, known)))
            written = JsonSink(sys.stdout.write, known) if as_json else None
            examine(detector, documents, [*sinks, written or highest], progress)
            if written is not None:
                written.finish()
        progress.close()
        if not as_json:
            result = {**known, "documents": highest.found}
            for place, (title, columns, rows) in enumerate(tables_detect.detect_tables(result)):
                print("\n" * bool(place and title), end="")
                show_table(title, columns, rows, words=True)


@detect.command("train")
def train(
    model: Encoder,
    data: Annotated[
        Path | None, typer.Option(metavar="PLACE", help="Folder of a paraphrase set: train and valid.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(metavar="F", help="Texts to learn from: pairs, or text and label.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(metavar="F", help="Texts to calibrate on and to measure on, half each.")
    ] = None,
    paraphrased: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="The label that means paraphrased, where yours are others."),
    ] = None,
    texts: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Learn from N texts, drawn by the seed.")
    ] = None,
    valid_texts: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Take N validation texts, drawn by the seed.")
    ] = None,
    min_words: Annotated[
        int, typer.Option(metavar="N", min=4, help="Shortest text to learn, and to score later.")
    ] = 16,
    epochs: Epochs = 3,
    learning_rate: Rate = None,
    batch: Batch = 32,
    max_length: MaxLength = 256,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of texts, cuts, order, new head.")] = 0,
    precision: Precision = "f32",
    tokens: Tokens = 16_384,
    device: Device = "auto",
    output: RunFolder = Path("runs/detect"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make a detector from any encoder and labelled texts.

    Learns from texts and from shorter cuts of them, then calibrates on half of the validation texts and
    measures on the other. The run directory's `model` is the detector: a plain
    AutoModelForSequenceClassification checkpoint with detector.json. The same command goes on with a run that
    was stopped.
    """
    with work(verbose, several=True) as progress:
        from limbeck.finetune.settings import FinetuneSettings
        from limbeck.report.finish import finish_again
        from limbeck.tools.detect_data import read_sets
        from limbeck.tools.detect_train import train_detector

        settings = FinetuneSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch=batch,
            max_length=max_length,
            seed=seed,
            kind="classes",
            precision=precision,
            device=device,
            tokens=tokens,
        )
        rows, held, label = read_sets(data, train, valid, paraphrased)
        record = train_detector(
            model,
            rows,
            held,
            output,
            settings,
            paraphrased=label,
            min_words=min_words,
            texts=texts,
            valid_texts=valid_texts,
            resume_hint=command_again(sys.argv[1:]),
            progress=progress,
        )
        current().from_main(lambda: finish_again(output))
        show(record, as_json, tables_detect.train_tables)
