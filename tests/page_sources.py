"""What a page is made of, from real trainings and measurements that take seconds in all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limbeck.finetune.settings import FinetuneSettings
from limbeck.finetune.train import finetune
from limbeck.pipeline import gloss, run
from limbeck.report.finish import finish
from limbeck.run import environment
from limbeck.tasks import paraphrase
from limbeck.tasks.glue import evaluate_glue
from limbeck.tasks.mlm import evaluate_files
from limbeck.tasks.paraphrase_sets import read_sets
from limbeck.tasks.rows import rows_of
from limbeck.tasks.wsd import evaluate_model
from tests.test_glue import write_wnli
from tests.test_paraphrase import write_pairs
from tests.tiny_gloss import gloss_recipe, world
from tests.tiny_labelled import TEXTS, animals, write_examples
from tests.tiny_recipes import tiny_recipe, write_text

COST = Path(__file__).parents[1] / "benchmarks" / "results" / "cost.json"
TUNED: dict[str, Any] = {"device": "cpu", "threads": 1, "max_length": 32, "learning_rate": 3e-3, "batch": 16}


def trained(folder: Path, checkpoint: Callable[..., Path]) -> dict[str, Path]:
    """Runs by name: a student of two teachers, its twin, a gloss model of the student, a classifier."""
    write_text(folder)
    models = {"first": checkpoint("bert", seed=1), "second": checkpoint("roberta", tokenizer="bpe", seed=2)}
    train = {"steps": 4, "eval_every": 2, "log_every": 1}
    runs = {name: folder / name for name in ("taught", "alone", "senses", "classifier")}
    run(tiny_recipe(folder, models, train=train), runs["taught"])
    run(tiny_recipe(folder, train=train), runs["alone"])
    world(folder)
    gloss(gloss_recipe(folder, runs["taught"] / "model", masked=True), runs["senses"])
    rows, held = (write_examples(folder / f"{n}.tsv", animals(48, n)) for n in (1, 2))
    from limbeck.finetune.examples import read_table

    tuned = finetune(
        str(checkpoint("bert", texts=TEXTS)),
        *(read_table(path) for path in (rows, held)),
        runs["classifier"],
        FinetuneSettings(epochs=1, **TUNED),
    )
    finish(runs["classifier"], tuned.results)
    return runs


def measured(folder: Path, runs: dict[str, Path], checkpoint: Callable[..., Path]) -> dict[str, Any]:
    """Results by task, as `limbeck eval` gives them; the cost is the one of the committed benchmark."""
    encoder = str(checkpoint("bert", texts=TEXTS))
    write_wnli(folder / "glue")
    for part, (count, seed) in {"train": (24, 1), "valid": (8, 2), "test": (8, 3)}.items():
        write_pairs(folder / "plagiarism" / f"tiny.{part}.tsv", count, seed)
    settings = FinetuneSettings(epochs=0.1, **TUNED)
    least, paraphrase.LEAST_STEPS = paraphrase.LEAST_STEPS, 2
    try:
        detection = paraphrase.evaluate_paraphrase(
            encoder,
            read_sets(folder / "plagiarism"),
            sizes=[16, 32],
            words=[0, 2],
            seeds=[0, 1],
            settings=settings,
            output=folder / "out-p",
        )
    finally:
        paraphrase.LEAST_STEPS = least
    valid = folder / "valid.jsonl"
    lexicon = str(folder / "wordnet")
    return {
        "mlm": evaluate_files(
            [str(runs[name] / "model") for name in ("taught", "alone")], [str(folder / "valid.txt")]
        ),
        "wsd": evaluate_model(runs["senses"] / "model", valid, lexicon=lexicon),
        "glue": evaluate_glue(
            encoder, str(folder / "glue"), tasks=["wnli"], settings=settings, output=folder / "out-g"
        ),
        "paraphrase": detection,
        "cost": json.loads(COST.read_text(encoding="utf-8")),
    }


def evaluation(folder: Path, tasks: dict[str, Any], models: list[dict[str, Any]]) -> Path:
    """An evaluation folder of results."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "version": 1,
        "kind": "evaluation",
        "models": models,
        "tasks": tasks,
        "rows": [row for one in tasks.values() for row in rows_of(one)],
        "limbeck": "0.1.0",
        "environment": environment(),
    }
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
