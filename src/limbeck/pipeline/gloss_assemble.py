"""From a recipe's `[gloss]` to everything its training needs: lexicon, model, instances, teachers."""

from __future__ import annotations

import heapq
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limbeck.distill.step import Placed
from limbeck.errors import UserError
from limbeck.files import cache_dir, data_dir
from limbeck.gloss.batches import GlossBatches
from limbeck.gloss.checkpoint import is_headless, read_encoder
from limbeck.gloss.encode import Encoder
from limbeck.gloss.families import check_packed, supports_packed
from limbeck.gloss.instances import Instance
from limbeck.gloss.layout import Layout
from limbeck.gloss.masking import Masker
from limbeck.gloss.prepared import PreparedInstances, checked, choose, instance_hash, prepare_instances
from limbeck.gloss.settings import GlossSettings
from limbeck.gloss.sources import contents, read_sources
from limbeck.gloss.unified import DATA
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.pipeline.assemble import EVALUATION_SEED, Progress, place, sample_rows
from limbeck.pipeline.teachers import calibrate_on
from limbeck.processes.group import current
from limbeck.recipe import GlossSection, Recipe
from limbeck.recipe_gloss import WORDNET_EXAMPLES
from limbeck.tasks.mlm_words import Sample
from limbeck.tasks.wsd_sets import DEVELOPMENT
from limbeck.teachers import families, loading
from limbeck.teachers.teacher import load_teacher
from limbeck.text.corpus import Corpus, corpus_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("limbeck")

# Passages of the training instances' text that the teachers' temperatures are fitted on.
CALIBRATION_PASSAGES = 256
PASSAGE_WORDS = 96

Rows = npt.NDArray[np.int64]


@dataclass
class GlossAssembled:
    """All a gloss training needs.

    init: where the model came from; model: it, on the CPU, and once a missing head is trained the one with
    it. instances: all that can be trained on, rows: those that are; valid: the development set, as
    `valid_names` name it; overlap: how many of it are trained on, too. placed: the teachers of a cohesive
    training.
    """

    recipe: Recipe
    section: GlossSection
    lexicon: Lexicon
    init: str
    model: PreTrainedModel
    encoder: Encoder
    settings: GlossSettings
    layout: Layout
    instances: PreparedInstances
    rows: Rows
    valid: list[Instance]
    valid_names: tuple[str, ...]
    overlap: int
    placed: list[Placed]

    @property
    def headless(self) -> bool:
        """Whether the model has no masked-LM head."""
        return is_headless(self.model)

    def batches(self) -> GlossBatches:
        """The training instances, as the recipe's batches."""
        section, tokenizer = self.section, self.encoder.tokenizer
        masker = None
        if section.masked:
            masker = Masker(
                tokenizer,
                seed=self.recipe.seed,
                rate=section.mask,
                student_sees=self.recipe.distill.student_sees,
                placed=self.placed,
            )
        return GlossBatches(
            self.instances,
            self.rows,
            self.lexicon,
            self.encoder,
            self.layout,
            masker,
            of=section.candidates,
            seed=self.recipe.seed,
            batch=section.batch,
            tokens=section.tokens,
            rank=current().rank,
            world=current().world,
        )

    def corpus(self) -> Corpus:
        """The training instances' contexts, and the glosses of their senses, as passages."""
        return gloss_corpus(self.instances.texts(), self.lexicon, self.instances.fingerprint)

    def valid_corpus(self) -> Corpus:
        """The same of the development set."""
        texts = ((one.context, one.gold) for one in self.valid)
        content = contents(self.valid_names, self.lexicon, "gloss.valid")
        return gloss_corpus(texts, self.lexicon, f"{content} {self.section.window} {len(self.valid)}")


def gloss_corpus(texts: Iterator[tuple[str, tuple[str, ...]]], lexicon: Lexicon, content: str) -> Corpus:
    """Contexts and the glosses of their gold keys as a corpus; `content` names what they are."""

    def documents() -> Iterator[str]:
        for context, keys in texts:
            yield context
            yield from (sense.gloss for key in keys if (sense := lexicon.sense(key)) is not None)

    return corpus_of(documents(), content, words=PASSAGE_WORDS, min_words=4, cache=cache_dir() / "text")


def assemble_gloss(recipe: Recipe, init: str, progress: Progress | None = None) -> GlossAssembled:
    """Opens the lexicon, reads model and instances, loads the teachers.

    Args:
        init: path or hub id of the model to start from.

    Raises:
        UserError: anything in them that the user can mend.
    """
    section = recipe.gloss
    assert section is not None

    def opened() -> Lexicon:
        return open_lexicon(section.lexicon, progress and partial(progress, "building the lexicon's index"))

    current().once_per_cache(lambda: opened().fingerprint)
    lexicon = opened()
    valid_names = development_set(section)
    valid = _development(section, valid_names, lexicon)
    where = f"gloss.init: {init!r}"
    model, tokenizer = read_encoder(loading.find_source(init, where), where)
    family = str(model.config.model_type)
    settings = GlossSettings(
        marks=section.marks,
        max_length=section.max_length,
        layout=chosen_layout(section, family),
        objective=section.objective,
        candidates=section.candidates,
        window=section.window,
        lexicon=f"{lexicon.name} {lexicon.version}".strip(),
        lexicon_fingerprint=lexicon.fingerprint,
    )
    encoder = Encoder(tokenizer, marks=section.marks, max_length=section.max_length)
    layout = Layout(encoder.template, settings.layout, family=family)

    def prepared() -> PreparedInstances:
        return prepare_instances(
            section.train,
            lexicon,
            encoder,
            layout,
            of=section.candidates,
            window=section.window,
            cache=cache_dir() / "gloss",
            label="gloss.train",
            progress=progress and partial(progress, "reading gloss.train"),
        )

    current().once_per_cache(lambda: prepared().fingerprint)
    instances = prepared()
    rows = choose(
        instances,
        seed=recipe.seed,
        share=section.share,
        limit=section.limit,
        monosemous=section.monosemous,
    )
    placed: list[Placed] = []
    if section.cohesive:
        teachers = [load_teacher(spec, spec.model) for spec in recipe.teachers]
        placed = place(recipe, teachers, tokenizer, families.logit_width(model))
    hashes = np.array([instance_hash(one) for one in valid], np.uint64)
    overlap = int(np.isin(hashes, instances.hashes[rows]).sum())
    if overlap:
        log.warning(
            "%d of %d instances of gloss.valid stand in gloss.train as well: its F1 will flatter",
            overlap,
            len(valid),
        )
    return GlossAssembled(
        recipe=recipe,
        section=section,
        lexicon=lexicon,
        init=init,
        model=model,
        encoder=encoder,
        settings=settings,
        layout=layout,
        instances=instances,
        rows=rows,
        valid=valid,
        valid_names=valid_names,
        overlap=overlap,
        placed=placed,
    )


def chosen_layout(section: GlossSection, family: str) -> str:
    """`pairs` or `packed`; `auto` packs for `choice` where the family can.

    Raises:
        UserError: packed asked of a family that cannot.
    """
    if section.layout == "packed":
        check_packed(family)
    if section.layout == "auto":
        return "packed" if section.objective == "choice" and supports_packed(family) else "pairs"
    return section.layout


def development_set(section: GlossSection) -> tuple[str, ...]:
    """The development set's sources: the recipe's, or SemEval-2007 where it is found, or examples held out.

    Raises:
        UserError: none of these.
    """
    if section.valid is not None:
        return section.valid
    if folder := data_dir("wsd"):
        for depth in ("", "*/", "*/*/"):
            for path in sorted(folder.glob(f"{depth}{DEVELOPMENT}{DATA}*")):
                return (str(path),)
    everything, _, held_out = WORDNET_EXAMPLES
    if everything in section.train:
        raise UserError(
            f"gloss.valid: there is no development set: {DEVELOPMENT} is not found (LIMBECK_DATA) and "
            f'gloss.train has all of {everything}; name a set, or train on "{WORDNET_EXAMPLES[1]}"'
        )
    return (held_out,)


def _development(section: GlossSection, names: tuple[str, ...], lexicon: Lexicon) -> list[Instance]:
    """At most `valid_limit` instances with a gold key, chosen by their text, in their order."""
    read = checked(read_sources(names, lexicon, section.window, "gloss.valid"), lexicon, "gloss.valid")
    numbered = ((instance_hash(one), number, one) for number, one in enumerate(read) if one.gold)
    kept = heapq.nsmallest(section.valid_limit, numbered, key=lambda row: row[:2])
    if not kept:
        raise UserError("gloss.valid: no instance has a sense key, so there is no F1; give a labelled set")
    return [one for _, _, one in sorted(kept, key=lambda row: row[1])]


def set_temperatures(made: GlossAssembled, student: Path, progress: Progress | None = None) -> None:
    """The teachers' temperatures: those of the recipe's own distil stage, or fitted on the instances' text.

    Args:
        student: run directory of the distil stage, which need not be there.
    """
    if not made.recipe.distill.calibrate:
        return
    known: dict[str, float] = {}
    if made.recipe.text is not None and (student / "teachers.json").is_file():
        table = json.loads((student / "teachers.json").read_text(encoding="utf-8"))
        known = {row["name"]: row["temperature"] for row in table}
    if {p.teacher.name for p in made.placed} <= known.keys():
        for placed in made.placed:
            placed.teacher.temperature = known[placed.teacher.name]
        return
    corpus = made.corpus()
    rows = sample_rows(corpus, CALIBRATION_PASSAGES, salt=2)
    sample = Sample(corpus, rows, made.recipe.distill.mask, EVALUATION_SEED)
    calibrate_on(sample, made.placed, progress)
