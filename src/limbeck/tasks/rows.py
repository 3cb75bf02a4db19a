"""Results as flat rows, one figure each: what other tools read, and what a report compares.

A row says what was measured of whom (`model`, `role`), on what (`task`, `data`), and how (`metric`,
`value`, its spread). Two rows compare only where task, data, metric and unit are the same: `data` names the
very words, rows or machine. A figure that was not measured has the value None; none is ever made up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from limbeck.errors import UserError

Row = dict[str, Any]
Result = Mapping[str, Any]

COLUMNS = (
    *("model", "role", "task", "data", "metric", "value", "low", "high", "std", "seeds", "n"),
    *("better", "unit", "weights"),
)
"""The keys of a row. role: student, teacher, model or baseline. low, high: ends of a 95% interval. std: over
`seeds` trainings. n: words, instances or texts behind the value. better: higher, lower or None. unit: nats,
share (0 to 1), correlation (-1 to 1), error, count, bytes, ms, seconds, joules, per second. weights: digest
of the encoder's weights, whatever head the task had it with."""

TRAINED = "its own training"
"""The `data` of what a training itself took."""

POS = {"n": "nouns", "v": "verbs", "a": "adjectives", "r": "adverbs", "seen": "seen", "unseen": "unseen"}
CORRELATIONS = ("matthews", "pearson", "spearman")


def rows_of(result: Result) -> list[Row]:
    """The rows of one result: of a task (`task`: mlm, wsd, glue, paraphrase, cost) or of a training run.

    Args:
        result: as the task gives it, or as it stands in a run's `results.json`.

    Raises:
        UserError: a result of a kind that is not known.
    """
    task = result.get("task", "run")
    if task not in _KINDS:
        raise UserError(f"a result of the task {task!r} is not known; known are {', '.join(sorted(_KINDS))}")
    return list(_KINDS[task](result))


def row(model: str, role: str, task: str, data: str, metric: str, value: Any, **more: Any) -> Row:
    """A row whose other columns are None unless given; `interval`: its ends, or None."""
    low, high = more.pop("interval", None) or (None, None)
    said = {"model": model, "role": role, "task": task, "data": data, "metric": metric, "value": value}
    said |= {"low": low, "high": high, **more}
    return {name: said.get(name) for name in COLUMNS}


def mlm_data(result: Result) -> dict[str, str]:
    """How the words of an mlm result are named, by `headline` and `all_words`: the same words, the same name.

    Which words are single pieces depends on all tokenizers that were compared, and which words count depends
    on what some model cannot be asked.
    """
    data, settings, counts = result["data"], result["settings"], result["counts"]
    text = (
        f"text {str(data['fingerprint'])[:8]}, {data['passages']:,} passages, mask {settings['mask']:g}, "
        f"seed {settings['seed']}"
    )
    pieces = "|".join(sorted({str(model["tokenizer"]) for model in result["models"]}))
    digest = hashlib.sha256(pieces.encode()).hexdigest()[:6]
    return {
        "headline": f"{text}: {counts['headline']:,} words, single pieces of all tokenizers ({digest})",
        "all_words": f"{text}: all {counts['all_words']:,} words",
    }


def _mlm(result: Result, names: Sequence[tuple[str, str]] | None = None) -> Iterator[Row]:
    """names: name and role of each model, in order; None: as the result has them, all of the role `model`."""
    named = mlm_data(result)
    for place, one in enumerate(result["models"]):
        name, role = names[place] if names is not None else (str(one["name"]), "model")
        for part, data in named.items():
            found = one.get(part)
            for metric, unit in (("nats", "nats"), ("accuracy", "share")):
                yield row(
                    name,
                    role,
                    "mlm",
                    data,
                    f"{metric} per masked word" if metric == "nats" else metric,
                    None if found is None else found[metric],
                    interval=None if found is None else found[f"{metric}_interval"],
                    n=None if found is None else found["words"],
                    better="lower" if metric == "nats" else "higher",
                    unit=unit,
                    weights=one.get("weights"),
                )
        yield _count(name, role, "mlm", "parameters", one.get("parameters"), one.get("weights"))


def _count(
    model: str, role: str, task: str, metric: str, value: Any, weights: Any, unit: str = "count"
) -> Row:
    return row(model, role, task, "", metric, value, better="lower", unit=unit, weights=weights)


def _wsd(result: Result) -> Iterator[Row]:
    model, of = result["model"], result["settings"]["candidates"]
    lexicon = str(result["data"]["lexicon"]["fingerprint"])[:6]
    for one in result["sets"]:
        data = f"{one['name']} {str(one['fingerprint'])[:8]}, senses of {lexicon}, candidates {of}"
        measured = [(str(model["name"]), "model", one.get("model"), model.get("weights"))]
        measured += [(name, "baseline", found, None) for name, found in one["baselines"].items()]
        for name, role, found, weights in measured:
            if found is None:
                continue
            yield _f1(name, role, data, found, weights)
            for part, some in (found.get("parts") or {}).items():
                if some is not None:
                    yield _f1(name, role, f"{data}: {POS.get(part, part)}", some, weights)
    yield _count(
        str(model["name"]), "model", "wsd", "parameters", model.get("parameters"), model.get("weights")
    )


def _f1(name: str, role: str, data: str, found: Result, weights: Any) -> Row:
    return row(
        name,
        role,
        "wsd",
        data,
        "f1",
        found["f1"],
        interval=found["f1_interval"],
        n=found["instances"],
        better="higher",
        unit="share",
        weights=weights,
    )


def _unit(metric: str) -> str:
    """Of GLUE's metrics, whose names may end with that of a dev set: `accuracy_matched`."""
    return "correlation" if metric.split("_")[0] in CORRELATIONS else "share"


def _digest(prints: Iterable[Any]) -> str:
    """Eight letters for the fingerprints of all that a figure depends on."""
    return hashlib.sha256("|".join(map(str, prints)).encode()).hexdigest()[:8]


def _tuned(result: Result) -> str:
    """What is unusual in how a model was fine-tuned: figures of other settings are other figures."""
    said = result.get("settings", {}).get("unusual")
    return f", {said}" if said else ""


def _glue(result: Result) -> Iterator[Row]:
    model, seeds = result["model"], len(result["seeds"])
    name, weights, tuned = str(model["name"]), model.get("weights"), _tuned(result)
    for one in result["tasks"]:
        prints, counts = one["fingerprints"], one["counts"]
        dev = [part for part in prints if part.startswith("dev")]
        for metric, spread in one["metrics"].items():
            # A task of two dev sets names the set behind the metric: accuracy_matched is of dev_matched.
            sets = [part for part in dev if metric.endswith(part.removeprefix("dev"))] or dev
            data = f"{one['name']} {_digest(prints[part] for part in ('train', *sets))}{tuned}"
            shared = {
                "n": sum(counts[part] for part in sets),
                "better": "higher",
                "unit": _unit(metric),
            }
            value, std = spread["mean"], spread["std"]
            yield row(
                name, "model", "glue", data, metric, value, std=std, seeds=seeds, weights=weights, **shared
            )
            for baseline, found in one["baselines"].items():
                value = found["metrics"].get(metric)
                yield row(baseline, "baseline", "glue", data, metric, value, **shared)
    if average := result.get("average"):
        of = (one["fingerprints"][part] for one in result["tasks"] for part in sorted(one["fingerprints"]))
        data = f"average of {', '.join(average['tasks'])} {_digest(of)}{tuned}"
        value = average["mean"]
        yield row(
            *(name, "model", "glue", data, "score", value),
            seeds=seeds,
            better="higher",
            unit="share",
            weights=weights,
        )
    yield _count(name, "model", "glue", "parameters", model.get("parameters"), weights)


def _paraphrase(result: Result) -> Iterator[Row]:
    """A row for each set, length, number of training texts and metric; none of a model that was not asked."""
    model, seeds = result.get("model"), len(result["seeds"])
    sets = {one["name"]: one for one in result["data"]["tests"]}
    train, tuned = str(result["data"]["train"]["fingerprint"])[:8], _tuned(result)
    for cell in result["cells"]:
        who = [(name, "baseline", found["tests"], None) for name, found in cell["baselines"].items()]
        if model is not None:
            who.insert(0, (str(model["name"]), "model", cell["tests"], model.get("weights")))
        for name, role, tests, weights in who:
            for test, metrics in tests.items():
                of = sets[test]
                long = f"{cell['words']} words" if cell["words"] else "whole texts"
                taught = f"{cell['size']:,} training texts {train}, {long}{tuned}"
                data = f"{test} {str(of['fingerprint'])[:8]}, {taught}"
                for metric, spread in metrics.items():
                    yield row(
                        *(name, role, "paraphrase", data, metric, spread["mean"]),
                        std=spread["std"],
                        seeds=seeds,
                        n=of["texts"],
                        better="higher",
                        unit="share",
                        weights=weights,
                    )
    if model is not None:
        name = str(model["name"])
        yield _count(name, "model", "paraphrase", "parameters", model.get("parameters"), model.get("weights"))


def _cost(result: Result) -> Iterator[Row]:
    machine = result["machine"]
    for one in result["models"]:
        name, weights = str(one["name"]), one.get("weights")
        for metric in ("parameters", "parameters_without_embeddings"):
            yield _count(name, "model", "cost", metric, one[metric], weights)
        yield _count(name, "model", "cost", "disk", one["disk_bytes"], weights, "bytes")
        where = (
            f"{machine['processor']}, threads {machine['threads']}, {one['runtime']} {one['precision']}, "
            f"{'cpu' if one['device'] == 'cpu' else machine['device']}"
        )
        for cell in one["lengths"]:
            data, latency, speed = f"{where}, {cell['length']} pieces", cell["latency"], cell["throughput"]
            repeated = latency["repetitions"]
            said = [
                ("latency p50", latency["p50_ms"], "lower", "ms", repeated),
                ("latency p95", latency["p95_ms"], "lower", "ms", repeated),
                ("tokens per second", speed["tokens_per_second"], "higher", "per second", None),
            ]
            for metric, value, better, unit, n in said:
                yield row(
                    name, "model", "cost", data, metric, value, better=better, unit=unit, n=n, weights=weights
                )
            macs = cell["macs_per_token"]
            data = f"{cell['length']} pieces"
            yield row(
                name,
                "model",
                "cost",
                data,
                "MACs per token",
                macs,
                better="lower",
                unit="count",
                weights=weights,
            )
        memory = one["memory"]
        for rows, name_of in ((1, "peak_one"), (memory["batch"], "peak_batch")):
            data = f"{where}, {memory['length']} pieces" + (f" × {rows}" if name_of == "peak_batch" else "")
            peak = memory["bytes"].get(name_of)
            yield row(
                *(name, "model", "cost", data, "peak memory", peak),
                better="lower",
                unit="bytes",
                weights=weights,
            )


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


def _run(result: Result) -> Iterator[Row]:
    """Of `limbeck run`, `pretrain` and `distill`: the first model of `words` is the student."""
    name = str(result["name"])
    role = "student" if result.get("teachers") else "model"
    words = result.get("words")
    if words:
        teachers = [(str(model["name"]), "teacher") for model in words["models"][1:]]
        yield from _mlm(words, [(name, role), *teachers])
    yield from _training(name, role, result.get("cost"))


def _gloss(result: Result) -> Iterator[Row]:
    name, valid = str(result["name"]), result["valid"]
    of = result["settings"]["candidates"]
    known = str(valid.get("fingerprint", ""))[:8]
    sources = ", ".join(valid["sources"])
    data = f"{sources} {known}".rstrip() + f", {valid['instances']:,} instances, candidates {of}"
    answers = [(name, "model", valid.get("f1"))]
    answers += [(baseline, "baseline", value) for baseline, value in valid["baselines"].items()]
    for who, role, value in answers:
        yield row(who, role, "wsd", data, "f1", value, n=valid["instances"], better="higher", unit="share")
    yield _count(name, "model", "run", "parameters", result["model"].get("parameters"), None)
    for part in ("words", "gloss_words"):
        if result.get(part):
            yield from _mlm(result[part], [(f"{name}, before", "model"), (name, "model")])
    yield from _training(name, "model", result.get("cost"))


def _finetune(result: Result) -> Iterator[Row]:
    name, valid = str(result["name"]), result.get("valid")
    yield _count(name, "model", "run", "parameters", result["model"].get("parameters"), None)
    if valid is not None:
        about = result["data"]["valid"]
        data = f"{about['file']} {str(about['fingerprint'])[:8]}"
        for metric, chance in valid["baselines"]["majority"].items():
            shared = {
                "n": about["rows"],
                "better": "lower" if metric == "mse" else "higher",
                "unit": "error" if metric == "mse" else _unit(metric),
            }
            yield row(name, "model", "run", data, metric, valid.get(metric), **shared)
            yield row("majority", "baseline", "run", data, metric, chance, **shared)
    yield from _training(name, "model", result.get("cost"))


_KINDS: dict[str, Callable[[Result], Iterator[Row]]] = {
    "mlm": _mlm,
    "wsd": _wsd,
    "glue": _glue,
    "paraphrase": _paraphrase,
    "cost": _cost,
    "gloss": _gloss,
    "finetune": _finetune,
    "run": _run,
}
