"""At what scale the study runs: in full, or a slice of every question that shows that it all works."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benchmarks" / "study"
HOUSE = ROOT / "recipes" / "house"
DATA = Path(os.environ.get("LIMBECK_DATA", ROOT.parent / "shared" / "data"))

TEACHERS = ("encyclopedia", "fiction", "lexicon")
DOMAINS = ("encyclopedia", "fiction")
"""Of the large corpus; the third domain are WordNet's glosses."""


@dataclass(frozen=True)
class Size:
    """Of a student, and the learning rate that suits it: the best that was tried without teachers."""

    layers: int
    hidden: int
    learning_rate: float

    @property
    def name(self) -> str:
        """Such as `2x128`."""
        return f"{self.layers}x{self.hidden}"


SMALL = Size(2, 128, 3e-3)
LARGE = Size(4, 256, 1e-3)


@dataclass(frozen=True)
class Setting:
    """Sizes and numbers of every question.

    text_words: words of each domain that students read, at most. steps: N, of a student's training. seeds:
    of students; more_seeds: of the gains that question 1 is about, beside them. passages: of each held-out
    text that is measured. teachers: overrides of the teachers' recipes. gloss_instances: most in gloss
    training (None: all); gloss_steps, gloss_rates: its steps, and the learning rates of which the development
    set chooses one. tuning_seeds: of fine-tunings; the k-th is made with the student of the k-th seed, in
    turn; paraphrase_seeds, big_seeds: how many of them question 5 and MiniLM have. rows: most training rows
    of a task of GLUE (None: all; else the task is called by another name).
    weightings: that are compared. longer (N times this), kd_shares, mask: what `why` tries. shares: students
    are trained for N, N/2 and N/4 steps. stages: of the teachers, per cent of their training. cost_length:
    pieces of a passage; cost_seconds: of each measurement, in cost_rounds turns of the models. root: of
    everything that is made on the way.
    """

    name: str
    text_words: int = 400_000
    steps: int = 1200
    batch: int = 32
    glosses: str = "wordnet:"
    tokenizer: str = "train:wordpiece:8000:uncased"
    sizes: tuple[Size, ...] = (SMALL, LARGE)
    seeds: tuple[int, ...] = (11, 12, 13)
    more_seeds: tuple[int, ...] = (14, 15, 16)
    passages: int = 1000
    evaluations: int = 20
    kept: int = 32
    teachers: tuple[str, ...] = ()
    gloss_instances: int | None = None
    gloss_steps: int = 400
    gloss_rates: tuple[float, ...] = (1e-3, 3e-3)
    wsd_sets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("cola", "sst2", "mrpc", "stsb", "rte")
    tuning_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    rows: int | None = None
    paraphrase_sizes: tuple[int, ...] = (200, 1000, 5000)
    paraphrase_words: tuple[int, ...] = (16, 32)
    paraphrase_limit: int | None = None
    paraphrase_seeds: int = 3
    big_model: bool = True
    big_seeds: int = 1
    weightings: tuple[str, ...] = ("uniform", "gold", "evidence", "entropy", "max_prob", "margin")
    longer: int = 2
    kd_shares: tuple[float, ...] = (0.5, 0.9, 1.0)
    mask: float = 0.3
    shares: tuple[int, ...] = (1, 2, 4)
    stages: tuple[int, ...] = (25, 50, 100)
    cost_length: int = 64
    cost_seconds: float = 0.5
    cost_rounds: int = 3
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    root: Path = HERE / "scratch"

    @property
    def quick(self) -> bool:
        """Whether this is the slice."""
        return self.name == "quick"

    @property
    def scratch(self) -> Path:
        """Everything that is made on the way."""
        return self.root / self.name

    @property
    def results(self) -> Path:
        """JSON files: committed for the full study alone."""
        return self.scratch / "results" if self.quick else ROOT / "benchmarks" / "results"

    @property
    def pages(self) -> Path:
        """Pages and figures."""
        return self.scratch / "pages" if self.quick else ROOT / "docs" / "results"

    @property
    def domains(self) -> Path:
        """Folder of the two domains' text, whole."""
        return self.root / "text"

    def texts(self) -> dict[str, str]:
        """The held-out texts that students and teachers are measured on, by name; `valid` chooses."""
        files = {name: str(self.domains / f"{name}.valid.txt") for name in DOMAINS}
        return files | {"glosses": f"{self.glosses}/valid"}

    def test_texts(self) -> dict[str, str]:
        """Texts that choose nothing, under names of their own."""
        return {f"{name} (test)": str(self.domains / f"{name}.test.txt") for name in DOMAINS}


FULL = Setting("full")
QUICK = Setting(
    "quick",
    text_words=40_000,
    glosses="wordnet:adv",
    steps=40,
    tokenizer="train:wordpiece:2000:uncased",
    sizes=(Size(1, 32, 3e-3), Size(2, 64, 3e-3)),
    seeds=(11, 12),
    more_seeds=(13,),
    passages=64,
    evaluations=4,
    kept=16,
    teachers=("student.layers=1", "student.hidden=64", "train.steps=60", "train.eval_every=15",
              "train.save_every=15", "train.batch=32"),
    gloss_instances=256,
    gloss_steps=8,
    gloss_rates=(1e-3, 3e-3),
    wsd_sets=("semeval2007",),
    tasks=("mrpc", "rte"),
    tuning_seeds=(0, 1),
    rows=64,
    paraphrase_sizes=(200,),
    paraphrase_words=(16,),
    paraphrase_limit=100,
    big_model=False,
    weightings=("uniform", "evidence", "entropy"),
    kd_shares=(1.0,),
    shares=(1, 2),
    stages=(50, 100),
    cost_seconds=0.1,
    cost_rounds=1,
)  # fmt: skip
