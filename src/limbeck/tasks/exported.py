"""A folder that `limbeck export` made: model.onnx, its tokenizer, and export.json that says what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import PreTrainedTokenizerFast

from limbeck.errors import UserError
from limbeck.tasks.cost_model import CLASSIFIER, MASKED_LM, Call
from limbeck.teachers import loading

ONNX_FILE, ABOUT_FILE = "model.onnx", "export.json"
IDS, ATTENTION, POSITION = "input_ids", "attention_mask", "position"
EXPORT_VERSION = 1


class About(BaseModel):
    """What export.json says.

    head: what runs behind the encoder. limit: the most pieces of a passage (None: unlimited). parameters,
    bare_parameters: of the checkpoint, in all and without embeddings. weights: the checkpoint's digest.
    precision: of the file's weights, f32 or int8. parity: what was compared with torch, and the difference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    model: str
    head: str
    family: str
    limit: int | None
    parameters: int
    bare_parameters: int
    weights: str
    precision: str
    inputs: dict[str, list[str]]
    output: dict[str, list[str]]
    parity: dict[str, Any]
    versions: dict[str, str]


@dataclass
class Exported:
    """An exported model, ready to run."""

    about: About
    session: Any
    tokenizer: PreTrainedTokenizerFast
    disk: int

    def call(self, ids: torch.Tensor) -> Call:
        """A forward of int64 [B, L] without padding, with the head at the first position of each row."""
        first = torch.arange(len(ids)) * ids.shape[1]
        inputs = {IDS: ids, ATTENTION: torch.ones_like(ids), POSITION: first}
        fed = {name: inputs[name].numpy() for name in self.about.inputs}
        return lambda: self.session.run(None, fed)


def input_shapes(head: str) -> dict[str, list[str]]:
    """Inputs of an exported model, in order, with their shapes; all are int64."""
    shapes = {IDS: ["batch", "length"], ATTENTION: ["batch", "length"]}
    return shapes | {POSITION: ["positions"]} if head == MASKED_LM else shapes


def output_shape(head: str) -> dict[str, list[str]]:
    """The one output of an exported model with its shape; float32."""
    if head == MASKED_LM:
        return {"logits": ["positions", "vocabulary"]}
    if head == CLASSIFIER:
        return {"logits": ["batch", "classes"]}
    return {"last_hidden_state": ["batch", "length", "hidden"]}


def is_exported(path_or_id: str | Path) -> bool:
    """Whether this is a folder with an exported model."""
    return (Path(path_or_id).expanduser() / ONNX_FILE).is_file()


def read_about(path: str | Path) -> About:
    """What the export.json of an exported folder says.

    Raises:
        UserError: the folder was not made by `limbeck export`, or is damaged.
    """
    where = f"model: {str(path)!r}"
    folder = Path(path).expanduser()
    if not (folder / ABOUT_FILE).is_file():
        raise UserError(f"{where} has no {ABOUT_FILE} beside {ONNX_FILE}; make it with `limbeck export`")
    try:
        return About.model_validate_json((folder / ABOUT_FILE).read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{where} has an {ABOUT_FILE} that cannot be used; make the folder again with `limbeck export`"
        ) from error


def open_exported(path: str | Path, *, threads: int) -> Exported:
    """Loads an exported folder.

    Raises:
        UserError: onnxruntime is missing; the folder was not made by `limbeck export`, or is damaged.
    """
    where = f"model: {str(path)!r}"
    folder = Path(path).expanduser()
    about = read_about(path)
    with loading.quiet():
        tokenizer = loading.load_fast_tokenizer(str(folder), where)
    session = open_session(folder / ONNX_FILE, threads=threads, where=where)
    disk = sum(file.stat().st_size for file in folder.glob(f"{ONNX_FILE}*"))
    return Exported(about, session, tokenizer, disk)


def open_session(path: Path, *, threads: int, where: str) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        UserError: the package is missing, or the file is no model that it can run.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{where} needs the package onnxruntime; install limbeck with its extra: limbeck[onnx]"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; warnings are about what its optimiser did not do
    with _told(where):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session: Any, inputs: Mapping[str, Any], where: str) -> torch.Tensor:
    """The one output for arrays by name.

    Raises:
        UserError: onnxruntime cannot run the model on them.
    """
    with _told(where):
        return torch.from_numpy(session.run(None, dict(inputs))[0])


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turns an error of onnxruntime, whose classes share no base of their own, into one line."""
    try:
        yield
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"{where} cannot be run by onnxruntime ({line}); export it again") from error
