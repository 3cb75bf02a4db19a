"""SemCor, the unified evaluation sets and WordNet 3.0 as they are: counts, baselines, examples."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.gloss.instances import ExampleCounts, candidates, gold_beside, read_unified, wordnet_examples
from limbeck.gloss.keys import opened
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tasks.wsd_measure import WsdSettings, evaluate_sets, prepare
from limbeck.tasks.wsd_sets import FIVE, choose, count_keys, find_sets
from limbeck.text.wordnet_documents import is_held_out

pytestmark = pytest.mark.data

DATA = Path(os.environ.get("LIMBECK_DATA", Path(__file__).parents[2] / "shared" / "data")) / "wsd"

# From the data's own README: instances, senses per instance, F1 of the first and of the most frequent sense.
TABLE = {
    "senseval2": (2282, "5.41", "66.78", "66.83"),
    "senseval3": (1850, "6.78", "66.22", "66.16"),
    "semeval2007": (455, "8.49", "55.16", "55.60"),
    "semeval2013": (1644, "4.86", "62.96", "63.87"),
    "semeval2015": (1022, "5.48", "67.81", "68.00"),
    "ALL": (7253, "5.84", "65.19", "65.45"),
}


@pytest.fixture(scope="module")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip("no sense-labelled data; set LIMBECK_DATA")
    return DATA


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    try:
        found = open_lexicon()
    except UserError as error:
        pytest.skip(str(error))
    if found.version != "3.0":
        pytest.skip(f"WordNet {found.version}, not 3.0")
    return found


def test_baselines_reproduce_the_published_table(data: Path, lexicon: Lexicon) -> None:
    found = find_sets(data)
    assert found.trained
    sets, counts = choose(found, []), count_keys(found.trained)
    prepared = [prepare(one, lexicon, counts, "gold") for one in [*sets, found.sets["ALL"]]]
    measured = evaluate_sets(None, [*sets, found.sets["ALL"]], prepared, WsdSettings(replicates=0))
    for one in measured:
        first, frequent = (one["baselines"][name]["f1"] for name in ("first_sense", "most_frequent_sense"))
        row = (one["instances"], f"{one['candidates_per_instance']:.2f}")
        assert (*row, f"{100 * first:.2f}", f"{100 * frequent:.2f}") == TABLE[one["name"]], one["name"]
        assert one["without_candidates"] == 0
        assert one["gold_among_candidates"] == one["instances"]
    # ALL of its own file and ALL of the five are the same instances.
    assert [one["name"] for one in measured] == [*FIVE, "ALL", "ALL"]
    assert measured[-1] == measured[-2] | {"fingerprint": measured[-1]["fingerprint"]}
    unseen = measured[-1]["baselines"]["first_sense"]["parts"]["unseen"]["instances"]
    assert f"{unseen / 7253:.1%}" == "15.7%"


def test_all_is_the_five_in_a_row(data: Path) -> None:
    whole = read_unified(data / "eval" / "ALL.data.xml", gold_beside(data / "eval" / "ALL.data.xml"))
    for name in FIVE:
        xml = data / "eval" / f"{name}.data.xml"
        for instance in read_unified(xml, gold_beside(xml)):
            other = next(whole)
            assert other.id == f"{name}.{instance.id}"
            assert (other.context, other.start, other.end) == (instance.context, instance.start, instance.end)
            assert other.gold == instance.gold
    assert next(whole, None) is None


def test_counts_of_semcor(data: Path) -> None:
    xml = data / "semcor" / "semcor.data.xml.xz"
    pos: Counter[str | None] = Counter()
    documents, keys, contexts = set(), 0, 0
    for instance in read_unified(xml, gold_beside(xml)):
        pos[instance.pos] += 1
        documents.add(instance.id.partition(".")[0])
        keys += len(instance.gold)
        contexts += "``" in instance.context or "  " in instance.context or " n't" in instance.context
    assert dict(pos) == {"n": 87_002, "v": 88_334, "a": 31_753, "r": 18_947}
    assert pos.total() == 226_036
    assert (len(documents), keys) == (352, 226_695)
    assert contexts == 0
    with opened(xml) as file:
        whole = file.read()
    assert [whole.count(tag) for tag in (b"<text ", b"<sentence ")] == [352, 37_176]
    assert whole.count(b"<wf ") + whole.count(b"<instance ") == 802_443


def test_targets_are_forms_of_their_lemmas(data: Path, lexicon: Lexicon) -> None:
    """Whatever joining tokens does, the span is the target: its lemma is found by reduction nearly always."""
    xml = data / "eval" / "ALL.data.xml"
    instances = list(read_unified(xml, gold_beside(xml)))
    found = 0
    for instance in instances:
        forms = {lemma for lemma, _ in lexicon.base_forms(instance.target, instance.pos)}
        found += instance.lemma.lower() in forms
        assert candidates(lexicon, instance, "gold")
    assert found / len(instances) > 0.97


def test_wordnets_examples(lexicon: Lexicon) -> None:
    counts = ExampleCounts()
    found = list(wordnet_examples(lexicon, counts=counts))
    assert (counts.synsets, counts.examples) == (32_884, 48_239)
    assert counts.found == len(found) == counts.examples - counts.not_found
    assert counts.found > 0.975 * counts.examples
    assert len({instance.id for instance in found}) == len(found)
    held_out = sum(is_held_out(instance.id.partition(".")[0]) for instance in found)
    assert 0.045 < held_out / len(found) < 0.058
