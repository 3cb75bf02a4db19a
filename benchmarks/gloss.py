"""Speed of gloss training and prediction: the published way, our `pairs`, our `packed`.

    python benchmarks/gloss.py [--rounds 2] [--instances 384]

writes benchmarks/results/gloss.json (benchmarks/wsd_page.py makes docs/results/wsd.md of it). Run it on an
otherwise idle machine. The arms take turns in one process: the same instances and candidates, model,
objective, optimiser, precision and threads. A turn is one pass over the instances: enough of them that ours
are as well sorted by length as in a real run. The published way pads every pair alike, so that its turn is a
part of them, and its instances per second are its pairs per second over the candidates of an instance. Needs
the `bench` extra, WordNet 3.0 and SemCor (LIMBECK_DATA, its folder wsd).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from gloss_arms import ARMS, Arm, Floats, arms
from gloss_setting import GlossMade, GlossSetting, Item
from operations import operations
from step_measure import spread

from limbeck.files import atomic_write
from limbeck.run import environment

ROOT = Path(__file__).resolve().parents[1]
RATIOS = (("pairs", "published"), ("packed", "pairs"), ("packed", "published"))
LEAST = {"pairs / published": 3.0, "packed / pairs": 2.5}
WARM_UP = 16  # instances
PHASES: dict[str, Callable[[Arm, int], Any]] = {
    "training": lambda arm, turn: arm.train(turn),
    "prediction": lambda arm, turn: arm.predict(turn),
}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, default = parser.add_argument, GlossSetting()
    add("--rounds", type=int, default=2, help="turns that every arm takes; half of them with a window")
    add("--instances", type=int, default=default.instances, help="of a turn, a multiple of 32")
    add("--published", type=int, default=default.published, help="of them in a turn of the published way")
    add("--windows", type=int, nargs="+", default=[0, 1], help="sentences around the target's")
    add("--precision", choices=("f32", "bf16"), default=default.precision)
    add("--threads", type=int, default=default.threads, help="CPU threads")
    add("--tokens", type=int, default=default.tokens, help="pieces of one forward and backward of ours")
    add("--profile-only", action="store_true", help="measure the profile anew; the rest of the JSON stays")
    add("--json", type=Path, default=ROOT / "benchmarks" / "results" / "gloss.json")
    given = parser.parse_args(arguments)
    sizes = given.instances, given.published
    if given.rounds < 1 or min(sizes) < 1 or any(size % default.batch for size in sizes):
        parser.error(f"--rounds must be 1 or more, --instances and --published multiples of {default.batch}")
    return given


def measure(setting: GlossSetting, given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it stands in the JSON."""
    made = GlossMade(setting)
    result: dict[str, Any] = {
        "benchmark": "gloss",
        "environment": environment(),
        "setting": setting.public() | {"rounds": given.rounds},
        "parameters": sum(p.numel() for p in made.model.parameters()),
        "windows": {},
    }
    for window in given.windows:
        say(f"window {window}: reading the instances")
        items = made.sample(window)
        with TemporaryDirectory() as folder:
            rounds = max(1, given.rounds // 2) if window else given.rounds
            measured = turns(made, items, Path(folder), rounds, f"window {window}")
        result["windows"][str(window)] = about(items) | {"rounds": rounds} | measured
    return result | {"targets": targets(result["windows"]), "profile": profiles(made)}


def profiles(made: GlossMade) -> dict[str, Any]:
    """Where the time of our two layouts goes, per instance, on single sentences; a turn of each."""
    items = made.sample(0)
    found: dict[str, Any] = {phase: {} for phase in PHASES}
    with TemporaryDirectory() as folder:
        every = arms(made, items, Path(folder))
        for phase, go in PHASES.items():
            for name in ARMS[1:]:
                say(f"profile: {phase}, {name}")
                arm = every[name]
                found[phase][name] = operations(partial(go, arm, 0), len(items))
    return found


def about(items: Sequence[Item]) -> dict[str, Any]:
    """What the instances are."""
    return {
        "instances": len(items),
        "candidates_per_instance": pairs(items) / len(items),
        "characters_per_context": float(np.mean([len(one.context) for one, _ in items])),
    }


def turns(made: GlossMade, items: Sequence[Item], folder: Path, rounds: int, label: str) -> dict[str, Any]:
    """Speed of every arm in training and in prediction.

    Before, every arm runs on a few instances: that warms everything up, and shows that they agree.
    """
    (folder / "few").mkdir()
    few = arms(made, items[:WARM_UP], folder / "few")
    found: dict[str, Any] = {"agreement": agreement({name: arm.predict(0) for name, arm in few.items()})}
    for arm in few.values():
        arm.train(0)
    every = arms(made, items, folder)
    for phase in PHASES:
        say(f"{label}: {phase}")
        found[phase] = in_turns(every, phase, pairs(items) / len(items), rounds)
    return found


def in_turns(every: dict[str, Arm], phase: str, candidates: float, rounds: int) -> dict[str, Any]:
    """Instances per second of every arm, round by round, each round in another order.

    Args:
        candidates: of an instance, on average; an arm's turn counts by its pairs.
    """
    walls: dict[str, list[float]] = defaultdict(list)
    cpus: dict[str, list[float]] = defaultdict(list)
    amount: dict[str, float] = defaultdict(float)
    for arm in every.values():
        arm.fed = arm.real = 0
    for turn in range(rounds):
        for name in (*ARMS[turn % 3 :], *ARMS[: turn % 3]):
            done = pairs(every[name].taken(turn)) / candidates
            amount[name] += done
            wall, cpu = time.perf_counter(), time.process_time()
            PHASES[phase](every[name], turn)
            walls[name].append(done / (time.perf_counter() - wall))
            cpus[name].append(done / (time.process_time() - cpu))
            say(f"round {turn + 1} of {rounds}, {name}: {walls[name][-1]:.2f} instances/s")
    return {
        "instances_per_second": {name: spread(walls[name]) for name in ARMS},
        "instances_per_cpu_second": {name: spread(cpus[name]) for name in ARMS},
        "ratios": ratios(walls),
        "cpu_ratios": ratios(cpus),
        "pieces_per_instance": {
            name: {"fed": arm.fed / amount[name], "text": arm.real / amount[name]}
            for name, arm in every.items()
        },
    }


def pairs(items: Sequence[Item]) -> int:
    """Candidates of all of them."""
    return sum(len(senses) for _, senses in items)


def ratios(rates: dict[str, list[float]]) -> dict[str, Any]:
    """How many times as fast, within each round."""
    return {
        f"{one} / {other}": spread([a / b for a, b in zip(rates[one], rates[other], strict=True)])
        for one, other in RATIOS
    }


def agreement(said: dict[str, list[Floats]]) -> dict[str, Any]:
    """How far `pairs` and the published way say the same, before anything is trained.

    They are one function but for rounding, and where a pair is longer than the limit: there the published way
    cuts the end of the longer text, and ours never the target.
    """
    parts = list(zip(said["published"], said["pairs"], strict=False))  # the published turn may be shorter
    return {
        "instances": len(parts),
        "median_difference": float(np.median([np.abs(a - b).max() for a, b in parts])),
        "same_sense": float(np.mean([a.argmax() == b.argmax() for a, b in parts])),
    }


def targets(windows: dict[str, Any]) -> list[dict[str, Any]]:
    """What was wanted, what came out, on single sentences."""
    found = []
    for phase in PHASES if "0" in windows else ():
        for ratio, wanted in LEAST.items():
            measured = windows["0"][phase]["ratios"][ratio]["median"]
            row = {"what": f"{phase}: {ratio}", "wanted": wanted, "measured": measured}
            found.append(row | {"met": measured >= wanted})
    return found


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"gloss: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, setting: GlossSetting | None = None) -> None:
    """Measures, writes the file."""
    given = options(arguments)
    setting = setting or GlossSetting(
        instances=given.instances, published=given.published, tokens=given.tokens,
        precision=given.precision, threads=given.threads,
    )  # fmt: skip
    if given.profile_only:
        result = json.loads(given.json.read_text(encoding="utf-8"))
        result["profile"] = profiles(GlossMade(setting))
    else:
        result = measure(setting, given)
    atomic_write(given.json, json.dumps(result, indent=1) + "\n")
    for target in result["targets"]:
        say(f"{'met' if target['met'] else 'MISSED'}: {target['what']} {target['measured']:.3g}")


if __name__ == "__main__":
    main()
