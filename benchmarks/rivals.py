"""Limbeck's step against TextBrewer, torchdistill and transformers' Trainer; and what limits it.

    python benchmarks/rivals.py [--rounds 5] [--torchdistill FOLDER] [--device cuda --size base]

writes benchmarks/results/rivals.json, and from that and speed-notes.md docs/results/speed.md. Run it on an
otherwise idle machine. The variants take turns, Limbeck's in one process and those of the other programs in
another: the same models, text, batches and threads. Peak memory is measured with one process per variant.
Needs the `bench` extra and the text of LIMBECK_DATA (its folder corpus-small).

torchdistill is not in the extra: it needs torchvision, and a torchvision that does not fit the torch beside
it breaks `import transformers`. It is measured where it stands in a folder of its own:

    python -m pip install --no-deps --target FOLDER torchdistill==1.1.5 torchvision==0.28.0
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from rivals_compile import compiled
from rivals_hosts import AS_THEY_COME, PRECISIONS
from rivals_measure import memory, speed
from rivals_page import page
from rivals_profile import profiled
from rivals_ratios import memory_shares, ratios, shares, targets
from rivals_setting import SIZES, RivalMade, RivalSetting
from rivals_variants import KINDS
from step_measure import KEEP_MEMORY, isolated

from limbeck.run import environment

ROOT = Path(__file__).resolve().parents[1]
PROFILED = ("plain", "store", "online")
PARTS = ("speed", "speed_memory_kept", "memory", "profile", "compiled")
PROGRAMS = ("textbrewer", "torchdistill", "torchvision")


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", choices=list(SIZES), default="small", help="of the models (base: 110M teachers, for a GPU)")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="others stay as the JSON has them")
    add("--rounds", type=int, default=5, help="turns that every variant takes (default 5)")
    add("--kept-rounds", type=int, default=3, help="the same where the others' allocator keeps its memory")
    add("--steps", type=int, help="steps of a turn (default: 6, 3 or 1, the fewer the longer a step is)")
    add("--memory-steps", type=int, default=2, help="the first has no moments yet, so at least 2")
    add("--profile-steps", type=int, default=12)
    add("--compiled-turns", type=int, default=40, help="forwards of a compiled teacher")
    add("--precisions", nargs="+", choices=list(PRECISIONS), default=list(PRECISIONS))
    add("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    add("--threads", type=int, default=2, help="CPU threads")
    add("--batch", type=int, help="rows of a batch (default: the size's)")
    add("--torchdistill", metavar="FOLDER", help="where torchdistill and torchvision are")
    add("--json", type=Path, help="default: benchmarks/results/rivals.json, or rivals-base.json")
    add("--page", type=Path, help="default: docs/results/speed.md, or speed-base.md")
    add("--page-only", action="store_true", help="write the page from the JSON that is there")
    given = parser.parse_args(arguments)
    ending = "" if given.size == "small" else f"-{given.size}"
    given.json = given.json or ROOT / "benchmarks" / "results" / f"rivals{ending}.json"
    given.page = given.page or ROOT / "docs" / "results" / f"speed{ending}.md"
    return given


def setting_of(given: argparse.Namespace) -> RivalSetting:
    """The setting that the command line asks for."""
    size = SIZES[given.size]
    return replace(
        size,
        device=given.device,
        threads=given.threads,
        batch=given.batch or size.batch,
        torchdistill=given.torchdistill,
    )


def measure(
    setting: RivalSetting, given: argparse.Namespace, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The parts asked for, as they stand in the JSON; `keep` gets what there is after every part.

    Where not all parts are asked for, the others stay as the JSON has them.
    """
    names = [f"{kind} {precision}" for precision in given.precisions for kind in given.kinds]
    say("tokenizers, text")
    result: dict[str, Any] = {
        "benchmark": "rivals",
        "environment": environment() | others(setting),
        "setting": setting.public() | {"size": given.size, "rounds": given.rounds, "turn": turns(given)},
        "batches": isolated(describe, setting),
    }
    if set(given.parts) != set(PARTS):
        old = json.loads(given.json.read_text(encoding="utf-8"))
        here = json.loads(json.dumps(result))
        if any(old[what] != here[what] for what in ("setting", "batches")):
            raise SystemExit(f"{given.json} was measured in another setting; measure all parts")
        result = old
    for part in given.parts:
        if setting.device != "cpu" and part in ("speed_memory_kept", "compiled"):
            continue
        say(part)
        there = [name for name in names if name not in result.get("speed", {}).get("absent", {})]
        result[part] = MEASURED[part](setting, there, given)
        keep(result)
    return result | evaluated(result)


def _speed(setting: RivalSetting, names: list[str], given: argparse.Namespace) -> dict[str, Any]:
    return speed(setting, names, given.rounds, given.steps, AS_THEY_COME)


def _speed_kept(setting: RivalSetting, names: list[str], given: argparse.Namespace) -> dict[str, Any]:
    return speed(setting, names, given.kept_rounds, given.steps, AS_THEY_COME | KEEP_MEMORY)


def _memory(setting: RivalSetting, names: list[str], given: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for name in names:
        as_it_comes = AS_THEY_COME if KINDS[name.split()[0]].full else None
        found[name] = isolated(memory, setting, name, given.memory_steps, environment=as_it_comes)
    return found


def _profile(setting: RivalSetting, names: list[str], given: argparse.Namespace) -> dict[str, Any]:
    some = [name for name in names if name.split()[0] in PROFILED]
    return {name: isolated(profiled, setting, name, given.profile_steps) for name in some}


def _compiled(setting: RivalSetting, _: list[str], given: argparse.Namespace) -> dict[str, Any]:
    return {p: isolated(compiled, setting, p, given.compiled_turns) for p in given.precisions}


MEASURED: dict[str, Callable[[RivalSetting, list[str], argparse.Namespace], dict[str, Any]]] = {
    "speed": _speed,
    "speed_memory_kept": _speed_kept,
    "memory": _memory,
    "profile": _profile,
    "compiled": _compiled,
}
assert tuple(MEASURED) == PARTS


def evaluated(result: dict[str, Any]) -> dict[str, Any]:
    """Ratios, shares and targets of what was measured."""
    found: dict[str, Any] = {
        "ratios": ratios(result["speed"]),
        "ratios_memory_kept": ratios(result.get("speed_memory_kept", {"tokens_per_second": {}})),
        "shares_of_peak": shares(result["speed"]),
        "memory_shares": memory_shares(result["memory"]),
    }
    return found | {"targets": targets(found, result["setting"]["device"] == "cuda")}


def turns(given: argparse.Namespace) -> dict[str, int]:
    """Steps of a turn, by kind."""
    return {kind: given.steps or KINDS[kind].steps for kind in given.kinds}


def describe(setting: RivalSetting) -> dict[str, Any]:
    """What the batches hold; a process of its own leaves the memory of this one as it is."""
    return RivalMade(setting).describe()


def others(setting: RivalSetting) -> dict[str, Any]:
    """Versions of the other programs, None where one is not there, and the GPU's name."""
    where = [*sys.path, *([setting.torchdistill] if setting.torchdistill else [])]
    here = {d.metadata["Name"].lower(): d.version for d in distributions(path=where)}
    gpu = torch.cuda.get_device_name() if setting.device == "cuda" else None
    return {"programs": {name: here.get(name) for name in PROGRAMS}, "gpu": gpu}


def write(path: Path, result: dict[str, Any]) -> None:
    """A result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"rivals: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, setting: RivalSetting | None = None) -> None:
    """Measures, writes both files."""
    given = options(arguments)
    if given.page_only:
        result = json.loads(given.json.read_text(encoding="utf-8"))
        result |= evaluated(result)
    else:
        unfinished = given.json.with_suffix(".part.json")  # what an interruption leaves
        result = measure(setting or setting_of(given), given, lambda found: write(unfinished, found))
        unfinished.unlink(missing_ok=True)
    write(given.json, result)
    given.page.parent.mkdir(parents=True, exist_ok=True)
    notes = given.json.with_name(f"{given.page.stem}-notes.md")
    said = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    given.page.write_text(page(result, said), encoding="utf-8")
    for target in result["targets"]:
        say(f"{'met' if target['met'] else 'MISSED'}: {target['what']} {target['measured']:.4g}")


if __name__ == "__main__":
    main()
