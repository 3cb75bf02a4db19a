"""The command `spin`, registered in cli.py."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli_options import Device, Lexicon, Verbose
from limbeck.errors import UserError
from limbeck.files import check_writable
from limbeck.terminal import work


def spin(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help='Text files; .zst, .gz and .xz too. Stdin if there is none, or "-".'
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of all words to change: 0.25 is every fourth.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of what is changed, and to what.")] = 0,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Masked language model that ranks the synonyms; its gloss head, if any, senses.",
        ),
    ] = None,
    tsv: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The files are TSV: spin this column, and add the result as `spun`."
        ),
    ] = None,
    lexicon: Lexicon = "wordnet",
    other_lexicon: Annotated[
        bool, typer.Option("--other-lexicon", help="It need not be the one the gloss head was trained on.")
    ] = False,
    device: Device = "auto",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout; .zst is packed."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON: each paragraph with its changed spans.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Make machine-paraphrased text to train and test detectors with.

    Replaces words of English text by synonyms of the lexicon, inflected alike. The result is synthetic, is
    marked so with --tsv and --json, and must not be passed off as anyone's writing; it reads worse than the
    original and is no way around a detector. All else stays as it is, byte for byte. Files are written one
    behind the other; how many words were and could be changed goes to stderr.
    """
    with work(verbose) as progress:
        if as_json and tsv is not None:
            raise UserError("--json and --tsv are two forms of output; leave one of them out")
        if not 0 < rate <= 1:
            raise UserError(f"rate is {rate}; it must be above 0 and at most 1; 0.25 is every fourth word")
        if output is not None:
            check_writable(output)
        from limbeck.lexicon.lexicon import open_lexicon
        from limbeck.tools import spin_files
        from limbeck.tools.spin import Spinner, collecting_seldom

        texts = spin_files.find_texts(files or [], progress)
        opened = open_lexicon(lexicon, partial(progress, "building the lexicon's index"))
        ranker = None
        if context is not None:
            progress("loading the model", 0, 0)
            from limbeck.tools.spin_context import Ranker

            ranker = Ranker.from_pretrained(context, opened, other_lexicon=other_lexicon, device=device)
        spinner = Spinner(opened, rate=rate, seed=seed, ranker=ranker)
        made = spin_files.made_by(spinner, rate, seed, context)
        with spin_files.output(output) as write, collecting_seldom():
            if tsv is not None:
                totals = spin_files.spin_tsv(spinner, texts, tsv, write, made)
            elif as_json:
                totals = spin_files.spin_json(spinner, texts, write, made)
            else:
                totals = spin_files.spin_text(spinner, texts, write)
        progress.close()
        told = totals.record()
        print(
            f"{told['words']:,} words: {told['changeable']:,} could be changed, {told['changed']:,} were, "
            f"a rate of {told['rate_reached']:.3f} where {rate:g} was asked for; the text is synthetic",
            file=sys.stderr,
        )
