"""The tables of evaluations side by side, of a recipe's stages, and of several runs."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from limbeck.tables import Table, number, size

Found = Mapping[str, Any]


def side_by_side_tables(result: Found) -> Iterator[Table]:
    """What `eval MODEL... --tasks` shows: a row per model, the headline of each task, and what it costs."""
    tasks = result["tasks"]
    headings = ["model", "parameters"]
    shown_tasks = [name for name in _HEADLINES if name in tasks]
    for task in shown_tasks:
        headings += _HEADLINES[task][0](tasks[task])
    rows = []
    for model in result["models"]:
        shown = [cell for task in shown_tasks for cell in _HEADLINES[task][1](tasks[task], model["name"])]
        rows.append([model["name"], number(_parameters(result, model["name"])), *shown])
    yield "Side by side", headings, rows
    notes = [_left_out(one) for one in result["left_out"]]
    notes += dict.fromkeys(note for name in ("mlm", "cost") for note in tasks.get(name, {}).get("notes", ()))
    if notes:
        yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(notes, 1)]


def _left_out(one: Found) -> str:
    of = "" if one["model"] is None else f" of {one['model']}"
    return f"{one['task']}{of} is left out: {one['reason']}"


def _parameters(result: Found, model: str) -> Any:
    """As `eval cost` counts them, else as another task does."""
    values = {
        row["task"]: row["value"]
        for row in result["rows"]
        if row["model"] == model and row["metric"] == "parameters"
    }
    return values.get("cost", next(iter(values.values()), None))


def interval(value: Any, bounds: Any, form: str, times: float = 1) -> str:
    """`value [low, high]`; a dash where there is none."""
    if value is None:
        return "–"
    if not bounds or None in bounds:
        return format(times * value, form)
    low, high = (format(times * bound, form) for bound in bounds)
    return f"{times * value:{form}} [{low}, {high}]"


def _model(found: Found, name: str) -> Any:
    """A model's part of a result of several models."""
    return next((one for one in found["models"] if one["name"] == name), None)


def _mlm(found: Found, name: str) -> list[str]:
    one = _model(found, name)
    head = None if one is None else one["headline"] or one["all_words"]
    if head is None:
        return ["–", "–"]
    return [interval(head["nats"], head["nats_interval"], ".3f"), f"{head['accuracy']:.1%}"]


def _mlm_heading(found: Found) -> list[str]:
    several = all(one["headline"] is None for one in found["models"])
    return ["nats/word, all words" if several else "nats/word", "accuracy"]


def _wsd(found: Found, name: str) -> list[str]:
    if name not in found:
        return ["–"]
    one = _wsd_set(found[name])["model"]
    return ["–" if one is None else interval(one["f1"], one["f1_interval"], ".1f", 100)]


def _wsd_set(result: Found) -> Any:
    """ALL, where all five sets were measured; else the first."""
    return next((one for one in result["sets"] if one["name"] == "ALL"), result["sets"][0])


def _wsd_heading(found: Found) -> list[str]:
    return [f"WSD F1, {_wsd_set(next(iter(found.values())))['name']}"]


def _glue(found: Found, name: str) -> list[str]:
    return [_share(found[name]["average"]["mean"])] if name in found else ["–"]


def _glue_heading(found: Found) -> list[str]:
    tasks = next(iter(found.values()))["average"]["tasks"]
    return [f"GLUE, {tasks[0]}" if len(tasks) == 1 else f"GLUE, mean of {len(tasks)}"]


def _paraphrase(found: Found, name: str) -> list[str]:
    if name not in found:
        return ["–"]
    cell = _largest(found[name])
    test = found[name]["data"]["tests"][0]["name"]
    return [_share(cell["tests"][test]["f1_micro"]["mean"])]


def _largest(result: Found) -> Any:
    """Whole texts, or the longest, and of them the most training texts."""
    return max(result["cells"], key=lambda cell: (cell["words"] == 0, cell["words"], cell["size"]))


def _paraphrase_heading(found: Found) -> list[str]:
    cell = _largest(next(iter(found.values())))
    long = f"{cell['words']} words" if cell["words"] else "whole texts"
    return [f"paraphrase F1, {cell['size']:,} {long}"]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _length(found: Found) -> int | None:
    """The length in the middle of those at which every model was measured."""
    lengths = [{cell["length"] for cell in one["lengths"]} for one in found["models"]]
    common = sorted(set.intersection(*lengths))
    return common[len(common) // 2] if common else None


def _cost(found: Found, name: str) -> list[str]:
    one, length = _model(found, name), _length(found)
    if one is None:
        return ["–"] * 4
    memory = size(one["memory"]["bytes"]["peak_batch"])
    cell = next((cell for cell in one["lengths"] if cell["length"] == length), None)
    if cell is None:
        return [size(one["disk_bytes"]), "–", "–", memory]
    speed = f"{cell['throughput']['tokens_per_second']:,.0f}"
    return [size(one["disk_bytes"]), f"{cell['latency']['p50_ms']:.2f} ms", speed, memory]


def _cost_heading(found: Found) -> list[str]:
    length = _length(found)
    at = "" if length is None else f" at {length} pieces"
    return ["disk", f"latency{at}", "tokens/s", "peak memory"]


_Heading = Callable[[Found], list[str]]
_Cell = Callable[[Found, str], list[str]]
_HEADLINES: dict[str, tuple[_Heading, _Cell]] = {
    "mlm": (_mlm_heading, _mlm),
    "wsd": (_wsd_heading, _wsd),
    "glue": (_glue_heading, _glue),
    "paraphrase": (_paraphrase_heading, _paraphrase),
    "cost": (_cost_heading, _cost),
}


def stages_tables(results: Found) -> Iterator[Table]:
    """What `run` shows at the end: the results of the stages, and what was done of them now."""
    from limbeck.tables import run_tables
    from limbeck.training.progress import duration

    yield from run_tables(results)
    if "eval" in results:
        yield from side_by_side_tables(results["eval"])
    rows = [
        [one["stage"], one["state"], duration(one["seconds"]), one["folder"]] for one in results["stages"]
    ]
    rows.append(["", "", duration(sum(one["seconds"] for one in results["stages"])), ""])
    yield "Stages", ["stage", "state", "time", "in"], rows
    if report := results.get("report"):
        yield "Report", [], [[name, path] for name, path in report.items()]


def leave_one_out_tables(result: Found) -> Iterator[Table]:
    """What `distill --leave-one-out` shows: what the student loses without each teacher."""
    whole = result["all"]
    rows = [["all teachers", interval(whole["nats"], (whole["low"], whole["high"]), ".3f"), ""]]
    rows += [
        [
            f"without {one['name']}",
            f"{one['without']:.3f}",
            interval(one["usefulness"], (one["low"], one["high"]), "+.3f"),
        ]
        for one in result["teachers"]
    ]
    title = f"{result['data']['words']:,} masked words of valid, in nats per word"
    yield title, ["student of", "nats/word", "the teacher's use"], rows
