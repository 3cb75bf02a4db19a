"""What teaching is worth: one student with no teacher and under every weighting; same text, steps and seeds.

    python benchmarks/first.py wordnet            # two halves of WordNet, the demo's teachers
    python benchmarks/first.py domains            # encyclopedia and fiction, teachers of an hour each

Students of one seed go through the text in lockstep, so that the teachers run once per batch for all of them;
each has its own weights, optimiser and clipping, and takes exactly the steps that `limbeck run` would (a test
compares). Everything is kept in benchmarks/first/scratch and goes on where it was. Writes
benchmarks/results/first-SETTING-SIZE.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limbeck.distill.step import DistillStep
from limbeck.files import atomic_folder, atomic_write, cache_dir
from limbeck.pipeline.assemble import Assembled, assemble
from limbeck.pipeline.teachers import mean_weights
from limbeck.pipeline.train import build, evaluator, prepared_teachers, training_batches
from limbeck.recipe import Recipe, load_recipe
from limbeck.run import environment
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_models
from limbeck.teachers.precision import autocast
from limbeck.text.corpus import build_corpus
from limbeck.training.loop import StepContext
from limbeck.training.optimiser import adamw, clip_gradients, learning_rate_share

HERE = Path(__file__).resolve().parent
WORK = HERE / "first" / "scratch"
CPU = torch.device("cpu")
WEIGHTINGS = ("uniform", "static", "gold", "evidence", "entropy", "max_prob", "margin")
# What `static` is told: the first teacher counts twice as much. With equal priors it is `uniform`.
STATIC_PRIORS = (2.0, 1.0)


@dataclass(frozen=True)
class Setting:
    """Teachers' recipes, the student's, and the texts on which students are compared."""

    teachers: tuple[str, ...]
    student: str
    texts: dict[str, str]


SETTINGS = {
    "wordnet": Setting(
        ("wordnet-nouns.toml", "wordnet-others.toml"),
        "wordnet-student.toml",
        {"all": "wordnet:/valid", "nouns": "wordnet:noun/valid", "others": "wordnet:verb,adj,adv/valid"},
    ),
    "domains": Setting(
        ("teacher-encyclopedia.toml", "teacher-fiction.toml"),
        "domains-student.toml",
        {
            "encyclopedia": "first/scratch/text/encyclopedia.valid.txt",
            "fiction": "first/scratch/text/fiction.valid.txt",
        },
    ),
}


class Arm:
    """One student: its module, optimiser and step. `weighting` None: no teacher."""

    def __init__(self, name: str, made: Assembled, weighting: str | None) -> None:
        self.name, self.recipe = name, made.recipe
        self.module = build(made)
        self.module.train()
        self.optimiser = adamw(self.module, self.recipe.train)
        placed = made.placed if weighting else []
        if weighting == "static":
            placed = [replace(p, prior=prior) for p, prior in zip(placed, STATIC_PRIORS, strict=True)]
        mine = replace(made, placed=placed)
        settings = self.recipe.distill.model_copy(update={"weighting": weighting or "uniform"})
        self.step = DistillStep(mine.placed, settings, self.module.width)
        self.source = training_batches(mine)

    def advance(self, number: int, batches: list[Any], said: list[Any]) -> None:
        """One optimiser step on the micro-batches, as in training/loop.py."""
        train = self.recipe.train
        context = StepContext(number, train.steps)
        count = sum(batch.count for batch in batches)
        for batch, predictions in zip(batches, said, strict=True):

            def forward(*inputs: torch.Tensor, padded: bool) -> torch.Tensor:
                with autocast(CPU, train.precision):
                    return self.module(*inputs, padded=padded)

            loss, _, _ = self.step(forward, batch, context, predictions)
            (loss / count).backward()
        clip_gradients(list(self.module.parameters()), train.clip)
        share = learning_rate_share(number, train.steps, warmup=train.warmup, schedule=train.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = train.learning_rate * share
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


def lockstep(recipe: Recipe, folder: Path, weightings: tuple[str, ...]) -> dict[str, Any]:
    """Trains one student per weighting and one alone; leaves their models and curves in `folder`."""
    result = folder / "curves.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    made = assemble(recipe)
    prepared_teachers(made, folder, None)
    arms = [Arm("none", made, None), *(Arm(w, made, w) for w in weightings)]
    evaluate = evaluator(made)
    curves: dict[str, list[Any]] = {arm.name: [] for arm in arms}
    began = time.perf_counter()
    for number in range(recipe.train.steps):
        taught = arms[1].source.micro_batches(number)
        said = [arms[1].step.predict(batch) for batch in taught]
        arms[0].advance(number, arms[0].source.micro_batches(number), [None] * len(taught))
        for arm in arms[1:]:
            arm.advance(number, taught, said)
        done = number + 1
        if done % recipe.train.eval_every == 0 or done == recipe.train.steps:
            for arm in arms:
                arm.module.eval()
                with torch.no_grad(), autocast(CPU, recipe.train.precision):
                    curves[arm.name].append([done, evaluate(arm.module)["valid_nats"]])
                arm.module.train()
            seconds = time.perf_counter() - began
            last = "  ".join(f"{name} {curve[-1][1]:.3f}" for name, curve in curves.items())
            print(f"seed {recipe.seed} step {done}/{recipe.train.steps} {seconds:.0f} s  {last}", flush=True)
    for arm in arms:
        with atomic_folder(folder / arm.name) as temporary:
            arm.module.model.save_pretrained(temporary)
            made.student_tokenizer.hf.save_pretrained(temporary)
    found = {"curves": curves, "seconds": time.perf_counter() - began}
    atomic_write(result, json.dumps(found))
    return found


def measure(recipe: Recipe, folder: Path, texts: dict[str, str], names: list[str]) -> dict[str, Any]:
    """Nats per masked word of every student and teacher on every text, and the teachers' mean weights."""
    from limbeck.teachers.masked_lm import load_masked_lm
    from limbeck.text.pieces import PieceTokenizer

    path = folder / "words.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    found: dict[str, Any] = {}
    for label, text in texts.items():
        corpus = build_corpus(
            [text], base=HERE, words=recipe.text.words, min_words=recipe.text.min_words, on_error="stop",
            cache=cache_dir() / "text", label=label,
        )  # fmt: skip
        models = {name: folder / name for name in names} | {t.name: Path(t.model) for t in recipe.teachers}
        compared = []
        for name, place in models.items():
            module, tokenizer, _ = load_masked_lm(place, what=name)
            compared.append(Compared(name, module, PieceTokenizer.from_hf(tokenizer, name=name), name))
        measured = evaluate_models(compared, corpus, MlmSettings(precision="bf16", batch=128, passages=2000))
        valid = recipe.model_copy(
            update={
                "text": recipe.text.model_copy(
                    update={"valid": (str(HERE / text) if ".txt" in text else text,)}
                )
            }
        )
        made = assemble(valid)
        prepared_teachers(made, folder, None)
        found[label] = {
            "words": measured["counts"],
            "models": {
                m["name"]: {"headline": m["headline"], "all_words": m["all_words"]}
                for m in measured["models"]
            },
            "weights": mean_weights(made, [w for w in WEIGHTINGS if w != "static"]),
        }
    atomic_write(path, json.dumps(found))
    return found


def summarise(
    setting: Setting, seeds: list[int], measured: dict[int, Any], names: list[str]
) -> dict[str, Any]:
    """Means and standard deviations over seeds, and the paired gains over no teacher and over uniform."""
    table: dict[str, Any] = {}
    for text in setting.texts:
        rows: dict[str, Any] = {}
        for name in [*names, *(n for n in measured[seeds[0]][text]["models"] if n not in names)]:
            values = [measured[s][text]["models"][name]["headline"]["nats"] for s in seeds]
            rows[name] = {"mean": statistics.mean(values), "sd": spread(values), "values": values}
            for other in ("none", "uniform"):
                if name in names and name != other:
                    gains = [
                        measured[s][text]["models"][other]["headline"]["nats"] - v
                        for s, v in zip(seeds, values, strict=True)
                    ]
                    rows[name][f"gain_over_{other}"] = {
                        "mean": statistics.mean(gains),
                        "sd": spread(gains),
                        "values": gains,
                    }
        table[text] = rows
    return table


def spread(values: list[float]) -> float | None:
    """Standard deviation over seeds; None for one seed."""
    return statistics.stdev(values) if len(values) > 1 else None


def main() -> None:
    """Runs a setting, or goes on with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="override of the student's recipe"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    setting = SETTINGS[given.setting]
    torch.set_num_threads(given.threads)
    for teacher in setting.teachers:
        subprocess.run(
            [sys.executable, "-m", "limbeck", "pretrain", str(HERE / "first" / teacher)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    names = ["none", *WEIGHTINGS]
    measured: dict[int, Any] = {}
    curves: dict[int, Any] = {}
    for seed in given.seeds:
        recipe = load_recipe(HERE / "first" / setting.student, [f"seed={seed}", *given.set])
        folder = (
            WORK
            / f"{given.setting}-{recipe.student.layers}x{recipe.student.hidden}-{recipe.train.steps}-{seed}"
        )
        folder.mkdir(parents=True, exist_ok=True)
        curves[seed] = lockstep(recipe, folder, WEIGHTINGS)
        measured[seed] = measure(recipe, folder, setting.texts, names)
    result = {
        "setting": given.setting,
        "student": recipe.student.model_dump(include={"family", "layers", "hidden", "tokenizer"}),
        "train": recipe.train.model_dump(include={"steps", "batch", "learning_rate", "precision"}),
        "distill": recipe.distill.model_dump(
            include={"kd", "kd_final", "mixture", "temperature", "calibrate", "mask", "student_sees"}
        ),
        "seeds": given.seeds,
        "teachers": json.loads((folder / "teachers.json").read_text()),
        "nats_per_word": summarise(setting, given.seeds, measured, names),
        "weights": {text: measured[given.seeds[0]][text]["weights"] for text in setting.texts},
        "masked_words": {text: measured[given.seeds[0]][text]["words"]["headline"] for text in setting.texts},
        "curves": {str(seed): found["curves"] for seed, found in curves.items()},
        "seconds": {str(seed): found["seconds"] for seed, found in curves.items()},
        "environment": environment(),
    }
    for row in result["teachers"]:
        row["model"] = Path(row["model"]).parent.name
    size = f"{recipe.student.layers}x{recipe.student.hidden}"
    output = given.output or HERE / "results" / f"first-{given.setting}-{size}.json"
    atomic_write(output, json.dumps(result, indent=1) + "\n")
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
