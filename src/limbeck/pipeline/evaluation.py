"""`limbeck eval MODEL... --tasks`: any encoders side by side, each task as `limbeck eval TASK` measures it.

What was measured of a model is kept in the evaluation's folder, and not measured again while model, data and
settings are the same: so an evaluation goes on where it was stopped, and takes in one more model or task.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from limbeck import __version__
from limbeck.errors import Interrupted, UserError
from limbeck.files import atomic_write, check_writable, clean_temporary, folder_name, writing
from limbeck.pipeline.evaluation_parts import Cost, Json, Mlm, Model, Part, Wsd
from limbeck.pipeline.evaluation_settings import EvaluationSettings
from limbeck.pipeline.evaluation_tuned import Glue, Paraphrase
from limbeck.run import environment
from limbeck.tasks.cost_source import check_model
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.mlm_words import Progress
from limbeck.tasks.rows import rows_of

__all__ = [
    "KIND",
    "RESULT",
    "EvaluationSettings",
    "Model",
    "check_data",
    "evaluate",
    "find_models",
    "named_model",
]

log = logging.getLogger("limbeck")

PARTS: dict[str, Callable[[EvaluationSettings, Progress | None], Part]] = {
    "mlm": Mlm,
    "wsd": Wsd,
    "glue": Glue,
    "paraphrase": Paraphrase,
    "cost": Cost,
}

VERSION = 1
KIND = "evaluation"
RESULT = "results.json"
KEPT = "parts"
"""Folder of what was measured: a folder per task, a file per model, named by all that decides it."""


def find_models(paths: Sequence[str]) -> list[Model]:
    """Models given as folders or hub ids, under the names they were given; a run directory means its model.

    Raises:
        UserError: one that is no model, one that is named twice.
    """
    if not paths:
        raise UserError("no model to evaluate; name at least one model folder or hub id")
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UserError(f"model: {twice!r} is named twice; name each model once")
    return [named_model(path, path) for path in paths]


def named_model(name: str, path: str, role: str = "model") -> Model:
    """One model under a name; of a run directory the model in it.

    Raises:
        UserError: it is no model.
    """
    folder = Path(path).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file() and (folder / "model").is_dir():
        path = str(folder / "model")
    check_model(path)
    return Model(name, path, fingerprint(path), role)


def evaluate(
    models: Sequence[Model],
    settings: EvaluationSettings | None = None,
    output: Path = Path("runs/eval"),
    *,
    again: bool = False,
    missing: Sequence[Json] = (),
    resume_hint: str = "",
    progress: Progress | None = None,
) -> Json:
    """Measures models on tasks, or what is not measured yet, and writes `results.json` to the folder.

    The file is left alone where it says the same already.

    Args:
        models: see `find_models`; their names differ. again: measure all of it anew. missing: what the caller
            has left out, for `left_out`.

    Returns:
        What stands in `results.json`: models, tasks (a result each, of wsd, glue and paraphrase one per
        model), left_out (task, model, reason), kept (files, by task and model), rows, settings, limbeck,
        environment.

    Raises:
        UserError: nothing can be measured, or no model can do a task that was asked for by its name; a folder
            that is another program's. TrainingDiverged, Interrupted: see training/loop.py.
    """
    settings = settings or EvaluationSettings()
    with _open(output):
        left_out: list[Json] = list(missing)
        parts: dict[str, Part] = {}
        doing: dict[str, list[Model]] = {}
        for name in settings.tasks:  # all is readied first: mistakes are told before anything is measured
            part, able, reasons = _ready(name, models, settings, progress)
            left_out += reasons
            if part is not None and able:
                parts[name], doing[name] = part, able
            elif settings.named and reasons:
                raise UserError(f"{name} cannot be measured: {reasons[0]['reason']}")
        for one in left_out:
            log.warning("%s: %s", " of ".join(filter(None, (one["task"], one["model"]))), one["reason"])
        if not parts:
            raise UserError(f"nothing can be measured; {left_out[0]['task']}: {left_out[0]['reason']}")
        tasks: Json = {}
        kept: Json = {}
        for name, part in parts.items():
            files = [
                (model, _measured(name, part, model, output, again, resume_hint, progress))
                for model in doing[name]
            ]
            kept[name] = {model.name: str(file.relative_to(output)) for model, file in files}
            try:
                tasks[name] = part.result(files, progress)
            except UserError as error:  # of the comparison alone: no word that all can be asked
                if settings.named:
                    raise
                left_out.append({"task": name, "model": None, "reason": str(error)})
        result = {
            "version": VERSION,
            "kind": KIND,
            "models": [vars(model) for model in models],
            "tasks": tasks,
            "left_out": left_out,
            "kept": kept,
            "settings": settings.as_json(),
            "rows": _rows(tasks, models),
            "limbeck": __version__,
            "environment": environment(),
        }
        content = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        file = output / RESULT
        if not file.is_file() or file.read_bytes() != content.encode():
            atomic_write(file, content)
        return dict(json.loads(content))


def check_data(settings: EvaluationSettings, progress: Progress | None = None) -> None:
    """Readies every task, to tell before hours of training what cannot be measured after it.

    Raises:
        UserError: data that is missing or wrong, a package that is missing.
    """
    for name in settings.tasks:
        PARTS[name](settings, progress)


def _ready(
    name: str, models: Sequence[Model], settings: EvaluationSettings, progress: Progress | None
) -> tuple[Part | None, list[Model], list[Json]]:
    """A task, the models that can be measured on it, and why others cannot; no task where its data lacks."""
    try:
        part: Part = PARTS[name](settings, progress)
    except UserError as error:
        return None, [], [{"task": name, "model": None, "reason": str(error)}]
    reasons = [(model, part.lacking(model)) for model in models]
    left_out = [{"task": name, "model": m.name, "reason": why} for m, why in reasons if why is not None]
    return part, [model for model, why in reasons if why is None], left_out


def _measured(
    name: str, part: Part, model: Model, output: Path, again: bool, hint: str, progress: Progress | None
) -> Path:
    """The file of what was measured, now or before."""
    decides: Json = {"task": name, "protocol": part.protocol, "model": model.fingerprint}
    key = _digest({**decides, **part.asked})
    file = output / KEPT / name / f"{key}{part.ending}"
    if not again and part.readable(file):
        log.info("%s of %s: measured before", name, model.name)
        return file
    work = output / name / f"{folder_name(model.name)}-{_digest({**decides, **part.lasting})}"
    file.unlink(missing_ok=True)
    if again:
        shutil.rmtree(work, ignore_errors=True)
    log.info("%s of %s", name, model.name)
    began = time.perf_counter()
    try:
        part.measure(model, file, work, progress, hint)
    except Interrupted:  # a training has told it
        raise
    except KeyboardInterrupt:
        log.info("stopped; what was measured is kept%s", f". To go on: {hint}" if hint else "")
        raise
    log.info("%s of %s: %.1f s", name, model.name, time.perf_counter() - began)
    return file


def _digest(decides: Json) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def _rows(tasks: Json, models: Sequence[Model]) -> list[Json]:
    """The rows of all tasks, the models in their roles."""
    roles = {model.name: model.role for model in models}
    results = [
        one
        for name, found in tasks.items()
        for one in ([found] if name in ("mlm", "cost") else found.values())
    ]
    rows = [row for one in results for row in rows_of(one)]
    baselines = set()
    kept = []
    for row in rows:
        if row["role"] == "model":
            row["role"] = roles.get(row["model"], "model")
        else:  # a baseline stands beside every model, with the same figures
            content = json.dumps(row, sort_keys=True)
            if content in baselines:
                continue
            baselines.add(content)
        kept.append(row)
    return kept


def _is_evaluation(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


@contextmanager
def _open(output: Path) -> Iterator[None]:
    """The folder, for this process alone.

    Raises:
        UserError: it holds something else, is in use, or cannot be written.
    """
    if (output / RESULT).is_file() and not _is_evaluation(output / RESULT):
        raise UserError(f"{output} holds a {RESULT} that is no evaluation; choose a new or an empty folder")
    ours = (output / ".lock").is_file() or (output / RESULT).is_file()
    foreign = [] if ours or not output.is_dir() else sorted(path.name for path in output.iterdir())
    if foreign:
        raise UserError(f"{output} holds {foreign[0]} but no evaluation; choose a new or an empty folder")
    if (output / "affecting.json").is_file():
        raise UserError(f"{output} is a run directory; choose another folder, such as {output / 'eval'}")
    check_writable(output / RESULT)
    with writing(output):
        lock = (output / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{output} is in use by another process; wait for it or choose another folder"
            ) from None
        for folder in (output, *(output / KEPT).glob("*/")):
            clean_temporary(folder)
        yield
