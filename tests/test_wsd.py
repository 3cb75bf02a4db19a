"""Sets found in a folder, baselines, and `limbeck eval wsd`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from limbeck.cli import app
from limbeck.errors import UserError
from limbeck.gloss.instances import Instance, load_keys, write_jsonl
from limbeck.gloss.model import GlossModel
from limbeck.gloss.settings import GlossSettings
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.tasks.wsd_baselines import first_sense, most_frequent_sense, random_sense
from limbeck.tasks.wsd_measure import WsdSettings, evaluate_sets, prepare
from limbeck.tasks.wsd_sets import FIVE, choose, count_keys, find_sets
from tests.list_lexicon import ListLexicon
from tests.mini_wordnet import write_wordnet


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), prog_name="limbeck")


def refused(*words: object) -> str:
    """The one line that a refused command says."""
    result = invoke(*words)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert len(said) == 1, result.stderr
    return said[0].removeprefix("limbeck: ")


BANK = ListLexicon(
    [("n", "bank", f"gloss {n}", ()) for n in range(4)]
    + [("v", "bank", "tip", ()), ("n", "dog", "animal", ())]
)


def test_baselines_by_hand() -> None:
    senses = BANK.senses("bank", "n")
    assert first_sense(senses) == ("bank%1:00:00::",)
    assert most_frequent_sense(senses, {"bank%1:00:02::": 3, "bank%1:00:01::": 2}) == ("bank%1:00:02::",)
    tied = {"bank%1:00:03::": 2, "bank%1:00:01::": 2}
    assert most_frequent_sense(senses, tied) == ("bank%1:00:01::",), "the lower sense number"
    assert most_frequent_sense(senses, {"dog%1:00:00::": 9}) == ("bank%1:00:00::",), "back-off: the first"
    assert first_sense(()) == most_frequent_sense((), {}) == ()
    assert random_sense(senses, ["bank%1:00:01::", "dog%1:00:00::"]) == 0.25
    assert random_sense((), ["x"]) == 0.0


SENTENCE = '<sentence id="{s}"><instance id="{s}.t0" lemma="{lemma}" pos="NOUN">{form}</instance></sentence>'


def write_set(folder: Path, name: str, rows: list[tuple[str, str, str]]) -> None:
    """A set of one-word sentences: lemma, form, gold keys."""
    folder.mkdir(parents=True, exist_ok=True)
    body = "".join(
        SENTENCE.format(s=f"d0.s{n}", lemma=lemma, form=form) for n, (lemma, form, _) in enumerate(rows)
    )
    (folder / f"{name}.data.xml").write_text(f'<corpus><text id="d0">{body}</text></corpus>')
    keys = "".join(f"d0.s{n}.t0 {key}\n" for n, (_, _, key) in enumerate(rows))
    (folder / f"{name}.gold.key.txt").write_text(keys)


def bank(number: int) -> tuple[str, str, str]:
    return "bank", "Banks", f"bank%1:00:0{number}::"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The five sets, ALL and SemCor, as the framework's archive lays them out."""
    for place, name in enumerate(FIVE):
        write_set(tmp_path / "eval" / name, name, [bank(n) for n in (0, 1, place % 3)])
    write_set(tmp_path / "eval" / "ALL", "ALL", [bank(0)])
    write_set(tmp_path / "train", "semcor", [bank(1), bank(1), bank(2), ("dog", "dogs", "dog%1:00:00::")])
    return tmp_path


def test_sets_are_found_and_chosen(data: Path) -> None:
    found = find_sets(data)
    assert set(found.sets) == {*FIVE, "ALL"}
    assert found.trained == data / "train" / "semcor.gold.key.txt"
    assert count_keys(found.trained) == {"bank%1:00:01::": 2, "bank%1:00:02::": 1, "dog%1:00:00::": 1}

    def names(*wanted: str) -> list[str]:
        return [one.name for one in choose(found, wanted)]

    assert names() == names("all") == names("ALL", "se2") == list(FIVE)
    assert names("se13", "SE07", "senseval2") == ["senseval2", "semeval2007", "semeval2013"]
    with pytest.raises(UserError, match="no set 'se99' in the data; it has senseval2, senseval3"):
        names("se99")
    (data / "eval" / "senseval3" / "senseval3.data.xml").unlink()
    found = find_sets(data)
    assert names() == ["senseval2", "semeval2007", "semeval2013", "semeval2015", "ALL"]
    assert names("ALL") == ["ALL"]


def test_places_without_sets(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "eval" / "senseval2" / "senseval2.gold.key.txt").unlink()
    with pytest.raises(UserError, match=r"senseval2\.data\.xml has no senseval2\.gold\.key\.txt beside it"):
        find_sets(data)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="has no set"):
        find_sets(empty)
    with pytest.raises(UserError, match="there is no"):
        find_sets(empty / "none")
    (empty / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"neither NAME\.data\.xml nor NAME\.jsonl"):
        find_sets(empty / "a.txt")
    write_set(empty / "one", "x", [bank(0)])
    write_set(empty / "two", "x", [bank(0)])
    with pytest.raises(UserError, match="are sets of one name"):
        find_sets(empty)
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    said = refused("eval", "wsd", "no-model")
    assert "name their folder with --data (with several tasks --wsd-data), or set LIMBECK_DATA" in said
    monkeypatch.setenv("LIMBECK_DATA", str(empty))
    assert f"there is no {empty / 'wsd'}" in refused("eval", "wsd", "no-model")


def second_sense(instances: Iterable[Instance]) -> Iterator[tuple[str, str | None]]:
    for instance in instances:
        yield instance.id, None if instance.id == "d0.s0.t0" else "bank%1:00:01::"


def test_sets_are_measured_beside_their_baselines(data: Path, tmp_path: Path) -> None:
    found = find_sets(data)
    assert found.trained
    sets, counts = choose(found, []), count_keys(found.trained)
    prepared = [prepare(one, BANK, counts, "all") for one in sets]
    told: list[int] = []
    output = tmp_path / "out"
    measured = evaluate_sets(
        second_sense,
        sets,
        prepared,
        WsdSettings("all", replicates=20),
        output=output,
        progress=lambda what, done, total: told.append(done),
    )
    assert [one["name"] for one in measured] == [*FIVE, "ALL"]
    first, whole = measured[0], measured[-1]
    # gold 0, 1, 0; the answers: none, 1, 1
    assert (first["instances"], first["candidates_per_instance"]) == (3, 5)
    assert first["model"]["precision"] == 0.5
    assert first["model"]["recall"] == pytest.approx(1 / 3)
    assert first["model"]["parts"]["seen"]["instances"] == 1
    assert first["model"]["parts"]["unseen"]["recall"] == 0
    assert first["baselines"]["first_sense"]["f1"] == pytest.approx(2 / 3)
    assert first["baselines"]["most_frequent_sense"]["f1"] == pytest.approx(1 / 3)
    assert first["baselines"]["random"]["f1"] == pytest.approx(1 / 5)
    assert first["against"]["first_sense"]["mcnemar"]["only_first"] == 2
    assert whole["instances"] == 15
    assert whole["model"]["recall"] == pytest.approx(sum(one["model"]["recall"] for one in measured[:5]) / 5)
    assert load_keys(output / "senseval2.key") == {
        "d0.s1.t0": ("bank%1:00:01::",),
        "d0.s2.t0": ("bank%1:00:01::",),
    }
    assert sorted(path.name for path in output.iterdir()) == sorted(f"{name}.key" for name in FIVE)
    assert told[-1] == 15
    again = prepare(sets[0], BANK, counts, "gold")
    assert again.fingerprint == prepared[0].fingerprint != prepared[1].fingerprint


def test_gold_keys_that_the_lexicon_lacks_are_named_and_counted(data: Path) -> None:
    write_set(data / "eval" / "senseval2", "senseval2", [bank(0), bank(8), bank(8), bank(9)])
    with pytest.raises(
        UserError, match=r"2 of 3 sense keys of .*senseval2\.gold\.key\.txt .*bank%1:00:08::, bank%1:00:09::"
    ):
        prepare(find_sets(data).sets["senseval2"], BANK, None, "gold")


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    return write_wordnet(tmp_path / "wordnet", polysemous=True)


@pytest.fixture
def gloss_model(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny untrained gloss model, saved as any is."""
    settings = GlossSettings(objective="choice", max_length=64)
    GlossModel.start(checkpoint("bert"), settings).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def mini_data(mini: Path, tmp_path: Path) -> Path:
    """The five sets on the words of the mini WordNet, without SemCor."""
    lexicon = open_lexicon(str(mini))
    banks = [sense.key for sense in lexicon.senses("bank", "n")]
    dogs = [sense.key for sense in lexicon.senses("dog", "n")]
    for place, name in enumerate(FIVE):
        rows = [("bank", "banks", banks[place % 3]), ("dog", "dog", dogs[0])]
        write_set(tmp_path / "data" / name, name, [*rows, ("new_york", "New York", "new_york%1:03:00::")])
    return tmp_path / "data"


def test_eval_wsd_from_one_end_to_the_other(
    mini: Path, mini_data: Path, gloss_model: Path, tmp_path: Path
) -> None:
    words = ["eval", "wsd", gloss_model, "--data", mini_data, "--lexicon", mini]
    done = invoke(*words, "--output", tmp_path / "out", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "out" / "wsd.json").read_text())
    assert result["task"] == "wsd"
    assert result["model"]["parameters"] > 0
    assert result["model"]["gloss"]["objective"] == "choice"
    assert result["settings"]["layout"] == "pairs"
    assert result["data"]["lexicon"]["fingerprint"] == open_lexicon(str(mini)).fingerprint
    assert [one["name"] for one in result["sets"]] == [*FIVE, "ALL"]
    assert result["sets"][-1]["model"]["answered"] == 15
    assert result["sets"][0]["baselines"].keys() == {"first_sense", "random"}
    assert result["cost"]["seconds_per_1000_instances"] > 0
    assert any("Without SemCor" in note for note in result["notes"])

    keys = load_keys(tmp_path / "out" / "senseval2.key")
    assert list(keys) == ["d0.s0.t0", "d0.s1.t0", "d0.s2.t0"]
    assert keys["d0.s2.t0"] == ("new_york%1:03:00::",)
    gold = mini_data / "senseval2" / "senseval2.gold.key.txt"
    scored = json.loads(invoke("score", gold, tmp_path / "out" / "senseval2.key", "--json").stdout)
    assert scored["systems"][0]["f1"] == result["sets"][0]["model"]["f1"]

    table = invoke(*words, "--set", "se07", "--candidates", "all", "--layout", "packed", "--window", "1")
    assert table.exit_code == 0, (table.output, table.exception)
    assert "semeval2007" in table.stdout
    assert "all parts of speech compete" in table.stdout
    assert "ALL" not in table.stdout


def test_eval_wsd_of_a_users_own_annotations(mini: Path, gloss_model: Path, tmp_path: Path) -> None:
    lexicon = open_lexicon(str(mini))
    right = lexicon.senses("bank", "n")[0].key
    own = tmp_path / "own.jsonl"
    write_jsonl(
        own,
        [
            Instance("a", "river banks", 6, 11, "", None, (right,)),
            Instance("b", "zzz banks", 0, 3, "", None, (right,)),
        ],
    )
    words = ["eval", "wsd", gloss_model, "--data", own, "--lexicon", mini]
    done = invoke(*words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    result = json.loads(done.stdout)
    assert result["sets"][0]["name"] == "own"
    assert result["sets"][0]["candidates_per_instance"] == len(lexicon.senses("bank")) / 2
    assert (result["sets"][0]["without_candidates"], result["sets"][0]["model"]["answered"]) == (1, 1)
    assert any("1 instances have no sense" in note for note in result["notes"])
    write_jsonl(own, [Instance("a", "river banks", 6, 11, "", None, ())])
    assert "the instance 'a' has no gold key" in refused(*words)
    write_jsonl(own, [Instance("a", "river banks", 6, 11, "", None, ("bank%1:99:99::",))])
    assert "1 of 1 sense keys" in refused(*words)


def test_what_eval_wsd_refuses(
    mini: Path, mini_data: Path, gloss_model: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    words = ["--data", mini_data, "--lexicon", mini]
    assert "gloss" in refused("eval", "wsd", checkpoint("bert"), *words)
    assert "no set 'se99'" in refused("eval", "wsd", gloss_model, *words, "--set", "se99")
    assert "it must be one of pairs, packed" in refused("eval", "wsd", gloss_model, *words, "--layout", "x")
    assert "it must be one of f32" in refused("eval", "wsd", gloss_model, *words, "--precision", "x")
    assert "at least 1" in refused("eval", "wsd", gloss_model, *words, "--tokens", "0")
    taken = mini / "data.noun"
    assert f"cannot write {taken}" in refused("eval", "wsd", gloss_model, *words, "--output", taken)
    assert invoke("eval", "wsd", gloss_model, *words, "--candidates", "x").exit_code == 2
    xml = mini_data / "senseval2" / "senseval2.data.xml"
    xml.write_text(xml.read_text()[:-20])
    assert "cut short" in refused("eval", "wsd", gloss_model, *words)
