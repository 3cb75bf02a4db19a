"""WordNet 3.0 itself, where it is installed: all its keys, base forms, speed and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from limbeck.lexicon.lexicon import POS, Lexicon, fold, open_lexicon

DEBIAN = Path("/usr/share/wordnet")
pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def wordnet() -> Lexicon:
    if not (DEBIAN / "data.noun").is_file():
        pytest.skip("WordNet is not installed")
    return open_lexicon(str(DEBIAN))


def test_all_sense_keys_of_wordnet_resolve_both_ways(wordnet: Lexicon) -> None:
    """Where `index.sense` is installed, they are its keys, with its offsets, sense numbers and tag counts."""
    lines: dict[str, tuple[str, int, int]] = {}
    if (DEBIAN / "index.sense").is_file():
        with (DEBIAN / "index.sense").open() as file:
            for line in file:
                key, offset, number, count = line.split()
                lines[key] = (offset, int(number), int(count))
        assert set(wordnet.keys()) == lines.keys()
    keys = list(wordnet.keys())
    lemmas = dict.fromkeys(key.partition("%")[0] for key in keys)
    reached = []
    for lemma in lemmas:
        for sense in wordnet.senses(lemma):
            assert wordnet.sense(sense.key) == sense
            reached.append(sense.key)
            told = (sense.synset[1:], sense.number, sense.frequency)
            assert lines.get(sense.key, told) == told
    assert reached == keys
    assert len(set(keys)) == 206_941
    assert (wordnet.version, wordnet.longest_lemma) == ("3.0", 9)
    assert [len(wordnet.senses("break", pos)) for pos in POS] == [16, 59, 0, 0]
    assert wordnet.senses("ddc")[0].key == "ddc%1:06:00::"  # of "ddC" and "DDC" in one synset


@pytest.mark.slow
def test_index_sense_is_not_needed(wordnet: Lexicon, tmp_path: Path) -> None:
    for path in DEBIAN.iterdir():
        if path.is_file() and path.name != "index.sense":
            (tmp_path / path.name).symlink_to(path)
    assert open_lexicon(str(tmp_path)).fingerprint == wordnet.fingerprint


def test_lookups_are_fast_and_small(wordnet: Lexicon) -> None:
    keys = [key for number, key in enumerate(wordnet.keys()) if number % 101 == 0]
    lemmas = list({(sense.lemma, sense.pos) for sense in map(wordnet.sense, keys) if sense})
    words = [(lemma + "s",) for lemma, _ in lemmas if " " not in lemma]

    def microseconds(look_up: Callable[..., object], asked: Sequence[tuple[str, ...]]) -> float:
        took = []
        for _ in range(3):
            started = time.process_time()
            for arguments in asked:
                look_up(*arguments)
            took.append((time.process_time() - started) / len(asked) * 1e6)
        return min(took)

    assert microseconds(wordnet.sense, [(key,) for key in keys]) < 20
    assert microseconds(wordnet.senses, lemmas) < 20
    assert microseconds(wordnet.base_forms, words) < 20
    if not Path("/proc/self/status").is_file():
        pytest.skip("only Linux tells how much memory a process had at most")
    code = (
        "import time; started = time.perf_counter()\n"
        "from limbeck.lexicon.lexicon import open_lexicon\n"
        f"lexicon = open_lexicon({str(DEBIAN)!r}); took = time.perf_counter() - started\n"
        "for key in list(lexicon.keys())[::5]: lexicon.sense(key)\n"
        "lines = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(took, int(lines['VmHWM'].split()[0]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < 1.5
    assert megabytes < 200


@pytest.mark.parametrize(
    ("form", "expected"),
    [  # as Princeton's `wn` program says, and what goes past it
        ("axes", "ax n|axis n|axe v|ax v"),
        ("ran into", "run into v"),
        ("attorneys general", "attorney general n"),
        ("judge advocates general", "judge advocate general n"),
        ("boxesful", "boxful n"),
        ("asking for it", "ask for it v"),
        ("customs duty", "customs duty n"),
        ("customs duties", "customs duty n"),
        ("men of letters", "man of letters n"),
        ("lines of products", "line of products n"),
        ("bases on balls", "base on balls n"),
        ("bogged down", "bog down v"),
        ("kicked the buckets", "kick the bucket v"),
        ("oct.", "oct n"),
        ("better", "better n|better v|better a|good a|well a|better r|well r"),
        ("abaci", "abacus n"),
        ("archer", "archer n"),
        ("plantes", "plant v"),
        ("taken care of", ""),
        ("e-mails", "e-mail n|e-mail v"),
        ("New Yorkers", "new yorker n"),
        ("looked forward", "look forward v"),
        ("air-conditioned", "air-condition v|air-conditioned a"),
    ],
)
def test_known_cases_of_wordnet(wordnet: Lexicon, form: str, expected: str) -> None:
    assert "|".join(f"{lemma} {pos}" for lemma, pos in wordnet.base_forms(form)) == expected


def test_every_lemma_of_wordnet_is_its_own_base_form(wordnet: Lexicon) -> None:
    lemmas = {key.partition("%")[0] for number, key in enumerate(wordnet.keys()) if number % 23 == 0}
    for lemma in lemmas:
        found = wordnet.base_forms(lemma)
        assert {pos for form, pos in found if form == fold(lemma)} == {s.pos for s in wordnet.senses(lemma)}
        assert all(wordnet.senses(form, pos) for form, pos in found)
