"""The store of predictions: bytes per token, speed of building, divergence from exact predictions, loading.

    python benchmarks/store.py [--teacher FOLDER] [--share 4]

writes benchmarks/results/store.json. Run it on an otherwise idle machine. Bytes and divergence ask for a
teacher that has learnt something: without --teacher one of 30,522 pieces is trained on corpus-small first,
for --teacher-steps, and kept in the cache. Speed does not ask what the weights are. Needs the `bench` extra
and the text of LIMBECK_DATA (its folder corpus-small).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from step_setting import Made, Setting
from store_measure import build_speed, divergence, step_speed

from limbeck.files import atomic_folder, cache_dir
from limbeck.pipeline import run
from limbeck.pipeline.store import build
from limbeck.recipe import Recipe, recipe_from
from limbeck.run import environment

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES, LEAST_SPEED, MOST_STEP = 14.0, 0.9, 1.1
KEPT = (4, 8, 16, 32, 64)
ASKED = 16


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, help="a trained masked language model; none: one is trained")
    parser.add_argument("--teacher-steps", type=int, default=800, help="steps of the one trained")
    parser.add_argument("--share", type=int, default=1, help="store only one in so many chunks for the bytes")
    parser.add_argument("--rounds", type=int, default=7, help="turns that everything timed takes")
    parser.add_argument("--steps", type=int, default=8, help="training steps of a turn")
    parser.add_argument("--passages", type=int, default=128, help="passages for the divergence")
    parser.add_argument("--built", type=int, default=768, help="passages that a turn of building takes")
    parser.add_argument(
        "--large", type=int, nargs=2, default=(12, 768), help="layers, width of a large teacher"
    )
    parser.add_argument(
        "--only", choices=("build", "step"), help="measure that anew; the rest of the JSON stays"
    )
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "f32"), default=["bf16", "f32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "store.json")
    return parser.parse_args(arguments)


def recipe(home: Path, setting: Setting, teachers: dict[str, Path], precision: str, **more: Any) -> Recipe:
    """Student and teachers of the setting, on its training text, stores in `home`."""
    tables: dict[str, Any] = {
        "name": "store",
        "output": str(home / "run"),
        "text": {"train": [setting.train_text], "valid": [setting.step_text], "words": setting.words},
        "student": {
            "layers": setting.student[0], "hidden": setting.student[1], "max_length": setting.length,
            "tokenizer": setting.student_tokenizer,
        },
        "teachers": [{"name": n, "model": str(m), "precision": precision} for n, m in teachers.items()],
        "distill": {"store": str(home / "store"), "variants": 1},
        "train": {
            "batch": setting.batch, "threads": setting.threads, "device": "cpu", "precision": precision,
            "steps": 100,
        },
    }  # fmt: skip
    for section, fields in more.items():
        tables[section] = tables[section] | fields
    return recipe_from(tables, home)


def trained_teacher(setting: Setting, steps: int) -> Path:
    """A teacher of the setting's size and the student's tokenizer, trained on the training text; kept."""
    folder = cache_dir() / "benchmark-teachers" / f"{setting.teacher[0]}x{setting.teacher[1]}-{steps}"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            student = {"layers": setting.teacher[0], "hidden": setting.teacher[1], "max_length": 512}
            train = {
                "steps": steps,
                "batch": 32,
                "micro_batch": 32,
                "learning_rate": 2e-3,
                "precision": "bf16",
            }
            run(recipe(home, setting, {}, "bf16", student=student, train=train))
            with atomic_folder(folder) as temporary:
                shutil.copytree(home / "run" / "model", temporary, dirs_exist_ok=True)
    return folder


def random_teachers(home: Path, made: Made) -> dict[str, Path]:
    """Two with random weights, of the student's vocabulary and of another."""
    found = {}
    for t, name in ((0, "same"), (2, "other")):
        tokenizer = made.teacher_tokenizers[t]
        found[name] = home / name
        made.model(made.setting.teacher, tokenizer, 1 + t).model.save_pretrained(found[name])
        tokenizer.hf.save_pretrained(found[name])
    return found


def bytes_per_token(home: Path, setting: Setting, teacher: Path, share: int) -> dict[str, Any]:
    """A store of the training text, or of a share of it, of `ASKED` pieces a prediction."""
    asked = recipe(home, setting, {"teacher": teacher}, "bf16", distill={"kept": ASKED})
    made = build(asked, shard=(1, share))["stores"][0]
    pieces = made["predictions"] * made["bytes_per_prediction"] / made["bytes_per_token"]
    made["bytes_per_token_all_files"] = made["bytes"] / pieces
    return {name: value for name, value in made.items() if name not in ("folder", "model")}


def measure(setting: Setting, given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it stands in the JSON."""
    say("a teacher")
    teacher = given.teacher or trained_teacher(setting, given.teacher_steps)
    result: dict[str, Any] = {
        "benchmark": "store",
        "environment": environment(),
        "setting": setting.public()
        | {"rounds": given.rounds, "steps": given.steps, "share": given.share, "passages": given.passages}
        | {"teacher_steps": None if given.teacher else given.teacher_steps},
    }
    with tempfile.TemporaryDirectory() as name:
        say("bytes per token")
        result["bytes"] = bytes_per_token(Path(name), setting, teacher, given.share)
    say("divergence")
    result["divergence"] = divergence(setting, teacher, KEPT, given.passages)
    for part in PARTS:
        PARTS[part](result, setting, given)
    return result


def building(result: dict[str, Any], setting: Setting, given: argparse.Namespace) -> None:
    """Speed of building, into the result."""
    made = Made(setting)
    result["build"] = {}
    for precision in given.precisions:
        say(f"{precision}: building")
        result["build"][precision] = build_speed(made, precision, given.built, given.rounds)
    result["build_large"] = large(setting, given)


def stepping(result: dict[str, Any], setting: Setting, given: argparse.Namespace) -> None:
    """Time of a step, into the result."""
    made, small = Made(setting), replace(setting, train_text=setting.step_text)
    result["step"] = {}
    with tempfile.TemporaryDirectory() as name:
        teachers = random_teachers(Path(name), made)
        for precision in given.precisions:
            say(f"{precision}: steps")
            at = Path(name) / precision
            at.mkdir()
            chosen = recipe(at, small, teachers, precision)
            result["step_kept"] = chosen.distill.kept
            build(chosen)
            alone = recipe(at, small, {}, precision)
            result["step"][precision] = step_speed(chosen, alone, given.rounds, given.steps)


PARTS = {"build": building, "step": stepping}


def large(setting: Setting, given: argparse.Namespace) -> dict[str, Any]:
    """Building with a teacher of BERT-base's shape, with a tenth of the passages."""
    say("building, a large teacher")
    made = Made(replace(setting, teacher=tuple(given.large)))
    passages, rounds = -(-given.built // 10), min(given.rounds, 3)
    found = build_speed(made, given.precisions[0], passages, rounds)
    return found | {"teacher": list(given.large), "precision": given.precisions[0]}


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was wanted, what came out."""
    found = [("bytes per token", "at most", MOST_BYTES, result["bytes"]["bytes_per_token"])]
    for precision, built in result["build"].items():
        found.append((f"speed of building / bare forwards, {precision}", "at least", LEAST_SPEED,
                      built["ratio"]["median"]))  # fmt: skip
    for precision, stepped in result["step"].items():
        found.append((f"time of a step, stored / plain, {precision}", "at most", MOST_STEP,
                      stepped["ratio"]["median"]))  # fmt: skip
    return [
        {"what": what, "sense": sense, "wanted": wanted, "measured": measured,
         "met": measured >= wanted if sense == "at least" else measured <= wanted}
        for what, sense, wanted, measured in found
    ]  # fmt: skip


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"store: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, setting: Setting | None = None) -> None:
    """Measures and writes the file."""
    given = options(arguments)
    setting = setting or Setting(threads=given.threads, words=96)
    torch.set_num_threads(given.threads)
    if given.only:
        result = json.loads(given.json.read_text(encoding="utf-8"))
        PARTS[given.only](result, setting, given)
    else:
        result = measure(setting, given)
    result["targets"] = targets(result)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for target in result["targets"]:
        say(f"{'met' if target['met'] else 'MISSED'}: {target['what']} {target['measured']:.4g}")


if __name__ == "__main__":
    main()
