"""`limbeck eval cost`: parameters and operations by hand, the best batch, the training's log, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from limbeck.gloss.model import GlossModel
from limbeck.tasks import cost_measure
from limbeck.tasks.cost_measure import Times, best_batch, macs_per_token, timed
from limbeck.tasks.cost_model import (
    CLASSIFIER,
    GLOSS,
    HEADLESS,
    MASKED_LM,
    count_parameters,
    disk_bytes,
    load,
    random_ids,
)
from limbeck.tasks.cost_source import longest_input
from limbeck.training import energy
from limbeck.training.energy import Counter, RunEnergy, find_meter
from tests.models import make_config, make_tokenizer
from tests.test_bad_input import done, invoke, refused
from tests.tiny_gloss import settings
from tests.tiny_recipes import read_json, write_text, written_recipe

CPU = torch.device("cpu")
Checkpoint = Callable[..., Path]


def save_as(kind: Any, folder: Path, family: str = "bert", **changes: Any) -> Path:
    """A checkpoint of another class of transformers than the masked language model."""
    tokenizer = make_tokenizer(family=family)
    config = make_config(family, tokenizer)
    for name, value in changes.items():
        setattr(config, name, value)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gloss_model(checkpoint: Checkpoint, folder: Path) -> Path:
    GlossModel.start(checkpoint("bert"), settings()).save(folder)
    return folder


def test_each_model_is_measured_with_its_own_head(checkpoint: Checkpoint, tmp_path: Path) -> None:
    made = {
        MASKED_LM: checkpoint("bert"),
        CLASSIFIER: save_as(transformers.BertForSequenceClassification, tmp_path / "c", num_labels=3),
        HEADLESS: save_as(transformers.BertModel, tmp_path / "h"),
        GLOSS: gloss_model(checkpoint, tmp_path / "g"),
    }
    for head, folder in made.items():
        loaded = load(str(folder), device=CPU)
        out: Any = loaded.call(random_ids(loaded.tokenizer, 5, 8))()
        shape = tuple((out[0] if head == GLOSS else out).shape)
        vocabulary = loaded.model.config.vocab_size
        assert (loaded.head, loaded.limit) == (head, 64)
        wanted = {MASKED_LM: (5, vocabulary), CLASSIFIER: (5, 3), HEADLESS: (5, 8, 32), GLOSS: (5, 2)}
        assert shape == wanted[head]
        files = ["model.safetensors"] + ["gloss_head.safetensors"] * (head == GLOSS)
        assert disk_bytes(loaded) == sum((folder / name).stat().st_size for name in files)


@pytest.mark.parametrize("family", ["bert", "modernbert", "xlnet", "bart"])
def test_the_call_gives_what_transformers_gives(checkpoint: Checkpoint, family: str) -> None:
    loaded = load(str(checkpoint(family)), device=CPU)
    ids = random_ids(loaded.tokenizer, 3, 16)
    with torch.no_grad():
        found: Any = loaded.call(ids)()
    assert found.shape == (3, loaded.model.config.vocab_size)
    if family != "xlnet":  # which predicts by a permutation
        model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint(family))
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_parameters_are_counted_once_and_apart_from_embeddings(checkpoint: Checkpoint) -> None:
    """A BERT of two layers by hand; its output matrix is its embedding of pieces."""
    folder = checkpoint("bert")
    loaded = load(str(folder), device=CPU)
    v, h, positions, types = loaded.model.config.vocab_size, 32, 64, 2
    norm, inner = 2 * h, 2 * h
    layer = 4 * (h * h + h) + norm + (h * inner + inner) + (inner * h + h) + norm
    head = h * h + h + norm + v
    embeddings = (v + positions + types) * h
    assert count_parameters(loaded) == (embeddings + norm + 2 * layer + head, norm + 2 * layer + head)
    stored = load_file(folder / "model.safetensors")
    assert count_parameters(loaded)[0] == sum(tensor.numel() for tensor in stored.values())


def by_hand(loaded: Any, length: int) -> float:
    """Multiply–accumulates per token by the formula of benchmarks/rivals_flops.py."""
    model = loaded.model
    inside = {id(layer) for layer in model.base_model.modules()}
    linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    body = sum(layer.weight.numel() for layer in linear if id(layer) in inside)
    head = sum(layer.weight.numel() for layer in linear if id(layer) not in inside)
    attention = 2 * length * model.config.hidden_size * model.config.num_hidden_layers
    return body + attention + head / length


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert"])
@pytest.mark.parametrize("length", [16, 64])
def test_operations_are_torchs_count_with_attention_in_it(
    checkpoint: Checkpoint, family: str, length: int
) -> None:
    """The head at one position; torch's counter sees no fused attention of the CPU."""
    loaded = load(str(checkpoint(family)), device=CPU)
    before = loaded.model.config._attn_implementation
    assert macs_per_token(loaded, length, CPU) == by_hand(loaded, length)
    assert loaded.model.config._attn_implementation == before
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        loaded.call(random_ids(loaded.tokenizer, 1, length))()
    assert counter.get_total_flops() / 2 / length < by_hand(loaded, length)


def test_operations_of_a_wide_head_are_counted(tmp_path: Path) -> None:
    """One whose product goes into aligned rows (teachers/padded_linear.py)."""
    folder = save_as(transformers.BertForMaskedLM, tmp_path / "wide", vocab_size=5001)
    loaded = load(str(folder), device=CPU)
    assert macs_per_token(loaded, 16, CPU) == by_hand(loaded, 16)


def test_times_are_those_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test's: warm-up does not count, at least five do, whatever the seconds."""
    now = 0.0
    monkeypatch.setattr(cost_measure.time, "perf_counter", lambda: now)
    pending = iter([100.0] * 3 + [1.0] * 18 + [2.0, 3.0] + [100.0] * 9)

    def call() -> None:
        nonlocal now
        now += next(pending)

    times = timed(call, 23.0, lambda: None)
    assert (times.p50, times.low, times.high, times.repetitions) == (1.0, 1.0, 3.0, 20)
    assert times.p95 == pytest.approx(2.05)
    assert timed(call, 0.0, lambda: None, warm=0).repetitions == 5


def seconds_of(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
    """`timed` that believes what `seconds` says of a number of rows."""

    def believed(call: Callable[[], int], *_: Any, **__: Any) -> Times:
        taken = seconds(call())
        return Times(taken, taken, taken, taken, 1)

    monkeypatch.setattr(cost_measure, "timed", believed)


def call_of(rows: int) -> Callable[[], int]:
    return lambda: rows


def test_the_best_batch_is_the_smallest_of_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds_of(monkeypatch, lambda rows: max(0.008, 0.001 * rows))
    best, tried = best_batch(call_of, 16, 1.0, lambda: None)
    assert best == 8
    assert [one.batch for one in tried] == [1, 2, 4, 8, 16, 32]  # two that gained nothing


def test_the_search_ends_where_a_batch_is_slow_large_or_beyond_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def within(rows: int) -> float:
        if rows > 16:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return 0.1

    seconds_of(monkeypatch, within)
    assert best_batch(call_of, 16, 1.0, lambda: None)[0] == 16
    seconds_of(monkeypatch, lambda rows: 0.5 * rows**0.5)
    assert [one.batch for one in best_batch(call_of, 16, 1.0, lambda: None)[1]] == [1, 2, 4, 8]
    seconds_of(monkeypatch, lambda rows: 1e-3)
    assert best_batch(call_of, 16, 1.0, lambda: None)[0] == cost_measure.MOST_ROWS
    assert best_batch(call_of, 4096, 1.0, lambda: None)[0] == 16
    seconds_of(monkeypatch, lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        best_batch(call_of, 16, 1.0, lambda: None)

    def broken(rows: int) -> float:
        raise RuntimeError("another failure")

    seconds_of(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="another failure"):
        best_batch(call_of, 16, 1.0, lambda: None)


@pytest.mark.slow
def test_models_side_by_side(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bert, other = str(checkpoint("bert")), str(checkpoint("modernbert"))
    words = ["eval", "cost", bert, other, "--seconds", "0.02", "--threads", "1", "--device", "cpu"]
    file = tmp_path / "new" / "cost.json"
    result = json.loads(done(*words, "--json", "--output", file).stdout)
    assert read_json(file) == result
    assert [one["name"] for one in result["models"]] == [bert, other]
    for one in result["models"]:
        assert [cell["length"] for cell in one["lengths"]] == [16, 64]
        for cell in one["lengths"]:
            latency, throughput = cell["latency"], cell["throughput"]
            assert 0 < latency["low_ms"] <= latency["p50_ms"] <= latency["p95_ms"] <= latency["high_ms"]
            assert throughput["batch"] in [tried["batch"] for tried in throughput["tried"]]
            rate = throughput["passages_per_second"] * cell["length"]
            assert throughput["tokens_per_second"] == pytest.approx(rate)
        used = one["memory"]["bytes"]
        assert 0 < used["libraries"] <= used["loaded"] <= max(used["peak_one"], used["peak_batch"])
        assert one["training"] is None
    assert [note for note in result["notes"] if "not measured at 256" in note]
    assert result["machine"]["threads"] == 1
    assert result["settings"]["precision"] == "f32"
    assert torch.get_num_threads() == 1


@pytest.mark.slow
def test_a_table_in_bf16_with_an_estimate_of_energy(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = save_as(transformers.BertForSequenceClassification, tmp_path / "c")
    words = ["--seconds", "0.02", "--lengths", "8", "--precision", "bf16", "--device", "cpu", "--watts", "10"]
    shown = done("eval", "cost", model, *words).stdout
    assert "sequence classification head" in shown
    assert "torch bf16, cpu" in shown
    assert "Passages of 8 pieces" in shown
    assert "(estimate)" in shown
    assert "Energy is an estimate: 10 W × time." in shown


def test_training_is_told_by_the_runs_own_log(tmp_path: Path, cache: Path) -> None:
    write_text(tmp_path)
    done("pretrain", written_recipe(tmp_path), "--output", tmp_path / "run")
    words = ["--seconds", "0.02", "--lengths", "8", "--device", "cpu", "--watts", "36", "--json"]
    found = json.loads(done("eval", "cost", tmp_path / "run" / "model", *words).stdout)
    (stage,) = found["models"][0]["training"]
    cost = read_json(tmp_path / "run" / "results.json")["cost"]
    assert {name: stage[name] for name in ("run", "steps", "tokens", "seconds", "processes", "finished")} == {
        "run": "run", "finished": True,
        **{name: cost[name] for name in ("steps", "tokens", "seconds", "processes")},
    }  # fmt: skip
    if cost["energy_joules"] is None:  # most machines let nobody but root read their counters
        assert stage["energy"]["joules"] == pytest.approx(36 * cost["seconds"])
        assert stage["energy"]["measured"] is False
        assert stage["energy"]["source"].startswith("estimate")
    else:
        assert stage["energy"]["joules"] == cost["energy_joules"]

    # A run that was stopped tells what it has used so far, and one of glosses its student's first.
    status = tmp_path / "run" / "status.json"
    status.write_text(json.dumps({"state": "interrupted", "step": 2, "steps": 4}))
    (tmp_path / "run" / "gloss").mkdir()
    for name in ("status.json", "metrics.jsonl", "environment.json"):
        (tmp_path / "run" / "gloss" / name).write_bytes((tmp_path / "run" / name).read_bytes())
    from limbeck.tasks.cost_training import training_cost

    stages = training_cost(tmp_path / "run" / "gloss" / "model")
    assert stages is not None
    assert [(one["run"], one["finished"], one["steps"]) for one in stages] == [
        ("run", False, 2),
        ("gloss", False, 2),
    ]
    assert stages[0]["tokens"] == cost["tokens"]
    assert stages[0]["energy"] is None


def zone(folder: Path, name: str, label: str, joules: float) -> Path:
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    (made / "name").write_text(label + "\n")
    (made / "max_energy_range_uj").write_text("262143328850\n")
    (made / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    return made


def test_energy_of_processors_and_memory_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    assert find_meter(CPU) is None
    assert RunEnergy(CPU, processes=1).joules() is None
    for name, label in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
    ):
        zone(tmp_path, name, label, 100.0)
    zone(tmp_path, "intel-rapl:1", "psys", 100.0)
    (tmp_path / "intel-rapl:2").mkdir()  # without a counter
    meter = find_meter(CPU)
    assert meter is not None
    assert meter.source == "processor (RAPL)"
    run, several = RunEnergy(CPU, processes=1), RunEnergy(CPU, processes=2)
    zone(tmp_path, "intel-rapl:0", "package-0", 130.0)
    zone(tmp_path, "intel-rapl:0:0", "core", 900.0)
    zone(tmp_path, "intel-rapl:0:1", "dram", 105.0)
    assert meter.joules() == pytest.approx(35.0)
    assert several.joules() is None
    run.go_on(1000.0, "processor (RAPL)")
    assert run.joules() == pytest.approx(1035.0)
    run.go_on(None, None)  # a session that was not measured
    assert run.joules() is None


def test_energy_of_a_gpu_is_its_own_and_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for NVML; without it there is no figure, as the processors' part is not the whole."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 100.0)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_meter(torch.device("cuda", 0)) is None
    millijoules = {"GPU-1234": 5000}
    stand_in = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: millijoules[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1234"))
    meter = find_meter(torch.device("cuda", 0))
    assert meter is not None
    assert meter.source == "processor (RAPL) and GPU (NVML)"
    millijoules["GPU-1234"] = 9000
    zone(tmp_path, "intel-rapl:0", "package-0", 103.0)
    assert meter.joules() == pytest.approx(7.0)


def test_a_counter_goes_round() -> None:
    shown = iter([90.0, 95.0, 5.0, 15.0])
    counter = Counter(lambda: next(shown), 100.0)
    assert [counter.joules() for _ in range(3)] == [5.0, 15.0, 25.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "tpu"], "'tpu' is no device; use auto, cpu, cuda or cuda:N"),
        (["--precision", "int4"], "precision is 'int4'; it must be one of f32, bf16, f16"),
        (["--precision", "f16", "--device", "cpu"], "precision f16 does not work on the CPU"),
        (["--lengths", "16,long"], "--lengths '16,long' are no whole numbers with commas, such as 16,64,256"),
        (["--lengths", "0"], "lengths must be from 1 to 8192 pieces"),
        (["--lengths", "65"], "takes at most 64 pieces, fewer than every length asked for; give shorter"),
        (["--seconds", "0"], "seconds is 0.0; it must be more than 0"),
        (["--threads", "0"], "threads is 0; it must be at least 1"),
        (["--watts", "-3"], "watts is -3.0; it must be more than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(checkpoint: Checkpoint, words: list[str], said: str) -> None:
    assert said in refused("eval", "cost", checkpoint("bert"), *words)


def test_a_model_that_is_too_short_is_refused_before_another_is_measured(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    long = save_as(transformers.BertForMaskedLM, tmp_path / "long", max_position_embeddings=128)
    result = invoke("eval", "cost", long, checkpoint("bert"), "--lengths", "100", "--device", "cpu")
    assert result.exit_code == 2
    assert "takes at most 64 pieces, fewer than every length asked for; give shorter lengths, such as 64" in (
        " ".join(result.stderr.split())
    )
    assert "measuring" not in result.stderr


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "xlnet", "bart"])
def test_the_longest_input_is_known_without_weights(checkpoint: Checkpoint, family: str) -> None:
    folder = checkpoint(family)
    found = longest_input(str(folder))
    assert found == load(str(folder), device=CPU).limit
    assert (found is None) == (family == "xlnet")


def test_what_is_no_model_is_refused_before_anything_is_measured(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke("eval", "cost", checkpoint("bert"), tmp_path / "empty", "--device", "cpu")
    assert result.exit_code == 2
    assert "is not a model: there is no config.json in it" in result.stderr
    assert "measuring" not in result.stderr
    said = refused("eval", "cost", tmp_path / "absent", "--device", "cpu")
    assert "does not exist; give a checkpoint folder or a hub id" in said


def test_a_process_that_is_ended_is_told_in_a_line(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system does with one that takes too much memory."""
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    real = subprocess.run
    monkeypatch.setattr(cost_measure.subprocess, "run", lambda _, **more: real(killed, **more))
    said = refused(
        "eval", "cost", checkpoint("bert"), "--device", "cpu", "--seconds", "0.02", "--lengths", "8"
    )
    assert "was ended by signal 9, most likely for lack of memory" in said
