"""Question 6, sense: F1 of every model that has learnt glosses, and whether distillation helps that."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.gloss.instances import load_keys
from limbeck.tasks.bootstrap import resampled_means
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.wsd import RESULT, Asking, evaluate_model
from limbeck.tasks.wsd_score import Gold, Marks, compare, key_pos
from limbeck.tasks.wsd_sets import ALL, choose, find_sets

from .intervals import over_seeds
from .jobs import Job, do_all
from .models import LEXICAL, STARTS, make_models, model_folders
from .parts import Row, aim, scale, spread
from .setting import DATA, Setting
from .wsd_page import headline, page

__all__ = ["answer", "gain", "headline", "measured", "page"]

REPLICATES = 1000
PAIRS = (
    ("scratch+LMGC-M", "distilled+LMGC-M"),
    ("scratch+LMGC", "distilled+LMGC"),
    ("distilled+LMGC", "distilled+LMGC-M"),
    ("distilled+LMGC-M", "distilled+cohesive"),
)
NO_HEAD = "it has learnt no glosses, and without a gloss head it gives no sense"


def answer(setting: Setting) -> dict[str, Any]:
    """Measures all models on all sets; models without a gloss head are left out."""
    made = make_models(setting)
    models = measured(setting)
    comparisons = {
        f"{b} - {a}": {"mean over seeds": gain(setting, b, a), "seeds": _by_seed(setting, a, b)}
        for a, b in PAIRS
    }
    first = _result(_kept(setting, model_folders(setting)[LEXICAL[0]][0]))
    taught = comparisons["distilled+LMGC-M - scratch+LMGC-M"]["mean over seeds"]
    what = "distillation helps what LMGC-M then learns (`distilled+LMGC-M` less `scratch+LMGC-M`)"
    return {
        "scale": scale(setting),
        "made": made,
        "whole": whole(first),
        "instances": {one["name"]: one["instances"] for one in first["sets"]},
        "models": models,
        "baselines": {
            one["name"]: {name: 100 * scores["f1"] for name, scores in one["baselines"].items()}
            for one in first["sets"]
        },
        "comparisons": comparisons,
        "left_out": dict.fromkeys(STARTS, NO_HEAD),
        "aims": [aim(what, "the interval above 0", taught, decides="low", above=True, unit="points of F1")],
    }


def measured(setting: Setting) -> dict[str, Row]:
    """F1 in % of every lexical model: `f1` on all sets together, `sets` one by one, `parts` of `f1`."""
    folders = model_folders(setting)
    jobs = [
        Job(f"{name}, {place.parent.name}", partial(_measure, setting, place))
        for name in LEXICAL
        for place in folders[name]
        if not (_kept(setting, place) / RESULT).exists()
    ]
    do_all(setting, "senses", jobs)
    found = {}
    for name in LEXICAL:
        runs = [_result(_kept(setting, place)) for place in folders[name]]
        sets = {
            one["name"]: spread([100 * _set(run, one["name"])["model"]["f1"] for run in runs])
            for one in runs[0]["sets"]
        }
        every = whole(runs[0])
        parts = {
            part: spread([100 * _set(run, every)["model"]["parts"][part]["f1"] for run in runs])
            for part, scores in _set(runs[0], every)["model"]["parts"].items()
            if scores is not None
        }
        found[name] = {"f1": sets[every], "sets": sets, "parts": parts}
    return found


def whole(result: Row) -> str:
    """The set that stands for all that were measured: ALL, or the last where some are left out."""
    names = [one["name"] for one in result["sets"]]
    return ALL if ALL in names else str(names[-1])


def _kept(setting: Setting, place: Path) -> Path:
    """Where a model's answers stand; it goes by what the model is."""
    return setting.scratch / "wsd" / "-".join([fingerprint(place), *setting.wsd_sets])


def _measure(setting: Setting, place: Path) -> dict[str, Any]:
    evaluate_model(
        place,
        DATA / "wsd",
        sets=setting.wsd_sets,
        asking=Asking(precision="bf16", device="cpu"),
        output=_kept(setting, place),
    )
    return {}


def _result(folder: Path) -> Row:
    return dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))


def _set(result: Row, name: str) -> Row:
    return next(one for one in result["sets"] if one["name"] == name)


def _marks(setting: Setting, places: list[Path]) -> tuple[Gold, list[Marks]]:
    """All measured sets as one gold standard, and what each model gets there."""
    gold: list[tuple[str, str | None, tuple[str, ...]]] = []
    said: list[dict[str, tuple[str, ...]]] = [{} for _ in places]
    for labelled in choose(find_sets(DATA / "wsd"), setting.wsd_sets):
        name = labelled.name
        gold += [(f"{name}.{i}", key_pos(k[0]), k) for i, k in load_keys(labelled.keys_in).items()]
        for place, answers in zip(places, said, strict=True):
            found = load_keys(_kept(setting, place) / f"{name}.key")
            answers.update({f"{name}.{i}": k for i, k in found.items()})
    standard = Gold.of(gold, None)
    return standard, [Marks.of(standard, answers) for answers in said]


def _by_seed(setting: Setting, worse: str, better: str) -> dict[str, Row]:
    """How much better the second is, seed by seed: paired interval over sentences, McNemar's test."""
    folders, found = model_folders(setting), {}
    for seed, *places in zip(setting.seeds, folders[worse], folders[better], strict=True):
        standard, marks = _marks(setting, places)
        found[str(seed)] = compare(standard, *marks)
    return found


def gain(setting: Setting, better: str, worse: str) -> Row:
    """F1 of `better` less that of `worse`, in points, on all measured sets: see `paired_f1`."""
    folders = model_folders(setting)
    gold, marks = _marks(setting, [*folders[better], *folders[worse]])
    seeds = len(setting.seeds)
    assert all(one.answered.all() for one in marks), "F1 is the mean credit only where all is answered"
    credit = np.stack([one.credit for one in marks], axis=1)
    return paired_f1(100 * (credit[:, :seeds] - credit[:, seeds:]), gold)


def paired_f1(differences: np.ndarray[Any, np.dtype[np.float64]], gold: Gold) -> Row:
    """`intervals.over_seeds` of differences, by seeds and resampled sentences.

    differences: of credit, [instances, seeds].
    """
    counts = np.bincount(gold.sentence, minlength=gold.sentences).astype(np.float64)
    sums = np.stack(
        [np.bincount(gold.sentence, column, minlength=gold.sentences) for column in differences.T], axis=1
    )
    samples = resampled_means(sums, counts, replicates=REPLICATES, seed=0)
    return over_seeds(differences.mean(0).tolist(), samples)
