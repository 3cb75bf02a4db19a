"""A model to measure, a checkpoint or an exported folder, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import AutoModel

from limbeck.errors import UserError
from limbeck.tasks.cost_measure import macs_per_token
from limbeck.tasks.cost_model import (
    Call,
    Loaded,
    count_parameters,
    disk_bytes,
    load,
    random_ids,
)
from limbeck.tasks.exported import Exported, is_exported, open_exported, read_about
from limbeck.teachers import families, loading
from limbeck.teachers.masked_lm import resolve_device
from limbeck.teachers.precision import check_precision


class Subject(Protocol):
    """What is measured.

    head: what runs behind the encoder; runtime: torch or onnxruntime; precision: of weights and states;
    limit: the most pieces of a passage (None: unlimited); parameters, bare_parameters: tied ones once, and
    without embeddings; disk: bytes of the weights; weights: their digest.
    """

    head: str
    family: str
    runtime: str
    precision: str
    device: torch.device
    limit: int | None
    parameters: int
    bare_parameters: int
    disk: int
    weights: str

    def call(self, rows: int, length: int) -> Call:
        """A forward of random passages [rows, length] without padding, inputs made beforehand."""

    def macs_per_token(self, length: int) -> float | None:
        """Multiply–accumulates per piece of a passage; None where torch cannot count them."""


@dataclass
class TorchSubject:
    """A checkpoint, run by torch."""

    loaded: Loaded
    precision: str
    device: torch.device
    runtime: str = "torch"

    def __post_init__(self) -> None:
        self.head, self.limit = self.loaded.head, self.loaded.limit
        self.family = str(self.loaded.model.config.model_type)
        self.parameters, self.bare_parameters = count_parameters(self.loaded)
        self.disk, self.weights = disk_bytes(self.loaded), self.loaded.digest

    def call(self, rows: int, length: int) -> Call:
        """See `Subject`."""
        return self.loaded.call(random_ids(self.loaded.tokenizer, rows, length).to(self.device))

    def macs_per_token(self, length: int) -> float | None:
        """See `Subject`."""
        return macs_per_token(self.loaded, length, self.device)


@dataclass
class OnnxSubject:
    """A folder that `limbeck export` made, run by onnxruntime on the CPU."""

    exported: Exported
    runtime: str = "onnxruntime"
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - devices do not change

    def __post_init__(self) -> None:
        about = self.exported.about
        self.head, self.family, self.limit = about.head, about.family, about.limit
        self.precision = about.precision
        self.parameters, self.bare_parameters = about.parameters, about.bare_parameters
        self.disk, self.weights = self.exported.disk, about.weights

    def call(self, rows: int, length: int) -> Call:
        """See `Subject`."""
        return self.exported.call(random_ids(self.exported.tokenizer, rows, length))

    def macs_per_token(self, length: int) -> float | None:
        """See `Subject`."""
        return None


def open_model(path_or_id: str, *, device: str, precision: str, threads: int) -> Subject:
    """Loads a checkpoint or an exported folder; the latter runs on the CPU in the precision of its file.

    Raises:
        UserError: it is neither; no such device or precision; onnxruntime is needed and missing.
    """
    target = resolve_device(device)
    dtype = check_precision(precision, target)
    if is_exported(path_or_id):
        return OnnxSubject(open_exported(path_or_id, threads=threads))
    return TorchSubject(load(path_or_id, device=target, dtype=dtype), precision, target)


def usable_lengths(path_or_id: str, limit: int | None, lengths: Sequence[int]) -> list[int]:
    """Those of `lengths` that a model of this longest input (None: unlimited) can take.

    Raises:
        UserError: none of them.
    """
    usable = [length for length in lengths if limit is None or length <= limit]
    if not usable:
        raise UserError(
            f"model: {path_or_id!r} takes at most {limit} pieces, fewer than every length asked for; give "
            f"shorter lengths, such as {limit}"
        )
    return usable


def longest_input(path_or_id: str) -> int | None:
    """The most pieces of a passage, without reading weights; None: unlimited, or known only with them.

    Raises:
        UserError: as `check_model`.
    """
    if is_exported(path_or_id):
        return read_about(path_or_id).limit
    where = f"model: {path_or_id!r}"
    with loading.quiet(), torch.device("meta"):
        config = loading.load_config(loading.find_source(path_or_id, where), where)
        try:
            return families.piece_limit(AutoModel.from_config(config))  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, KeyError, TypeError):  # loading tells what is wrong, if anything is
            return None


def check_model(path_or_id: str) -> None:
    """Finds at once what can be known without reading weights.

    Raises:
        UserError: no such folder, not a model.
    """
    if not is_exported(path_or_id):
        where = f"model: {path_or_id!r}"
        with loading.quiet():
            loading.load_config(loading.find_source(path_or_id, where), where)
