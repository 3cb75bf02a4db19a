"""`limbeck eval wsd`: a gloss model on labelled sets, by the field's protocol (docs/wsd.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import UserError
from limbeck.files import atomic_write, check_writable
from limbeck.gloss.instances import Candidates, Instance
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tasks.mlm_result import versions
from limbeck.tasks.wsd_measure import WsdSettings, evaluate_sets, prepare
from limbeck.tasks.wsd_sets import DEVELOPMENT, Found, choose, count_keys, data_folder, find_sets
from limbeck.teachers.masked_lm import resolve_device, weights_digest
from limbeck.teachers.precision import check_precision

if TYPE_CHECKING:
    from limbeck.gloss.model import GlossModel
    from limbeck.tasks.mlm_words import Progress

__all__ = ["RESULT", "Asking", "WsdSettings", "evaluate_model", "model_answers"]

PROTOCOL = 1
"""Raised with every change after which the same model, data and settings give other figures: those that
an evaluation kept are not used again then (pipeline/evaluation.py)."""

RESULT = "wsd.json"
"""Name of the result file in the output folder; beside it stands a key file for each set."""

LAYOUTS = ("pairs", "packed")


@dataclass(frozen=True)
class Asking:
    """How a model is asked.

    layout: `pairs` or `packed`; None: as it was trained. precision: f32, bf16 or f16. tokens: pieces of one
    forward, padding included. device: auto, cpu, cuda.

    Raises:
        UserError: a value out of range.
    """

    layout: str | None = None
    precision: str = "f32"
    tokens: int = 8192
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            raise UserError(f"layout is {self.layout!r}; it must be one of {', '.join(LAYOUTS)}")
        if self.tokens < 1:
            raise UserError(f"tokens is {self.tokens}; it must be at least 1, such as 8192")
        check_precision(self.precision, resolve_device(self.device))


def evaluate_model(
    model: str | Path,
    place: Path | None = None,
    *,
    sets: Sequence[str] = (),
    lexicon: str = "wordnet",
    settings: WsdSettings | None = None,
    asking: Asking | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures a gloss model on the sets of a folder; mistakes in the data are found before it is loaded.

    Args:
        model: folder or hub id. place: of the sets; None: `wsd` in `LIMBECK_DATA`. sets: names of some.
        output: folder for the result and the key files.

    Returns:
        A JSON-ready dict: model, data, sets (as `evaluate_sets`), cost, settings, notes, versions.

    Raises:
        UserError: a model, set or lexicon that cannot be used.
    """
    settings, asking = settings or WsdSettings(), asking or Asking()
    if output is not None:
        check_writable(output / RESULT)  # or an hour's measurement would end with an error
    place = data_folder() if place is None else place
    found = find_sets(place)
    chosen = choose(found, sets)
    indexing = None if progress is None else partial(progress, "building the lexicon's index")
    opened = open_lexicon(lexicon, indexing)
    counts = None if found.trained is None else count_keys(found.trained)
    prepared = [prepare(one, opened, counts, settings.candidates) for one in chosen]
    from limbeck.gloss.model import GlossModel

    loaded = GlossModel.load(model, device=resolve_device(asking.device), what="model")
    if settings.window is None:
        settings = replace(settings, window=loaded.settings.window)
    answers = partial(model_answers, loaded, opened, of=settings.candidates, asking=asking)
    began = time.perf_counter()
    measured = evaluate_sets(answers, chosen, prepared, settings, output=output, progress=progress)
    seconds = time.perf_counter() - began
    instances = sum(len(one.gold.ids) for one in prepared)
    result = {
        "task": "wsd",
        "model": _described(loaded, str(model)),
        "data": _data(place, found, opened),
        "sets": measured,
        "cost": {"seconds": seconds, "seconds_per_1000_instances": 1000 * seconds / instances},
        "settings": asdict(settings)
        | asdict(asking)
        | {
            "layout": asking.layout or loaded.settings.layout,
            "device": str(resolve_device(asking.device)),
            "interval": 0.95,
            "resampled": "sentences",
        },
        "notes": _notes(measured, found, loaded, opened, settings),
        "versions": versions(),
    }
    if output is not None:
        atomic_write(output / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def model_answers(
    model: GlossModel, lexicon: Lexicon, instances: Iterable[Instance], *, of: Candidates, asking: Asking
) -> Iterator[tuple[str, str | None]]:
    """A gloss model as a system: the most probable sense's key; None where the lexicon has no sense."""
    from limbeck.gloss.predict import predict

    for answer in predict(
        model,
        model.encoder,
        lexicon,
        instances,
        of=of,
        layout=asking.layout or model.settings.layout,
        tokens=asking.tokens,
        precision=asking.precision,
    ):
        yield answer.id, answer.senses[int(np.argmax(answer.probabilities))].key if answer.senses else None


def _described(model: GlossModel, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": weights_digest(model),
        "tokenizer": model.encoder.tokenizer.fingerprint,
        "gloss": asdict(model.settings),
    }


def _data(place: Path, found: Found, lexicon: Lexicon) -> dict[str, Any]:
    return {
        "place": str(place),
        "trained": None if found.trained is None else str(found.trained),
        "lexicon": {"name": lexicon.name, "version": lexicon.version, "fingerprint": lexicon.fingerprint},
    }


def _notes(
    measured: Sequence[dict[str, Any]],
    found: Found,
    model: GlossModel,
    lexicon: Lexicon,
    settings: WsdSettings,
) -> list[str]:
    """What a reader must know before comparing."""
    compete = "the gold part of speech" if settings.candidates == "gold" else "all parts of speech"
    notes = [
        f"The senses of {compete} compete; the baselines choose among those of the gold part of speech, "
        "chance among those that compete."
    ]
    names = [one["name"] for one in measured]
    if DEVELOPMENT in names:
        notes.append(
            f"{DEVELOPMENT} is the development set: where the model was chosen on it, its F1 is no test."
        )
    if found.trained is None:
        notes.append(
            "Without SemCor's gold keys beside the sets there is no most frequent sense, and seen and unseen "
            "senses are not told apart."
        )
    trained_on = model.settings.lexicon_fingerprint
    if trained_on and trained_on != lexicon.fingerprint:
        notes.append(
            f"The model was trained on the lexicon {model.settings.lexicon}, not on this {lexicon.name} "
            f"{lexicon.version}."
        )
    if lacking := sum(one["without_candidates"] for one in measured if one["name"] != "ALL"):
        notes.append(f"{lacking:,} instances have no sense in the lexicon; they count as not answered.")
    return notes
