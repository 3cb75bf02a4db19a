"""Which rows each step of a training takes: a pure function of the step number (contract 2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from limbeck.text.mixing import mix64

Ints = npt.NDArray[np.int64]

# Rows are sorted by length within pools of about so many rows, and at least so many batches: large enough for
# little padding even where lengths differ as much as those of dictionary entries, small enough that a batch
# is still a mixture of the whole text.
POOL_PASSAGES, POOL_BATCHES = 8192, 32


class Order:
    """The order of text, gloss and fine-tuning alike: every epoch a new one, in whole batches.

    A rank takes every `world`-th of a step's rows, so that the order does not depend on the number of
    processes.

    Args:
        hashes, lengths: [N], uint64 and int64, of all that `rows` index. rows: what is trained on. batch:
            rows of a step over all ranks, all rows where there are fewer.
    """

    def __init__(
        self,
        hashes: npt.NDArray[np.uint64],
        lengths: Ints,
        rows: Ints,
        *,
        seed: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.hashes, self.lengths, self.all_rows = hashes, lengths, rows
        self.seed, self.batch = seed, min(batch, len(rows))
        self.rank, self.world = rank, world
        self._epoch: tuple[int, list[Ints]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass; the rest of an epoch's order is left out of that epoch."""
        return len(self.all_rows) // self.batch

    def rows(self, step: int) -> tuple[int, Ints]:
        """The epoch of the 0-based `step`, and this rank's rows of the step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            made = epoch_order(
                self.hashes, self.lengths, self.all_rows, seed=self.seed, epoch=epoch, batch=self.batch
            )
            self._epoch = (epoch, made)
        return epoch, self._epoch[1][index][self.rank :: self.world]


def epoch_order(
    hashes: npt.NDArray[np.uint64], lengths: Ints, rows: Ints, *, seed: int, epoch: int, batch: int
) -> list[Ints]:
    """The whole batches of one epoch, `batch` of `rows` each, in their order: a pure function.

    Rows of similar length stand together. hashes, lengths: [N], of all that `rows` index.
    """
    steps = len(rows) // batch
    key = mix64(np.uint64(seed) ^ mix64(np.uint64(epoch) + np.uint64(1)))
    order = rows[np.argsort(mix64(hashes[rows] ^ key), kind="stable")]
    pool = max(POOL_BATCHES, POOL_PASSAGES // batch)  # batches
    batches: list[Ints] = []
    for part in np.array_split(np.arange(steps), -(-steps // pool)):  # all of about the same size
        some = order[part[0] * batch : (part[-1] + 1) * batch]
        some = some[np.argsort(lengths[some], kind="stable")]
        batches += [some[i : i + batch] for i in range(0, len(some), batch)]
    shuffled = np.argsort(mix64(np.arange(len(batches)).astype(np.uint64) ^ key), kind="stable")
    return [batches[i] for i in shuffled]
