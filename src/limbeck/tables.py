"""The tables in which the command line shows what `limbeck.pipeline` and `limbeck.tasks` return."""

from collections.abc import Iterator, Mapping
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


def check_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """What `limbeck check` shows: text, teachers, and what the run will take."""
    from limbeck.training.progress import duration

    yield text_table(found["text"])
    if found["teachers"]:
        yield teachers_table(found["teachers"])
    student = found["student"]
    rows = [
        ["student", f"{student['parameters']:,} parameters, vocabulary {student['vocabulary']:,}"],
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
    from limbeck.training.progress import duration

    yield ("Masked words of valid, in nats per word", *table(results["words"]))
    cost, best = results["cost"], results["valid"]
    rows = [
        ["steps", number(cost["steps"])],
        ["time", f"{duration(cost['seconds'])}, {cost['tokens_per_second']:,.0f} tokens/s"],
        ["peak memory", size(cost["peak_memory_bytes"])],
        ["best on valid", f"{number(best['best_nats'], '.4f')} nats at step {number(best['best_step'])}"],
    ]
    yield f"Run {results['name']}", [], rows


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


def mapping_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Names and values, a table per mapping in it."""
    plain = {name: value for name, value in found.items() if not isinstance(value, Mapping)}
    yield "Limbeck", [], [[name.replace("_", " "), str(value)] for name, value in plain.items()]
    for title, inner in found.items():
        if isinstance(inner, Mapping):
            yield title.capitalize(), [], [[name, str(value)] for name, value in inner.items()]
