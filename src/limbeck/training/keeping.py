"""What a run leaves on disk and goes on from: checkpoints, the best model, the last one.

The main process alone reads and writes; the others send it what is theirs and get what it read.
"""

import dataclasses
import logging
import math
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.errors import TrainingDiverged, UserError
from limbeck.files import atomic_folder
from limbeck.run import Run
from limbeck.training import checkpoint
from limbeck.training.engine import Engine, Prepared
from limbeck.training.interface import Best, TrainResult
from limbeck.training.progress import Window, peak_memory

_log = logging.getLogger(__name__)


def finished(run: Run, steps: int) -> dict[str, Any] | None:
    """The result on disk, if the run reached `steps` and its model is there; asked in the main process."""
    status = run.status() if run.main else {}
    whole = status.get("state") == "finished" and status["steps"] == steps and (run.folder / "model").is_dir()
    return dict(status["result"]) if whole else None


def seed_process(seed: int, rank: int, step: int = 0) -> None:
    """Seeds torch, numpy and Python: another stream for each process, and for one that joins at `step`."""
    mine = (seed + 1_000_003 * rank + 7_919 * step) % 2**32
    torch.manual_seed(mine)
    np.random.seed(mine)
    random.seed(mine)


class Keeper:
    """Saves the state of a run, and goes back to what was saved, with any number of processes."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        prepared: Prepared,
        optimiser: torch.optim.Optimizer,
        save_model: Callable[[Path], None],
        best: Best,
    ) -> None:
        self.run, self.engine, self.prepared, self.optimiser = run, engine, prepared, optimiser
        self.save_model, self.best = save_model, best

    def go_back(self, seed: int) -> checkpoint.State | None:
        """Goes back to the newest checkpoint and returns its state; None where there is none.

        A process beyond those that saved gets a random stream of its own.

        Raises:
            UserError: see `checkpoint.newest`; another machine's run directory is further than this one's.
        """
        engine, module = self.engine, self.prepared.module
        self._check_others()
        found = checkpoint.newest(self.run.checkpoints, self.run.fingerprint) if self.run.main else None
        found = engine.from_main(found)
        if found is None:
            return None
        path: Path
        state: checkpoint.State
        path, state = found
        tensors, randoms = checkpoint.load(path, state, module) if self.run.main else ({}, [])
        engine.share_weights(module)
        self.prepared.scatter()
        checkpoint.set_moments(self.prepared.trained, self.optimiser, engine.share(tensors))
        if state.scaler:
            engine.scaler.load_state_dict(state.scaler)
        self.run.cut_metrics(state.metrics_position)
        randoms = engine.from_main(randoms)
        if engine.rank < len(randoms):
            checkpoint.set_random_state(randoms[engine.rank], engine.device)
        else:
            seed_process(seed, engine.rank, state.step)
        return state

    def _check_others(self) -> None:
        """A rendezvous may make another machine the first at each start, with a run directory of its own."""
        steps = self.engine.gather(checkpoint.last_step(self.run.checkpoints))
        furthest = max(range(len(steps)), key=lambda rank: steps[rank])
        if steps[furthest] > steps[0]:
            raise UserError(
                f"{self.run.folder} is at step {steps[furthest]:,} where process {furthest} runs, and at "
                f"{max(steps[0], 0):,} where process 0 does; use a folder that all machines share, or give "
                "torchrun --node-rank so that the same machine stays the first"
            )

    def save(self, state: checkpoint.State, window: Window, seconds: float, keep: int) -> None:
        """Writes a checkpoint; `window` becomes that of all processes in the main one and empty elsewhere."""
        engine = self.engine
        window.merge(engine.gather(window.sums))
        randoms = engine.gather(checkpoint.random_state(engine.device))
        peaks = engine.gather(peak_memory(engine.device))
        if self.run.main or self.prepared.sharded:
            tensors = checkpoint.moments(self.prepared.trained, self.optimiser)
        self.prepared.gather(self.run.main)
        if self.run.main:
            state.window, state.processes = window.sums, engine.world
            state.metrics_position = self.run.metrics_position()
            state.seconds = seconds
            state.peak_memory = max(state.peak_memory, *(resident for resident, _ in peaks))
            state.peak_device_memory = max(state.peak_device_memory, *(device for _, device in peaks))
            state.scaler = engine.scaler.state_dict() if engine.scaler.is_enabled() else None
            checkpoint.save(self.run.checkpoints, self.prepared.module, tensors, randoms, state)
            checkpoint.prune(self.run.checkpoints, keep)
        else:
            window.sums = {}
        engine.group.meet()

    def judge(self, state: checkpoint.State, values: dict[str, float]) -> None:
        """Logs an evaluation, in the main process; the best weights so far go to `best/`."""
        state.evaluation = values
        self.run.log_metrics({"kind": "valid", "step": state.step, **values})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        _log.info("step %d, held-out: %s", state.step, shown)
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise TrainingDiverged(f"the evaluation after step {state.step} gave {bad[0]} = {values[bad[0]]}")
        value = values.get(self.best.metric)
        if value is not None and self.best.improves(value, state.best):
            state.best, state.best_step = value, state.step
            with atomic_folder(self.run.folder / "best") as folder:
                self.save_model(folder)

    def farewell(self, state: checkpoint.State, steps: int) -> str:
        """Says, once, that the run was stopped and how to go on."""
        hint = self.run.resume_hint or "give the same command again"
        line = f"stopped after step {state.step:,} of {steps:,}; all is saved. To go on: {hint}"
        if self.run.main:
            self.run.note(line)
            print(line, file=sys.stderr)
        return line

    def finish(self, state: checkpoint.State) -> TrainResult:
        """Writes `model/` and says that the run is finished."""
        result = TrainResult(
            steps=state.step,
            tokens=state.tokens,
            seconds=state.seconds,
            peak_memory=state.peak_memory,
            peak_device_memory=state.peak_device_memory,
            best=state.best,
            best_step=state.best_step,
            metrics=state.evaluation,
            energy_joules=state.energy_joules,
            energy_source=state.energy_source,
        )
        self.prepared.gather(self.run.main)
        if self.run.main:
            with atomic_folder(self.run.folder / "model") as folder:
                self.save_model(folder)
                card = self.run.folder / "model" / "README.md"
                if card.is_file():  # of a run that is trained on: what a user wrote there stays
                    shutil.copyfile(card, folder / card.name)
            fields = dataclasses.asdict(result)
            self.run.log_metrics({"kind": "end", **{k: v for k, v in fields.items() if k != "metrics"}})
            self.run.set_status("finished", step=state.step, steps=state.step, result=fields)
        return TrainResult(**self.engine.from_main(dataclasses.asdict(result)))
