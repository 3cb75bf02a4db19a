"""THE training loop: pre-training, distillation, gloss training, fine-tuning (architecture section 6).

A stage hands over one module, a step and a source of micro-batches; the loop does the rest: gradients
normalised by the count over all micro-batches and processes, schedule, clipping, metrics, evaluation,
checkpoints, exact resume.
"""

import contextlib
import dataclasses
import logging
import math
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limbeck.errors import Interrupted, TrainingDiverged, UserError
from limbeck.files import atomic_folder, writing
from limbeck.run import Run
from limbeck.training import checkpoint
from limbeck.training.engine import Engine
from limbeck.training.interface import (
    BEST_METRIC,
    BatchSource,
    Metrics,
    Step,
    StepContext,
    TrainResult,
    TrainSettings,
)
from limbeck.training.optimiser import adamw, clip_gradients, learning_rate_share, trainable
from limbeck.training.progress import Interruption, Progress, Window, peak_memory, reset_peak_memory

__all__ = [
    "BEST_METRIC",
    "BatchSource",
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
            gradients; `valid_nats` among them decides the best. Its use of random numbers leaves training
            alone.
        make_optimiser: in place of `adamw`.

    Raises:
        UserError: the settings do not fit this machine, the disk is full, or no checkpoint can be read.
        TrainingDiverged: something is not finite; the batch lies in the run directory.
        Interrupted: Ctrl-C or SIGTERM, after saving. A second one raises a plain KeyboardInterrupt at once.
    """
    assert settings.steps > 0, "the recipe refuses zero steps"
    engine = Engine(settings)
    if (done := engine.gather(_finished(run, settings.steps))[0]) is not None:
        return TrainResult(**done)
    loop = _Loop(module, step, source, settings, run, engine, save_model, evaluate, make_optimiser)
    try:
        loop.start(seed)
        with Interruption() as loop.interruption:
            return loop.run_to_end()
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        # a full disk refuses this as well; the first error is the one to show
        with contextlib.suppress(UserError):
            run.set_status(state, step=loop.state.step, steps=settings.steps)
        raise


def _finished(run: Run, steps: int) -> dict[str, Any] | None:
    """The result on disk, if the run reached `steps` and its model is there."""
    status = run.status() if run.main else {}
    whole = status.get("state") == "finished" and status["steps"] == steps and (run.folder / "model").is_dir()
    return dict(status["result"]) if whole else None


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
    ) -> None:
        self.module, self.step, self.source, self.settings = module, step, source, settings
        self.run, self.engine, self.save_model, self.evaluate = run, engine, save_model, evaluate
        self.forward = engine.prepare(module)
        self.optimiser = make_optimiser(module) if make_optimiser else adamw(module, settings)
        self.parameters = [parameter for _, parameter in trainable(module)]
        self.state = checkpoint.State(step=0, fingerprint=run.fingerprint, processes=engine.world)
        self.window = Window()
        self.seconds_before = 0.0
        self.began = time.perf_counter()

    def start(self, seed: int) -> None:
        """Goes back to the newest checkpoint, or seeds the random generators for a first start."""
        mine = (seed + 1_000_003 * self.engine.rank) % 2**32
        torch.manual_seed(mine)
        np.random.seed(mine)
        random.seed(mine)
        self.module.train()
        reset_peak_memory(self.engine.device)
        found = checkpoint.newest(self.run.checkpoints, self.run.fingerprint) if self.run.main else None
        found = self.engine.gather(found)[0]
        if found is not None:
            self._go_back(*found)
        device = (
            torch.cuda.get_device_name(self.engine.device) if self.engine.device.type == "cuda" else "cpu"
        )
        self.run.record_environment(
            threads=torch.get_num_threads(), device=device, processes=self.engine.world
        )
        self.run.set_status("running", step=self.state.step, steps=self.settings.steps)

    def _go_back(self, path: Path, state: checkpoint.State) -> None:
        if state.processes != self.engine.world:
            raise UserError(
                f"{self.run.folder} was trained by {state.processes} processes, not {self.engine.world};"
                f" start {state.processes} to go on"
            )
        randoms = checkpoint.load(path, state, self.module, self.optimiser)
        if state.scaler:
            self.engine.scaler.load_state_dict(state.scaler)
        self.state, self.seconds_before = state, state.seconds
        self.window = Window(state.window if self.run.main else None)
        self.run.cut_metrics(state.metrics_position)
        checkpoint.set_random_state(randoms[self.engine.rank], self.engine.device)
        _log.info("going on after step %d of %d", state.step, self.settings.steps)

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
                    self._save()
                if stop and not last:
                    raise Interrupted(self._farewell())
        return self._finish()

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
        self._check_finite(loss, gradient_norm, batches)
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
            with self.engine.synchronised(self.forward, last=number == len(batches) - 1):
                loss_sum, seen, measured = self.step(self.forward, batch, context)
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
        return clip_gradients(self.parameters, self.settings.clip)

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

    def _check_finite(self, loss: float, gradient_norm: float, batches: Sequence[Any]) -> None:
        """In f16 a gradient that overflows is the scaler's business, until its scale falls below 1."""
        scaler = self.engine.scaler
        if not math.isfinite(loss):
            what = f"the loss is {loss}"
        elif not math.isfinite(gradient_norm) and not (scaler.is_enabled() and scaler.get_scale() >= 1.0):
            what = f"the gradient's norm is {gradient_norm}"
        else:
            return
        name = f"non-finite-step-{self.state.step}" + (f"-{self.engine.rank}" if self.engine.rank else "")
        target = self.run.folder / f"{name}.safetensors"
        with writing(target):
            save_file(_tensors(batches), target)
        raise TrainingDiverged(
            f"{what} in step {self.state.step}: its batch is in {target}; a lower train.learning_rate,"
            ' a longer train.warmup or train.precision = "f32" may help'
        )

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
        if self.run.main:
            before = checkpoint.random_state(self.engine.device)
            self.module.eval()
            with torch.no_grad(), self.engine.autocast():
                values = dict(self.evaluate(self.module))
            self.module.train()
            checkpoint.set_random_state(before, self.engine.device)
            self._judge(values)
        self.engine.wait()

    def _judge(self, values: dict[str, float]) -> None:
        state = self.state
        state.evaluation = values
        self.run.log_metrics({"kind": "valid", "step": state.step, **values})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        _log.info("step %d, held-out: %s", state.step, shown)
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise TrainingDiverged(f"the evaluation after step {state.step} gave {bad[0]} = {values[bad[0]]}")
        if BEST_METRIC in values and (state.best is None or values[BEST_METRIC] < state.best):
            state.best, state.best_step = values[BEST_METRIC], state.step
            with atomic_folder(self.run.folder / "best") as folder:
                self.save_model(folder)

    def _save(self) -> None:
        """A checkpoint, by the main process; the others hand in their random states and sums."""
        state = self.state
        self.window.merge(self.engine.gather(self.window.sums))
        randoms = self.engine.gather(checkpoint.random_state(self.engine.device))
        if self.run.main:
            state.window = self.window.sums
            state.metrics_position = self.run.metrics_position()
            state.seconds = self._seconds()
            resident, device = peak_memory(self.engine.device)
            state.peak_memory = max(state.peak_memory, resident)
            state.peak_device_memory = max(state.peak_device_memory, device)
            scaler = self.engine.scaler
            state.scaler = scaler.state_dict() if scaler.is_enabled() else None
            checkpoint.save(self.run.checkpoints, self.module, self.optimiser, randoms, state)
            checkpoint.prune(self.run.checkpoints, self.settings.keep)
        else:
            self.window = Window()
        self.engine.wait()

    def _farewell(self) -> str:
        state = self.state
        hint = self.run.resume_hint or "give the same command again"
        line = f"stopped after step {state.step:,} of {self.settings.steps:,}; all is saved. To go on: {hint}"
        if self.run.main:
            self.run.note(line)
            print(line, file=sys.stderr)
        return line

    def _finish(self) -> TrainResult:
        """Writes `model/` and says that the run is finished."""
        state = self.state
        result = TrainResult(
            steps=state.step,
            tokens=state.tokens,
            seconds=state.seconds,
            peak_memory=state.peak_memory,
            peak_device_memory=state.peak_device_memory,
            best=state.best,
            best_step=state.best_step,
            metrics=state.evaluation,
        )
        if self.run.main:
            with atomic_folder(self.run.folder / "model") as folder:
                self.save_model(folder)
            fields = dataclasses.asdict(result)
            self.run.log_metrics({"kind": "end", **{k: v for k, v in fields.items() if k != "metrics"}})
            self.run.set_status("finished", step=state.step, steps=state.step, result=fields)
        self.engine.wait()
        return result


def _due(step: int, every: int | None) -> bool:
    return bool(every) and step % every == 0  # type: ignore[operator]


def _tensors(value: Any, name: str = "batch") -> dict[str, Tensor]:
    """Every tensor, array and number in nested dataclasses, mappings and sequences, by dotted place."""
    if isinstance(value, Tensor):
        return {name: value.detach().cpu().contiguous()}
    if isinstance(value, np.ndarray | int | float):
        return {name: torch.as_tensor(value).contiguous()}
    if dataclasses.is_dataclass(value):
        parts: Any = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = enumerate(value)
    else:
        return {}
    return {key: tensor for label, part in parts for key, tensor in _tensors(part, f"{name}.{label}").items()}
