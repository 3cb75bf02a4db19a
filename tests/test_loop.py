"""The training loop: normalisation (contract 1), schedule, metrics, divergence, interruption, extension."""

import dataclasses
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM, XLNetConfig, XLNetLMHeadModel

from limbeck.errors import UserError
from limbeck.training.loop import Interrupted, StepContext, TrainingDiverged
from limbeck.training.optimiser import (
    SCHEDULES,
    adamw,
    clip_gradients,
    decay_groups,
    learning_rate_share,
    trainable,
)
from limbeck.training.progress import peak_memory, reset_peak_memory
from tests.tiny_training import (
    Net,
    Settings,
    Source,
    TinyBatch,
    five_sgd_steps,
    make_net,
    metrics,
    no_slots,
    run_tiny,
    tiny_step,
    weights,
)

HERE = Path(__file__).parent


def child_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "OMP_NUM_THREADS": "1"}


def close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        difference = (one[name] - two[name]).norm() / one[name].norm()
        assert difference < 1e-5, f"{name}: {difference}"


@pytest.fixture(scope="module")
def whole_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    five_sgd_steps(folder, Source(micro=8))
    return folder


@pytest.mark.parametrize("micro", [4, 1])
def test_micro_batches_give_the_gradients_of_the_whole_batch(
    tmp_path: Path, whole_batch: Path, micro: int
) -> None:
    five_sgd_steps(tmp_path, Source(micro=micro))
    close(load_file(whole_batch / "gradients.safetensors"), load_file(tmp_path / "gradients.safetensors"))
    close(load_file(whole_batch / "model/model.safetensors"), load_file(tmp_path / "model/model.safetensors"))


@pytest.mark.parametrize("share", ["even", "all-in-one"])
def test_two_processes_give_the_gradients_of_one(tmp_path: Path, whole_batch: Path, share: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(HERE / "tiny_training.py"), "gradients", str(tmp_path), share]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == 0, done.stderr
    close(load_file(whole_batch / "gradients.safetensors"), load_file(tmp_path / "gradients.safetensors"))
    close(load_file(whole_batch / "model/model.safetensors"), load_file(tmp_path / "model/model.safetensors"))
    one, two = metrics(whole_batch), metrics(tmp_path)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a["kind"] == b["kind"]
        if a["kind"] == "train" and share == "even":  # the other one feeds tokens without slots besides
            assert {**a, "kind": 0} == pytest.approx({**b, "kind": 0}, rel=1e-5)


class WithEmpty(Source):
    """Micro-batches without slots before and after the others."""

    def micro_batches(self, step: int) -> Any:
        return [no_slots(), *super().micro_batches(step), no_slots()]


def test_micro_batches_without_slots_change_nothing(tmp_path: Path, whole_batch: Path) -> None:
    five_sgd_steps(tmp_path, WithEmpty(micro=8))
    close(load_file(whole_batch / "gradients.safetensors"), load_file(tmp_path / "gradients.safetensors"))


def test_loss_is_the_mean_over_all_slots(tmp_path: Path) -> None:
    net = make_net(dropout=0.0)
    batch = Source(micro=8).micro_batches(0)[0]
    expected = nn.functional.cross_entropy(net(batch.ids), batch.gold).item()
    run_tiny(tmp_path, Settings(steps=1), source=Source(micro=2), net=net)
    first = metrics(tmp_path)[0]
    assert first["loss"] == pytest.approx(expected, rel=1e-6)
    assert 0 <= first["accuracy"] <= 1
    assert first["tokens"] == 48


def test_metrics_are_averages_since_the_last_line(tmp_path: Path) -> None:
    run_tiny(tmp_path, Settings(steps=6, log_every=1))
    run_tiny(tmp_path / "b", Settings(steps=6, log_every=6))
    single = [line for line in metrics(tmp_path) if line["kind"] == "train"]
    (together,) = (line for line in metrics(tmp_path / "b") if line["kind"] == "train")
    slots = [sum(b.count for b in Source().micro_batches(step)) for step in range(6)]
    mean = sum(n * line["loss"] for n, line in zip(slots, single, strict=True)) / sum(slots)
    assert together["loss"] == pytest.approx(mean)
    assert together["progress"] == pytest.approx(0.5)
    assert weights(tmp_path) == weights(tmp_path / "b")


def test_result_best_and_last_weights(tmp_path: Path) -> None:
    result = run_tiny(tmp_path, Settings(steps=12, eval_every=2, schedule="constant", learning_rate=0.3))
    values = {line["step"]: line["valid_nats"] for line in metrics(tmp_path) if line["kind"] == "valid"}
    assert list(values) == [2, 4, 6, 8, 10, 12]
    assert result.best == min(values.values())
    assert values[result.best_step or 0] == result.best
    assert result.metrics == {"valid_nats": values[12]}
    assert result.steps == 12
    assert result.tokens == 12 * 48
    assert result.peak_memory > 10_000_000
    net = make_net()
    saved = load_file(tmp_path / "best" / "model.safetensors")
    net.load_state_dict(saved, strict=False)
    net.eval()
    batch = Source(micro=8).micro_batches(10_000)[0]
    assert nn.functional.cross_entropy(net(batch.ids), batch.gold).item() == result.best


def test_evaluation_leaves_training_alone(tmp_path: Path) -> None:
    run_tiny(tmp_path / "a", Settings(eval_every=1))
    run_tiny(tmp_path / "b", evaluate=False)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert not (tmp_path / "b" / "best").exists()


def test_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first = run_tiny(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "model", tmp_path / "status.json")}

    def never(*_: Any) -> Any:
        raise AssertionError

    assert run_tiny(tmp_path, step=never) == first
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert metrics(tmp_path)[-1]["kind"] == "end"


def test_extend_trains_on_under_the_new_schedule(tmp_path: Path) -> None:
    run_tiny(tmp_path, Settings(steps=6))
    result = run_tiny(tmp_path, Settings(steps=10, log_every=1), extend=True)
    lines = [line for line in metrics(tmp_path) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [2, 4, 6, 7, 8, 9, 10]
    expected = 0.02 * learning_rate_share(6, 10, warmup=0.2, schedule="linear")
    assert lines[3]["learning_rate"] == pytest.approx(expected)
    assert lines[3]["progress"] == pytest.approx(6 / 9)
    assert result.steps == 10
    assert result.tokens == 10 * 48
    assert sum(line["kind"] == "end" for line in metrics(tmp_path)) == 1


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_it_learns(tmp_path: Path, precision: str) -> None:
    settings = Settings(steps=150, precision=precision, eval_every=50, weight_decay=0.0)
    result = run_tiny(tmp_path, settings, net=make_net(0.0))
    assert result.best is not None
    assert result.best < 0.5


class Watched(Net):
    """Notes the dtype that its linear layer gives."""

    seen: torch.dtype | None = None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits = super().forward(ids)
        self.seen = logits.dtype
        return logits


def test_bf16_computes_in_bf16_and_keeps_f32_weights(tmp_path: Path) -> None:
    net = Watched()
    run_tiny(tmp_path, Settings(steps=2, precision="bf16"), net=net)
    assert net.seen == torch.bfloat16
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(precision="f16"), 'precision = "f16" needs a GPU'),
        (Settings(device="toaster"), 'device = "toaster" is no device'),
    ],
)
def test_settings_this_machine_cannot_do(tmp_path: Path, settings: Settings, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run_tiny(tmp_path, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_gpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are 0 CUDA devices"):
        run_tiny(tmp_path, Settings(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
def test_on_a_gpu_it_learns_and_goes_on(tmp_path: Path, precision: str) -> None:
    settings = Settings(steps=100, device="cuda", precision=precision, weight_decay=0.0)
    run_tiny(tmp_path, settings, net=make_net(0.0))
    result = run_tiny(tmp_path, dataclasses.replace(settings, steps=200), net=make_net(0.0), extend=True)
    assert result.best is not None
    assert result.best < 0.5
    assert result.peak_device_memory > 0


@dataclasses.dataclass
class Nested:
    inner: TinyBatch
    extra: tuple[torch.Tensor, ...]
    name: str = "x"

    @property
    def count(self) -> int:
        return self.inner.count

    @property
    def tokens(self) -> int:
        return self.inner.tokens

    def to(self, device: Any) -> "Nested":
        return Nested(self.inner.to(device), self.extra)


def test_non_finite_loss_stops_and_keeps_the_batch(tmp_path: Path) -> None:
    class NestedSource(Source):
        def micro_batches(self, step: int) -> Any:
            return [Nested(batch, (torch.ones(2),)) for batch in super().micro_batches(step)]

    def explodes(module: nn.Module, batch: Nested, context: StepContext) -> Any:
        loss, count, measured = tiny_step(module, batch.inner, context)
        return loss * (math.inf if context.step == 5 else 1.0), count, measured

    with pytest.raises(
        TrainingDiverged, match=r"the loss is inf in step 5: its batch is in .*lower train"
    ) as caught:
        run_tiny(tmp_path, step=explodes, source=NestedSource(), evaluate=False)
    assert "\n" not in str(caught.value)
    saved = load_file(tmp_path / "non-finite-step-5.safetensors")
    batches = Source().micro_batches(5)
    assert set(saved) == {
        f"batch.{i}.{name}"
        for i in range(2)
        for name in ("inner.ids", "inner.gold", "inner.tokens", "extra.0")
    }
    assert torch.equal(saved["batch.1.inner.ids"], batches[1].ids)
    assert json.loads((tmp_path / "status.json").read_text()) == {"state": "failed", "step": 5, "steps": 12}
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_non_finite_gradient_stops(tmp_path: Path) -> None:
    def explodes(module: nn.Module, batch: TinyBatch, context: StepContext) -> Any:
        loss, count, measured = tiny_step(module, batch, context)
        loss.register_hook(lambda gradient: gradient * math.nan)
        return loss, count, measured

    with pytest.raises(TrainingDiverged, match="the gradient's norm is nan in step 0"):
        run_tiny(tmp_path, step=explodes)


def test_f16_gradients_that_never_fit_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbeck.training.engine.choose_precision", lambda *_: torch.float16)

    def explodes(module: nn.Module, batch: TinyBatch, context: StepContext) -> Any:
        loss, count, measured = tiny_step(module, batch, context)
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss, count, measured

    with pytest.raises(TrainingDiverged, match="the gradient's norm is nan in step 17"):
        run_tiny(tmp_path, Settings(steps=50, precision="f16"), step=explodes, evaluate=False)


def test_a_step_that_counts_otherwise_is_our_bug(tmp_path: Path) -> None:
    def miscounts(module: nn.Module, batch: TinyBatch, context: StepContext) -> Any:
        loss, count, measured = tiny_step(module, batch, context)
        return loss, count + 1, measured

    with pytest.raises(AssertionError, match="counted"):
        run_tiny(tmp_path, step=miscounts)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_saves_and_goes_on(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupts(module: nn.Module, batch: TinyBatch, context: StepContext) -> Any:
        if context.step == 4:
            os.kill(os.getpid(), number)
        return tiny_step(module, batch, context)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted):
        run_tiny(tmp_path / "a", step=interrupts, source=Source(micro=8))
    assert signal.getsignal(number) is before
    assert "stopped after step 5 of 12; all is saved. To go on: limbeck run x.toml" in capfd.readouterr().err
    assert json.loads((tmp_path / "a" / "status.json").read_text())["state"] == "interrupted"
    assert (tmp_path / "a" / "checkpoints" / "step-00000005").is_dir()
    run_tiny(tmp_path / "a", source=Source(micro=8))
    run_tiny(tmp_path / "b", source=Source(micro=8))
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


@pytest.mark.parametrize("later", [True, False])
def test_second_interrupt_stops_at_once(tmp_path: Path, later: bool) -> None:
    def interrupts(module: nn.Module, batch: TinyBatch, context: StepContext) -> Any:
        if context.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)  # the same keystroke, passed on by a wrapper
        if context.step == 4 and later:
            time.sleep(0.6)
            os.kill(os.getpid(), signal.SIGINT)
        return tiny_step(module, batch, context)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_tiny(tmp_path, step=interrupts)
    assert isinstance(caught.value, Interrupted) is not later
    assert (tmp_path / "checkpoints" / "step-00000005").exists() is not later


def test_outside_the_main_thread(tmp_path: Path) -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(run_tiny(tmp_path)))
    thread.start()
    thread.join()
    assert results[0].steps == 12


def test_lines_off_a_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "limbeck"):
        run_tiny(tmp_path, Settings(steps=4))
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("step 2 of 4 · loss ") and line.endswith(" left") for line in lines)
    assert "tokens/s" in (tmp_path / "log.txt").read_text()


def test_few_lines_off_a_terminal_and_all_in_the_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "limbeck"):
        run_tiny(tmp_path, Settings(steps=8, log_every=1), evaluate=False)
    shown = [record.getMessage() for record in caplog.records]
    assert [line.split(" · ")[0] for line in shown] == ["step 1 of 8", "step 8 of 8"]
    assert (tmp_path / "log.txt").read_text().count(" · loss ") == 8
    assert sum(line["kind"] == "train" for line in metrics(tmp_path)) == 8


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_peak_memory_is_not_that_of_what_ran_before() -> None:
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    before = peak_memory(cpu)[0]
    large = torch.ones(50_000_000)
    with_it = peak_memory(cpu)[0]
    assert with_it > before + 150_000_000
    del large
    assert peak_memory(cpu)[0] > with_it - 10_000_000  # the system's own count lags a little
    reset_peak_memory(cpu)
    assert peak_memory(cpu)[0] < with_it - 150_000_000


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    net = make_net()
    net.mix.requires_grad_(False)
    before = net.mix.weight.clone()
    run_tiny(tmp_path, net=net)
    assert torch.equal(net.mix.weight, before)


def test_progress_of_a_context() -> None:
    assert [StepContext(step, 5).progress for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert StepContext(0, 1).progress == 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate(schedule: str) -> None:
    shares = [learning_rate_share(step, 20, warmup=0.25, schedule=schedule) for step in range(20)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[5] == 1.0
    assert min(shares) > 0
    assert shares[5:] == sorted(shares[5:], reverse=True)
    last = {"linear": 1 / 15, "cosine": 0.5 * (1 + math.cos(math.pi * 14 / 15)), "constant": 1.0}
    assert shares[-1] == pytest.approx(last[schedule])
    assert learning_rate_share(0, 1, warmup=0.0, schedule=schedule) == 1.0


def decayed_names(module: nn.Module) -> set[str]:
    groups = decay_groups(module, 0.1)
    names = {parameter: name for name, parameter in trainable(module)}
    assert sorted(names.values()) == sorted(names[p] for group in groups for p in group["params"])
    return {names[p] for group in groups if group["weight_decay"] for p in group["params"]}


def test_decay_groups_of_real_models() -> None:
    small = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = decayed_names(BertForMaskedLM(BertConfig(**small, intermediate_size=8)))
    assert "bert.embeddings.word_embeddings.weight" in bert
    assert not any("LayerNorm" in name or name.endswith("bias") for name in bert)
    assert len(bert) == 3 + 6 + 1
    xlnet = decayed_names(
        XLNetLMHeadModel(XLNetConfig(vocab_size=30, d_model=8, n_layer=1, n_head=2, d_inner=8))
    )
    assert not any(name.endswith("bias") for name in xlnet)
    assert "transformer.layer.0.rel_attn.q" in xlnet


def test_adamw_takes_one_step_as_the_book_says() -> None:
    net = make_net()
    before = net.mix.weight.detach().clone()
    optimiser = adamw(net, Settings())
    net(torch.arange(5)).sum().backward()
    assert net.mix.weight.grad is not None
    gradient = net.mix.weight.grad.clone()
    optimiser.step()
    expected = before * (1 - 0.02 * 0.1) - 0.02 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(net.mix.weight, expected, atol=1e-6)


@pytest.mark.parametrize("limit", [0.5, 0.0, None, 1e9])
def test_clipping(limit: float | None) -> None:
    net = make_net(0.0)
    net(torch.arange(5)).square().sum().backward()
    parameters = [p for _, p in trainable(net)]
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    assert float(clip_gradients(parameters, limit)) == pytest.approx(norm, rel=1e-5)
    after = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))
    assert after == pytest.approx(min(norm, limit) if limit else norm, rel=1e-4)
