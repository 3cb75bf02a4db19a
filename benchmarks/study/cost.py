"""Question 7, cost: what each model can do, beside its parameters, latency, training and energy."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from statistics import fmean, median, median_low
from typing import Any

from limbeck.files import atomic_write
from limbeck.tasks.efficiency import CostSettings, measure_models
from limbeck.tasks.fingerprint import fingerprint

from .big import NAMES, big_folders
from .cost_page import headline, page
from .jobs import Job, do_all, say
from .models import STARTS, make_models, model_folders, start
from .setting import TEACHERS, Setting
from .teachers import teacher_model, train_teachers

__all__ = ["answer", "headline", "page", "quality"]

Row = dict[str, Any]


def answer(setting: Setting) -> dict[str, Any]:
    """Measures the model of the first seed of each kind; quality is other questions'.

    The models take turns, several rounds: a noisy machine is so to all of them, and medians are told.
    """
    train_teachers(setting)
    make_models(setting)
    folders = {f"teacher {name}": [teacher_model(setting, name)] for name in TEACHERS}
    folders |= model_folders(setting)
    if setting.big_model:
        folders |= {name: [place] for name, place in big_folders(setting).items()}
    first = {name: places[0] for name, places in folders.items()}
    do_all(setting, "cost", [Job(f"{len(first)} models", partial(_measure_all, setting, first))])
    known = quality(_answered(setting))
    seconds = {name: _seconds(places) for name, places in folders.items()}
    rows = {}
    for name, place in first.items():
        rows[name] = measured(setting, place) | {
            "training": _training(name, seconds),
            "quality": known.get(name, {}),
        }
    return {
        "models": rows,
        "length": setting.cost_length,
        "rounds": setting.cost_rounds,
        "precision": CostSettings().precision,
        "seeds": list(setting.seeds),
        "paraphrase": [min(setting.paraphrase_words), min(setting.paraphrase_sizes)],
        "store_seconds": _store_seconds(setting),
        "teacher_seconds": sum(seconds[f"teacher {name}"]["seconds"] or 0.0 for name in TEACHERS),
    }


def measured(setting: Setting, place: Path) -> Row:
    """What a model costs in use: medians over the rounds that are kept."""
    costs = [json.loads(_kept(setting, place, turn).read_text("utf-8")) for turn in _turns(setting)]
    cells = [cost["lengths"][-1] for cost in costs]
    joules = [_joules(cell["energy_per_1000_passages"]) for cell in cells]
    return {
        "parameters": costs[0]["parameters"],
        "parameters_without_embeddings": costs[0]["parameters_without_embeddings"],
        "head": costs[0]["head"],
        "latency_ms": median(cell["latency"]["p50_ms"] for cell in cells),
        "passages_per_second": median(cell["throughput"]["passages_per_second"] for cell in cells),
        "memory_bytes": median_low(_memory(cost["memory"]["bytes"]) for cost in costs),
        "joules_per_1000_passages": None if None in joules else median(joules),
    }


def _turns(setting: Setting) -> range:
    return range(setting.cost_rounds)


def _kept(setting: Setting, place: Path, turn: int) -> Path:
    name = f"{fingerprint(place)}-{setting.cost_length}-{setting.cost_seconds:g}-{turn}.json"
    return setting.scratch / "cost" / name


def _measure_all(setting: Setting, models: dict[str, Path]) -> Row:
    """In one process, so that no measurement disturbs another."""
    settings = CostSettings(
        lengths=(setting.cost_length,), seconds=setting.cost_seconds, threads=1, device="cpu"
    )
    for turn in _turns(setting):
        for place in models.values():
            file = _kept(setting, place, turn)
            if file.exists():
                continue
            (found,) = measure_models([str(place)], settings)["models"]
            file.parent.mkdir(parents=True, exist_ok=True)
            kept = {key: value for key, value in found.items() if key not in ("name", "model", "training")}
            atomic_write(file, json.dumps(kept))
        say(f"cost: round {turn + 1}/{setting.cost_rounds} of {len(models)} models")
    return {}


def _memory(found: Row) -> int:
    """The peak of one passage, beyond what the libraries take."""
    return int(found["peak_one"]) - int(found["libraries"])


def _joules(found: Row | None) -> float | None:
    """Where it was measured; an estimate is none."""
    return None if found is None or found.get("joules") is None else float(found["joules"])


def _answered(setting: Setting) -> dict[str, Row]:
    files = sorted(setting.results.glob("study-*.json"))
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {row["question"]: row for row in rows}


def quality(found: dict[str, Row]) -> dict[str, Row]:
    """Of every model what the other questions found: mean and deviation, by measure; absent where none did.

    `nats`: per masked word of general text that chose nothing, by question 3 and, of teachers, by `teachers`
    (on other words). `f1`: of senses. `glue`: the average of all tasks. `paraphrase`: F1 with the fewest
    texts and the shortest. `shared`: the average of the tasks of GLUE that all models have, where
    some have not all.
    """
    rows: dict[str, Row] = {}

    def put(name: str, measure: str, value: Row | None) -> None:
        if value is not None:
            kept = {"mean": value["mean"], "sd": value.get("sd")}
            rows.setdefault(name, {})[measure] = kept

    for name, row in found.get("teachers", {}).get("teachers", {}).items():
        put(f"teacher {name}", "nats", {"mean": fmean(row["test_nats"].values())})
    for name, row in found.get("lexical", {}).get("models", {}).items():
        put(name, "nats", row["test_nats"]["mixed"])
    for name, row in found.get("wsd", {}).get("models", {}).items():
        put(name, "f1", row["f1"])
    glue = found.get("glue")
    for name, row in glue["models"].items() if glue else ():
        if set(row["average"]["tasks"]) == set(glue["tasks"]):  # the average of fewer is another figure
            put(name, "glue", row["average"])
        if set(row["shared"]["tasks"]) != set(glue["tasks"]):
            put(name, "shared", row["shared"])
    for name, row in found.get("paraphrase", {}).get("models", {}).items():
        cell = min(row["cells"], key=lambda cell: (cell["size"], cell["words"]))
        put(name, "paraphrase", cell["f1"])
    return rows


def _seconds(places: list[Path]) -> Row:
    """Mean seconds and joules of the models' last training; None where there is no run."""
    runs = [place.parent / "results.json" for place in places]
    if not all(run.exists() for run in runs):
        return {"seconds": None, "joules": None}
    costs = [json.loads(run.read_text(encoding="utf-8"))["cost"] for run in runs]
    joules = [cost.get("energy_joules") for cost in costs]
    return {
        "seconds": fmean(cost["seconds"] for cost in costs),
        "joules": fmean(joules) if all(value is not None for value in joules) else None,
    }


def _training(name: str, seconds: dict[str, Row]) -> Row:
    """Of the model from nothing: gloss training goes on from its student's. Teachers' is apart."""
    stages = [seconds[name]]
    if name not in STARTS and start(name) in STARTS:
        stages.insert(0, seconds[start(name)])
    if name == NAMES[1]:
        return {"seconds": stages[0]["seconds"], "joules": stages[0]["joules"], "pretrained": True}
    if any(stage["seconds"] is None for stage in stages):
        return {"seconds": None, "joules": None, "pretrained": True}
    known = [stage["joules"] for stage in stages]
    return {
        "seconds": sum(stage["seconds"] for stage in stages),
        "joules": None if None in known else sum(known),
        "pretrained": False,
    }


def _store_seconds(setting: Setting) -> float | None:
    """Of the distilled students' stores, once for all of them; None where they are not kept here."""
    from .models import arm
    from .students import store_folder

    way = arm(setting, "distilled")
    file = store_folder(setting, way) / "built.json"
    if not file.exists():
        return None
    built = json.loads(file.read_text(encoding="utf-8"))
    return float(sum(built["seconds"][name] for name in way.teachers))
