"""The model card: `README.md` in a model's folder, in the hub's form, made only of what its run wrote."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.report import card_detector
from limbeck.report.blocks import shown
from limbeck.report.card_metadata import metadata, task_of
from limbeck.report.content import what_of
from limbeck.report.joined import Column, Model, columns, join, text_names
from limbeck.report.markdown import (
    NONE,
    code_block,
    count,
    duration,
    escape,
    fixed,
    last_part,
    pathless,
    share,
    table,
)
from limbeck.report.parts import TRAINING, heading
from limbeck.report.runs import RunFiles, is_number, is_whole, read_run
from limbeck.report.sources import EVALUATION, GLOSS, RESULTS, Source, read_sources
from limbeck.report.training_parts import estimates
from limbeck.tools.detect_settings import DetectorSettings

log = logging.getLogger("limbeck")

CARD = "README.md"

_USE = {
    "fill-mask": """from transformers import pipeline

fill = pipeline("fill-mask", model=FOLDER)
print(fill(f"The old man sat on the bank of the {fill.tokenizer.mask_token}."))""",
    "text-classification": """from transformers import pipeline

classify = pipeline("text-classification", model=FOLDER)
print(classify("A text to classify."))""",
    "feature-extraction": """from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER)
states = model(**tokenizer("A text.", return_tensors="pt")).last_hidden_state""",
}
_SENSES = """from limbeck.tools.disambiguate import Disambiguator

for word in Disambiguator.from_pretrained(FOLDER)("The old man sat on the bank of the river."):
    print(word.text, word.key, word.gloss)"""


def write_card(folder: Path) -> Path:
    """Writes the card of the model that a finished run left, with what was measured of it since.

    A card that was changed by hand, such as by a licence, is left as it is.

    Args:
        folder: the run directory, with `results.json` and `model`; of a gloss training inside a run, the
            run's evaluation counts as well.

    Returns:
        The path of the card, `model/README.md` in the run directory.

    Raises:
        UserError: not a run directory; it is not finished; a damaged file; the card cannot be written.
    """
    run = read_run(folder)
    if not run.results or not (folder / "model").is_dir():
        raise UserError(f"{folder} is not finished: it has no model or no results.json; go on with the run")
    sources = read_sources([folder, *_evaluation_above(folder)])
    models = join(sources)
    own = next(place for place, one in enumerate(models) if one.run is not None and one.run.folder == folder)
    path = folder / "model" / CARD
    if path.is_file() and not _ours(path.read_text(encoding="utf-8", errors="replace")):
        log.warning("%s was changed by hand and stays as it is; delete it to have it written anew", path)
        return path
    text = _card(run, sources, models, own)
    atomic_write(path, f"{text}{_mark(text)}")
    return path


def _evaluation_above(folder: Path) -> list[Path]:
    """The evaluation of the run that a gloss training stands in, which measures both of its models."""
    above = folder.resolve().parent
    there = folder.resolve().name == GLOSS and (above / "recipe.toml").is_file()
    return [above / EVALUATION] if there and (above / EVALUATION / RESULTS).is_file() else []


def _mark(text: str) -> str:
    """The card's last line, by which a later change is known."""
    return f"\n<!-- limbeck {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def _ours(card: str) -> bool:
    """Whether a card stands as `write_card` wrote it."""
    text, _, _ = card.rpartition("\n<!-- limbeck ")
    return card == f"{text}{_mark(text)}"


def _card(run: RunFiles, sources: Sequence[Source], models: Sequence[Model], own: int) -> str:
    found = [column for column in columns(models, text_names(sources)) if own in column.cells]
    quality = [column for column in found if _is_quality(column)]
    rows = [column.cells[own] | {"data": column.data} for column in quality]
    detector = card_detector.detector_of(run.folder)
    parts = [
        f"---\n{metadata(run, rows)}---",
        f"# {escape(run.name)}",
        _what(run, detector),
        f"## How to use\n\n`FOLDER` is this folder, or its id on the hub.\n\n{_use(run, detector)}",
        "" if detector is None else card_detector.worth(detector),
        _results(run, models, own, quality),
        _training_data(run, detector),
        _teachers(run),
        _recipe(run),
        _cost(run, sources, found, own),
        _limits(run, detector),
        _versions(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_quality(column: Column) -> bool:
    return bool(column.data) and column.task != "cost" and column.data != TRAINING


def _what(run: RunFiles, detector: DetectorSettings | None) -> str:
    if detector is not None:
        said = (
            "A detector of machine-paraphrased passages: a classifier, fine-tuned from an encoder on "
            "originals and machine paraphrases, with its calibration in `detector.json` beside it."
        )
    elif run.kind == "finetune":
        said = "A classifier, fine-tuned from an encoder on labelled texts."
    elif run.kind == "gloss":
        method = escape(run.results.get("method", "gloss training"))
        said = f"A language model trained on glosses to tell word senses apart ({method})."
        if (run.folder / "model" / "gloss_head.safetensors").is_file():
            said += " Its gloss head lies beside it in `gloss_head.safetensors`."
    elif run.teachers():
        number = len(run.teachers())
        taught = "a teacher" if number == 1 else f"{number} teachers, weighed at every masked word"
        said = f"A masked language model distilled from {taught}."
    else:
        said = "A masked language model, trained without teachers."
    size = (run.section("student") or run.section("model")).get("parameters")
    return f"{said} {count(size)} parameters. Made with Limbeck."


def _use(run: RunFiles, detector: DetectorSettings | None) -> str:
    if detector is not None:
        return card_detector.use()
    parts = [code_block(_USE[task_of(run)], "python")]
    if run.kind == "gloss":
        parts += ["Word senses, with Limbeck:", code_block(_SENSES, "python")]
    return "\n\n".join(parts)


def _results(run: RunFiles, models: Sequence[Model], own: int, quality: Sequence[Column]) -> str:
    rows = []
    for column in quality:
        one = column.cells[own]
        bounds = NONE
        if is_number(one["low"]) and is_number(one["high"]):
            bounds = f"{shown(one['low'], column.unit)} to {shown(one['high'], column.unit)}"
        elif is_number(one["std"]):
            bounds = f"± {shown(one['std'], column.unit)} over {one['seeds']} seeds"
        others = [
            f"{models[place].name} ({cell['role']}) {shown(cell['value'], column.unit)}"
            for place, cell in column.cells.items()
            if place != own
        ]
        direction = f", {column.better} is better" if column.better else ""
        value = shown(one["value"], column.unit)
        rows.append([heading(column) + direction, value, bounds, "; ".join(others), pathless(column.data)])
    if not rows:
        return "## Results\n\nNothing was measured."
    heads = ["measure", "this model", "95% interval or spread", "others, on the same", "measured on"]
    return f"## Results\n\n{table(heads, rows)}"


def _training_data(run: RunFiles, detector: DetectorSettings | None) -> str:
    section = "text" if run.kind == "student" else run.kind
    rows = []
    for kind in ("train", "valid"):
        given = run.setting(section, kind)
        named = ", ".join(map(last_part, given)) if isinstance(given, list) else given and last_part(given)
        data = run.section("text" if run.kind == "student" else "data").get(kind)
        data = run.results.get(kind) if run.kind == "gloss" else data
        known = data if isinstance(data, dict) else {}
        numbers = [f"{count(v)} {k.replace('_', ' ')}" for k, v in known.items() if is_whole(v)]
        rows.append([kind, named or None, ", ".join(numbers), known.get("fingerprint")])
    overlap = run.section("text").get("overlap")
    said = f"\n\n{count(overlap)} held-out passages stand in the training text as well." if overlap else ""
    if detector is not None:
        said = f"\n\n{card_detector.data(detector)}"
    return f"## Data\n\n{table(['', 'from', 'counts', 'fingerprint'], rows)}{said}"


def _teachers(run: RunFiles) -> str:
    rows = [
        [
            one["name"],
            last_part(one.get("model")),
            count(one.get("parameters")),
            share(one.get("coverage")),
            fixed(one.get("temperature")),
        ]
        for one in run.teacher_table()
    ]
    heads = ["teacher", "model", "parameters", "slots covered", "calibration"]
    return f"## Teachers\n\n{table(heads, rows)}" if rows else ""


def _recipe(run: RunFiles) -> str:
    """All settings that affect the result; text and models stand there by their contents."""
    path = run.folder / "affecting.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    row = what_of([run])[0]
    said = f"{row[6]} steps of {row[7]}, seed {row[8]}." if None not in row[6:9] else ""
    if not known:
        return f"## Recipe\n\n{said}" if said else ""
    lines = "\n".join(f"{name} = {json.dumps(_pathless_json(value))}" for name, value in known.items())
    summary = "<details><summary>Every setting that affects the result</summary>"
    return f"## Recipe\n\n{said}\n\n{summary}\n\n{code_block(lines)}\n\n</details>"


def _cost(run: RunFiles, sources: Sequence[Source], found: Sequence[Column], own: int) -> str:
    cost, environment = run.section("cost"), run.environment
    joules = cost.get("energy_joules")
    energy = "not measured"
    if is_number(joules):
        energy = f"{joules / 3600:.3g} Wh, measured by {cost.get('energy_source') or 'the machine'}"
    guesses = [row for source in sources for row in estimates(source)]
    if not is_number(joules) and guesses:
        energy = "; ".join(f"{row[1]}: {row[4].text} ({row[4].small})" for row in guesses)
    machine = [environment.get("processor"), environment.get("device")]
    cores = environment.get("cores")
    rows = [
        ["time", duration(cost.get("seconds"))],
        ["tokens", count(cost.get("tokens"))],
        ["tokens per second", count(cost.get("tokens_per_second"))],
        ["processes", count(cost.get("processes"))],
        ["machine", ", ".join(str(one) for one in machine if one) + (f", {cores} cores" if cores else "")],
        ["energy", energy],
    ]
    text = f"## What training cost\n\n{table(['', ''], rows)}\n\nThe training of teachers is not counted."
    running = [column for column in found if column.task == "cost" and "×" not in column.data]
    if running:
        lines = [
            [column.metric.replace("_", " "), shown(column.cells[own]["value"], column.unit), column.data]
            for column in running
        ]
        text += f"\n\n## What running costs\n\n{table(['', '', 'on'], lines)}"
    return text


def _limits(run: RunFiles, detector: DetectorSettings | None) -> str:
    lines = [
        "Measured only on what the table names; on other kinds of text it may be much worse.",
        "It has learnt what stands in its training text, with its errors and its prejudices; nothing was "
        "done against them, and nothing was measured of them.",
    ]
    if run.teachers():
        lines.append("What its teachers have wrong it may have learnt from them.")
    if run.kind == "gloss":
        lines.append("It tells apart the senses of its lexicon alone; it knows no word that is not in there.")
    if detector is not None:
        lines += card_detector.limits(detector)
    elif run.kind == "finetune":
        lines.append("A probability is the model's own and need not be calibrated.")
    if task_of(run) == "fill-mask":
        lines.append("It fills in single masked words; it does not write text, and knows no facts reliably.")
    lines.append(
        "No licence is stated here: whoever publishes the model states one, and the terms of its training "
        "text and of its teachers hold."
    )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _versions(run: RunFiles) -> str:
    versions = run.environment.get("versions")
    if not isinstance(versions, dict):
        return ""
    python = run.environment.get("python")
    named = [f"{name} {version}" for name, version in versions.items()]
    return "## Versions\n\n" + escape(", ".join([*named, *([f"python {python}"] if python else [])]))


def _pathless_json(value: Any) -> Any:
    if isinstance(value, str):
        return last_part(value)
    if isinstance(value, list):
        return [_pathless_json(one) for one in value]
    if isinstance(value, dict):
        return {name: _pathless_json(one) for name, one in value.items()}
    return value
