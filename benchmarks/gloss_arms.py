"""The compared ways of feeding contexts and glosses: each trains, and says how probable the senses are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gloss_setting import GlossMade, Item
from torch.nn import functional

from limbeck.gloss.arranged import GlossBatch
from limbeck.gloss.batches import GlossBatches
from limbeck.gloss.instances import write_jsonl
from limbeck.gloss.layout import Layout
from limbeck.gloss.losses import scores
from limbeck.gloss.predict import probabilities, rank
from limbeck.gloss.prepared import prepare_instances
from limbeck.gloss.step import GlossStep
from limbeck.training.interface import StepContext

Floats = npt.NDArray[np.float64]
ARMS = ("published", "pairs", "packed")


class Arm:
    """One way. `fed` and `real` count the pieces that the model was given, with and without padding."""

    def __init__(self, made: GlossMade, items: Sequence[Item]) -> None:
        self.made, self.items = made, items
        self.fed = self.real = 0

    def taken(self, turn: int) -> Sequence[Item]:
        """The instances of a turn."""
        return self.items

    def train(self, turn: int) -> None:
        """One pass over these instances, a whole step for each `batch` of them."""
        raise NotImplementedError

    def predict(self, turn: int) -> list[Floats]:
        """For each of these instances the probabilities of its candidates."""
        raise NotImplementedError

    def _count(self, attention: torch.Tensor) -> None:
        self.fed += attention.numel()
        self.real += int(attention.sum())


class Published(Arm):
    """Each pair is tokenized as text and padded to `max_length`; so many pairs at once.

    As the code of GlossBERT and LMGC does it. A step takes the pairs of as many instances as ours does, so
    the optimiser runs as often. Every pair costs the same, whichever it is, so a turn takes a part of the
    instances, each turn another.
    """

    def taken(self, turn: int) -> Sequence[Item]:
        size = min(self.made.setting.published, len(self.items))
        start = turn * size % len(self.items)
        return self.items[start : start + size]

    def train(self, turn: int) -> None:
        self.made.model.train()
        size, taken = self.made.setting.batch, self.taken(turn)
        for start in range(0, len(taken), size):
            items = taken[start : start + size]
            pairs = sum(len(senses) for _, senses in items)
            for inputs, gold in self._batches(items):
                loss = functional.cross_entropy(self._match(inputs), gold, reduction="sum") / pairs
                loss.backward()
            self.made.update()

    @torch.no_grad()
    def predict(self, turn: int) -> list[Floats]:
        self.made.model.eval()
        taken = self.taken(turn)
        found = [scores(self._match(inputs)) for inputs, _ in self._batches(taken)]
        ends = np.cumsum([len(senses) for _, senses in taken])[:-1]
        return [probabilities(part, "pairs") for part in np.split(torch.cat(found).double().numpy(), ends)]

    def _batches(self, items: Sequence[Item]) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        setting, tokenizer = self.made.setting, self.made.model.encoder.tokenizer.hf
        rows = list(chain.from_iterable(_texts(item) for item in items))
        for start in range(0, len(rows), setting.pairs):
            contexts, glosses, gold = zip(*rows[start : start + setting.pairs], strict=True)
            inputs = tokenizer(
                list(contexts), list(glosses), padding="max_length", truncation=True,
                max_length=setting.max_length, return_tensors="pt",
            )  # fmt: skip
            self._count(inputs["attention_mask"])
            yield dict(inputs), torch.tensor(gold, dtype=torch.long)

    def _match(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Match logits [pairs, 2]."""
        model = self.made.model
        with self.made.autocast():
            states = model.model.base_model(**inputs)[0]
        match: torch.Tensor = model.head(model.dropout(states[:, 0].float()))
        return match


def _texts(item: Item) -> Iterator[tuple[str, str, bool]]:
    """Context with its marks, gloss with its target, and whether it is right, of each candidate."""
    one, senses = item
    context = f'{one.context[: one.start]}"{one.target}"{one.context[one.end :]}'
    for sense in senses:
        yield context, f"{' '.join(one.target.split())} : {sense.gloss}", sense.key in one.gold


class Ours(Arm):
    """A layout of Limbeck's, with the code that trains and predicts."""

    def __init__(self, made: GlossMade, items: Sequence[Item], kind: str, folder: Path) -> None:
        super().__init__(made, items)
        encoder = made.encoder()
        self.layout = Layout(encoder.template, kind, family=made.model.family)
        write_jsonl(folder / "instances.jsonl", (one for one, _ in items))
        self.prepared = prepare_instances(
            [str(folder / "instances.jsonl")], made.lexicon, encoder, self.layout, of="gold", window=0,
            cache=folder / kind, label="benchmark",
        )  # fmt: skip
        assert len(self.prepared) == len(items)
        self.step = GlossStep(made.section, candidates=float(self.prepared.candidates.mean()))

    def train(self, turn: int) -> None:
        self.made.model.train()
        batches = self._batches()
        for number in range(batches.steps_per_epoch):
            micro_batches = batches.micro_batches(turn * batches.steps_per_epoch + number)
            count = sum(batch.count for batch in micro_batches)
            for batch in micro_batches:
                self._count(batch.gloss.attention_mask)
                loss, _, _ = self.step(self.made.forward, batch, StepContext(0, 1))
                (loss / count).backward()
            self.made.update()

    def _batches(self) -> GlossBatches:
        setting, made = self.made.setting, self.made
        rows = np.arange(len(self.prepared))
        return GlossBatches(
            self.prepared, rows, made.lexicon, made.encoder(), self.layout, None, of="gold",
            seed=setting.seed, batch=setting.batch, tokens=setting.tokens,
        )  # fmt: skip

    def predict(self, turn: int) -> list[Floats]:
        def count(_: Any, given: tuple[GlossBatch]) -> None:
            self._count(given[0].attention_mask)

        setting, model = self.made.setting, self.made.model
        hook = model.register_forward_pre_hook(count)
        try:
            said = rank(
                model, self.made.encoder(), self.items, layout=self.layout.kind, tokens=setting.tokens,
                precision=setting.precision,
            )  # fmt: skip
            return [one.probabilities for one in said]
        finally:
            hook.remove()


def arms(made: GlossMade, items: Sequence[Item], folder: Path) -> dict[str, Arm]:
    """All of them, by name."""
    ours = {kind: Ours(made, items, kind, folder) for kind in ARMS[1:]}
    return {"published": Published(made, items), **ours}
