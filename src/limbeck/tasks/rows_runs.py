"""The rows of a training run's results: what it measured of its own model, and what the training took."""

from __future__ import annotations

from collections.abc import Iterator

from limbeck.tasks.row import Result, Row, count, row, unit_of
from limbeck.tasks.rows_tasks import of_mlm

TRAINED = "its own training"
"""The `data` of what a training itself took."""


def _training(name: str, role: str, cost: Result | None) -> Iterator[Row]:
    """What a run's training took; energy only where it was measured."""
    wanted = (
        ("tokens", None, "count"),
        ("seconds", "lower", "seconds"),
        ("tokens_per_second", "higher", "per second"),
        ("peak_memory_bytes", "lower", "bytes"),
        ("energy_joules", "lower", "joules"),
    )
    for metric, better, unit in wanted:
        value = (cost or {}).get(metric)
        yield row(name, role, "run", TRAINED, metric, value, better=better, unit=unit)


def of_run(result: Result) -> Iterator[Row]:
    """Of `limbeck run`, `pretrain` and `distill`: the first model of `words` is the student."""
    name = str(result["name"])
    role = "student" if result.get("teachers") else "model"
    words = result.get("words")
    if words:
        teachers = [(str(model["name"]), "teacher") for model in words["models"][1:]]
        yield from of_mlm(words, [(name, role), *teachers])
    yield from _training(name, role, result.get("cost"))


def of_gloss(result: Result) -> Iterator[Row]:
    """Of gloss training: F1 on its held-out instances, masked words before and after, what it took."""
    name, valid = str(result["name"]), result["valid"]
    of = result["settings"]["candidates"]
    known = str(valid.get("fingerprint", ""))[:8]
    sources = ", ".join(valid["sources"])
    data = f"{sources} {known}".rstrip() + f", {valid['instances']:,} instances, candidates {of}"
    answers = [(name, "model", valid.get("f1"))]
    answers += [(baseline, "baseline", value) for baseline, value in valid["baselines"].items()]
    for who, role, value in answers:
        yield row(who, role, "wsd", data, "f1", value, n=valid["instances"], better="higher", unit="share")
    yield count(name, "model", "run", "parameters", result["model"].get("parameters"), None)
    for part in ("words", "gloss_words"):
        if result.get(part):
            yield from of_mlm(result[part], [(f"{name}, before", "model"), (name, "model")])
    yield from _training(name, "model", result.get("cost"))


def of_finetune(result: Result) -> Iterator[Row]:
    """Of `limbeck finetune`: metrics on the rows held out beside the majority, what it took."""
    name, valid = str(result["name"]), result.get("valid")
    yield count(name, "model", "run", "parameters", result["model"].get("parameters"), None)
    if valid is not None:
        about = result["data"]["valid"]
        data = f"{about['file']} {str(about['fingerprint'])[:8]}"
        for metric, chance in valid["baselines"]["majority"].items():
            shared = {
                "n": about["rows"],
                "better": "lower" if metric == "mse" else "higher",
                "unit": "error" if metric == "mse" else unit_of(metric),
            }
            yield row(name, "model", "run", data, metric, valid.get(metric), **shared)
            yield row("majority", "baseline", "run", data, metric, chance, **shared)
    yield from _training(name, "model", result.get("cost"))
