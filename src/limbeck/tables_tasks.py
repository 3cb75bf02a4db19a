"""The tables in which the command line shows what a model is worth on labelled texts."""

from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.tables import Table, cost_rows, number

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "F1, mean of the classes",
    "f1": "F1 of {positive}",
    "matthews": "Matthews' correlation",
    "mse": "mean squared error",
    "pearson": "Pearson's correlation",
    "spearman": "Spearman's correlation",
}


def finetune_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """What `finetune` shows at the end: figures on the validation rows, what was learnt from, the cost."""
    valid, data, labels = results["valid"], results["data"], results["labels"]
    chance = valid["baselines"]["majority"]
    positive = labels["classes"][1] if labels["classes"] else ""
    rows = [
        [words.format(positive=positive), number(valid.get(name), ".4f"), number(chance[name], ".4f")]
        for name, words in _NAMES.items()
        if name in chance
    ]
    yield "Validation rows", ["", "model", "commonest class" if positive else "mean score"], rows
    kind = "scores" if not labels["classes"] else f"{len(labels['classes'])} classes"
    best = f"{number(valid['best'], '.4f')} at step {number(valid['best_step'])}"
    rows = [
        ["trained on", f"{data['train']['rows']:,} rows of {kind}, {results['cost']['epochs']:.2f} times"],
        ["measured on", f"{data['valid']['rows']:,} rows, {data['overlap']:,} of them trained on as well"],
        ["cut to fit", f"{data['train']['cut']:,} and {data['valid']['cut']:,} texts"],
        ["learning rate", f"{results['settings']['learning_rate']:g}"],
        [f"best {_NAMES[valid['judge']]}", best],
        *cost_rows(results["cost"]),
    ]
    yield "Fine-tuning", [], rows


_TASK_METRICS = {"matthews": "Matthews", "f1": "F1", "pearson": "Pearson", "spearman": "Spearman"}


def glue_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `eval glue` shows: each task's metrics beside the baselines', in percent, and the average."""
    several = len(result["seeds"]) > 1
    rows = []
    for one in result["tasks"]:
        for place, (name, value) in enumerate(one["metrics"].items()):
            metric = _TASK_METRICS.get(name, name.replace("_", ", "))
            baselines = [_percent(one["baselines"][b]["metrics"][name]) for b in ("majority", "tfidf")]
            counts = [number(n) for split, n in one["counts"].items() if split.startswith("dev")]
            rows.append(
                [
                    "" if place else one["name"],
                    metric,
                    _mean(value, several),
                    *baselines,
                    "" if place else number(one["counts"]["train"]),
                    counts[min(place, len(counts) - 1)] if len(counts) > 1 or not place else "",
                ]
            )
    if len(result["tasks"]) > 1:
        average = result["average"]
        rows.append([f"average of {len(average['tasks'])}", "", _percent(average["mean"]), "", "", "", ""])
    shown = "mean ± standard deviation over seeds, " if several else ""
    columns = ["task", "metric", "model", "majority", "TF-IDF", "train", "dev"]
    yield f"GLUE, dev, {shown}in %", columns, rows
    if result["notes"]:
        yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(result["notes"], 1)]


_BASELINES = {"majority": "majority", "tfidf_300": "TF-IDF 300", "tfidf_50000": "TF-IDF 50,000"}


def paraphrase_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """What `eval paraphrase` shows: F1-micro of each model and the baselines, a table for each set.

    found: a result, or several under `models`, of the same sets, lengths and sizes.
    """
    results = found.get("models") or [found]
    first = results[0]
    several = len(first["seeds"]) > 1
    named = [one["model"]["name"] for one in results if "model" in one]
    single = len(named) == 1
    columns = ["words", "training texts", *(["model"] if single else named)]
    columns += ["of originals", "of paraphrases"] if single else []
    for place, tested in enumerate(first["data"]["tests"]):
        rows, name = [], tested["name"]
        for cells in zip(*(one["cells"] for one in results), strict=True):
            own = [one["tests"][name] for one in cells if "tests" in one]
            row = [str(cells[0]["words"] or "all"), number(cells[0]["size"])]
            row += [_mean(one["f1_micro"], several) for one in own]
            if single:
                row += [_percent(own[0][f"f1_{kind}"]["mean"]) for kind in ("original", "paraphrased")]
            baselines = cells[0]["baselines"]
            row += [_mean(baselines[one]["tests"][name]["f1_micro"], several) for one in _BASELINES]
            rows.append(row)
        made = tested["synthetic"]
        rate = (
            "" if not made or "rate_reached" not in made else f", {_percent(made['rate_reached'])}% changed"
        )
        said = f"synthetic{rate}, " if made else ""
        shown = ", mean ± standard deviation over seeds" if several and not place else ""
        yield (
            f"F1-micro in % on {name} ({said}{tested['texts']:,} texts){shown}",
            [*columns, *_BASELINES.values()],
            rows,
        )
    notes = list(dict.fromkeys(note for one in results for note in one["notes"]))
    yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(notes, 1)]


def _mean(value: Mapping[str, float | None], several: bool) -> str:
    spread = f" ± {_percent(value['std'])}" if several and value["std"] is not None else ""
    return _percent(value["mean"]) + spread


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
