"""The tables of `limbeck detect` and `limbeck detect train`."""

from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.tables import Table, cost_rows, number

_SHOWN = 90  # characters of a passage


def detect_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `detect` shows: of each document what it comes to and where it scores highest; what a score is."""
    from limbeck.tools.detect_settings import percent

    for one in result["documents"]:
        summary, rows = one["summary"], []
        found = summary["paraphrased"]
        if found is None:
            rows.append(["machine-paraphrased", "not known: no passage could be scored"])
        else:
            low, high, middle = (percent(found[name]) for name in ("low", "high", "share"))
            told = f"{low} to {high} of the scored words (95% interval), best estimate {middle}"
            rows.append(["machine-paraphrased", told])
        scored = f"{summary['scored']:,} of {summary['passages']:,} passages"
        rows.append(["scored", f"{scored}, {summary['scored_words']:,} of {summary['words']:,} words"])
        for level, count in summary["at_least"].items():
            rows.append([f"score {level} or more", f"{count:,} passages"])
        rows += [[name, f"{count:,} passages, no score"] for name, count in summary["marked"].items()]
        yield one["file"], [], rows
        if one["passages"]:
            columns = ["score", "page", "words", "passages that score highest"]
            yield "", columns, [_passage(passage) for passage in one["passages"]]
    yield "What a score is, and is not", [], [[f"{n}.", line] for n, line in enumerate(result["meaning"], 1)]


def _passage(passage: Mapping[str, Any]) -> list[str]:
    text = "".join(one if one.isprintable() else " " for one in passage["text"])  # no terminal's commands
    short = text if len(text) <= _SHOWN else text[:_SHOWN].rsplit(" ", 1)[0] + " …"
    return [f"{passage['score']:.2f}", number(passage["page"]), number(passage["words"]), short]


def train_tables(record: Mapping[str, Any]) -> Iterator[Table]:
    """What `detect train` shows: the detector on the half of the validation texts nothing was fitted on."""
    valid, data = record["valid"], record["data"]
    columns = ["words", "texts", "false alarms at 0.5", "found", "at 0.9", "found", "calibration error"]
    rows = [_by_length(_range(one), one) for one in valid["by_words"]]
    whole = {
        "texts": valid["measured_on"], "calibration_error": valid["after"]["calibration_error"],
        "errors": valid["errors"],
    }  # fmt: skip
    yield "Validation texts, whole and cut", columns, [*rows, _by_length("all", whole)]
    before, after = valid["before"], valid["after"]
    trained = record["trained_on"]
    language = f"{record['language']['marked']:.2%} of the validation texts are taken for another language"
    train = data["train"]
    rows = [
        ["trained on", f"{train['texts']:,} texts of {train['file']}, {train['rows']:,} with their cuts"],
        ["scores texts of", f"{trained['min_words']:,} to {trained['max_words']:,} words"],
        ["in both sets", f"{data['overlap']:,} texts"],
        ["accuracy", number(valid["accuracy"], ".2%")],
        ["calibration error", f"{before['calibration_error']:.4f} before calibration, "
         f"{after['calibration_error']:.4f} after"],
        ["log loss", f"{before['log_loss']:.4f} before, {after['log_loss']:.4f} after"],
        ["language", language],
        *cost_rows(record["made"]["cost"]),
        ["detector", record["detector"]],
    ]  # fmt: skip
    yield "Detector", [], rows


def _range(one: Mapping[str, Any]) -> str:
    return f"{one['from']} or more" if one["to"] is None else f"{one['from']} to {one['to'] - 1}"


def _by_length(name: str, one: Mapping[str, Any]) -> list[str]:
    cells = [name, number(one["texts"])]
    for level in one["errors"]:
        cells += [number(level[kind]["rate"], ".2%") for kind in ("false_alarms", "found")]
    return [*cells, f"{one['calibration_error']:.4f}"]
