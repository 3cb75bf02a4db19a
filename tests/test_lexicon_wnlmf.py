"""WN-LMF lexicons through `wn`, from small files written here into a database of the test's own."""

from __future__ import annotations

import html
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.lexicon.lexicon import Lexicon, Sense, check_keys, check_lexicon, fold, open_lexicon

wn = pytest.importorskip("wn")

OPENING = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
<Lexicon id="{name}" label="A lexicon for tests" language="{language}" email="nobody@example.org"
         license="https://creativecommons.org/publicdomain/zero/1.0/" version="{version}">
"""
CLOSING = "</Lexicon></LexicalResource>\n"

ENGLISH = """
<LexicalEntry id="mini-bank-n">
  <Lemma writtenForm="bank" partOfSpeech="n"/>
  <Sense id="mini-bank-2" synset="mini-01-n"><Count>3</Count><Count>4</Count></Sense>
  <Sense id="mini-bank-1" synset="mini-02-n"><Example>a bank of my own</Example></Sense>
</LexicalEntry>
<LexicalEntry id="mini-Bank-n">
  <Lemma writtenForm="Bank" partOfSpeech="n"/><Sense id="mini-Bank-3" synset="mini-03-n"/>
</LexicalEntry>
<LexicalEntry id="mini-depository-n">
  <Lemma writtenForm="depository" partOfSpeech="n"/><Sense id="mini-depository-1" synset="mini-01-n"/>
</LexicalEntry>
<LexicalEntry id="mini-run-v">
  <Lemma writtenForm="run" partOfSpeech="v"/><Form writtenForm="ran"/><Form writtenForm="run"/>
  <Sense id="mini-run-1" synset="mini-04-v"/>
</LexicalEntry>
<LexicalEntry id="mini-run_into-v">
  <Lemma writtenForm="run into" partOfSpeech="v"/><Sense id="mini-run_into-1" synset="mini-05-v"/>
</LexicalEntry>
<LexicalEntry id="mini-calm-a">
  <Lemma writtenForm="calm" partOfSpeech="a"/><Sense id="mini-calm-1" synset="mini-06-a"/>
</LexicalEntry>
<LexicalEntry id="mini-calm-s">
  <Lemma writtenForm="calm" partOfSpeech="s"/><Sense id="mini-calm-2" synset="mini-07-s"/>
</LexicalEntry>
<LexicalEntry id="mini-ouch-x">
  <Lemma writtenForm="ouch" partOfSpeech="x"/><Sense id="mini-ouch-1" synset="mini-08-x"/>
</LexicalEntry>
<Synset id="mini-01-n" ili="" partOfSpeech="n">
  <Definition>a firm  that\n accepts deposits</Definition>
  <Example>he cashed a check at the bank</Example><Example>the bank\tis closed</Example>
</Synset>
<Synset id="mini-02-n" ili="" partOfSpeech="n"><Definition>land beside water</Definition></Synset>
<Synset id="mini-03-n" ili="" partOfSpeech="n"/>
<Synset id="mini-04-v" ili="" partOfSpeech="v"><Definition>move fast</Definition></Synset>
<Synset id="mini-05-v" ili="" partOfSpeech="v"><Definition>meet</Definition></Synset>
<Synset id="mini-06-a" ili="" partOfSpeech="a"><Definition>without storm</Definition></Synset>
<Synset id="mini-07-s" ili="" partOfSpeech="s"><Definition>not excited</Definition></Synset>
<Synset id="mini-08-x" ili="" partOfSpeech="x"><Definition>a cry</Definition></Synset>
"""
GERMAN = """
<LexicalEntry id="de-haus-n">
  <Lemma writtenForm="Haus" partOfSpeech="n"/><Form writtenForm="Häuser"/>
  <Sense id="de-haus-1" synset="de-01-n"/>
</LexicalEntry>
<LexicalEntry id="de-auto-n">
  <Lemma writtenForm="Auto" partOfSpeech="n"/><Sense id="de-auto-1" synset="de-02-n"/>
</LexicalEntry>
<Synset id="de-01-n" ili="" partOfSpeech="n"><Definition>ein Gebäude</Definition></Synset>
<Synset id="de-02-n" ili="" partOfSpeech="n"><Definition>ein Fahrzeug</Definition></Synset>
"""

Add = Callable[..., None]


@pytest.fixture
def add(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Add:
    """Adds a lexicon to a new and empty database."""
    monkeypatch.setattr(wn.config, "_data_directory", wn.config._data_directory)
    monkeypatch.setattr(wn.config, "_dbpath", wn.config._dbpath)
    wn.config.data_directory = tmp_path / "wn"

    def put(content: str = ENGLISH, name: str = "mini", version: str = "1", language: str = "en") -> None:
        path = tmp_path / "lexicon.xml"
        opening = OPENING.format(name=name, version=version, language=language)
        path.write_text(opening + content + CLOSING, encoding="utf-8")
        wn.add(path, progress_handler=None)

    return put


@pytest.fixture
def lexicon(add: Add) -> Lexicon:
    add()
    return open_lexicon("wn:mini:1")


def test_senses(lexicon: Lexicon) -> None:
    assert (lexicon.name, lexicon.version, lexicon.longest_lemma) == ("mini", "1", 2)
    first, second, third = lexicon.senses("BANK", "n")
    assert first == Sense(
        key="mini-bank-2",
        synset="mini-01-n",
        lemma="bank",
        pos="n",
        number=1,
        gloss="a firm that accepts deposits",
        examples=("he cashed a check at the bank", "the bank is closed"),
        lemmas=("bank", "depository"),
        frequency=7,
    )
    assert (second.key, second.number, second.examples) == ("mini-bank-1", 2, ("a bank of my own",))
    assert (third.key, third.lemma, third.gloss, third.number) == ("mini-Bank-3", "Bank", "", 3)
    assert [sense.key for sense in lexicon.senses("calm", "s")] == ["mini-calm-1", "mini-calm-2"]
    assert lexicon.senses("ouch") == ()
    keys = list(lexicon.keys())
    assert len(keys) == 8
    for key in keys:
        sense = lexicon.sense(key)
        assert sense is not None
        assert sense.key == key
        assert lexicon.senses(sense.lemma, sense.pos)[sense.number - 1] == sense


def test_base_forms(lexicon: Lexicon) -> None:
    assert lexicon.base_forms("ran") == (("run", "v"),)  # a form that the lexicon lists
    assert lexicon.base_forms("run") == (("run", "v"),)
    assert lexicon.base_forms("Banks") == (("bank", "n"),)  # a rule of English
    assert lexicon.base_forms("ran into") == (("run into", "v"),)
    assert lexicon.base_forms("calmer") == (("calm", "a"),)


def test_other_languages_have_the_forms_they_list(add: Add) -> None:
    add(GERMAN, "de", "2", "de")
    lexicon = open_lexicon("wn:de:2")
    assert lexicon.base_forms("HÄUSER") == lexicon.base_forms("Ha\u0308user") == (("haus", "n"),)
    assert lexicon.base_forms("Autos") == ()
    assert lexicon.senses("auto")[0].lemma == "Auto"


def test_the_index_is_built_once(add: Add) -> None:
    add()
    told: list[tuple[int, int]] = []
    first = open_lexicon("wn:mini:1", progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 16)
    assert told[-1] == (16, 16)
    told.clear()
    again = open_lexicon("wn:mini", progress=lambda done, total: told.append((done, total)))
    assert told == []
    assert again.fingerprint == first.fingerprint
    wn.remove("mini:1", progress_handler=None)
    add(ENGLISH.replace("move fast", "move very fast"))
    changed = open_lexicon("wn:mini:1", progress=lambda done, total: told.append((done, total)))
    assert told
    assert changed.senses("run")[0].gloss == "move very fast"
    assert changed.fingerprint != first.fingerprint


def test_keys_of_another_lexicon_are_recognised(lexicon: Lexicon) -> None:
    check_keys(lexicon, lexicon.keys())
    with pytest.raises(
        UserError, match="not in the lexicon mini 1: bank%1:17:01::; these are Princeton's keys"
    ):
        check_keys(lexicon, ["bank%1:17:01::", "mini-run-1"])
    with pytest.raises(
        UserError, match="not in the lexicon mini 1: oewn-run-1; use the lexicon they come from"
    ):
        check_keys(lexicon, ["oewn-run-1"])


def test_a_lexicon_that_is_not_installed(add: Add, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        open_lexicon("wn:oewn:2024")
    assert str(error.value) == (
        "the lexicon wn:oewn:2024 is not installed (installed: none); run `python -m wn download oewn:2024`"
    )
    assert not (tmp_path / "wn").exists()  # looking makes no database
    add()
    for spec in ("oewn:2024", "mini:2", ""):
        with pytest.raises(UserError, match=rf"wn:{spec} is not installed \(installed: mini:1\); run"):
            open_lexicon(f"wn:{spec}")
        with pytest.raises(UserError, match=rf"wn:{spec} is not installed"):
            check_lexicon(f"wn:{spec}")


def test_a_name_of_several_lexicons(add: Add) -> None:
    add()
    add(version="2", content=ENGLISH.replace("mini-", "mini2-"))
    for spec in ("mini", "*", "mini:1 mini:2"):
        with pytest.raises(UserError, match="names several lexicons, mini:1, mini:2; name one"):
            open_lexicon(f"wn:{spec}")
    assert open_lexicon("wn:mini:2").version == "2"


def test_a_lexicon_without_definitions(add: Add) -> None:
    add(re.sub(r"<Definition>.*?</Definition>", "", ENGLISH, flags=re.DOTALL))
    with pytest.raises(UserError, match="wn:mini:1 has no definitions"):
        open_lexicon("wn:mini:1")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wn", None)
    with pytest.raises(UserError, match=r"wn:oewn:2024 needs the wn package; pip install 'limbeck\[wn\]'"):
        open_lexicon("wn:oewn:2024")


def test_a_database_that_is_none_or_of_another_wn(add: Add, tmp_path: Path) -> None:
    (tmp_path / "wn").mkdir()
    database = tmp_path / "wn" / "wn.db"
    database.write_bytes(b"no database at all" * 99)
    with pytest.raises(UserError, match=r"wn\.db cannot be read \(.*not a database\); move it away") as error:
        open_lexicon("wn:mini:1")
    assert "\n" not in str(error.value)
    database.unlink()
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE lexicons (id, version, specifier, language)")
    with pytest.raises(UserError, match=r"wn\.db cannot be read \(.*schema.*\); move it away") as error:
        open_lexicon("wn:mini:1")
    assert "\n" not in str(error.value)


def as_wnlmf(lexicon: Lexicon) -> tuple[str, dict[str, str]]:
    """A lexicon's senses as entries and synsets of WN-LMF; and the id that stands for each of its keys."""
    entries: dict[tuple[str, str], list[Sense]] = {}
    synsets: dict[str, Sense] = {}
    ids: dict[str, str] = {}
    for key in list(lexicon.keys()):
        sense = lexicon.sense(key)
        assert sense is not None
        ids[key] = f"mini-{len(ids)}"
        entries.setdefault((sense.lemma, sense.pos), []).append(sense)
        synsets.setdefault(sense.synset, sense)
    lines = []
    for number, ((lemma, pos), senses) in enumerate(entries.items()):
        lines.append(f'<LexicalEntry id="mini-e{number}">')
        lines.append(f'<Lemma writtenForm="{html.escape(lemma)}" partOfSpeech="{pos}"/>')
        for sense in sorted(senses, key=lambda sense: sense.number):
            count = f"<Count>{sense.frequency}</Count>" if sense.frequency else ""
            lines.append(f'<Sense id="{ids[sense.key]}" synset="mini-{sense.synset}">{count}</Sense>')
        lines.append("</LexicalEntry>")
    for synset, sense in synsets.items():
        examples = "".join(f"<Example>{html.escape(text)}</Example>" for text in sense.examples)
        lines.append(f'<Synset id="mini-{synset}" ili="" partOfSpeech="{sense.pos}">')
        lines.append(f"<Definition>{html.escape(sense.gloss)}</Definition>{examples}</Synset>")
    return "\n".join(lines), ids


@pytest.mark.data
@pytest.mark.slow  # wn reads 117,659 synsets into its database
@pytest.mark.timeout(900)
def test_all_of_wordnet_comes_back_through_wn(add: Add) -> None:
    folder = Path("/usr/share/wordnet")
    if not (folder / "data.noun").is_file():
        pytest.skip("WordNet is not installed")
    wordnet = open_lexicon(str(folder))
    content, ids = as_wnlmf(wordnet)
    add(content)
    began = time.perf_counter()
    other = open_lexicon("wn:mini:1")
    built = time.perf_counter() - began
    assert len(ids) == 206_941
    cases: dict[tuple[str, str], set[str]] = {}
    for key in ids:
        sense = wordnet.sense(key)
        assert sense is not None
        cases.setdefault((fold(sense.lemma), sense.pos), set()).add(sense.lemma)
    for key, name in ids.items():
        sense, found = wordnet.sense(key), other.sense(name)
        assert sense is not None
        assert found is not None
        assert found.synset == f"mini-{sense.synset}"
        told = ("lemma", "pos", "gloss", "frequency")
        assert [getattr(found, what) for what in told] == [getattr(sense, what) for what in told]
        assert found.examples == tuple(dict.fromkeys(sense.examples))  # WordNet has some twice
        # "A" and "a" of one synset have one key, and so one entry here
        assert {*map(fold, found.lemmas)} == {*map(fold, sense.lemmas)}
        if len(cases[fold(sense.lemma), sense.pos]) == 1:  # else two entries stand one behind the other
            assert found.number == sense.number
    began = time.perf_counter()
    again = open_lexicon("wn:mini:1")
    assert time.perf_counter() - began < 1.5, f"the index took {built:.0f} s to build, and is not kept"
    assert again.fingerprint == other.fingerprint
    assert [again.base_forms(form, "n") for form in ("dogs", "churches")] == [
        wordnet.base_forms(form, "n") for form in ("dogs", "churches")
    ]
