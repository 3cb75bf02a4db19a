"""One masked language model that is asked about words: what it is shown of a passage, and what it answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from limbeck.teachers.teacher import is_out_of_memory

if TYPE_CHECKING:
    from limbeck.text.pieces import PieceTokenizer

log = logging.getLogger("limbeck")

Ints = npt.NDArray[np.int64]

OK, TRUNCATED, UNKNOWN, NO_PIECE = 0, 1, 2, 3
LEFT_OUT = {TRUNCATED: "truncated", UNKNOWN: "unknown", NO_PIECE: "no_piece"}
"""Why a model cannot be asked about a word: behind its longest input; a piece is its unknown piece; its
tokenizer drops the word."""


@dataclass(frozen=True)
class Compared:
    """A model to be compared.

    module: `(input_ids [B, L], attention_mask [B, L], position [S]) -> logits [S, V]` at the S slots only,
    such as `MaskedLM`. model: where it came from, for the result. device: where it runs; None: where the
    others do.
    """

    name: str
    module: torch.nn.Module
    tokenizer: PieceTokenizer
    model: str
    device: torch.device | None = None


@dataclass(frozen=True)
class Passage:
    """Text, word spans int64 [n, 2], and the ascending indices of its selected words [m]."""

    text: str
    spans: Ints
    selected: Ints


@dataclass(frozen=True)
class Shown:
    """A passage as one model sees it: ids [P] with masks set, and its slots.

    slot: [S] piece indices; gold: [S]; word: [U] indices of the selected words that can be asked; first,
    last: [U] index of each one's first and last slot.
    """

    ids: Ints
    slot: Ints
    gold: Ints
    word: Ints
    first: Ints
    last: Ints


def show(
    tokenizer: PieceTokenizer, passage: Passage, ids: Ints, start: Ints, end: Ints
) -> tuple[Shown, npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """The passage with every piece over a selected word masked; single [m] and state [m] of these words."""
    # starts and ends never decrease, so the pieces over a word are a run of pieces
    first = np.searchsorted(end, passage.spans[:, 0], side="right")
    last = np.searchsorted(start, passage.spans[:, 1], side="left") - 1
    cut = len(ids)
    if tokenizer.limit is not None and cut > tokenizer.limit:
        over = np.flatnonzero(last >= tokenizer.limit)
        cut = min(tokenizer.limit, int(first[over[0]])) if len(over) else tokenizer.limit
    chosen_first, chosen_last = first[passage.selected], last[passage.selected]
    empty, beyond = chosen_last < chosen_first, chosen_last >= cut
    masked = np.zeros(len(ids) + 1, np.int64)
    np.add.at(masked, chosen_first[~empty], 1)
    np.add.at(masked, chosen_last[~empty] + 1, -1)
    slot = np.flatnonzero(np.cumsum(masked[:-1])[:cut])
    unknown_before = np.concatenate(
        [[0], np.cumsum(ids == (-1 if tokenizer.unk_id is None else tokenizer.unk_id))]
    )
    safe_first, safe_last = np.where(empty, 0, chosen_first), np.where(empty, -1, chosen_last)
    unknown = unknown_before[safe_last + 1] > unknown_before[safe_first]
    state = np.select([empty, beyond, unknown], [NO_PIECE, TRUNCATED, UNKNOWN], OK).astype(np.uint8)
    spans = passage.spans[passage.selected]
    single = np.zeros(len(spans), bool)
    one = np.flatnonzero((state == OK) & (chosen_first == chosen_last))
    piece = chosen_first[one]
    single[one] = (start[piece] == spans[one, 0]) & (end[piece] == spans[one, 1])
    gold = ids[slot].copy()
    seen = ids[:cut].copy()
    seen[slot] = tokenizer.mask_id
    asked = np.flatnonzero(state == OK)
    view = Shown(
        seen,
        slot,
        gold,
        asked,
        np.searchsorted(slot, chosen_first[asked]),
        np.searchsorted(slot, chosen_last[asked]),
    )
    return view, single, state


def logits_of(
    compared: Compared, module: torch.nn.Module, shown: list[Shown], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float32 [S, V] and gold [S] of the slots of one batch, in order of passage and slot.

    When memory runs out the passages go in two halves.
    """
    try:
        return _logits_at_once(compared, module, shown, device)
    except RuntimeError as error:
        if not is_out_of_memory(error) or len(shown) == 1:
            raise
    half = len(shown) // 2
    log.warning(
        "%s: out of memory with %d passages at once; going on with %d", compared.name, len(shown), half
    )
    parts = [logits_of(compared, module, part, device) for part in (shown[:half], shown[half:])]
    return torch.cat([logits for logits, _ in parts]), torch.cat([gold for _, gold in parts])


def _logits_at_once(
    compared: Compared, module: torch.nn.Module, shown: list[Shown], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    tokenizer = compared.tokenizer
    fixed = len(tokenizer.prefix) + len(tokenizer.suffix)
    width = max(len(view.ids) for view in shown) + fixed
    input_ids = np.full((len(shown), width), tokenizer.pad_id, np.int64)
    attention = np.zeros((len(shown), width), np.int64)
    position = []
    for row, view in enumerate(shown):
        full = np.concatenate([tokenizer.prefix, view.ids, tokenizer.suffix]).astype(np.int64)
        begin = width - len(full) if tokenizer.padding_side == "left" else 0
        input_ids[row, begin : begin + len(full)] = full
        attention[row, begin : begin + len(full)] = 1
        position.append(row * width + begin + len(tokenizer.prefix) + view.slot)
    logits = module(
        torch.from_numpy(input_ids).to(device),
        torch.from_numpy(attention).to(device),
        torch.from_numpy(np.concatenate(position)).to(device),
    ).float()
    gold = torch.from_numpy(np.concatenate([view.gold for view in shown])).to(device)
    return logits, gold
