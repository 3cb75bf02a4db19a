"""The index of a lexicon, and WordNet read into it."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import UserError
from limbeck.lexicon.index import IndexBuilder, IndexedLexicon
from limbeck.lexicon.lexicon import POS, Lexicon, Sense, fold, open_lexicon
from limbeck.lexicon.wordnet import synsets
from tests.mini_wordnet import write_wordnet


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be read only."""
    return write_wordnet(tmp_path_factory.mktemp("mini"), polysemous=True, sense_index=True)


@pytest.fixture(scope="module")
def lexicon(mini: Path) -> Lexicon:
    return open_lexicon(str(mini))


def both_ways(lexicon: Lexicon, keys: Iterable[str]) -> int:
    """Asserts that each key leads to a sense, which leads back to it; returns their number."""
    count = 0
    for count, key in enumerate(keys, 1):  # noqa: B007 - the last one is returned
        sense = lexicon.sense(key)
        assert sense is not None
        assert sense.key == key
        assert lexicon.senses(sense.lemma, sense.pos)[sense.number - 1] == sense
    return count


def test_senses_are_in_the_lexicons_order(lexicon: Lexicon) -> None:
    senses = lexicon.senses("bank", "n")
    assert [sense.key for sense in senses] == ["bank%1:03:01::", "bank%1:03:02::", "bank%1:03:00::"]
    assert [sense.number for sense in senses] == [1, 2, 3]
    assert [sense.frequency for sense in senses] == [25, 20, 2]
    assert senses[0] == Sense(
        key="bank%1:03:01::",
        synset=senses[0].synset,
        lemma="bank",
        pos="n",
        number=1,
        gloss="sloping land beside water",
        examples=("they pulled the canoe up on the bank", "river banks"),
        lemmas=("bank",),
        frequency=25,
    )
    assert senses[1].lemmas == ("bank", "depository")
    run = lexicon.senses("run")
    assert [sense.pos for sense in run] == list("nvvv")
    assert [sense.number for sense in run] == [1, 1, 2, 3]
    assert lexicon.senses("run", "v") == run[1:]
    assert [sense.pos for sense in lexicon.senses("well")] == list("ar")


def test_lemmas_are_found_however_they_are_written(lexicon: Lexicon) -> None:
    (city,) = lexicon.senses("new york")
    assert (city.lemma, city.key) == ("New York", "new_york%1:03:00::")
    for form in ("New_York", "NEW YORK", " new  york ", "new york"):
        assert lexicon.senses(form, "n") == (city,)
    assert lexicon.senses("calm", "s") == lexicon.senses("calm", "a") != ()
    for unknown in ("newyork", "", " ", "no such word", "\ud800", "bank\n"[:3], "\0"):
        assert lexicon.senses(unknown) == ()
        assert lexicon.sense(unknown) is None
    assert lexicon.senses("bank", "r") == ()
    for wrong in ("x", "", "nv", "N"):
        with pytest.raises(UserError, match="unknown part of speech"):
            lexicon.senses("bank", wrong)
        with pytest.raises(UserError, match="unknown part of speech"):
            lexicon.base_forms("bank", wrong)


def test_fold() -> None:
    assert fold("New_York  City") == "new york city"
    assert fold("O\u2019clock") == "o'clock"
    assert fold("cafe\u0301") == fold("Caf\u00e9") == "caf\u00e9"


def test_synsets_are_those_of_the_data_files(mini: Path, lexicon: Lexicon) -> None:
    found = {f"{synset.pos}{synset.offset:08d}": synset for synset in synsets(mini)}
    seen = {}
    for key in lexicon.keys():  # noqa: SIM118 - a lexicon is no mapping
        sense = lexicon.sense(key)
        assert sense is not None
        synset = seen[sense.synset] = found[sense.synset]
        assert (sense.gloss, sense.examples) == (synset.definition, synset.examples)
        assert (sense.lemmas, sense.pos) == (synset.lemmas, synset.pos)
        assert sense.lemma in sense.lemmas
    assert seen == found


def test_every_key_leads_to_its_sense_and_back(mini: Path, lexicon: Lexicon) -> None:
    keys = list(lexicon.keys())
    lines = [line.split() for line in (mini / "index.sense").read_text().splitlines()]
    assert sorted(keys) == [line[0] for line in lines]
    for key, offset, number, count in lines:
        sense = lexicon.sense(key)
        assert sense is not None
        assert sense.synset[1:] == offset
        assert (sense.number, sense.frequency) == (int(number), int(count))
    assert both_ways(lexicon, keys) == len(set(keys)) == len(lines)
    assert lexicon.sense("calm%5:03:01:galore:00") is not None  # a satellite's names its head
    assert lexicon.sense("galore%3:03:00::") is not None
    assert lexicon.senses("earth", "n")[0].lemma == "Earth"  # the first of two spellings in one synset


def test_about_a_lexicon(lexicon: Lexicon) -> None:
    assert (lexicon.name, lexicon.version, lexicon.longest_lemma) == ("wordnet", "3.0", 3)
    assert len(lexicon.fingerprint) == 64
    assert "3.0" in repr(lexicon)


def test_frequencies_come_from_either_file_or_are_0(tmp_path: Path, lexicon: Lexicon) -> None:
    counted = open_lexicon(str(write_wordnet(tmp_path / "a", polysemous=True)))
    assert counted.fingerprint == lexicon.fingerprint  # which had index.sense
    folder = write_wordnet(tmp_path / "b", polysemous=True, counts=False)
    plain = open_lexicon(str(folder))
    assert plain.fingerprint != lexicon.fingerprint
    assert [sense.frequency for sense in plain.senses("bank", "n")] == [0, 0, 0]
    assert [s._replace(frequency=0) for s in lexicon.senses("bank")] == list(plain.senses("bank"))
    (folder / "cntlist.rev").write_text("calm%5:03:01:galore(ip):00 1 6\nold%1:03:00:: 1 9\n")
    assert [sense.frequency for sense in open_lexicon(str(folder)).senses("calm")] == [6, 0]


def test_the_index_is_built_once(mini: Path, tmp_path: Path, cache: Path) -> None:
    told: list[tuple[int, int]] = []

    def opened(folder: Path) -> Lexicon:
        told.clear()
        return open_lexicon(str(folder), progress=lambda done, total: told.append((done, total)))

    first = opened(mini)
    size = sum((mini / f"data.{name}").stat().st_size for name in ("noun", "verb", "adj", "adv"))
    assert told[-1] == (size, size)
    assert told == sorted(told)
    assert opened(mini).fingerprint == first.fingerprint
    assert told == []
    copy = tmp_path / "copy"
    shutil.copytree(mini, copy)
    assert opened(copy).fingerprint == first.fingerprint
    assert told == []  # the contents count, not where they lie
    (built,) = (cache / "lexicons").iterdir()
    for damage in (
        lambda: (built / "index").write_bytes((built / "index").read_bytes()[:-8]),
        lambda: (built / "meta.json").write_text("{"),
        lambda: (built / "index").unlink(),
    ):
        damage()
        again = opened(mini)
        assert told
        assert list(again.keys()) == list(first.keys())
    text = (copy / "data.adv").read_text().replace("rapid", "swift")
    (copy / "data.adv").write_text(text)
    changed = opened(copy)
    assert told
    assert changed.fingerprint != first.fingerprint
    assert changed.senses("quickly")[0].gloss == "with swift movements"
    assert {path.name for path in built.iterdir()} == {"index", "meta.json"}


def test_another_process_maps_it_anew(lexicon: Lexicon) -> None:
    other = pickle.loads(pickle.dumps(lexicon))
    assert other.senses("run") == lexicon.senses("run")
    assert other.base_forms("ran into") == (("run into", "v"),)


WORDS = st.text(st.sampled_from("abé'- "), min_size=1, max_size=4).map(fold).filter(bool)


@given(st.lists(st.tuples(WORDS, st.sampled_from(POS)), max_size=30), st.lists(WORDS, max_size=5))
def test_an_index_returns_what_was_put_in(senses: list[tuple[str, str]], others: list[str]) -> None:
    import tempfile

    builder = IndexBuilder("any", "1", {}, rules=False)
    for number, (lemma, pos) in enumerate(senses):
        row = builder.add_synset(f"s{number}", f"gloss\t{number}", ["one\nline", ""], ["x", lemma.upper()])
        builder.add_sense(lemma, pos, f"key {number}", row, 1, number)
    with tempfile.TemporaryDirectory() as folder:
        builder.write(Path(folder))
        lexicon = IndexedLexicon(Path(folder))
        assert len(list(lexicon.keys())) == len(senses)
        met: dict[tuple[str, str], int] = {}
        for number, (lemma, pos) in enumerate(senses):
            met[lemma, pos] = met.get((lemma, pos), 0) + 1
            expected = Sense(
                f"key {number}", f"s{number}", lemma.upper(), pos, met[lemma, pos],
                f"gloss {number}", ("one line", ""), ("x", lemma.upper()), number,
            )  # fmt: skip
            assert lexicon.sense(f"key {number}") == expected
            assert lexicon.senses(lemma, pos)[met[lemma, pos] - 1] == expected
        for lemma in (*others, *(lemma for lemma, _ in senses)):
            poses = [pos for pos in POS for _ in range(met.get((lemma, pos), 0))]
            assert [sense.pos for sense in lexicon.senses(lemma)] == poses
        assert lexicon.longest_lemma == max((len(lemma.split()) for lemma, _ in senses), default=0)


def test_equal_sums_are_told_apart(tmp_path: Path) -> None:
    assert crc32(b"plumless") == crc32(b"buckeroo")
    builder = IndexBuilder("any", "1", {}, rules=True)
    for word in ("plumless", "buckeroo"):
        builder.add_sense(word, "n", f"{word}%1", builder.add_synset(word, word, [], [word]), 0, 0)
    builder.write(tmp_path)
    lexicon = IndexedLexicon(tmp_path)
    assert [lexicon.senses(word)[0].gloss for word in ("plumless", "buckeroo")] == ["plumless", "buckeroo"]
