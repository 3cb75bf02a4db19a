"""THE training loop: pre-training, distillation, gloss training, fine-tuning (architecture section 6).

A stage hands over one module, a step and a source of micro-batches; the loop does the rest: gradients
normalised by the count over all micro-batches and processes, schedule, clipping, metrics, evaluation,
checkpoints, exact resume.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import Interrupted, TrainingDiverged, UserError
from limbeck.processes.group import Group
from limbeck.processes.together import together
from limbeck.run import Run
from limbeck.training import checkpoint
from limbeck.training.divergence import check_finite
from limbeck.training.energy import RunEnergy
from limbeck.training.engine import Engine
from limbeck.training.interface import (
    BEST_METRIC,
    BatchSource,
    Best,
    Metrics,
    Step,
    StepContext,
    TrainResult,
    TrainSettings,
)
from limbeck.training.keeping import Keeper, finished, seed_process
from limbeck.training.optimiser import adamw, clip_gradients, learning_rate_share, trainable
from limbeck.training.progress import Interruption, Progress, Window, reset_peak_memory
from limbeck.training.sharding import whole

__all__ = [
    "BEST_METRIC",
    "BatchSource",
    "Best",
    "Interrupted",
    "Metrics",
    "Step",
    "StepContext",
    "TrainResult",
    "TrainSettings",
    "TrainingDiverged",
    "train",
]

_log = logging.getLogger(__name__)


def train(
    module: nn.Module,
    step: Step,
    source: BatchSource,
    settings: TrainSettings,
    run: Run,
    *,
    seed: int,
    save_model: Callable[[Path], None],
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    make_optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    best: Best = Best(BEST_METRIC),  # noqa: B008 - frozen
) -> TrainResult:
    """Trains `module` in place to `settings.steps`, going on from the newest checkpoint if there is one.

    Args:
        module: the one module; frozen parameters are left alone, every other one must take part in each
            forward.
        step: loss of one micro-batch, see `Step`.
        source: batches by step.
        settings: the recipe's `[train]`.
        run: the opened run directory. A finished one returns its result at once and leaves `module` as it is.
        seed: of dropout and whatever else draws random numbers; each process has its own stream.
        save_model: writes the model to an empty folder; called for `best/` and, at the end, `model/`.
        evaluate: figures on held-out text of the bare module in evaluation mode, called in the main process
            without
            gradients. Its use of random numbers leaves training alone.
        make_optimiser: in place of `adamw`.
        best: which of those figures decides the best.

    Raises:
        UserError: the settings do not fit this machine, the disk is full, or no checkpoint can be read.
        TrainingDiverged: something is not finite; the batch lies in the run directory.
        Interrupted: Ctrl-C or SIGTERM, after saving. A second one raises a plain KeyboardInterrupt at once.
    """
    assert settings.steps > 0, "the recipe refuses zero steps"
    with together() as group:
        engine = Engine(settings, group)
        if (done := engine.from_main(finished(run, settings.steps))) is not None:
            return TrainResult(**done)
        # no name for the loop here: it must be gone when `together` parts the processes, see `_leave` there
        return _guarded(
            _Loop(module, step, source, settings, run, engine, save_model, evaluate, make_optimiser, best),
            group,
            seed,
        )


def _guarded(loop: "_Loop", group: Group, seed: int) -> TrainResult:
    """Runs the loop; whatever ends it early stands in the run's status."""

    def note(state: str) -> None:
        # a full disk refuses this as well; the first error is the one to show
        with contextlib.suppress(UserError):
            loop.run.set_status(state, step=loop.state.step, steps=loop.settings.steps)

    def failed() -> None:
        note("failed")

    group.on_end.append(failed)
    try:
        loop.start(seed)
        with Interruption(quiet=not loop.run.main) as loop.interruption:
            return loop.run_to_end()
    except BaseException as error:
        note("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    finally:
        group.on_end.remove(failed)


class _Loop:
    """The loop's parts and counters; `state` is what a checkpoint holds."""

    interruption: Interruption

    def __init__(
        self,
        module: nn.Module,
        step: Step,
        source: BatchSource,
        settings: TrainSettings,
        run: Run,
        engine: Engine,
        save_model: Callable[[Path], None],
        evaluate: Callable[[nn.Module], Mapping[str, float]] | None,
        make_optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None,
        best: Best,
    ) -> None:
        self.step, self.source, self.settings = step, source, settings
        self.run, self.engine, self.evaluate = run, engine, evaluate
        self.prepared = engine.prepare(module)
        trained = self.prepared.trained
        self.optimiser = make_optimiser(trained) if make_optimiser else adamw(trained, settings)
        self.parameters = [parameter for _, parameter in trainable(trained)]
        self.keeper = Keeper(run, engine, self.prepared, self.optimiser, save_model, best)
        self.state = checkpoint.State(step=0, fingerprint=run.fingerprint, processes=engine.world)
        self.window = Window()
        self.seconds_before = 0.0
        self.energy = RunEnergy(engine.device, processes=engine.world)
        self.began = time.perf_counter()

    def start(self, seed: int) -> None:
        """Goes back to the newest checkpoint, or seeds the random generators for a first start."""
        engine = self.engine
        seed_process(seed, engine.rank)
        self.prepared.trained.train()
        reset_peak_memory(engine.device)
        if (state := self.keeper.go_back(seed)) is not None:
            self.state, self.seconds_before = state, state.seconds
            self.energy.go_on(state.energy_joules, state.energy_source)
            self.window = Window(state.window if self.run.main else None)
            _log.info("going on after step %d of %d", state.step, self.settings.steps)
        device = torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else "cpu"
        self.run.record_environment(threads=torch.get_num_threads(), device=device, processes=engine.world)
        self.run.set_status("running", step=self.state.step, steps=self.settings.steps)

    def run_to_end(self) -> TrainResult:
        """Steps, and between them: log, evaluate, save, stop."""
        settings, state = self.settings, self.state
        self.progress = Progress(self.run, settings.steps, state.step)
        with self.progress.open():
            batches = self.source.micro_batches(state.step) if state.step < settings.steps else ()
            while state.step < settings.steps:
                batches, stop = self._one_step(batches)
                self.progress.advance()
                last = state.step == settings.steps
                if last or _due(state.step, settings.log_every):
                    self._report()
                if last or _due(state.step, settings.eval_every):
                    self._evaluate()
                if last or stop or _due(state.step, settings.save_every):
                    state.energy_joules, state.energy_source = self.energy.joules(), self.energy.source
                    self.keeper.save(state, self.window, self._seconds(), settings.keep)
                if stop and not last:
                    raise Interrupted(self.keeper.farewell(state, settings.steps))
        return self.keeper.finish(state)

    def _one_step(self, batches: Sequence[Any]) -> tuple[Sequence[Any], bool]:
        """One optimiser step; returns the next step's batches, and whether to stop here."""
        engine, state, began = self.engine, self.state, time.perf_counter()
        assert batches, f"no micro-batch for step {state.step} in process {engine.rank}"
        context = StepContext(state.step, self.settings.steps)
        sums = engine.sum([sum(batch.count for batch in batches), sum(batch.tokens for batch in batches)])
        count, tokens = int(sums[0]), int(sums[1])
        batches = [batch.to(engine.device) for batch in batches]
        losses, metrics = self._gradients(batches, context, count)
        norm = self._unscaled_norm()
        following = self._following()  # prepared while a GPU is still at work on the above
        stacked = torch.stack([torch.stack(losses).sum().double(), norm.double(), *metrics.values()])
        loss, gradient_norm, *values = stacked.tolist()  # the one wait for the device
        loss, stop = engine.sum([loss, float(self.interruption.asked)])
        check_finite(engine, self.run.folder, state.step, loss, gradient_norm, batches)
        self._update(context)
        state.step += 1
        state.tokens += tokens
        if self.run.main:
            self.window.add("loss", loss, count)
            self.window.add("tokens_per_second", tokens, time.perf_counter() - began)
            if math.isfinite(gradient_norm):
                self.window.add("gradient_norm", gradient_norm, 1)
        for (name, part), value in zip(metrics, values, strict=True):
            self.window.add(name, *((value, 0.0) if part == "sum" else (0.0, value)))
        return following, stop > 0

    def _gradients(
        self, batches: Sequence[Any], context: StepContext, count: int
    ) -> tuple[list[Tensor], dict[tuple[str, str], Tensor]]:
        """Accumulates the gradient of the mean loss over the `count` slots of the whole step.

        Returns:
            Loss sums by micro-batch and the metrics' sums and weights, all scalars still on the device.
        """
        scale = self.engine.world / max(1, count)  # DDP averages over processes
        losses: list[Tensor] = []
        metrics: dict[tuple[str, str], Tensor] = {}
        for number, batch in enumerate(batches):
            with self.engine.synchronised(self.prepared, last=number == len(batches) - 1):
                loss_sum, seen, measured = self.step(self.prepared.forward, batch, context)
                assert seen == batch.count, f"step counted {seen} slots, the batch {batch.count}"
                self.engine.backward(loss_sum * scale)
            losses.append(loss_sum.detach())
            for name, pair in measured.items():
                for part, value in zip(("sum", "weight"), pair, strict=True):
                    value = torch.as_tensor(value, dtype=torch.float64, device=self.engine.device).detach()
                    key = (name, part)
                    metrics[key] = metrics[key] + value if key in metrics else value
        return losses, metrics

    def _following(self) -> Sequence[Any]:
        following = self.state.step + 1
        return self.source.micro_batches(following) if following < self.settings.steps else ()

    def _unscaled_norm(self) -> Tensor:
        self.engine.scaler.unscale_(self.optimiser)
        return whole(clip_gradients(self.parameters, self.settings.clip))

    def _update(self, context: StepContext) -> None:
        settings = self.settings
        share = learning_rate_share(
            context.step, context.steps, warmup=settings.warmup, schedule=settings.schedule
        )
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * share
        self.engine.scaler.step(self.optimiser)
        self.engine.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)

    def _report(self) -> None:
        """A line of metrics: averages since the last one."""
        self.window.merge(self.engine.gather(self.window.sums))
        values = self.window.averages() if self.run.main else {}
        self.window = Window()
        if not self.run.main:
            return
        state, settings = self.state, self.settings
        self.run.log_metrics(
            {
                "kind": "train",
                "step": state.step,
                **values,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "tokens": state.tokens,
                "seconds": self._seconds(),
            }
        )
        self.energy.joules()  # a counter that is not asked for long goes round unseen
        done = state.step - self.progress.first
        left = (time.perf_counter() - self.began) / max(1, done) * (settings.steps - state.step)
        self.progress.show(state.step, values, left)
        self.run.set_status("running", durable=False, step=state.step, steps=settings.steps)

    def _seconds(self) -> float:
        """Wall time of all sessions."""
        return self.seconds_before + time.perf_counter() - self.began

    def _evaluate(self) -> None:
        """Figures on held-out text, in the main process; the best weights so far go to `best/`."""
        if self.evaluate is None:
            return
        self.prepared.gather(self.run.main)
        if self.run.main:
            before, module = checkpoint.random_state(self.engine.device), self.prepared.module
            module.eval()
            with torch.no_grad(), self.engine.autocast():
                values = dict(self.evaluate(module))
            module.train()
            checkpoint.set_random_state(before, self.engine.device)
            self.keeper.judge(self.state, values)
        self.engine.group.meet()


def _due(step: int, every: int | None) -> bool:
    return bool(every) and step % every == 0  # type: ignore[operator]
