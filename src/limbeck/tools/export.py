"""`limbeck export`: a checkpoint as an ONNX file that has been compared with torch (docs/cost.md)."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from limbeck.errors import UserError
from limbeck.files import atomic_folder, atomic_write, check_writable
from limbeck.tasks.cost_model import GLOSS, MASKED_LM, Loaded, count_parameters, load, random_ids
from limbeck.tasks.exported import (
    ABOUT_FILE,
    ATTENTION,
    EXPORT_VERSION,
    IDS,
    ONNX_FILE,
    POSITION,
    About,
    input_shapes,
    is_exported,
    open_session,
    output_shape,
    run,
)
from limbeck.tasks.mlm_result import versions
from limbeck.teachers.padded_linear import plain_head

Progress = Callable[[str, int, int], None]

FAMILIES = (
    "bert", "roberta", "distilbert", "modernbert", "albert", "electra", "xlm-roberta", "camembert",
)  # fmt: skip
"""Transformers' model types that are known to export, each tested."""

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18

TOLERANCE = 1e-4
"""The most that an output may differ from torch's, as a share of the largest output (at least 1)."""

CHECKED = (2, 5, 16, 37, 64, 128, 300)
"""Lengths at which the two are compared, where the model takes as many pieces; on both sides of ModernBERT's
usual window of 128."""
# Rows of each comparison: the second half of the second row and the end of the third are padding.
_ROWS = (1, 3)


def export_model(model: str, output: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Writes a masked language model, a sequence classifier or an encoder to a new folder as ONNX.

    The folder takes its place only after onnxruntime gave what torch gives; until then and after a failure
    nothing is at `output`.

    Returns:
        A JSON-ready dict: model, output, head, family, inputs, output shape, bytes, parity, versions.

    Raises:
        UserError: a missing package, a model or folder that cannot be used, a family that cannot be exported,
            or a file that differs from torch.
    """
    began = time.perf_counter()
    say = progress or (lambda what, done, total: None)
    _check_packages()
    _check_output(output)
    if is_exported(model):
        raise UserError(f"model: {model!r} is exported already; give the checkpoint")
    say("loading the model", 0, 0)
    loaded = load(model, device=torch.device("cpu"))
    family = str(loaded.model.config.model_type)
    if loaded.head == GLOSS:
        raise UserError(
            f"model: {model!r} is a gloss model, whose head cannot be exported; give the model that its "
            "training began with"
        )
    if family not in FAMILIES:
        raise UserError(
            f"model: {model!r} is of the family {family!r}; only {', '.join(FAMILIES)} can be exported"
        )
    with atomic_folder(output) as folder:
        say("translating it to ONNX (some seconds)", 0, 0)
        write_onnx(loaded, folder / ONNX_FILE)
        parity = compare(loaded, folder / ONNX_FILE, model, progress)
        loaded.model.config.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        parameters, bare = count_parameters(loaded)
        about = About(
            version=EXPORT_VERSION,
            model=Path(model).name,
            head=loaded.head,
            family=family,
            limit=loaded.limit,
            parameters=parameters,
            bare_parameters=bare,
            weights=loaded.digest,
            precision="f32",
            inputs=input_shapes(loaded.head),
            output=output_shape(loaded.head),
            parity=parity,
            versions=versions() | {package: version(package) for package in PACKAGES},
        )
        atomic_write(folder / ABOUT_FILE, about.model_dump_json(indent=1) + "\n")
    disk = sum(path.stat().st_size for path in output.glob(f"{ONNX_FILE}*"))
    seconds = time.perf_counter() - began
    return about.model_dump() | {"task": "export", "folder": str(output), "bytes": disk, "seconds": seconds}


def _check_packages() -> None:
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise UserError(
            f"export needs the package {missing[0]}; install limbeck with its extra: limbeck[onnx]"
        )


def _check_output(output: Path) -> None:
    if output.is_dir():
        if any(output.iterdir()):
            raise UserError(f"{output} is not empty; name a new folder")
    elif output.exists():
        raise UserError(f"{output} is a file; name a new folder")
    else:
        check_writable(output)


def write_onnx(loaded: Loaded, path: Path) -> None:
    """Writes the file; batch, length and number of positions are left open."""
    ids = random_ids(loaded.tokenizer, 2, min(7, loaded.limit or 7))
    attention = torch.ones_like(ids)
    attention[1, -2:] = 0
    batch, length = Dim("batch"), Dim("length", max=loaded.limit)
    inputs, shapes = [ids, attention], [{0: batch, 1: length}, {0: batch, 1: length}]
    if loaded.head == MASKED_LM:
        inputs.append(torch.tensor([0, 8, 3]))
        shapes.append({0: Dim("positions")})
    with torch.no_grad(), plain_head(loaded.model), _quiet_exporter():
        program = torch.onnx.export(
            loaded.module,
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=tuple(shapes),
            input_names=list(input_shapes(loaded.head)),
            output_names=list(output_shape(loaded.head)),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


def compare(loaded: Loaded, path: Path, model: str, progress: Progress | None = None) -> dict[str, Any]:
    """Puts onnxruntime's outputs beside torch's, on random pieces of several lengths.

    With padding and without; positions that are padding are left out.

    Returns:
        tolerance, the largest difference, the largest output, and the [rows, length] that were compared.

    Raises:
        UserError: they differ by more than the tolerance, or the file cannot be run.
    """
    session = open_session(path, threads=torch.get_num_threads(), where=f"the exported model of {model!r}")
    lengths = [length for length in CHECKED if loaded.limit is None or length <= loaded.limit]
    difference, largest = 0.0, 1.0
    for done, length in enumerate(lengths):
        if progress is not None:
            progress("comparing with torch", done, len(lengths))
        for rows in _ROWS:
            inputs = _inputs(loaded, rows, length)
            with torch.no_grad():
                expected = loaded.module(*inputs.values()).float()
            names = list(input_shapes(loaded.head))
            given = {name: inputs[name].numpy() for name in names}
            found = run(session, given, f"the exported model of {model!r}")
            if found.shape != expected.shape:
                raise UserError(_differs(model, f"the shape {list(found.shape)}, not {list(expected.shape)}"))
            if expected.dim() == 3:  # states of padding mean nothing
                real = inputs[ATTENTION].bool()
                found, expected = found[real], expected[real]
            largest = max(largest, float(expected.abs().max()))
            worst = float((found - expected).abs().max())
            if not worst <= TOLERANCE * largest:  # NaN is none either
                raise UserError(
                    _differs(model, f"values off by {worst:.2g} of {largest:.3g} at length {length}")
                )
            difference = max(difference, worst)
    return {
        "tolerance": TOLERANCE,
        "largest_difference": difference,
        "largest_output": largest,
        "compared": [[rows, length] for length in lengths for rows in _ROWS],
    }


def _differs(model: str, how: str) -> str:
    return (
        f"the exported model of {model!r} differs from torch's: {how} (at most {TOLERANCE:g} of the "
        "largest is allowed); nothing was written; try other versions of torch and onnxruntime"
    )


def _inputs(loaded: Loaded, rows: int, length: int) -> dict[str, torch.Tensor]:
    """Inputs of a comparison by name."""
    ids = random_ids(loaded.tokenizer, rows, length, seed=length)
    attention = torch.ones_like(ids)
    for row, kept in ((1, (length + 1) // 2), (2, length - 1)):
        if row < rows:
            attention[row, kept:] = 0
    if loaded.tokenizer.pad_token_id is not None:
        ids[attention == 0] = loaded.tokenizer.pad_token_id
    inputs = {IDS: ids, ATTENTION: attention}
    if loaded.head == MASKED_LM:  # some real positions of every row, the last one of the batch among them
        real = attention.flatten().nonzero().flatten()
        inputs[POSITION] = real[:: max(1, len(real) // 32)]
    return inputs


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter's warnings about itself are shown with --verbose only."""
    if logging.getLogger("limbeck").isEnabledFor(logging.DEBUG):
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
