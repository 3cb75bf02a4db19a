"""all-MiniLM-L6-v2 with and without gloss training, beside the students on GLUE."""

from __future__ import annotations

import json
from pathlib import Path

from gloss_setting import MINILM

from limbeck.pipeline.gloss import gloss
from limbeck.recipe import Recipe, load_recipe

from .jobs import Job, do_all
from .setting import DATA, ROOT, Setting

NAMES = ("MiniLM", "MiniLM+LMGC")
SHARE = 0.02
"""Of SemCor and WordNet's examples: ten minutes of one core."""
SEED = 1


def big_recipe(setting: Setting) -> Recipe:
    """That of benchmarks/wsd, on one thread."""
    wsd = DATA / "wsd"
    overrides = [
        f"seed={SEED}",
        f"gloss.init={MINILM}",
        f"gloss.train={json.dumps([str(wsd / 'semcor' / 'semcor.data.xml.xz'), 'wordnet-examples'])}",
        f"gloss.valid={json.dumps([str(wsd / 'eval' / 'semeval2007.data.xml')])}",
        f"gloss.share={SHARE}",
        "gloss.epochs=1",
        "gloss.threads=1",
        "gloss.eval_every=1000",
    ]
    return load_recipe(ROOT / "benchmarks" / "wsd" / "minilm.toml", overrides)


def big_folders(setting: Setting) -> dict[str, Path]:
    """The model folders of both, by name; trains what is missing."""
    run = setting.scratch / "gloss" / f"minilm-LMGC-{SHARE:g}-{SEED}"
    if not (run / "results.json").exists():
        do_all(setting, "gloss of MiniLM", [Job("MiniLM+LMGC", _Train(big_recipe(setting), run))])
    return {NAMES[0]: MINILM, NAMES[1]: run / "model"}


class _Train:
    """A call that another process can be given."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.recipe, self.run = recipe, run

    def __call__(self) -> dict[str, object]:
        return gloss(self.recipe, self.run)
