"""benchmarks/first.py: its students in lockstep are the students of `limbeck run`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from limbeck.pipeline import run
from tests.tiny_recipes import tiny_recipe, write_text


@pytest.fixture(scope="module")
def first() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "first.py"
    spec = importlib.util.spec_from_file_location("benchmark_first", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_lockstep_takes_the_steps_of_a_run(
    first: ModuleType, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    write_text(tmp_path)
    models = {"a": checkpoint("bert", seed=1), "b": checkpoint("roberta", tokenizer="bpe", seed=2)}
    changes = {"train": {"steps": 3, "eval_every": 3, "precision": "bf16"}}
    recipe = tiny_recipe(tmp_path, models, **changes)
    found = first.lockstep(recipe, tmp_path / "lockstep", ("gold", "entropy"))
    assert set(found["curves"]) == {"none", "gold", "entropy"}

    taught = run(tiny_recipe(tmp_path, models, distill={"weighting": "gold"}, **changes), tmp_path / "gold")
    alone = run(tiny_recipe(tmp_path, **changes), tmp_path / "alone")
    for name, result in (("gold", taught), ("none", alone)):
        ours = load_file(tmp_path / "lockstep" / name / "model.safetensors")
        theirs = load_file(tmp_path / ("alone" if name == "none" else name) / "model" / "model.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
        assert found["curves"][name][-1] == [3, result["valid"]["nats"]]
