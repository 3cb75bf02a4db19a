"""Where do the teachers' weights go: by text, frequency, part of speech, number of senses and agreement?

And does weighting help there: nats of the weighted mixture on the true piece beside those of equal weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from limbeck.distill import weighting
from limbeck.tasks.bootstrap import interval, paired_means, resampled_means

from . import slots as slots_
from .nats import REPLICATES
from .setting import TEACHERS, Setting
from .slots import Slots
from .words_page import headline, page

__all__ = ["answer", "headline", "page"]

BLIND = ("entropy", "max_prob", "margin")
"""Weightings that do not look at any true piece."""
SEEING = ("evidence", "gold")
"""Those that do: of the other masked places of the passage, or of this very one."""
WEIGHTINGS = ("uniform", *BLIND, *SEEING)
OWN = {"encyclopedia": "encyclopedia", "fiction": "fiction", "lexicon": "glosses"}


def answer(setting: Setting) -> dict[str, Any]:
    """Measures the teachers at the masked places of all held-out text, and sums up by groups of words."""
    found = slots_.read(setting)
    temperatures, source = chosen_temperatures(setting)
    return {
        "teachers": list(TEACHERS),
        "weightings": list(WEIGHTINGS),
        "blind": list(BLIND),
        "temperatures": temperatures,
        "temperatures_from": source,
        "passages": setting.passages,
        "student_tokenizer": setting.tokenizer,
        **summary(found, temperatures),
    }


def chosen_temperatures(setting: Setting) -> tuple[dict[str, float], str]:
    """τ of every weighting, those that `convergence` chose where it has, and whence."""
    file = setting.results / "study-convergence.json"
    chosen: dict[str, float] = {}
    if file.exists():
        chosen = json.loads(file.read_text(encoding="utf-8"))["temperatures"]["chosen"]
    found = {name: float(chosen.get(name, weighting.DEFAULT_TEMPERATURE[name])) for name in WEIGHTINGS}
    return found, "convergence" if chosen else "defaults"


def weighed(slots: Slots, temperatures: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Weights [T, S] of the slots of one text under each weighting, equal priors."""
    prior = torch.zeros(len(slots.stats.covered))
    return {
        name: weighting.weights(
            weighting.scores(name, slots.stats, slots.passage), prior, temperature, slots.stats.covered
        )
        for name, temperature in temperatures.items()
    }


def nats(true: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """−log of what the arithmetic mixture gives to the true piece, [S]; the floor: `LOG_MASS_FLOOR`."""
    floor = math.exp(weighting.LOG_MASS_FLOOR)
    return -(weights * true).sum(0).double().clamp_min(floor).log()


class Pool:
    """The slots that all teachers answer of several texts, with everything that is averaged: arrays [n]."""

    def __init__(self, texts: Mapping[str, Slots], temperatures: Mapping[str, float]) -> None:
        parts: dict[Any, list[np.ndarray[Any, Any]]] = {}
        passages = 0
        self.slots = {name: len(one.passage) for name, one in texts.items()}
        self.answered: dict[str, np.ndarray[Any, Any]] = {}
        for place, one in enumerate(texts.values()):
            keep = one.together
            by = weighed(one, temperatures)
            columns: dict[Any, torch.Tensor] = {
                "passage": one.passage + passages,
                "text": torch.full_like(one.passage, place),
                "frequency": one.frequency,
                "part of speech": one.kind,
                "senses": one.senses,
                "agreement": one.agreement,
            }
            for name, weights in by.items():
                columns["nats", name] = nats(one.true, weights)
                columns |= {("weight", name, t): weights[t] for t in range(len(weights))}
            alone = torch.eye(len(one.true))[:, :, None]
            columns |= {("alone", t): nats(one.true, alone[t]) for t in range(len(one.true))}
            columns |= {("covered", t): covered for t, covered in enumerate(one.stats.covered)}
            for key, values in columns.items():
                parts.setdefault(key, []).append(
                    values[keep].numpy() if key[0] != "covered" else values.numpy()
                )
                if key in ("text", "frequency", "part of speech", "senses"):
                    parts.setdefault(("all", key), []).append(values.numpy())
            passages += int(one.passage.max()) + 1 if len(one.passage) else 0
        self.columns = {key: np.concatenate(values) for key, values in parts.items()}
        self.passages = passages

    def group(
        self, name: str, keep: np.ndarray[Any, Any], everywhere: np.ndarray[Any, Any] | None
    ) -> dict[str, Any]:
        """One row of the result: keep, bool [n]: of the slots that all answer; everywhere: of all slots."""
        row: dict[str, Any] = {"name": name, "n": int(keep.sum())}
        if everywhere is not None:
            row["slots"] = int(everywhere.sum())
            row["covered"] = {
                teacher: float(self.columns["covered", t][everywhere].mean()) if row["slots"] else None
                for t, teacher in enumerate(TEACHERS)
            }
        columns = [self.columns["nats", weights].astype(np.float64) for weights in WEIGHTINGS]
        columns += [self.columns["alone", t].astype(np.float64) for t in range(len(TEACHERS))]
        passage = self.columns["passage"].astype(np.int64)
        means = paired_means(columns, keep, passage, self.passages, replicates=REPLICATES, seed=0)
        if means is None:
            return row
        row["weights"] = {
            w: {t: float(self.columns["weight", w, k][keep].mean()) for k, t in enumerate(TEACHERS)}
            for w in WEIGHTINGS
        }
        row["nats"] = {w: float(means.means[k]) for k, w in enumerate(WEIGHTINGS)}
        row["teacher_nats"] = {t: float(means.means[len(WEIGHTINGS) + k]) for k, t in enumerate(TEACHERS)}
        row["gain"] = {}
        for k, name_ in enumerate(WEIGHTINGS[1:], 1):
            gain, bounds = means.contrast(0, k)
            low, high = bounds or (None, None)
            row["gain"][name_] = {"mean": gain, "low": low, "high": high}
        return row

    def home(self, weighting_: str, teacher: int, text: int) -> dict[str, Any]:
        """How much more weight a teacher has on its own text than on the others, with its interval."""
        own = self.columns["text"] == text
        values, passage = (
            self.columns["weight", weighting_, teacher],
            self.columns["passage"].astype(np.int64),
        )
        if not own.any() or own.all():
            return {"mean": None, "low": None, "high": None}
        samples = []
        for seed, keep in enumerate((own, ~own)):
            counts = np.bincount(passage[keep], minlength=self.passages).astype(np.float64)
            sums = np.bincount(passage[keep], values[keep].astype(np.float64), minlength=self.passages)
            some = counts > 0
            samples.append(
                resampled_means(sums[some, None], counts[some], replicates=REPLICATES, seed=seed)[:, 0]
            )
        low, high = interval(samples[0] - samples[1]) or (None, None)
        return {"mean": float(values[own].mean() - values[~own].mean()), "low": low, "high": high}


def summary(texts: Mapping[str, Slots], temperatures: Mapping[str, float]) -> dict[str, Any]:
    """By kind of group and group: slots, mean weights, nats and gains over equal weights."""
    pool = Pool(texts, temperatures)
    names: dict[str, tuple[str, ...]] = {
        "text": tuple(texts),
        "frequency": slots_.FREQUENCY,
        "part of speech": slots_.KINDS,
        "senses": slots_.SENSES[:-1],
        "agreement": slots_.AGREEMENT,
    }
    every = np.ones(len(pool.columns["text"]), bool)
    total = np.ones(len(pool.columns["all", "text"]), bool)
    return {
        "all": pool.group("all", every, total),
        "groups": {kind: list(_rows(pool, kind, groups)) for kind, groups in names.items()},
        "home": {
            name: {
                teacher: pool.home(name, t, list(texts).index(OWN[teacher]))
                for t, teacher in enumerate(TEACHERS)
            }
            for name in WEIGHTINGS[1:]
        },
    }


def _rows(pool: Pool, kind: str, groups: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for place, name in enumerate(groups):
        everywhere = pool.columns["all", kind] == place if ("all", kind) in pool.columns else None
        yield pool.group(name, pool.columns[kind] == place, everywhere)
