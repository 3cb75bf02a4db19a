"""One masked language model's nats and hits on the masked words of a text: what `tasks/mlm.py` compares.

Words and the mask plan come from the text alone, so every model is asked about the same words of the same
passages, whatever its tokenizer (docs/architecture.md §2).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.errors import UserError
from limbeck.teachers.teacher import is_out_of_memory
from limbeck.text.words import mask_plan, word_spans

if TYPE_CHECKING:
    from limbeck.text.corpus import Corpus
    from limbeck.text.pieces import PieceTokenizer

log = logging.getLogger("limbeck")

Ints = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]
"""Called as (what is being done, passages done, passages in all)."""

OK, TRUNCATED, UNKNOWN, NO_PIECE = 0, 1, 2, 3
LEFT_OUT = {TRUNCATED: "truncated", UNKNOWN: "unknown", NO_PIECE: "no_piece"}
"""Why a model cannot be asked about a word: behind its longest input; a piece is its unknown piece; its
tokenizer drops the word."""

# Passages are read, tokenized and sorted by length this many at a time: little padding, flat memory.
_CHUNK = 2048


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
class Sample:
    """The passages of a corpus that are measured, and the mask plan's settings."""

    corpus: Corpus
    rows: Ints
    mask: float
    seed: int

    def chunks(self) -> Iterator[list[Passage]]:
        """The passages in the order of `rows`, some thousands at a time."""
        for start in range(0, len(self.rows), _CHUNK):
            rows = [int(row) for row in self.rows[start : start + _CHUNK]]
            found = []
            for row, text in zip(rows, self.corpus.texts(rows), strict=True):
                spans = word_spans(text)
                plan = mask_plan(
                    len(spans), int(self.corpus.hashes[row]), seed=self.seed, variant=0, rate=self.mask
                )
                found.append(Passage(text, spans, plan.selected))
            yield found


@dataclass(frozen=True)
class Passage:
    """Text, word spans int64 [n, 2], and the ascending indices of its selected words [m]."""

    text: str
    spans: Ints
    selected: Ints


@dataclass(frozen=True)
class WordScores:
    """What one model says of the W selected words of a sample, in the sample's order.

    passage: int64 [W], index of the word's passage among the sample's.
    nats: float64 [W], sum over the word's pieces. correct: bool [W], every piece is the model's first choice.
    single: bool [W], the word is exactly one piece.
    state: uint8 [W], OK or a key of LEFT_OUT (then nats is 0 and correct False).
    pieces, words: of all passages, masked or not.
    """

    passage: Ints
    nats: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    single: npt.NDArray[np.bool_]
    state: npt.NDArray[np.uint8]
    pieces: int
    words: int


@dataclass(frozen=True)
class Measured:
    """A model whose words were scored before, on the same sample: it need not be loaded again.

    described: what a result says of it (`mlm_result.describe`); probe: a text as its tokenizer normalises it.
    """

    described: dict[str, Any]
    probe: str
    scores: WordScores


@dataclass(frozen=True)
class _Shown:
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


def score(
    compared: Compared,
    sample: Sample,
    device: torch.device,
    precision: str,
    batch: int,
    progress: Progress | None = None,
) -> WordScores:
    """Runs one model over the sample; logits exist only for one batch's slots at a time.

    Raises:
        UserError: the model gives NaN or infinite logits.
    """
    device = compared.device or device
    module = compared.module.to(device).eval()
    parts: list[WordScores] = []
    done = 0
    with torch.inference_mode(), autocast(device, precision):
        for passages in sample.chunks():
            parts.append(_score_chunk(compared, module, passages, device, batch, done))
            done += len(passages)
            if progress is not None:
                progress(f"measuring {compared.name}", done, len(sample.rows))
    return WordScores(
        passage=np.concatenate([part.passage for part in parts]),
        nats=np.concatenate([part.nats for part in parts]),
        correct=np.concatenate([part.correct for part in parts]),
        single=np.concatenate([part.single for part in parts]),
        state=np.concatenate([part.state for part in parts]),
        pieces=sum(part.pieces for part in parts),
        words=sum(part.words for part in parts),
    )


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision for `f32` (none), `bf16` or `f16`."""
    if precision == "f32":
        return contextlib.nullcontext()
    dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype)


def _score_chunk(
    compared: Compared,
    module: torch.nn.Module,
    passages: list[Passage],
    device: torch.device,
    batch: int,
    done: int,
) -> WordScores:
    """The next passages, `done` passages into the sample."""
    pieces = compared.tokenizer.encode([passage.text for passage in passages])
    sizes = np.array([len(passage.selected) for passage in passages], np.int64)
    base = np.concatenate([[0], np.cumsum(sizes)])
    nats, correct = np.zeros(base[-1]), np.zeros(base[-1], bool)
    single, state = np.zeros(base[-1], bool), np.zeros(base[-1], np.uint8)
    shown: list[tuple[int, _Shown]] = []
    for i, passage in enumerate(passages):
        part = slice(int(pieces.offsets[i]), int(pieces.offsets[i + 1]))
        view, single_i, state_i = _show(
            compared.tokenizer,
            passage,
            pieces.ids[part].astype(np.int64),
            pieces.start[part],
            pieces.end[part],
        )
        single[base[i] : base[i + 1]], state[base[i] : base[i + 1]] = single_i, state_i
        if len(view.slot):
            shown.append((i, view))
    shown.sort(key=lambda item: len(item[1].ids))
    for start in range(0, len(shown), batch):
        part_shown = shown[start : start + batch]
        losses, hits = _run(compared, module, [view for _, view in part_shown], device)
        place = 0
        for i, view in part_shown:
            loss = np.concatenate([[0.0], np.cumsum(losses[place : place + len(view.slot)])])
            miss = np.concatenate([[0], np.cumsum(~hits[place : place + len(view.slot)])])
            nats[base[i] + view.word] = loss[view.last + 1] - loss[view.first]
            correct[base[i] + view.word] = miss[view.last + 1] == miss[view.first]
            place += len(view.slot)
    words = sum(len(passage.spans) for passage in passages)
    passage_of = np.repeat(np.arange(done, done + len(passages)), sizes)
    return WordScores(passage_of, nats, correct, single, state, len(pieces.ids), words)


def _show(
    tokenizer: PieceTokenizer, passage: Passage, ids: Ints, start: Ints, end: Ints
) -> tuple[_Shown, npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
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
    view = _Shown(
        seen,
        slot,
        gold,
        asked,
        np.searchsorted(slot, chosen_first[asked]),
        np.searchsorted(slot, chosen_last[asked]),
    )
    return view, single, state


def sample_logits(
    compared: Compared, sample: Sample, *, device: torch.device, precision: str, batch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits float32 [S, V] and gold int64 [S] of one batch after the other, in the model's vocabulary."""
    module = compared.module.to(device).eval()
    with torch.inference_mode(), autocast(device, precision):
        for passages in sample.chunks():
            pieces = compared.tokenizer.encode([passage.text for passage in passages])
            shown = []
            for i, passage in enumerate(passages):
                part = slice(int(pieces.offsets[i]), int(pieces.offsets[i + 1]))
                ids = pieces.ids[part].astype(np.int64)
                shown.append(_show(compared.tokenizer, passage, ids, pieces.start[part], pieces.end[part])[0])
            shown = sorted((view for view in shown if len(view.slot)), key=lambda view: len(view.ids))
            for start in range(0, len(shown), batch):
                yield _logits(compared, module, shown[start : start + batch], device)


def _run(
    compared: Compared, module: torch.nn.Module, shown: list[_Shown], device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Nats and hits of the S slots of one batch, in order of passage and slot."""
    logits, gold = _logits(compared, module, shown, device)
    losses = torch.nn.functional.cross_entropy(logits, gold, reduction="none")
    if not bool(torch.isfinite(losses).all()):
        raise UserError(
            f"model {compared.model} gives NaN or infinite predictions; its weights are damaged, or it needs "
            "another precision (try f32)"
        )
    return losses.double().cpu().numpy(), (logits.argmax(-1) == gold).cpu().numpy()


def _logits(
    compared: Compared, module: torch.nn.Module, shown: list[_Shown], device: torch.device
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
    parts = [_logits(compared, module, part, device) for part in (shown[:half], shown[half:])]
    return torch.cat([logits for logits, _ in parts]), torch.cat([gold for _, gold in parts])


def _logits_at_once(
    compared: Compared, module: torch.nn.Module, shown: list[_Shown], device: torch.device
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
