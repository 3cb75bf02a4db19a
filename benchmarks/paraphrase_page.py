"""docs/results/paraphrase.md of what benchmarks/paraphrase.py has measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from step_page import _fill, _table

# F1-micro in % on the whole test set, seed 0, as it came with the data: training texts, words, baseline.
REFERENCE = {
    (30_000, 0, "tfidf_300"): 89.7,
    (200, 0, "tfidf_50000"): 91.2,
    (1_000, 0, "tfidf_50000"): 98.4,
    (5_000, 0, "tfidf_50000"): 99.5,
    (30_000, 0, "tfidf_50000"): 99.7,
    (200, 32, "tfidf_50000"): 66.8,
    (1_000, 32, "tfidf_50000"): 81.1,
    (5_000, 32, "tfidf_50000"): 90.2,
    (30_000, 32, "tfidf_50000"): 94.8,
    (200, 16, "tfidf_50000"): 58.5,
    (1_000, 16, "tfidf_50000"): 71.0,
    (5_000, 16, "tfidf_50000"): 81.0,
    (30_000, 16, "tfidf_50000"): 87.9,
}
BASELINES = {"tfidf_300": "TF-IDF 300", "tfidf_50000": "TF-IDF 50,000"}


class Compared(NamedTuple):
    """A reference score and what was measured, in %."""

    size: int
    words: int
    baseline: str
    expected: float
    measured: float


def compared(reference: Mapping[str, Any]) -> list[Compared]:
    """Every reference score whose cell was measured on the whole test set."""
    found = []
    for cell in reference["cells"]:
        for baseline, one in cell["baselines"].items():
            key = (cell["size"], cell["words"], baseline)
            if key in REFERENCE and "test" in one["tests"]:
                value = 100 * one["tests"]["test"]["f1_micro"]["mean"]
                found.append(Compared(*key, REFERENCE[key], value))
    return found


def page(found: Mapping[str, Any]) -> str:
    """docs/results/paraphrase.md."""
    parts = ["# Machine-paraphrase detection\n\n" + _fill(HEAD)]
    if found["reference"] is not None:
        parts += _reference(found["reference"])
    for name, result in found["models"].items():
        parts += _model(name, result)
    return "\n\n".join(parts) + "\n"


HEAD = """Written by `benchmarks/paraphrase.py` from its JSON in `benchmarks/results/`;
[evaluate](../evaluate.md) tells the protocol. F1-micro in %, which is accuracy here. Training texts and test
set: SpinBot's paraphrases of Wikipedia."""


def _reference(result: Mapping[str, Any]) -> list[str]:
    scores = {(one.size, one.words, one.baseline): one for one in compared(result)}
    rows = []
    for cell in result["cells"]:
        row = [_words(cell), f"{cell['size']:,}"]
        for baseline in BASELINES:
            row += [_percent(cell["baselines"][baseline]["tests"]["test"]["f1_micro"])]
            one = scores.get((cell["size"], cell["words"], baseline))
            row += ["" if one is None else f"{one.expected:.1f}"]
        rows.append(row)
    head = ["words", "training texts", *(h for name in BASELINES.values() for h in (name, "reference"))]
    worst = max((abs(one.measured - one.expected) for one in scores.values()), default=None)
    said = "" if worst is None else f" The largest difference to a reference score is {worst:.2f} points."
    test = result["data"]["tests"][0]
    told = f"""Logistic regression on TF-IDF, seed 0, {test["texts"]:,} test texts. `reference`: what
    came with the data, of the same settings.{said} Settings: {_settings(result)}. {_machine(result)}"""
    found = ["## The reference scores", _fill(told), _table(head, rows)]
    synthetic = [one for one in result["data"]["tests"] if one["synthetic"]]
    if synthetic:
        head = ["words", "training texts"]
        head += [f"{name}, {one['name']}" for one in synthetic for name in BASELINES.values()]
        rows = [
            [
                _words(cell),
                f"{cell['size']:,}",
                *(
                    _percent(cell["baselines"][name]["tests"][one["name"]]["f1_micro"])
                    for one in synthetic
                    for name in BASELINES
                ),
            ]
            for cell in result["cells"]
        ]
        found += ["### Another spinner: synthetic", _fill(_made(synthetic)), _table(head, rows)]
    return found


def _made(synthetic: list[dict[str, Any]]) -> str:
    each = "; ".join(
        f"`{one['name']}` asks for a rate of {one['synthetic']['rate']:g} and reaches "
        f"{one['synthetic']['rate_reached']:.3f} ({one['texts']:,} texts)"
        for one in synthetic
    )
    return f"""Trained on SpinBot as above, and measured on paragraphs of other Wikipedia articles that our
    own spinner has paraphrased with WordNet's synonyms ({synthetic[0]["synthetic"]["by"]}): {each}. They are
    synthetic and stand in for tools whose text is not public. A rate is reached no further than words have
    synonyms that fit."""


def _model(name: str, result: Mapping[str, Any]) -> list[str]:
    tests, several = result["data"]["tests"], len(result["seeds"]) > 1
    head = ["measured on", "words", "training texts", name, *BASELINES.values()]
    rows = []
    for one in tests:
        kind = " (synthetic)" if one["synthetic"] else ""
        for cell in result["cells"]:
            measured = [cell["tests"], *(cell["baselines"][b]["tests"] for b in BASELINES)]
            figures = [_percent(each[one["name"]]["f1_micro"]) for each in measured]
            rows.append([one["name"] + kind, _words(cell), f"{cell['size']:,}", *figures])
    settings, model = result["settings"], result["model"]
    seeds = ", ".join(map(str, result["seeds"]))
    spread = f"Mean ± standard deviation over seeds {seeds}. " if several else ""
    told = f"""{model["parameters"] / 1e6:.1f}M parameters, fine-tuned with a learning rate of
    {settings["learning_rate"]:g}, batches of {settings["batch"]}, {settings["epochs"]:g} epochs or
    {settings["least_steps"]} steps, whichever is more, in {settings["precision"]}; the epoch is the best one
    on {result["data"]["valid"]["texts"]} validation texts. Nothing was tuned on the test set. {spread}The
    baselines learn from the same texts. {_parts(tests)}{_machine(result)}"""
    return [f"## {name} on few texts", _fill(told), _table(head, rows)]


def _parts(tests: list[dict[str, Any]]) -> str:
    return "".join(
        f"`{one['name']}`: a fixed sample, {one['texts']:,} texts of {one['of']:,}. "
        for one in tests
        if not one["whole"]
    )


def _settings(result: Mapping[str, Any]) -> str:
    def told(arguments: Mapping[str, Any]) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in arguments.items())

    return "; ".join(
        f"{BASELINES[name]}: `TfidfVectorizer({told(one['words'])})`, "
        f"`LogisticRegression({told(one['regression'])})`"
        for name, one in result["baseline_settings"].items()
    )


def _machine(result: Mapping[str, Any]) -> str:
    machine = result["environment"]
    return (
        f"scikit-learn {result['versions']['scikit-learn']}, torch {machine['versions']['torch']}, "
        f"{machine['gpu'] or machine['processor']}."
    )


def _words(cell: Mapping[str, Any]) -> str:
    return str(cell["words"] or "all")


def _percent(value: Mapping[str, float | None]) -> str:
    mean, std = value["mean"], value["std"]
    assert mean is not None
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")
