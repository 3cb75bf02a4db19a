"""The study's questions in their order: the module that answers each, and what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Question:
    """module: in this package; asks: the question in a line."""

    module: str
    asks: str

    def load(self) -> ModuleType:
        """Its module: `answer(setting)`, `page(result, folder)`, `headline(result)`."""
        return import_module(f"{__package__}.{self.module}")


QUESTIONS: Mapping[str, Question] = {
    "teachers": Question(
        "house", "How good are the three teachers, each on its own text and on the others'?"
    ),
    "convergence": Question("convergence", "Do N/2 steps with teachers reach what N steps reach without?"),
    "pays": Question("pays", "When does teaching pay?"),
    "why": Question("why", "What keeps the first claim's aims from being met, and what follows?"),
    "words": Question("words", "Which words is each teacher heard on?"),
    "lexical": Question("lexical", "Does lexical pre-training keep the language model?"),
    "glue": Question("glue", "Does the student understand language better?"),
    "paraphrase": Question("paraphrase", "Are machine paraphrases found with few texts and short ones?"),
    "wsd": Question("wsd", "Does the student tell senses apart?"),
    "cost": Question("cost", "What does each model cost for what it can do?"),
}
