"""A lexicon in memory, for tests of what uses one: senses as listed, base forms as told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from limbeck.lexicon.lexicon import Sense

_NUMBERS = {"n": 1, "v": 2, "a": 3, "r": 4}


class ListLexicon:
    """Synsets as (part of speech, lemmas with commas, gloss, examples); the order gives the sense numbers."""

    name, version, fingerprint = "list", "1", "0" * 64
    exceptions: Mapping[str, Mapping[str, Sequence[str]]] = {}

    def __init__(
        self,
        synsets: Sequence[tuple[str, str, str, tuple[str, ...]]],
        forms: Mapping[str, str] | None = None,
    ) -> None:
        self._senses: dict[tuple[str, str], list[Sense]] = {}
        self._by_key: dict[str, Sense] = {}
        self._forms = dict(forms or {})  # inflected form → lemma
        for number, (pos, names, gloss, examples) in enumerate(synsets):
            lemmas = tuple(name.strip() for name in names.split(","))
            for lemma in lemmas:
                listed = self._senses.setdefault((lemma.lower(), pos), [])
                key = f"{lemma.lower().replace(' ', '_')}%{_NUMBERS[pos]}:00:{len(listed):02d}::"
                sense = Sense(
                    key,
                    f"{pos}{number:08d}",
                    lemma,
                    pos,
                    len(listed) + 1,
                    gloss,
                    examples,
                    lemmas,
                    0,
                )
                listed.append(sense)
                self._by_key[key] = sense
        self.longest_lemma = max(len(lemma.split()) for lemma, _ in self._senses)

    def senses(self, lemma: str, pos: str | None = None) -> tuple[Sense, ...]:
        folded = lemma.replace("_", " ").lower()
        return tuple(s for letter in (pos or "nvar") for s in self._senses.get((folded, letter), ()))

    def sense(self, key: str) -> Sense | None:
        return self._by_key.get(key)

    def base_forms(self, form: str, pos: str | None = None) -> tuple[tuple[str, str], ...]:
        lemmas = dict.fromkeys([form.lower(), *filter(None, [self._forms.get(form.lower())])])
        return tuple(
            (lemma, letter)
            for lemma in lemmas
            for letter in (pos or "nvar")
            if (lemma, letter) in self._senses
        )

    def keys(self) -> Iterator[str]:
        return iter(self._by_key)
