"""Checkpoints from which a run goes on exactly: whole folders of safetensors and JSON, nothing pickled.

    checkpoints/step-00001234/
        model.safetensors        the module's state
        optimiser.safetensors    `exp_avg/<parameter>`, `exp_avg_sq/<parameter>`, `step/<parameter>`
        random.safetensors       `<rank>/torch`, `<rank>/cuda`, `<rank>/numpy`, `<rank>/python`
        state.json               step, counters, best, metrics position, scaler, and a digest of every file

A folder appears under its name only when everything in it is on the disk (`atomic_folder`), and it is read
only after every digest was found right, so that damage is met before anything is changed.
"""

import dataclasses
import hashlib
import json
import logging
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.files import TEMPORARY, atomic_folder
from limbeck.training.optimiser import trainable
from limbeck.training.sharding import share_of, whole

_log = logging.getLogger(__name__)
_TENSOR_FILES = ("model.safetensors", "optimiser.safetensors", "random.safetensors")


@dataclasses.dataclass
class State:
    """What a run is apart from its tensors. `step` is the number of steps done, and so the next step's index.

    `processes` have written it; any number goes on from it.

    `window` holds the sums of the metrics since the last line of the log; `random` the parts of each
    process's random state that are no tensors; `scaler` the gradient scaler's state in f16.
    """

    step: int
    fingerprint: str
    processes: int
    tokens: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    peak_device_memory: int = 0
    energy_joules: float | None = None
    energy_source: str | None = None
    metrics_position: int = 0
    best: float | None = None
    best_step: int | None = None
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    window: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    random: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    scaler: dict[str, Any] | None = None


RandomState = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors and JSON values of one process's random generators."""


def random_state(device: torch.device) -> RandomState:
    """State of the generators of torch (CPU, and `device` if it is CUDA), numpy's global one and Python's."""
    arrays: dict[str, Tensor] = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        arrays["cuda"] = torch.cuda.get_rng_state(device)
    legacy: dict[str, Any] = dict(np.random.get_state(legacy=False))
    arrays["numpy"] = torch.from_numpy(legacy["state"]["key"].astype(np.int64))
    version, words, gauss = random.getstate()
    arrays["python"] = torch.tensor(words, dtype=torch.int64)
    numbers = {
        "numpy": {
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "python": {"version": version, "gauss": gauss},
    }
    return arrays, numbers


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Puts all generators back where `random_state` found them."""
    arrays, numbers = state
    torch.set_rng_state(arrays["torch"])
    if device.type == "cuda" and "cuda" in arrays:
        torch.cuda.set_rng_state(arrays["cuda"], device)
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": arrays["numpy"].numpy().astype(np.uint32), "pos": numbers["numpy"]["pos"]},
            "has_gauss": numbers["numpy"]["has_gauss"],
            "gauss": numbers["numpy"]["gauss"],
        }
    )
    words = tuple(int(word) for word in arrays["python"])
    random.setstate((numbers["python"]["version"], words, numbers["python"]["gauss"]))


def _parameter_names(module: nn.Module, optimiser: torch.optim.Optimizer) -> list[str]:
    """Names in the order in which the optimiser numbers its parameters."""
    names = {parameter: name for name, parameter in trainable(module)}
    return [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]


def moments(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors as `<kind>/<parameter>`, on the CPU.

    Those of a sharded module are whole, and every process must call this.
    """
    names = _parameter_names(module, optimiser)
    return {
        f"{key}/{names[number]}": whole(value.detach()).cpu().contiguous()
        for number, entry in optimiser.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }


def set_moments(module: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Gives the optimiser the tensors of `moments`, of which a sharded module takes its share.

    The parameter groups (rates, decay) stay those of the settings.
    """
    numbers = {name: number for number, name in enumerate(_parameter_names(module, optimiser))}
    parameters = dict(trainable(module))
    entries: dict[int, dict[str, Tensor]] = {}
    for label, value in tensors.items():
        key, name = label.split("/", 1)
        entries.setdefault(numbers[name], {})[key] = share_of(value, parameters[name]).clone()
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _body_digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def save(
    folder: Path,
    module: nn.Module,
    optimiser_tensors: dict[str, Tensor],
    random_states: list[RandomState],
    state: State,
) -> Path:
    """Writes the checkpoint of `state.step`, whole or not at all; one of the same step is replaced.

    Args:
        folder: the run's `checkpoints/`.
        module: the bare module, whole.
        optimiser_tensors: `moments`.
        random_states: one per process, by rank.
        state: the rest; its `random` is filled in here.

    Raises:
        UserError: it cannot be written (full disk); earlier checkpoints are as they were.
    """
    state = dataclasses.replace(state, random=[numbers for _, numbers in random_states])
    ranked = {
        f"{rank}/{key}": value
        for rank, (arrays, _) in enumerate(random_states)
        for key, value in arrays.items()
    }
    target = folder / f"step-{state.step:08d}"
    with atomic_folder(target) as temporary:
        save_model(module, str(temporary / "model.safetensors"))
        save_file(optimiser_tensors, temporary / "optimiser.safetensors")
        save_file(ranked, temporary / "random.safetensors")
        body = {
            "state": dataclasses.asdict(state),
            "files": {n: _digest(temporary / n) for n in _TENSOR_FILES},
        }
        content = json.dumps({"digest": _body_digest(body), **body}, indent=1)
        (temporary / "state.json").write_text(content)
    return target


def _steps(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    return sorted(folder.glob("step-" + "[0-9]" * 8)) if folder.is_dir() else []


def last_step(folder: Path) -> int:
    """The step of the newest checkpoint in `folder`, whole or not; -1 where there is none."""
    return max((int(path.name.removeprefix("step-")) for path in _steps(folder)), default=-1)


def _read_state(path: Path) -> State:
    """The state of a checkpoint whose every file is as it was written.

    Raises:
        ValueError: it is damaged; the message says where.
        OSError: a file is missing or cannot be read.
    """
    whole = json.loads((path / "state.json").read_text())
    body = {"state": whole["state"], "files": whole["files"]}
    if whole["digest"] != _body_digest(body):
        raise ValueError("state.json is damaged")
    for name, digest in body["files"].items():
        if _digest(path / name) != digest:
            raise ValueError(f"{name} is damaged or cut off")
    return State(**body["state"])


def newest(folder: Path, fingerprint: str) -> tuple[Path, State] | None:
    """The newest whole checkpoint in `folder`, or None where there is none at all.

    A damaged one is named in the log and the one before is taken; those passed over are deleted once an
    older one is found, as the run writes them again.

    Raises:
        UserError: there are checkpoints, but none that can be read; or the newest belongs to another run.
    """
    damaged: list[Path] = []
    for path in reversed(_steps(folder)):
        try:
            state = _read_state(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("checkpoint %s cannot be used (%s); going back to the one before", path.name, error)
            damaged.append(path)
            continue
        if state.fingerprint != fingerprint:
            raise UserError(f"{path} belongs to a run with other settings; choose another run directory")
        for other in damaged:
            _remove(other)
        return path, state
    if damaged:
        raise UserError(
            f"no checkpoint of the {len(damaged)} in {folder} can be read; delete that folder to start again"
        )
    return None


def load(path: Path, state: State, module: nn.Module) -> tuple[dict[str, Tensor], list[RandomState]]:
    """Puts the weights of a checkpoint found by `newest` into the module.

    Returns:
        The optimiser's tensors, for `set_moments`, and the random state of every process, by rank; the caller
        sets its own last, after whatever else draws numbers.
    """
    load_model(module, path / "model.safetensors")
    arrays = load_file(path / "random.safetensors")
    states: list[RandomState] = []
    for rank, numbers in enumerate(state.random):
        start = f"{rank}/"
        mine = {k.removeprefix(start): v.clone() for k, v in arrays.items() if k.startswith(start)}
        states.append((mine, numbers))
    return load_file(path / "optimiser.safetensors"), states


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the last `keep` checkpoints."""
    for path in _steps(folder)[: -max(1, keep)]:
        _remove(path)


def _remove(path: Path) -> None:
    """Renames first, so that a kill in the middle leaves nothing that looks like a checkpoint."""
    shutil.rmtree(path.rename(path.with_name(f"{TEMPORARY}{path.name}")))
