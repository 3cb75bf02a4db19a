"""One masked language model's nats and hits on the masked words of a text: what `tasks/mlm.py` compares.

Words and the mask plan come from the text alone, so every model is asked about the same words of the same
passages, whatever its tokenizer (docs/architecture.md §2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.errors import UserError
from limbeck.tasks.mlm_model import Compared, Ints, Passage, Shown, logits_of, show
from limbeck.text.words import mask_plan, word_spans

if TYPE_CHECKING:
    from limbeck.text.corpus import Corpus
from limbeck.teachers.precision import autocast

Progress = Callable[[str, int, int], None]
"""Called as (what is being done, passages done, passages in all)."""

# Passages are read, tokenized and sorted by length this many at a time: little padding, flat memory.
_CHUNK = 2048


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
    shown: list[tuple[int, Shown]] = []
    for i, passage in enumerate(passages):
        part = slice(int(pieces.offsets[i]), int(pieces.offsets[i + 1]))
        view, single_i, state_i = show(
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
                shown.append(show(compared.tokenizer, passage, ids, pieces.start[part], pieces.end[part])[0])
            shown = sorted((view for view in shown if len(view.slot)), key=lambda view: len(view.ids))
            for start in range(0, len(shown), batch):
                yield logits_of(compared, module, shown[start : start + batch], device)


def _run(
    compared: Compared, module: torch.nn.Module, shown: list[Shown], device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Nats and hits of the S slots of one batch, in order of passage and slot."""
    logits, gold = logits_of(compared, module, shown, device)
    losses = torch.nn.functional.cross_entropy(logits, gold, reduction="none")
    if not bool(torch.isfinite(losses).all()):
        raise UserError(
            f"model {compared.model} gives NaN or infinite predictions; its weights are damaged, or it needs "
            "another precision (try f32)"
        )
    return losses.double().cpu().numpy(), (logits.argmax(-1) == gold).cpu().numpy()
