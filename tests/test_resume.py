"""Killed with SIGKILL at any moment and started again, a run ends with the same bits (contract 2)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_training import Settings, metrics, noisy_step, run_tiny, weights

HERE = Path(__file__).parent
CHILD = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "OMP_NUM_THREADS": "1"}


def test_killed_at_ten_moments_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "tiny_training.py"), "kill", str(tmp_path), "10"]
    done = subprocess.run(command, capture_output=True, text=True, env=CHILD, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["resumes"] >= 5, "it hardly ever went on from a checkpoint"
    assert report["in_write"] >= 1, "no kill fell into a checkpoint's write"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert weights(whole) == weights(killed)
    assert metrics(whole) == metrics(killed)
    last = "checkpoints/step-00000100"
    for name in ("model.safetensors", "optimiser.safetensors", "random.safetensors"):
        assert (whole / last / name).read_bytes() == (killed / last / name).read_bytes(), name
    assert (whole / "best/model.safetensors").read_bytes() == (killed / "best/model.safetensors").read_bytes()
    assert not list(killed.rglob(".tmp-*"))


@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
def test_stopped_after_every_step(tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if precision == "f16":  # refused on the CPU, but its scaler works there as on a GPU
        monkeypatch.setattr("limbeck.training.engine.choose_precision", lambda *_: torch.float16)
    settings = Settings(steps=7, save_every=1, precision=precision, log_every=3)
    run_tiny(tmp_path / "whole", settings, step=noisy_step)

    class StopError(Exception):
        pass

    for last in range(1, 7):

        def stops(module: Any, batch: Any, context: Any, last: int = last) -> Any:
            if context.step == last:
                raise StopError
            return noisy_step(module, batch, context)

        with pytest.raises(StopError):
            run_tiny(tmp_path / "parts", settings, step=stops)
    run_tiny(tmp_path / "parts", settings, step=noisy_step)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_killed_between_last_checkpoint_and_model(tmp_path: Path) -> None:
    first = run_tiny(tmp_path)
    kept = weights(tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model").rmdir()
    (tmp_path / "status.json").write_text('{"state": "running", "step": 12, "steps": 12}')
    again = run_tiny(tmp_path)
    assert weights(tmp_path) == kept
    assert (again.steps, again.tokens, again.best) == (first.steps, first.tokens, first.best)
    assert [line["kind"] for line in metrics(tmp_path)].count("end") == 1


def test_ctrl_c_from_outside(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "tiny_training.py"), "run", str(tmp_path), "2000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=CHILD)
    metrics_file = tmp_path / "metrics.jsonl"
    while process.poll() is None and not (metrics_file.exists() and metrics_file.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "all is saved. To go on: limbeck run x.toml" in errors
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    assert any((tmp_path / "checkpoints").glob("step-*"))
