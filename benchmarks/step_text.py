"""How fast text is prepared: read, cut into passages, encoded by three tokenizers, aligned, written."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from step_measure import spread
from step_setting import Made, Setting

from limbeck.teachers.projection import Projection
from limbeck.text.prepare import prepare

WORDS = 96


def preparation(setting: Setting, rounds: int) -> dict[str, Any]:
    """Words per second of the whole preparation of the training text, from an empty cache each time.

    The tokenizers are there already: a student's and two teachers', of three kinds. Words are counted
    between white space here; Limbeck's own words are more, as a punctuation mark is a word of its own.
    """
    made = Made(setting)
    student = made.student_tokenizer
    teachers = [made.tokenizer(named) for named in (setting.other_tokenizer, setting.third_tokenizer)]
    maps = [
        Projection.build(t, student, teacher_width=t.vocab_size, student_width=made.vocabulary).gold_map
        for t in teachers
    ]
    rates, reading = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="limbeck-benchmark-") as folder:
            began = time.perf_counter()
            corpus = made.corpus(setting.train_text, WORDS, Path(folder))
            read = time.perf_counter()
            prepare(corpus, student, teachers, maps, cache=Path(folder), workers=setting.threads)
            ended = time.perf_counter()
            words = sum(len(corpus.text(i).split()) for i in range(len(corpus)))
            rates.append(words / (ended - began))
            reading.append((read - began) / (ended - began))
    return {
        "words": words,
        "words_and_marks": corpus.stats.words,
        "passages": len(corpus),
        "tokenizers": [t.vocab_size for t in (student, *teachers)],
        "workers": setting.threads,
        "words_per_second": spread(rates),
        "share_of_reading": spread(reading),
    }
