"""Question 3: does lexical pre-training keep the language model? Nats before and after, F1 beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from . import nats, wsd
from .lexical_page import headline, page
from .models import LEXICAL, MODELS, make_models, model_folders, start
from .parts import Row, aim, scale
from .setting import DOMAINS, Setting

__all__ = ["answer", "headline", "page"]

WITHIN = 0.02
"""Share of the nats before that LMGC-M may cost on general text."""
F1_WITHIN = 0.5
DISTILLED = ("distilled+LMGC", "distilled+LMGC-M", "distilled+cohesive")


def answer(setting: Setting) -> dict[str, Any]:
    """Measures all models on all held-out texts; senses as question 6 does."""
    made = make_models(setting)
    folders = model_folders(setting)
    every = [place for places in folders.values() for place in places]
    tests = setting.test_texts()
    nats.measure(setting, every)
    nats.measure(setting, every, tests)
    sense = wsd.measured(setting)
    valid, test = (nats.table(setting, folders, list(texts)) for texts in (setting.texts(), tests))
    general = nats.table(setting, folders, DOMAINS)
    gains = {
        model: {
            "valid": nats.paired_gain(setting, folders[model], folders[start(model)], list(setting.texts())),
            "general": _general(setting, folders, model, DOMAINS),
            "test": _general(setting, folders, model, list(tests)),
        }
        for model in LEXICAL
    }
    f1_gains = {m: wsd.gain(setting, m, "distilled+LMGC") for m in DISTILLED[1:]}
    return {
        "scale": scale(setting),
        "made": made,
        "passages": setting.passages,
        "models": {
            model: {
                "nats": valid[model],
                "general": general[model]["mixed"],
                "test_nats": test[model],
                "f1": sense[model]["f1"] if model in sense else None,
            }
            for model in MODELS
        },
        "gains": gains,
        "f1_gains": f1_gains,
        "parameters": parameters(folders),
        "aims": aims(gains, general["distilled"]["mixed"], test["distilled"]["mixed"], f1_gains),
    }


def _general(
    setting: Setting, folders: Mapping[str, Sequence[Path]], model: str, texts: Sequence[str]
) -> Row:
    """Gain on general text: the mean of encyclopedia and fiction."""
    return nats.paired_gain(setting, folders[model], folders[start(model)], texts)["mixed"]


def parameters(folders: Mapping[str, Sequence[Path]]) -> Row:
    """Of the language models, without gloss heads: `counts`, and whether all shapes are `equal`."""
    shapes = {name: _shapes(places[0]) for name, places in folders.items()}
    first = next(iter(shapes.values()))
    assert all(_shapes(p) == shapes[name] for name, places in folders.items() for p in places)
    return {
        "counts": {name: sum(prod(shape) for shape in one.values()) for name, one in shapes.items()},
        "equal": all(one == first for one in shapes.values()),
    }


def _shapes(place: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(place / "model.safetensors", framework="np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def aims(gains: Mapping[str, Row], valid: Row, test: Row, f1_gains: Mapping[str, Row]) -> list[Row]:
    """The issue's, on held-out and on test text. gains: nats before less after; valid, test: nats before."""
    found = []
    for part, before, where in (
        ("general", valid, "held-out general text"),
        ("test", test, "general text of test, which chose nothing"),
    ):
        plain, masked, cohesive = (gains[model][part] for model in DISTILLED)
        most = WITHIN * before["mean"]
        found += [
            aim(
                f"LMGC-M keeps the language model on {where} (nats before less after)",
                f"no more than 2% lost, {most:.3f} nats, with 95% certainty",
                masked,
                decides="low",
                least=-most,
                unit="nats",
            ),
            aim(
                f"cohesive LMGC-M is no worse than before on {where} (nats before less after)",
                "0 or more, on average",
                cohesive,
                unit="nats",
            ),
            aim(
                f"LMGC is clearly worse than before on {where} (nats after less before)",
                "the interval above 0",
                negated(plain),
                decides="low",
                above=True,
                unit="nats",
            ),
        ]
    for model, gain in f1_gains.items():
        what = f"F1 of `{model}` is within {F1_WITHIN} of `distilled+LMGC`'s (less it)"
        found.append(
            aim(what, f"−{F1_WITHIN} or more, on average", gain, least=-F1_WITHIN, unit="points of F1")
        )
    return found


def negated(gain: Row) -> Row:
    """The same difference the other way round."""
    turned = {
        one: None if gain[other] is None else -gain[other]
        for one, other in (("low", "high"), ("high", "low"))
    }
    return {"mean": -gain["mean"], "values": [-value for value in gain["values"]]} | turned
