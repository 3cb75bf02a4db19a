"""The tables in which the command line shows what `limbeck.pipeline` and `limbeck.tasks` return."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Table = tuple[str, list[str], list[list[str]]]
"""Title, headings (none: a list of names and values), rows."""


def size(count: float) -> str:
    """Bytes for people: `3.2 GB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(value: Any, form: str = ",") -> str:
    """A number in the given format; an en dash where there is none."""
    return "–" if value is None else format(value, form)


def text_table(text: Mapping[str, Any]) -> Table:
    """Counts of the training and the held-out text."""
    names = list(text["train"])
    counts = [name for name in names if isinstance(text["train"][name], int)]
    rows = [
        [name.replace("_", " "), number(text["train"][name]), number(text["valid"].get(name))]
        for name in counts
    ]
    rows.append(["of these set aside for calibration", number(text.get("set_aside")), ""])
    rows.append(["passages also in train", "", number(text.get("overlap"))])
    return "Text", ["", "train", "valid"], rows


def teachers_table(teachers: list[Mapping[str, Any]]) -> Table:
    """Quality, coverage (and why the rest is not covered) and size of each teacher."""
    reasons = list(dict.fromkeys(reason for teacher in teachers for reason in teacher["uncovered"]))
    columns = ["teacher", "nats/word", "accuracy", "covered", *reasons, "vocabulary projected", "temperature"]
    rows = [
        [
            teacher["name"],
            number(teacher["nats"], ".3f"),
            number(teacher["masked_accuracy"], ".1%"),
            number(teacher["coverage"], ".1%"),
            *(number(teacher["uncovered"].get(reason), ".1%") for reason in reasons),
            number(teacher["vocabulary_projected"], ".1%"),
            number(teacher["temperature"], ".3f"),
            number(teacher["parameters"]),
        ]
        for teacher in teachers
    ]
    return "Teachers on a sample of valid", [*columns, "parameters"], rows


_PREDICTIONS = {
    "store": "read from the store, no teacher is loaded",
    "online": "computed in every step",
    None: "none",
}


def check_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """What `limbeck check` shows: text, teachers, and what the run will take."""
    from limbeck.training.progress import duration

    yield text_table(found["text"])
    if found["teachers"]:
        yield teachers_table(found["teachers"])
    student = found["student"]
    rows = [
        ["student", f"{student['parameters']:,} parameters, vocabulary {student['vocabulary']:,}"],
        ["predictions of the teachers", _PREDICTIONS[found["predictions"]]],
        ["at a selected word it sees", str(student["student_sees"])],
        ["steps", f"{found['steps']:,}, {found['epochs']:.1f} times through the text"],
        ["tokens", f"{found['tokens']:,.0f}, and {found['padding']:.1%} padding"],
        [
            "time",
            f"{duration(found['seconds'])} ({found['seconds_per_step']:.2f} s per step), measuring left out",
        ],
        ["disk", f"{size(found['disk_bytes'])} of {size(found['disk_free_bytes'])} free"],
    ]
    yield f"Run {found['name']}", [], rows


def run_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """What `run`, `pretrain` and `distill` show at the end: masked words of valid, and what it took."""
    from limbeck.tasks.mlm import table

    if "words" in results:  # a recipe without text has gloss training alone
        yield ("Masked words of valid, in nats per word", *table(results["words"]))
        best = results["valid"]
        said = f"{number(best['best_nats'], '.4f')} nats at step {number(best['best_step'])}"
        yield f"Run {results['name']}", [], [*cost_rows(results["cost"]), ["best on valid", said]]
    if "gloss" in results:
        yield from gloss_tables(results["gloss"])


def gloss_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """What `gloss` shows at the end: F1 of the development set, masked words before and after, the cost."""
    from limbeck.tasks.mlm import table

    valid, train = results["valid"], results["train"]
    first, chance = valid["baselines"]["first_sense"], valid["baselines"]["random"]
    rows = [
        ["F1 at the end", number(100 * valid["f1"], ".2f")],
        ["best F1", f"{number(100 * valid['best_f1'], '.2f')} at step {number(valid['best_step'])}"],
        ["F1 of the first sense, of chance", f"{100 * first:.2f}, {100 * chance:.2f}"],
        ["instances", f"{valid['instances']:,} of {', '.join(valid['sources'])}"],
    ]
    yield f"{results['method']}, development set", [], rows
    texts = {"words": "held-out text", "gloss_words": "the development set's contexts and glosses"}
    for name, what in texts.items():
        if results[name] is not None:
            yield (f"Masked words of {what}, in nats per word", *table(results[name]))
    each = f"{train['candidates_per_instance']:.2f} candidates each"
    used = f"{train['used']:,} instances, {train['epochs']:.2f} times; {each}"
    yield f"Run {results['name']}", [], [["trained on", used], *cost_rows(results["cost"])]


def cost_rows(cost: Mapping[str, Any]) -> list[list[str]]:
    """What a training took."""
    from limbeck.training.progress import duration

    return [
        ["steps", number(cost["steps"])],
        ["time", f"{duration(cost['seconds'])}, {cost['tokens_per_second']:,.0f} tokens/s"],
        [_peak(cost.get("processes", 1)), size(cost["peak_memory_bytes"])],
    ]


def _peak(processes: int) -> str:
    return "peak memory" if processes == 1 else f"peak memory, the largest of {processes} processes"


def evaluation_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `eval mlm` shows: the models side by side, and what to keep in mind."""
    from limbeck.tasks.mlm import table

    yield (f"{result['counts']['masked_words']:,} masked words", *table(dict(result)))
    if result["notes"]:
        yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(result["notes"], 1)]


def demo_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `demo` shows: its tables, how long it took, and where the report is."""
    for table in result["tables"]:
        yield table["title"], list(table["columns"]), [list(map(str, row)) for row in table["rows"]]
    if result["notes"]:
        yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(result["notes"], 1)]
    yield "", [], [["time", f"{result['seconds'] / 60:.1f} min"], ["report", str(result["report"])]]


def wsd_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `eval wsd` shows: F1 of the model and the baselines on each set, and apart by kind of instance."""
    sets = result["sets"]
    baselines = list(dict.fromkeys(name for one in sets for name in one["baselines"]))
    columns = ["set", "instances", "F1", *(name.replace("_", " ") for name in baselines)]
    rows = [
        [
            one["name"],
            number(one["instances"]),
            _f1(one["model"], bounds=True),
            *(_f1(one["baselines"].get(name)) for name in baselines),
        ]
        for one in sets
    ]
    yield "Word sense disambiguation, F1 in %", columns, rows
    names = list(sets[0]["model"]["parts"])
    rows = [[one["name"], *(_f1(one["model"]["parts"][name]) for name in names)] for one in sets]
    yield "F1 by part of speech, and of seen and unseen senses", ["set", *map(_part, names)], rows
    cost = f"{result['cost']['seconds_per_1000_instances']:.1f} s per 1,000 instances"
    notes = [*result["notes"], cost]
    yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(notes, 1)]


def score_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `score` shows: each file's scores by part, and how two files compare."""
    for system in result["systems"]:
        scores = {"all": system, **system["parts"]}
        rows = [
            [
                _part(name),
                number(one["instances"]),
                number(one["answered"]),
                number(100 * one["precision"], ".2f"),
                number(100 * one["recall"], ".2f"),
                _f1(one, bounds=True),
            ]
            for name, one in scores.items()
            if one is not None
        ]
        yield system["predictions"], ["in %", "instances", "answered", "precision", "recall", "F1"], rows
    if comparison := result.get("comparison"):
        bounds = comparison["f1_difference_interval"]
        shown = "" if bounds is None else f" [{100 * bounds[0]:+.2f}, {100 * bounds[1]:+.2f}]"
        test = comparison["mcnemar"]
        rows = [
            ["F1 of the second less that of the first", f"{100 * comparison['f1_difference']:+.2f}{shown}"],
            ["only the first is right", number(test["only_first"])],
            ["only the second is right", number(test["only_second"])],
            ["McNemar's test", f"p = {test['p']:.3g}"],
        ]
        yield "Comparison", [], rows


def _part(name: str) -> str:
    """Name of a part of the instances, for people."""
    return {"n": "noun", "v": "verb", "a": "adjective", "r": "adverb"}.get(name, name)


def _f1(scores: Mapping[str, Any] | None, bounds: bool = False) -> str:
    """F1 in percent, with its interval if asked for and known; an en dash where there is none."""
    if scores is None:
        return "–"
    interval = scores["f1_interval"] if bounds else None
    shown = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * scores['f1']:.2f}{shown}"


WORDS_AT_ONCE = 500
"""Rows of a table of words: a long text has many tables, and is never all in memory."""


def word_tables(words: Iterable[Any]) -> Iterator[Table]:
    """What `wsd` shows of the words of a text (`tools.words.Word`), as they come."""
    columns = ["characters", "word", "lemma", "part of speech", "sense key", "probability", "gloss"]
    kinds = {"only-sense": "only sense", "first-sense": "first sense"}
    rows: list[list[str]] = []
    for word in words:
        sure = kinds.get(word.source) or number(word.probability, ".2f")
        place = f"{word.start}–{word.end}"
        text = " ".join(word.text.split())
        rows.append([place, text, word.lemma, _part(word.pos), word.key, sure, word.gloss])
        if len(rows) == WORDS_AT_ONCE:
            yield "", columns, rows
            rows = []
    if rows:
        yield "", columns, rows


def mapping_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Names and values, a table per mapping in it."""
    plain = {name: value for name, value in found.items() if not isinstance(value, Mapping)}
    yield "Limbeck", [], [[name.replace("_", " "), str(value)] for name, value in plain.items()]
    for title, inner in found.items():
        if isinstance(inner, Mapping):
            yield title.capitalize(), [], [[name, str(value)] for name, value in inner.items()]


def store_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """What `store build`, `store info` and `store verify` show: a table per store."""
    if found.get("damage"):
        yield "Made again", [], [[f"{place}.", line] for place, line in enumerate(found["damage"], 1)]
    for store in found["stores"]:
        state = "whole" if store["complete"] else "not finished"
        each = number(store["bytes_per_prediction"], ".1f")
        temperatures = ", ".join(f"{t:.4g}" for t in store["temperatures"])
        yield (
            f"Store of {store['teacher']}",
            [],
            [
                ["folder", store["folder"]],
                ["teacher", f"{store['model']} in {store['precision']}"],
                ["chunks", f"{store['chunks']:,} of {store['chunks_in_all']:,}, {state}"],
                ["text", f"{store['passages']:,} passages, {store['variants']} mask variants"],
                ["masks", f"{store['mask']:.0%} of the words, seed {store['masking_seed']}"],
                ["predictions", f"{store['predictions']:,} of {store['kept']} pieces, {each} bytes each"],
                ["temperatures", temperatures],
                ["size", size(store["bytes"])],
                ["bytes per token and variant", number(store["bytes_per_token"], ".2f")],
            ],
        )
