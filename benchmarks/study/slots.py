"""What the teachers say at the masked places of held-out text, and what words stand there; kept in files.

For the question `words`: everything that the weightings read, so that weights at any temperature are a matter
of seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.distill import weighting
from limbeck.distill.step import DistillStep
from limbeck.files import atomic_write
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.pipeline.assemble import EVALUATION_SEED, Assembled, assemble
from limbeck.recipe import Recipe
from limbeck.tasks.fingerprint import fingerprint
from limbeck.text.batches import Batch, Collator
from limbeck.text.words import mask_plan, word_spans

from .jobs import Job, do_all
from .setting import TEACHERS, Setting
from .students import Arm, Student, build_stores, student_recipe
from .teachers import teacher_model

VERSION = 1
"""Of what is kept; another one measures anew."""
BATCH = 64

RANKS = (100, 1_000, 10_000)
FREQUENCY = ("rank 1–100", "rank 101–1,000", "rank 1,001–10,000", "rarer", "never seen")
KINDS = (
    "function word", "noun", "verb", "adjective", "adverb", "several", "not in WordNet", "figure or mark",
)  # fmt: skip
SENSES = ("1", "2–4", "5–9", "10 and more", "not asked")
AGREEMENT = ("all say the same", "two say the same", "each another")

# Of closed classes. WordNet has "a", "in", "it" or "he" only as rare nouns (ångström, inch, IT, helium).
FUNCTION = frozenset(
    """a an the this that these those some any no every each either neither all both half few many much
    more most other another such what which whose i me my mine myself you your yours yourself yourselves
    he him his himself she her hers herself it its itself we us our ours ourselves they them their
    theirs themselves who whom whoever one and or but nor so yet for if unless until till while whereas
    because since although though than whether as when where why how at by in into of off on onto out
    over under up down upon to toward towards with within without from about above across after against
    along among amongst around before behind below beneath beside besides between beyond despite during
    except inside near outside past per through throughout via not be am is are was were been being do
    does did doing done have has had having can could may might must shall should will would ought s t
    ll d re ve m""".split()  # noqa: SIM905 - a text is easier to read
)


@dataclass(frozen=True)
class Slots:
    """S masked places of one text, T teachers.

    stats: what the weightings read. true: [T, S], share of what a teacher can express that it gives to
    the true piece. agreement: [S], of `AGREEMENT`, -1 where not all teachers answer. passage: [S].
    frequency, kind, senses: [S], indices of the words' groups.
    """

    stats: weighting.TeacherStats
    true: torch.Tensor
    agreement: torch.Tensor
    passage: torch.Tensor
    frequency: torch.Tensor
    kind: torch.Tensor
    senses: torch.Tensor

    @property
    def together(self) -> torch.Tensor:
        """bool [S]: where all teachers answer; elsewhere a weight says more of tokenizers than of words."""
        return self.stats.covered.all(0)


def kind_of(word: str, lexicon: Lexicon) -> tuple[int, int]:
    """Indices in `KINDS` and `SENSES` of a word as it stands in the text."""
    form = word.lower()
    if not any(character.isalpha() for character in form):
        return KINDS.index("figure or mark"), len(SENSES) - 1
    if form in FUNCTION:
        return KINDS.index("function word"), len(SENSES) - 1
    lemmas = lexicon.base_forms(form)
    if not lemmas:
        return KINDS.index("not in WordNet"), len(SENSES) - 1
    parts = {pos for _, pos in lemmas}
    names = {"n": "noun", "v": "verb", "a": "adjective", "r": "adverb"}
    kind = names[parts.pop()] if len(parts) == 1 else "several"
    count = sum(len(lexicon.senses(lemma, pos)) for lemma, pos in lemmas)
    return KINDS.index(kind), int(np.searchsorted((1, 4, 9), count))


def frequency_of(rank: int | None) -> int:
    """Index in `FREQUENCY`; rank from 1, None for a word that the students' text has not."""
    return len(FREQUENCY) - 1 if rank is None else int(np.searchsorted(RANKS, rank))


def ranks(texts: Iterator[str]) -> dict[str, int]:
    """Rank by frequency, from 1, of every word of the texts, in lower case; ties by the alphabet."""
    counts: Counter[str] = Counter()
    for text in texts:
        lower = text.lower()
        counts.update(lower[start:end] for start, end in word_spans(lower))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: place for place, word in enumerate(ordered, 1)}


def slot_words(made: Assembled, rows: Sequence[int]) -> list[str]:
    """The selected word at every slot of a batch of these rows of valid, in the batch's order of slots."""
    found = []
    for row in rows:
        passage, text = made.valid.passage(row), made.valid_corpus.text(row)
        spans = word_spans(text)
        plan = mask_plan(
            passage.n_words, passage.hash, seed=EVALUATION_SEED, variant=0, rate=made.recipe.distill.mask
        )
        sides = zip(passage.student.first.tolist(), passage.student.last.tolist(), strict=True)
        for first, last in sides:
            place = int(np.searchsorted(plan.selected, first))
            if first <= last and place < len(plan.selected) and plan.selected[place] <= last:
                start, end = spans[plan.selected[place]]
                found.append(text[start:end])
    return found


@torch.no_grad()
def collect(made: Assembled, lexicon: Lexicon, known: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Every slot of the sample of valid; known: `ranks`. The keys are the fields of `Slots`."""
    collator = Collator(
        made.student_tokenizer,
        [placed.teacher.tokenizer for placed in made.placed],
        seed=EVALUATION_SEED,
        rate=made.recipe.distill.mask,
        student_sees="mask",
    )
    width = made.placed[0].projection.student_width
    step = DistillStep(made.placed, made.recipe.distill, width)
    parts: dict[str, list[torch.Tensor]] = {}
    ordered = made.valid_rows[np.argsort(made.valid.lengths[made.valid_rows], kind="stable")]
    for start in range(0, len(ordered), BATCH):
        rows = [int(row) for row in ordered[start : start + BATCH]]
        batch = collator([made.valid.passage(row) for row in rows], 0)
        found = _said(step, batch, width)
        words = slot_words(made, rows)
        assert len(words) == batch.count, "the words are not those of the slots"
        kinds = [kind_of(word, lexicon) for word in words]
        found |= {
            "passage": batch.passage + start,
            "frequency": torch.tensor(
                [frequency_of(known.get(word.lower())) for word in words], dtype=torch.int64
            ),
            "kind": torch.tensor([kind for kind, _ in kinds], dtype=torch.int64),
            "senses": torch.tensor([senses for _, senses in kinds], dtype=torch.int64),
        }
        for name, value in found.items():
            parts.setdefault(name, []).append(value)
    return {name: torch.cat(values, dim=-1).contiguous() for name, values in parts.items()}


def _said(step: DistillStep, batch: Batch, width: int) -> dict[str, torch.Tensor]:
    """The statistics of a batch's slots, what is given to the true piece, and whether the teachers agree."""
    said = step.predict(batch).at_one
    stats = weighting.stats(said, batch.gold, batch.count, width)
    true, top = torch.zeros(len(said), batch.count), torch.full((len(said), batch.count), -1)
    for t, one in enumerate(said):
        for rows in weighting.row_chunks(len(one.slot), width, batch.gold.device):
            part = one.rows(rows)
            mass = part.mass.gather(1, batch.gold[part.slot][:, None]).squeeze(1)
            true[t, part.slot] = mass / part.expressible.clamp_min(torch.finfo(torch.float32).tiny)
            top[t, part.slot] = part.mass.argmax(1)
    others = (top.sort(0).values.diff(dim=0) != 0).sum(0)  # different top pieces, less one
    agreement = torch.where(stats.covered.all(0), others, -1)
    names = ("covered", "log_gold", "log_max", "margin", "neg_uncertainty")
    return {name: getattr(stats, name) for name in names} | {"true": true, "agreement": agreement}


def _recipe(setting: Setting, source: str) -> Recipe:
    """The students' recipe with the teachers themselves, measured on one text."""
    arm = Arm("words")
    recipe = student_recipe(setting, Student(arm, setting.sizes[0], setting.steps, setting.seeds[0]))
    return recipe.model_copy(
        update={
            "text": recipe.text.model_copy(update={"valid": (source,)}) if recipe.text else None,
            "distill": recipe.distill.model_copy(update={"predictions": "online"}),
            "eval": recipe.eval.model_copy(update={"passages": setting.passages}),
        }
    )


def _file(setting: Setting, text: str) -> Path:
    models = [fingerprint(teacher_model(setting, name)) for name in TEACHERS]
    said = json.dumps([VERSION, models, setting.tokenizer, setting.text_words, setting.passages, text])
    return setting.scratch / "slots" / f"{text}-{hashlib.sha256(said.encode()).hexdigest()[:16]}.safetensors"


def _measure(setting: Setting, text: str, source: str, temperatures: dict[str, float]) -> dict[str, Any]:
    from safetensors.torch import save

    made = assemble(_recipe(setting, source))
    for placed in made.placed:
        placed.teacher.temperature = temperatures[placed.teacher.name]
    corpus = made.train_corpus
    known = ranks(part for at in range(0, len(corpus), 4096) for part in
                  corpus.texts(range(at, min(at + 4096, len(corpus)))))  # fmt: skip
    file = _file(setting, text)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, save(collect(made, open_lexicon(), known)))
    return {}


def read(setting: Setting) -> dict[str, Slots]:
    """The slots of every held-out text; measures those that are not kept yet.

    The teachers are calibrated as in the stores that the students learn from.
    """
    from safetensors.torch import load_file

    built = build_stores(setting, Arm("store"))
    temperatures = {row["teacher"]: float(row["temperatures"][0]) for row in built["stores"]}
    jobs = [
        Job(text, partial(_measure, setting, text, source, temperatures))
        for text, source in setting.texts().items()
        if not _file(setting, text).exists()
    ]
    do_all(setting, "words", jobs)
    return {text: slots_of(load_file(_file(setting, text))) for text in setting.texts()}


def slots_of(kept: Mapping[str, torch.Tensor]) -> Slots:
    """From what `collect` gives."""
    names = ("covered", "log_gold", "log_max", "margin", "neg_uncertainty")
    stats = weighting.TeacherStats(**{name: kept[name] for name in names})
    rest = ("true", "agreement", "passage", "frequency", "kind", "senses")
    return Slots(stats, **{name: kept[name] for name in rest})
