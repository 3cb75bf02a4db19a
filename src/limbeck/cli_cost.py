"""Commands on what a model costs, and its export. Registered in cli.py."""

import json
from pathlib import Path
from typing import Annotated

import typer

from limbeck import tables_cost
from limbeck.cli_options import AsJson, Device, ResultFile, Verbose, numbers
from limbeck.files import atomic_write, check_writable
from limbeck.terminal import show, work


def eval_cost(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Model folders, hub ids, or folders of `limbeck export`."),
    ],
    lengths: Annotated[
        str, typer.Option(metavar="N,N", help="Lengths of passages in pieces, with commas.")
    ] = "16,64,256",
    precision: Annotated[
        str, typer.Option(metavar="P", help="f32, bf16 or f16, in which weights are held.")
    ] = "f32",
    seconds: Annotated[
        float, typer.Option(metavar="S", help="For each latency, search of the best batch, and throughput.")
    ] = 1.0,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads on the CPU; as many as torch takes by default.")
    ] = None,
    device: Device = "auto",
    watts: Annotated[
        float | None,
        typer.Option(metavar="W", help="Power of the machine, for an estimate where none is measured."),
    ] = None,
    as_json: AsJson = False,
    output: ResultFile = None,
    verbose: Verbose = False,
) -> None:
    """Measure what models cost: size, operations, latency, throughput, memory, training.

    On this machine, with the head that each model has. Half a minute each on an idle machine.
    """
    with work(verbose) as progress:
        chosen = numbers("lengths", lengths, "16,64,256")
        if output is not None:
            check_writable(output)  # or the measurement would end with an error
        from limbeck.tasks.efficiency import CostSettings, measure_models

        settings = CostSettings(chosen, precision, seconds, threads, device, watts)
        result = measure_models(models, settings, progress=progress)
        show(result, as_json, tables_cost.cost_tables)
        if output is not None:
            atomic_write(output, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or hub id.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="New folder to write (default: runs/onnx/ and the name)."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a model as ONNX, for onnxruntime, once it gives what torch gives.

    A masked language model, a sequence classifier or an encoder, with its tokenizer. Needs limbeck[onnx].
    """
    with work(verbose) as progress:
        from limbeck.files import folder_name
        from limbeck.tools.export import export_model

        output = Path("runs") / "onnx" / folder_name(model) if output is None else output
        show(export_model(model, output, progress=progress), as_json, tables_cost.export_tables)
