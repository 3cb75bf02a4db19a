"""The tasks of `limbeck eval MODEL... --tasks`: each is readied once, and measures one model after another.

What a model cannot do is known before it is measured, so that no error of a measurement is taken for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from limbeck.errors import UserError
from limbeck.files import atomic_write, cache_dir
from limbeck.gloss.checkpoint import has_head
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.pipeline.evaluation_settings import EvaluationSettings, default_texts
from limbeck.run import environment
from limbeck.tasks import efficiency, mlm, mlm_kept, wsd, wsd_sets
from limbeck.tasks.cost_source import longest_input, usable_lengths
from limbeck.tasks.cost_training import training_cost
from limbeck.tasks.efficiency import CostSettings, measure_models
from limbeck.tasks.exported import is_exported
from limbeck.teachers import loading
from limbeck.teachers.masked_lm import load_masked_lm, resolve_device
from limbeck.text.corpus import build_corpus
from limbeck.text.pieces import PieceTokenizer

if TYPE_CHECKING:
    from limbeck.tasks.mlm_words import Progress

Json = dict[str, Any]

EXPORTED = "an exported model is measured by its cost alone"


@dataclass(frozen=True)
class Model:
    """A model to measure.

    name: in tables and rows. path: folder or hub id. fingerprint: see `tasks.fingerprint`. role: student,
    teacher or model.
    """

    name: str
    path: str
    fingerprint: str
    role: str = "model"


class Part(Protocol):
    """One task.

    protocol: number of the way it measures. asked: data and settings that decide its result, JSON-ready.
    lasting: those of them that name its work folder, so that more tasks or seeds find what was trained
    before. ending: of the files that `measure` writes.
    """

    protocol: int
    asked: Json
    lasting: Json
    ending: str

    def lacking(self, model: Model) -> str | None:
        """Why this model cannot be measured, or None."""

    def measure(self, model: Model, file: Path, work: Path, progress: Progress | None, hint: str) -> None:
        """Measures a model and writes what it found to `file`; `work`: a folder of its own."""

    def readable(self, file: Path) -> bool:
        """Whether `file` is whole."""

    def result(self, files: Sequence[tuple[Model, Path]], progress: Progress | None) -> Json:
        """What the evaluation's result says of the task.

        Raises:
            UserError: the models cannot be compared.
        """


def named(result: Mapping[str, Any], model: Model) -> Json:
    """A result's description of a model under the name and path that it has here."""
    return {**result, "name": model.name, "path": model.path}


class JsonPart:
    """A task whose result for one model is one JSON file."""

    ending = ".json"

    def readable(self, file: Path) -> bool:
        """Whether the file is JSON."""
        try:
            return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
        except (OSError, ValueError):
            return False

    def result(self, files: Sequence[tuple[Model, Path]], progress: Progress | None) -> Json:
        """Results by the models' names."""
        found = {}
        for model, file in files:
            one = json.loads(file.read_text(encoding="utf-8"))
            found[model.name] = one | {"model": named(one["model"], model)}
        return found


class Mlm:
    """Masked words: every model is asked once, and all are compared on the words that all can be asked."""

    protocol = mlm.PROTOCOL
    ending = ".safetensors"

    def __init__(self, settings: EvaluationSettings, progress: Progress | None) -> None:
        self.texts = settings.texts or default_texts()
        self.device = resolve_device(settings.device)
        self.settings = mlm.MlmSettings(
            settings.mask, settings.passages, settings.seed, device=settings.device
        )
        self.corpus = build_corpus(
            list(self.texts),
            base=Path.cwd(),
            words=settings.words,
            min_words=settings.min_words or min(mlm.MIN_WORDS, settings.words),
            on_error=settings.on_error,
            cache=cache_dir() / "text",
            label="evaluation text",
            progress=None if progress is None else partial(progress, "reading the text"),
        )
        decisive = ("mask", "passages", "seed", "precision")
        self.asked: Json = {"text": self.corpus.fingerprint, "device": str(self.device)}
        self.asked |= {name: getattr(self.settings, name) for name in decisive}
        self.lasting = self.asked
        self._words = settings.words

    def lacking(self, model: Model) -> str | None:
        """Its loader says it: no head that predicts words, an exported file."""
        if is_exported(model.path):
            return EXPORTED
        try:
            load_masked_lm(model.path, what="model")
        except UserError as error:
            return str(error)
        return None

    def measure(self, model: Model, file: Path, work: Path, progress: Progress | None, hint: str) -> None:
        """See `Part`."""
        module, hf, report = load_masked_lm(model.path, device=self.device, what="model")
        pieces = PieceTokenizer.from_hf(hf, limit=report.limit, name=model.name)
        compared = mlm.Compared(model.name, module, pieces, model.path)
        mlm_kept.keep(file, mlm.measure_words(compared, self.corpus, self.settings, progress))

    def readable(self, file: Path) -> bool:
        """See `Part`."""
        return mlm_kept.kept(file) is not None

    def result(self, files: Sequence[tuple[Model, Path]], progress: Progress | None) -> Json:
        """The one result of all models."""
        measured = []
        for model, file in files:
            one = mlm_kept.kept(file)
            assert one is not None
            described = one.described | {"name": model.name, "model": model.path}
            measured.append(replace(one, described=described))
        result = mlm.evaluate_models(measured, self.corpus, self.settings, progress)
        result["data"] |= {"texts": list(self.texts), "words_per_passage": self._words}
        return result


class Wsd(JsonPart):
    """Word senses, of models that have a gloss head."""

    protocol = wsd.PROTOCOL

    def __init__(self, settings: EvaluationSettings, progress: Progress | None) -> None:
        place = wsd_sets.data_folder() if settings.wsd is None else Path(settings.wsd).expanduser()
        found = wsd_sets.find_sets(place)
        self.sets = settings.wsd_sets
        if settings.quick_sets and wsd_sets.DEVELOPMENT in found.sets:
            self.sets = (wsd_sets.DEVELOPMENT,)
        chosen = wsd_sets.choose(found, self.sets)
        indexing = None if progress is None else partial(progress, "building the lexicon's index")
        lexicon = open_lexicon("wordnet", indexing)
        self.place = place
        self.asking = wsd.Asking(device=settings.device)
        self.asked: Json = {
            "sets": {one.name: [digest_of(one.path), digest_of(one.keys_in)] for one in chosen},
            "trained": None if found.trained is None else digest_of(found.trained),
            "lexicon": lexicon.fingerprint,
            "device": str(resolve_device(settings.device)),
        }
        self.lasting = self.asked

    def lacking(self, model: Model) -> str | None:
        """A gloss head."""
        if is_exported(model.path):
            return EXPORTED
        if not has_head(loading.find_source(model.path, f"model: {model.path!r}")):
            return "it has no gloss head; `limbeck gloss` trains one"
        return None

    def measure(self, model: Model, file: Path, work: Path, progress: Progress | None, hint: str) -> None:
        """See `Part`."""
        result = wsd.evaluate_model(
            model.path, self.place, sets=self.sets, asking=self.asking, output=work, progress=progress
        )
        write_json(file, result)


class Cost:
    """What models cost on this machine; each is measured by itself."""

    protocol = efficiency.PROTOCOL
    ending = ".json"

    def __init__(self, settings: EvaluationSettings, progress: Progress | None) -> None:
        self.settings = CostSettings(
            lengths=settings.lengths, seconds=settings.seconds, device=settings.device
        )
        machine = environment()
        self.asked: Json = {
            "machine": [machine["processor"], machine["cores"], torch.get_num_threads()],
            "device": str(resolve_device(settings.device)),
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "torch": machine["versions"]["torch"],
        }
        if (device := resolve_device(settings.device)).type == "cuda":
            self.asked["gpu"] = torch.cuda.get_device_name(device)
        self.lasting = self.asked

    def lacking(self, model: Model) -> str | None:
        """An input as short as the shortest length."""
        try:
            usable_lengths(model.path, longest_input(model.path), self.settings.lengths)
        except UserError as error:
            return str(error)
        return None

    def measure(self, model: Model, file: Path, work: Path, progress: Progress | None, hint: str) -> None:
        """See `Part`."""
        write_json(file, measure_models([model.path], self.settings, progress=progress))

    readable = JsonPart.readable

    def result(self, files: Sequence[tuple[Model, Path]], progress: Progress | None) -> Json:
        """The one result of all models, as if they had been measured in one call."""
        found = [(model, json.loads(file.read_text(encoding="utf-8"))) for model, file in files]
        models = [self._as_here(row, model) for model, one in found for row in one["models"]]
        return {**found[0][1], "models": models, "notes": efficiency.notes(models, self.settings)}

    def _as_here(self, row: Json, model: Model) -> Json:
        """What was measured, perhaps elsewhere, with the name, path and training that the model has here."""
        training = training_cost(model.path) or row["training"]
        memory = row["memory"] | {"model": model.path}
        return row | {"name": model.name, "model": model.path, "memory": memory, "training": training}


def write_json(file: Path, result: Mapping[str, Any]) -> None:
    """Writes a result whole."""
    atomic_write(file, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def digest_of(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
