"""Every content word of a text with the sense a gloss model gives it, in bounded memory (docs/wsd.md).

disambiguator = Disambiguator.from_pretrained("runs/gloss/model")
for word in disambiguator("She sat on the bank of the river."):
    print(word.text, word.key, word.gloss, word.probability)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.gloss.instance import Instance
from limbeck.gloss.model import GlossModel
from limbeck.gloss.predict import TOKENS, Prediction
from limbeck.gloss.predict import rank as rank_candidates
from limbeck.lexicon.lexicon import Lexicon, Progress, Sense, open_lexicon
from limbeck.teachers.masked_lm import resolve_device
from limbeck.tools.find_words import WordFinder
from limbeck.tools.questions import Asked, ask, batches, in_context
from limbeck.tools.tags import Tag, check_span, read_document, tags
from limbeck.tools.words import Sentence, Word, as_word

Question = tuple[Instance, tuple[Sense, ...]]


class Disambiguator:
    """Gives the content words of texts their senses.

    Args:
        lexicon: whose senses compete; it should be the one the model was trained on.
        window: sentences on either side of a word's own that it is shown in; None: as the model was trained.
        layout, tokens, precision: as `gloss.predict.rank` takes them.

    Raises:
        UserError: a window below 0.
    """

    def __init__(
        self,
        model: GlossModel,
        lexicon: Lexicon,
        *,
        window: int | None = None,
        layout: str | None = None,
        tokens: int = TOKENS,
        precision: str = "f32",
    ) -> None:
        self.model, self.lexicon = model, lexicon
        self.window = model.settings.window if window is None else window
        if self.window < 0:
            raise UserError(f"window is {self.window}; it must be 0 or more sentences")
        self._options: dict[str, Any] = {"layout": layout, "tokens": tokens, "precision": precision}
        self._find, self._most = WordFinder(lexicon), model.encoder.max_length
        rank_candidates(model, model.encoder, (), **self._options)  # unknown options are told at once

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        *,
        lexicon: str | Lexicon = "wordnet",
        other_lexicon: bool = False,
        device: str = "auto",
        progress: Progress | None = None,
        **options: Any,
    ) -> Disambiguator:
        """A gloss model of a folder or a hub id, with its lexicon.

        Args:
            lexicon: a lexicon, or what `open_lexicon` takes. other_lexicon: it need not be the model's own.
            device: auto, cpu or cuda. progress: told how far building the lexicon's index is. options: of
                the class.

        Raises:
            UserError: no gloss model there; no such lexicon, or not the model's; an unknown option's value.
        """
        opened = open_lexicon(lexicon, progress) if isinstance(lexicon, str) else lexicon
        model = GlossModel.load(path_or_id, device=resolve_device(device))
        if not other_lexicon:
            check_lexicon(model, opened)
        return cls(model, opened, **options)

    @property
    def lexicon_title(self) -> str:
        """Name and version of the lexicon."""
        return title(self.lexicon)

    def __call__(self, text: Any, pos: Iterable[tuple[int, int, str]] = ()) -> list[Word]:
        """The content words of one text.

        Args:
            text: a string, or a spaCy `Doc`, whose parts of speech are used.
            pos: parts of speech that are known: start and end of a word, and n, v, a, r or a Universal one
                (NOUN, AUX, …). All compete for the other words.

        Raises:
            UserError: the text is empty; a span outside it, or that overlaps another; an unknown part of
                speech.
        """
        plain, said = read_document(text)
        if not plain.strip():
            raise UserError("the text is empty; give it words")
        answered = self._answered(self._ask([plain], tags(plain, pos) or said))
        return [word for _, words in answered for word in words]

    def many(self, texts: Iterable[Any]) -> Iterator[list[Word]]:
        """The content words of each text (a string or a spaCy `Doc`), in order; texts share batches.

        Texts are read as they are needed, some hundred words ahead. An empty text has no words.

        Raises:
            UserError: a text that is neither; one string instead of several.
        """
        if isinstance(texts, str):
            raise UserError("many takes several texts, and this is one string; put it into a list")
        return self._many(texts)

    def _many(self, texts: Iterable[Any]) -> Iterator[list[Word]]:
        read = map(read_document, texts)
        asked = chain.from_iterable(self._ask([plain], said) for plain, said in read)
        found: list[Word] = []
        for item, words in self._answered(asked):
            found += words
            if item.ends:
                yield found
                found = []

    def stream(self, chunks: Iterable[str]) -> Iterator[Sentence]:
        """The sentences of one text that comes in chunks, with their words; it is never all in memory."""
        for item, words in self._answered(self._ask(chunks)):
            if not item.ends:
                yield Sentence(item.start, item.text, tuple(words))

    def rank(self, context: str, span: tuple[int, int], glosses: Sequence[str]) -> list[tuple[str, float]]:
        """Which of one's own glosses fits a word: each with its probability, best first; they sum to 1.

        Args:
            context: running text. span: start and end of the word in it, or of several words. glosses: at
                least one.

        Raises:
            UserError: a span outside the context; no gloss, or a blank one; a word and a gloss that are
                longer than the model takes.
        """
        check_span(context, *span)
        if isinstance(glosses, str) or not glosses or not all(gloss.strip() for gloss in glosses):
            raise UserError("glosses must be a list of texts, and none of them empty")
        word = " ".join(context[slice(*span)].split())
        senses = tuple(_own_sense(number, word, gloss) for number, gloss in enumerate(glosses))
        (answer,) = self._rank([(in_context(word, context, *span, self._most), senses)])
        ranked = zip(glosses, answer.probabilities.tolist(), strict=True)
        return sorted(ranked, key=lambda pair: -pair[1])

    def _ask(self, chunks: Iterable[str], said: Sequence[Tag] = ()) -> Iterator[Asked]:
        return ask(chunks, self._find, window=self.window, most=self._most, tags=said)

    def _answered(self, asked: Iterable[Asked]) -> Iterator[tuple[Asked, list[Word]]]:
        """The items, in order, each with its words."""
        for batch in batches(asked):
            questions = [
                (question, target.senses)
                for item in batch
                for target, question in zip(item.targets, item.questions, strict=True)
                if question is not None
            ]
            answers = iter(self._answers(questions))
            for item in batch:
                pairs = zip(item.targets, item.questions, strict=True)
                yield (
                    item,
                    [as_word(item, t, None if question is None else next(answers)) for t, question in pairs],
                )

    def _answers(self, questions: Sequence[Question]) -> list[Prediction | None]:
        """The model's answers; None where word and gloss are together longer than it takes."""
        try:
            return list(self._rank(questions))
        except UserError:
            fits = [self._fits(question) for question in questions]
            if all(fits):
                raise  # it is about something else
        answers = iter(self._rank([q for q, fit in zip(questions, fits, strict=True) if fit]))
        return [next(answers) if fit else None for fit in fits]

    def _fits(self, question: Question) -> bool:
        try:
            self.model.encoder.encode([question])
        except UserError:
            return False
        return True

    def _rank(self, questions: Sequence[Question]) -> Iterator[Prediction]:
        return rank_candidates(
            self.model, self.model.encoder, questions, window=max(1, len(questions)), **self._options
        )


def title(lexicon: Lexicon) -> str:
    """Name and version of a lexicon, as gloss.json has them."""
    return f"{lexicon.name} {lexicon.version}".strip()


def check_lexicon(model: GlossModel, lexicon: Lexicon) -> None:
    """Raises UserError where the lexicon is not the one that the model says it was trained on."""
    known = model.settings
    if known.lexicon_fingerprint in ("", lexicon.fingerprint):
        return
    other = f"another {title(lexicon)}" if title(lexicon) == known.lexicon else f"not {title(lexicon)}"
    raise UserError(
        f"the model was trained on the lexicon {known.lexicon}, {other}; give its own with --lexicon, or "
        "allow this one with --other-lexicon"
    )


def _own_sense(number: int, word: str, gloss: str) -> Sense:
    """A gloss of the caller's as the sense of a word."""
    return Sense(str(number), "", word, "n", number + 1, gloss, (), (word,), 0)
