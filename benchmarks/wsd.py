"""What gloss training is worth in word sense disambiguation, and what it costs the language model.

    python benchmarks/wsd.py                              # a part of SemCor: about an hour on 2 cores
    python benchmarks/wsd.py --part full --epochs 3 --seeds 1 2 3 --set gloss.tokens=32768     # with a GPU
    python benchmarks/wsd.py --only student --seeds 11 12 13     # students of benchmarks/first.py domains

`minilm`: all-MiniLM-L6-v2 under four variants, on the same part of SemCor, the checkpoint chosen on
SemEval-2007. `student`: the 2x128 student that `margin` has taught, that of each seed, after LMGC, LMGC-M and
its cohesive form on WordNet's examples.
Every variant is a run of `limbeck gloss` in benchmarks/wsd/scratch, measured by `limbeck eval wsd`; the same
command goes on where it was. Writes benchmarks/results/wsd.json (benchmarks/wsd_page.py makes
docs/results/wsd.md of it); what another call has measured stays in it. Needs the `bench` extra, WordNet 3.0,
SemCor and the evaluation sets (LIMBECK_DATA, its folder wsd).
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gloss_setting import MINILM
from step_setting import DATA
from wsd_rows import between, evaluation, group_of, row

from limbeck.files import atomic_write
from limbeck.pipeline import gloss
from limbeck.recipe import Recipe, load_recipe
from limbeck.run import environment

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "wsd"
STUDENT = str(ROOT / "benchmarks" / "first" / "scratch" / "domains-2x128-1000-{seed}" / "margin")
# SemCor's instances with a choice, to spread the measurements on the development set over a run.
POLYSEMOUS = 187_000


@dataclass(frozen=True)
class Variant:
    """What differs from its recipe: overrides, and training text beside SemCor."""

    overrides: tuple[str, ...]
    more: tuple[str, ...] = ()


GROUPS = {
    "minilm": {
        "pairs": Variant(("gloss.objective=pairs", "gloss.layout=pairs")),
        "choice": Variant(("gloss.objective=choice", "gloss.layout=pairs")),
        "packed": Variant(("gloss.objective=choice", "gloss.layout=packed")),
        "packed_examples": Variant(
            ("gloss.objective=choice", "gloss.layout=packed"), more=("wordnet-examples",)
        ),
    },
    "student": {
        "lmgc": Variant(("gloss.masked=false",)),
        "lmgcm": Variant(()),
        "cohesive": Variant(("gloss.cohesive=true",)),
    },
}
COMPARED = {
    "minilm": (("pairs", "choice"), ("choice", "packed"), ("packed", "packed_examples")),
    "student": (("lmgc", "lmgcm"), ("lmgcm", "cohesive")),
}


def share(text: str) -> float:
    """`full`, or a share of SemCor."""
    value = 1.0 if text == "full" else float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be full, or a share between 0 and 1")
    return value


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", choices=list(GROUPS), help="one of the two parts")
    add("--variants", nargs="+", choices=[name for group in GROUPS.values() for name in group])
    add("--part", type=share, default=0.07, help="share of SemCor, or full (default 0.07)")
    add("--epochs", type=float, default=1.0, help="times through it")
    add("--seeds", type=int, nargs="+", default=[1])
    add("--evaluations", type=int, default=3, help="measurements on SemEval-2007 in a run")
    add("--student", default=STUDENT, help="model folder of the student, with {seed} in it")
    add("--data", type=Path, default=DATA / "wsd", help="SemCor and the evaluation sets")
    add("--sets", nargs="+", default=[], help="sets to measure on (default: all)")
    add("--model", type=Path, default=MINILM, help="folder of the encoder (default all-MiniLM-L6-v2)")
    add("--precision", choices=("f32", "bf16"), default="bf16", help="of training and evaluation")
    add("--device", default="auto")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override of the recipes")
    add("--scratch", type=Path, default=HERE / "scratch", help="folder of the runs")
    add("--json", type=Path, default=ROOT / "benchmarks" / "results" / "wsd.json")
    given = parser.parse_args(arguments)
    # Paths of the command line start here, those of a recipe from its folder.
    given.student = str(Path(given.student).absolute())
    given.data, given.model = given.data.absolute(), given.model.absolute()
    return given


def overrides(group: str, variant: Variant, seed: int, given: argparse.Namespace) -> list[str]:
    """What the command line and the variant say, as overrides of the group's recipe."""
    development = labelled(given.data, "semeval2007")
    found = [
        f"seed={seed}",
        f"gloss.valid={json.dumps([development])}",
        f"gloss.precision={given.precision}",
        f"gloss.device={given.device}",
        f"gloss.threads={given.threads}",
    ]
    if group == "minilm":
        semcor = labelled(given.data, "semcor")
        steps = given.part * given.epochs * POLYSEMOUS / 32
        found += [
            f"gloss.init={given.model}",
            f"gloss.train={json.dumps([semcor, *variant.more])}",
            f"gloss.share={given.part}",
            f"gloss.epochs={given.epochs}",
            f"gloss.eval_every={math.ceil(steps / given.evaluations)}",
        ]
    else:
        found += [f"gloss.init={student_of(seed, given)}"]
    return [*found, *variant.overrides, *given.set]


def student_of(seed: int, given: argparse.Namespace) -> Path:
    """The student's model folder; beside it lies what its teachers were calibrated to."""
    return Path(given.student.format(seed=seed))


def labelled(data: Path, name: str) -> str:
    """A labelled text in the data folder."""
    found = sorted(data.glob(f"**/{name}.data.xml*"))
    if len(found) != 1:
        raise SystemExit(f"{data} has {len(found)} files {name}.data.xml; name another folder with --data")
    return str(found[0])


def folder_of(group: str, name: str, seed: int, given: argparse.Namespace) -> Path:
    """The run directory of a variant."""
    part = f"-{given.part:g}x{given.epochs:g}" if group == "minilm" else ""
    folder: Path = given.scratch / f"{group}-{name}{part}-{seed}"
    return folder


def trained(group: str, name: str, seed: int, given: argparse.Namespace) -> tuple[Recipe, dict[str, Any]]:
    """`limbeck gloss` on a variant: its recipe and results."""
    recipe = load_recipe(HERE / f"{group}.toml", overrides(group, GROUPS[group][name], seed, given))
    say(f"{group}, {name}, seed {seed}: training")
    results = gloss(
        recipe,
        folder_of(group, name, seed, given),
        student=student_of(seed, given).parent if group == "student" else None,
        resume_hint=shlex.join([sys.executable, *sys.argv]),
    )
    return recipe, results


def study(group: str, names: Sequence[str], given: argparse.Namespace, old: dict[str, Any]) -> None:
    """Trains and measures a group's variants, all of a seed before the next; the JSON grows with each.

    Args:
        old: what the JSON holds; figures of another setting stand in a group of their own.
    """
    for seed in given.seeds:
        for name in names:
            recipe, results = trained(group, name, seed, given)
            say(f"{group}, {name}, seed {seed}: measuring")
            measured = evaluation(folder_of(group, name, seed, given), given)
            found = group_of(old, group, setting(group, recipe, given))
            found["environment"] = surroundings(given)
            found["baselines"] = measured["baselines"]
            found["variants"].setdefault(name, {})[str(seed)] = row(results, measured)
            for one, other in COMPARED[group]:
                folders = [folder_of(group, n, seed, given) for n in (one, other)]
                if all(str(seed) in found["variants"].get(n, {}) for n in (one, other)):
                    compared = found["comparisons"].setdefault(f"{other} - {one}", {})
                    compared[str(seed)] = between(*folders, given)
            atomic_write(given.json, json.dumps(old, indent=1) + "\n")


def setting(group: str, recipe: Recipe, given: argparse.Namespace) -> dict[str, Any]:
    """What all variants of a group share; rows of another setting do not stand beside them."""
    section = recipe.gloss
    assert section is not None
    fields = ("batch", "tokens", "max_length", "learning_rate", "steps", "precision", "candidates", "window")
    shared = {"group": group, "sets": given.sets} | section.model_dump(include=set(fields), mode="json")
    if group == "minilm":
        shared |= {"model": given.model.parent.name, "share": given.part, "epochs": given.epochs}
    return shared


def surroundings(given: argparse.Namespace) -> dict[str, Any]:
    """As in every result, and the device."""
    gpu = torch.cuda.get_device_name() if given.device != "cpu" and torch.cuda.is_available() else None
    return environment() | {"gpu": gpu, "threads": given.threads}


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"wsd: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and measures what the command line asks for, or goes on with it."""
    given = options(arguments)
    torch.set_num_threads(given.threads)
    result: dict[str, Any] = {"benchmark": "wsd", "groups": []}
    if given.json.is_file():
        result = json.loads(given.json.read_text(encoding="utf-8"))
    for group, variants in GROUPS.items():
        names = [name for name in variants if name in (given.variants or variants)]
        if given.only in (None, group) and names:
            absent = [s for s in given.seeds if not student_of(s, given).is_dir()]
            if group == "student" and given.only is None and absent:
                say(f"no {student_of(absent[0], given)}: `benchmarks/first.py domains` makes it")
                continue
            study(group, names, given, result)


if __name__ == "__main__":
    main()
