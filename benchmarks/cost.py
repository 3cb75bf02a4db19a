"""What a student costs beside a model five times its size, and both exported: `limbeck eval cost`.

    python benchmarks/cost.py [--seconds 2] [--threads 1]

writes benchmarks/results/cost.json, and from that docs/results/cost.md. Run it on an otherwise idle machine.
The student has random weights: cost does not depend on them. Needs the `bench` and `onnx` extras.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gloss_setting import MINILM
from step_page import _table
from transformers import AutoTokenizer

from limbeck.distill.student import build_student
from limbeck.files import atomic_write
from limbeck.recipe_fields import StudentSize
from limbeck.run import environment
from limbeck.tables_cost import cost_tables
from limbeck.tasks.efficiency import CostSettings, measure_models
from limbeck.tools.export import export_model

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# What models cost

Written by `benchmarks/cost.py` from its JSON in `benchmarks/results/`; [cost](../cost.md) says what each figure is.
`student`: ModernBERT-style, 2 layers of width 128, with a masked-LM head of 30,522 pieces, random weights. `minilm`:
all-MiniLM-L6-v2, 6 layers of width 384, no head. Both by torch, and exported by onnxruntime."""  # noqa: E501


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--lengths", type=int, nargs="+", default=[16, 64, 256])
    add("--seconds", type=float, default=2.0, help="for each latency, search of the batch, and throughput")
    add("--threads", type=int, default=1)
    add("--model", type=Path, default=MINILM, help="folder of the other model (default all-MiniLM-L6-v2)")
    add("--json", type=Path, default=ROOT / "benchmarks" / "results" / "cost.json")
    add("--page", type=Path, default=ROOT / "docs" / "results" / "cost.md")
    return parser.parse_args(arguments)


def models(folder: Path, other: Path) -> list[str]:
    """Folders of the student, of the other model, and of both exported; their last parts are their names."""
    student, named = folder / "student", folder / "minilm"
    tokenizer = AutoTokenizer.from_pretrained(other)
    torch.manual_seed(1)
    size = StudentSize("modernbert", 2, 128, heads=None, intermediate=None, max_length=512)
    build_student(size, tokenizer).save_pretrained(student)
    tokenizer.save_pretrained(student)
    named.symlink_to(other, target_is_directory=True)
    found = []
    for model in (student, named):
        exported = folder / f"{model.name}-onnx"
        export_model(str(model), exported)
        found += [str(model), str(exported)]
    return found


def page(result: dict[str, Any]) -> str:
    """docs/results/cost.md."""
    sections = [HEAD]
    for title, columns, rows in cost_tables(result):
        if columns:
            sections.append(f"## {title}\n\n" + _table(list(columns), [list(row) for row in rows]))
        else:
            sections.append(f"## {title}\n\n" + "\n".join(f"{one} {text}" for one, text in rows))
    return "\n\n".join(sections) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes both files."""
    given = options(arguments)
    settings = CostSettings(tuple(given.lengths), seconds=given.seconds, threads=given.threads, device="cpu")

    def say(what: str, done: int, total: int) -> None:
        print(f"cost: {Path(what).name} {done}/{total}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        result = measure_models(models(Path(folder), given.model), settings, progress=say)
        content = json.dumps(result | {"benchmark": "cost", "environment": environment()}, indent=1)
        content = content.replace(f"{folder}/", "")  # no paths of this machine
    atomic_write(given.json, content + "\n")
    given.page.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(given.page, page(json.loads(content)))


if __name__ == "__main__":
    main()
