"""Checkpoints: what they hold, damage, full disks, what is kept."""

import json
import random
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.training import checkpoint
from limbeck.training.optimiser import adamw
from tests.tiny_training import (
    Net,
    Settings,
    Source,
    TinyBatch,
    make_net,
    metrics,
    run_tiny,
    tiny_step,
    weights,
)

CPU = torch.device("cpu")


def trained() -> tuple[Net, torch.optim.Optimizer]:
    net = make_net()
    optimiser = adamw(net, Settings())
    for step in range(3):
        for batch in Source().micro_batches(step):
            torch.nn.functional.cross_entropy(net(batch.ids), batch.gold, reduction="sum").backward()
        optimiser.step()
        optimiser.zero_grad()
    return net, optimiser


def save(folder: Path, step: int = 3, fingerprint: str = "f") -> tuple[Net, torch.optim.Optimizer]:
    net, optimiser = trained()
    state = checkpoint.State(
        step=step, fingerprint=fingerprint, processes=1, tokens=9, best=0.5, window={"a": [1.0, 2.0]}
    )
    tensors = checkpoint.moments(net, optimiser)
    checkpoint.save(folder, net, tensors, [checkpoint.random_state(CPU)], state)
    return net, optimiser


def test_saved_and_loaded_bit_for_bit(tmp_path: Path) -> None:
    net, optimiser = save(tmp_path)
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None
    path, state = found
    assert (state.step, state.tokens, state.best, state.window) == (3, 9, 0.5, {"a": [1.0, 2.0]})
    other = make_net()
    fresh = adamw(other, Settings(learning_rate=0.5))
    checkpoint.set_moments(other, fresh, checkpoint.load(path, state, other)[0])
    for (name, a), (_, b) in zip(net.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert other.output.weight is other.words.weight
    one, two = optimiser.state_dict()["state"], fresh.state_dict()["state"]
    assert one.keys() == two.keys()
    for number, entry in one.items():
        assert entry.keys() == two[number].keys() == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in entry.items():
            assert torch.equal(value, two[number][key])
            assert value.dtype == two[number][key].dtype
    assert fresh.param_groups[0]["lr"] == 0.5  # the settings' own


def test_nothing_is_pickled(tmp_path: Path) -> None:
    save(tmp_path)
    assert {p.name for p in (tmp_path / "step-00000003").iterdir()} == {
        "model.safetensors",
        "optimiser.safetensors",
        "random.safetensors",
        "state.json",
    }


def draws() -> list[float]:
    return [
        *(random.random(), random.gauss()),
        *(float(np.random.rand()), float(np.random.standard_normal())),
        *torch.rand(3).tolist(),
    ]


def test_random_states_go_back(tmp_path: Path) -> None:
    draws()  # leaves the second half of a pair of normal numbers behind in Python's and numpy's generators
    save(tmp_path)
    expected = draws()
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None
    net = make_net()
    _, (state,) = checkpoint.load(*found, net)
    draws()
    checkpoint.set_random_state(state, CPU)
    assert draws() == expected


def damage_cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def damage_number(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"tokens": 9', b'"tokens": 8'))


DAMAGES = [
    ("model.safetensors", damage_cut),
    ("model.safetensors", damage_flip),
    ("optimiser.safetensors", damage_cut),
    ("random.safetensors", damage_flip),
    ("random.safetensors", Path.unlink),
    ("state.json", damage_cut),
    ("state.json", damage_number),
    ("state.json", Path.unlink),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damaged_newest_falls_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Any
) -> None:
    save(tmp_path, 3)
    save(tmp_path, 4)
    damage(tmp_path / "step-00000004" / name)
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None
    assert found[1].step == 3
    assert "checkpoint step-00000004 cannot be used" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]


def test_none_left_is_the_users_to_mend(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save(tmp_path, 4)
    for step in (3, 4):
        damage_cut(tmp_path / f"step-{step:08d}" / "model.safetensors")
    with pytest.raises(UserError, match=r"no checkpoint of the 2 in .* can be read; delete"):
        checkpoint.newest(tmp_path, "f")
    assert len(list(tmp_path.iterdir())) == 2


def test_none_at_all(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path, "f") is None
    assert checkpoint.newest(tmp_path / "absent", "f") is None


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        checkpoint.newest(tmp_path, "other")


def test_prune(tmp_path: Path) -> None:
    for step in (5, 30, 200):
        save(tmp_path, step)
    checkpoint.prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000030", "step-00000200"]
    checkpoint.prune(tmp_path, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000200"]


def test_last_k_are_kept(tmp_path: Path) -> None:
    run_tiny(tmp_path, Settings(steps=12, save_every=3, keep=3))
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000006", "step-00000009", "step-00000012"]


def test_full_disk_while_saving_keeps_the_earlier_checkpoints(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills_up(module: Any, batch: TinyBatch, context: Any) -> Any:
        if context.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
        return tiny_step(module, batch, context)

    try:
        with pytest.raises(UserError, match=r"cannot write .*step-00000006: .*free space there") as caught:
            run_tiny(tmp_path, step=fills_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"
    run_tiny(tmp_path)
    run_tiny(tmp_path / "whole")
    assert weights(tmp_path) == weights(tmp_path / "whole")


def test_a_run_goes_on_from_before_the_damage(tmp_path: Path) -> None:
    def dies(module: Any, batch: TinyBatch, context: Any) -> Any:
        if context.step == 10:
            raise RuntimeError("power cut")
        return tiny_step(module, batch, context)

    with pytest.raises(RuntimeError, match="power cut"):
        run_tiny(tmp_path / "a", step=dies)
    damage_cut(tmp_path / "a" / "checkpoints" / "step-00000009" / "optimiser.safetensors")
    run_tiny(tmp_path / "a")
    assert "step-00000009 cannot be used" in (tmp_path / "a" / "log.txt").read_text()
    run_tiny(tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
