"""Commands of the lexical side: word sense disambiguation. Registered in cli.py."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck import tables
from limbeck.cli_options import (
    AsJson,
    Device,
    Extend,
    GlossModel,
    Layout,
    Lexicon,
    Output,
    Overrides,
    PaddedTokens,
    Precision,
    RecipeFile,
    Verbose,
)
from limbeck.files import check_writable
from limbeck.processes.together import command_again
from limbeck.terminal import show, show_table, work


def gloss(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Output = None,
    extend: Extend = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on which gloss fits a word in its context.

    Starts from gloss.init, or from the recipe's own student, which `limbeck run` trains. The same command
    goes on with a run that was stopped. `torchrun --nproc-per-node N -m limbeck gloss RECIPE` trains on N
    processes.
    """
    with work(verbose, several=True) as progress:
        from limbeck.recipe import load_recipe

        loaded = load_recipe(recipe, overrides or [])
        from limbeck.pipeline import gloss as train_gloss

        again = command_again(sys.argv[1:])
        results = train_gloss(loaded, output, extend=extend or 0, resume_hint=again, progress=progress)
        show(results, as_json, tables.gloss_tables)


def score(
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="Gold keys: an id and its keys per line.")],
    predictions: Annotated[
        Path, typer.Argument(metavar="PRED", help="Key file to score, in the same format.")
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="PRED2", help="Another, to compare with the first.")
    ] = None,
    trained: Annotated[
        Path | None,
        typer.Option(
            "--train", metavar="FILE", help="Gold keys of the training text: seen and unseen senses apart."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score anybody's sense keys by the official rule.

    Needs neither a model nor a lexicon. Two files are compared by McNemar's test.
    """
    with work(verbose):
        from limbeck.tasks.wsd_score import score_files

        files = [predictions] if second is None else [predictions, second]
        show(score_files(gold, files, trained=trained), as_json, tables.score_tables)


def eval_wsd(
    model: GlossModel,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of the sets, or one set; by default wsd in LIMBECK_DATA."
        ),
    ] = None,
    sets: Annotated[
        str, typer.Option("--set", metavar="NAMES", help="Sets, with commas: se07,se13. All by default.")
    ] = "",
    candidates: Annotated[
        Literal["gold", "all"],
        typer.Option(metavar="WHOSE", help="Senses that compete: gold, of the gold part of speech, or all."),
    ] = "gold",
    window: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Sentences around the target's; by default as trained."),
    ] = None,
    lexicon: Lexicon = "wordnet",
    layout: Layout = None,
    precision: Precision = "f32",
    tokens: PaddedTokens = 8192,
    device: Device = "auto",
    as_json: AsJson = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Write the result and the predicted keys there."
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Measure word sense disambiguation: F1 by the official rule, beside the baselines."""
    with work(verbose) as progress:
        names = [name.strip() for name in sets.split(",") if name.strip()]
        from limbeck.tasks.wsd import Asking, WsdSettings, evaluate_model

        result = evaluate_model(
            model,
            data,
            sets=names,
            lexicon=lexicon,
            settings=WsdSettings(candidates, window),
            asking=Asking(layout, precision, tokens, device),
            output=output,
            progress=progress,
        )
        show(result, as_json, tables.wsd_tables)


def wsd(
    model: GlossModel,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help='Text in quotes; stdin if there is none, or "-".')
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read this text; .xz and .gz too.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page that shows the text's senses.")
    ] = None,
    lexicon: Lexicon = "wordnet",
    other_lexicon: Annotated[
        bool, typer.Option("--other-lexicon", help="It need not be the one the model was trained on.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Sentences around a word's own; by default as trained."),
    ] = None,
    layout: Layout = None,
    precision: Precision = "f32",
    tokens: PaddedTokens = 8192,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say in which sense the words of a text are used.

    Every content word, with its characters, lemma, part of speech, sense key, gloss and probability. No
    tagger is needed. Text of any length: the words come out as it is read.
    """
    with work(verbose) as progress:
        from limbeck.tools import reading, render

        source = reading.find_source(text, file)
        if html is not None:
            check_writable(html)
        progress("loading the model", 0, 0)
        from limbeck.tools.disambiguate import Disambiguator

        options = {"window": window, "layout": layout, "precision": precision, "tokens": tokens}
        indexing = partial(progress, "building the lexicon's index")
        disambiguator = Disambiguator.from_pretrained(
            model, lexicon=lexicon, other_lexicon=other_lexicon, device=device, progress=indexing, **options
        )
        about = {"model": model, "lexicon": disambiguator.lexicon_title}
        sentences = disambiguator.stream(source.chunks)
        sentences = reading.checked(sentences, source, disambiguator.lexicon_title)
        if html is not None:
            sentences = render.page(html, source.name, about, sentences)
        progress.close()
        if not sys.stdout.isatty():  # else the words themselves show how far it is
            sentences = reading.told(sentences, source, progress)
        words = (word for sentence in sentences for word in sentence.words)
        if as_json:
            for part in render.json_parts(about, words):
                print(part, end="")
            return
        for place, table in enumerate(tables.word_tables(words)):
            print("\n" * bool(place), end="")
            show_table(*table, words=True)
