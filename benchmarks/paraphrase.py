"""Machine-paraphrase detection: the reference scores again, and a model with few training texts.

    python benchmarks/paraphrase.py reference             # TF-IDF, about a quarter of an hour on one core
    python benchmarks/paraphrase.py model --sizes 200 1000 --words 32 16 --seeds 0 1 2
    python benchmarks/paraphrase.py page                  # docs/results/paraphrase.md of the JSON

`reference`: both TF-IDF baselines on 200 to 30,000 training texts, seed 0, beside the scores that came with
the data; it fails where one is more than half a point off. `model`: `limbeck eval paraphrase` of
all-MiniLM-L6-v2, or of `--model`, in benchmarks/paraphrase/scratch; the same command goes on where it was.
Both measure on the whole test set and on originals of other articles spun by us. Writes
benchmarks/results/paraphrase.json; what another call has measured stays in it. Needs the `bench` and `eval`
extras, WordNet 3.0, and the texts of LIMBECK_DATA (its folder plagiarism).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gloss_setting import MINILM
from paraphrase_page import REFERENCE, compared, page
from step_setting import DATA

from limbeck.files import atomic_write
from limbeck.finetune.settings import FinetuneSettings
from limbeck.run import environment
from limbeck.tasks.paraphrase import MAX_LENGTH, evaluate_paraphrase
from limbeck.tasks.paraphrase_sets import Sets, read_sets
from limbeck.tools.spin_sets import cross_sets

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 0.5  # points of F1-micro


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("part", choices=("reference", "model", "page"))
    add("--sizes", type=int, nargs="+", help="training texts (default: those of the reference; 200 1000)")
    add("--words", type=int, nargs="+", help="first words, 0 for all (default: 0 32 16; 32 16)")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of `model`")
    add("--model", type=Path, default=MINILM, help="folder of the encoder (default all-MiniLM-L6-v2)")
    add("--name", help="how results call it (default: of its folder, or minilm)")
    add("--data", type=Path, default=DATA / "plagiarism")
    add("--test-limit", type=int, help="measure on fixed samples of so many texts (default: all)")
    add("--lexicon", default="wordnet")
    add("--precision", choices=("f32", "bf16"), default="bf16", help="of training")
    add("--device", default="auto")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--scratch", type=Path, default=ROOT / "benchmarks" / "paraphrase" / "scratch")
    add("--json", type=Path, default=ROOT / "benchmarks" / "results" / "paraphrase.json")
    add("--page", type=Path, default=ROOT / "docs" / "results" / "paraphrase.md")
    given = parser.parse_args(arguments)
    given.name = given.name or ("minilm" if given.model == MINILM else given.model.name)
    return given


def sets_of(given: argparse.Namespace) -> Sets:
    """The texts, and those of other articles spun."""
    sets = read_sets(given.data, test_limit=given.test_limit)
    more, remarks = cross_sets(given.data, lexicon=given.lexicon, limit=given.test_limit, progress=say)
    for remark in remarks:
        raise SystemExit(remark)
    return sets.with_more(more)


def reference(given: argparse.Namespace) -> dict[str, Any]:
    """Both TF-IDF baselines with seed 0."""
    sizes = given.sizes or sorted({size for size, _, _ in REFERENCE})
    return evaluate_paraphrase(
        None, sets_of(given), sizes=sizes, words=given.words or (0, 32, 16), seeds=(0,), progress=say
    )


def model(given: argparse.Namespace) -> dict[str, Any]:
    """A model on few texts, fine-tuned with each seed."""
    settings = FinetuneSettings(
        max_length=MAX_LENGTH, precision=given.precision, device=given.device, threads=given.threads
    )
    return evaluate_paraphrase(
        str(given.model),
        sets_of(given),
        sizes=given.sizes or (200, 1000),
        words=given.words or (32, 16),
        seeds=given.seeds,
        settings=settings,
        output=given.scratch / given.name,
        resume_hint=shlex.join([sys.executable, *sys.argv]),
        progress=say,
    )


def public(result: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """A result without paths of this machine, and with the machine."""
    data = result["data"]
    data["place"] = Path(data["place"]).name
    for one in (data["train"], *data["tests"]):
        one["file"] = Path(one["file"]).name
    if "model" in result:
        result["model"]["name"] = given.name
    gpu = torch.cuda.get_device_name() if given.device != "cpu" and torch.cuda.is_available() else None
    return result | {"environment": environment() | {"gpu": gpu, "threads": given.threads}}


def say(what: str, done: int, total: int) -> None:
    """Progress, on stderr; not each step of it."""
    if not done:
        print(f"paraphrase: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for, and writes the JSON or the page."""
    given = options(arguments)
    torch.set_num_threads(given.threads)
    found: dict[str, Any] = {"benchmark": "paraphrase", "reference": None, "models": {}}
    if given.json.is_file():
        found = json.loads(given.json.read_text(encoding="utf-8"))
    if given.part == "page":
        atomic_write(given.page, page(found))
        return
    if given.part == "reference":
        found["reference"] = public(reference(given), given)
    else:
        found["models"][given.name] = public(model(given), given)
    atomic_write(given.json, json.dumps(found, indent=1) + "\n")
    if given.part == "reference" and given.test_limit is None:
        off = [one for one in compared(found["reference"]) if abs(one.measured - one.expected) > TOLERANCE]
        if off:
            raise SystemExit(f"more than {TOLERANCE} points off the reference: {off}")


if __name__ == "__main__":
    main()
