"""Lexicons that are missing, cut short or of two versions, and keys that a lexicon does not have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.lexicon.lexicon import Lexicon, check_keys, check_lexicon, open_lexicon
from tests.mini_wordnet import write_wordnet


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be read only."""
    return write_wordnet(tmp_path_factory.mktemp("mini"), polysemous=True, sense_index=True)


@pytest.fixture(scope="module")
def lexicon(mini: Path) -> Lexicon:
    return open_lexicon(str(mini))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to be damaged."""
    return write_wordnet(tmp_path / "wordnet", polysemous=True)


def cut_in_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def cut_at_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("name", ["data.verb", "index.noun", "index.adv", "verb.exc", "adj.exc"])
def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"wordnet lacks {name}; install") as error:
        open_lexicon(str(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("data.noun", cut_in_line, r"data\.noun, line \d+ is no line of a WordNet data file"),
        ("data.noun", cut_at_line, r"data\.noun of .* lacks 'jan\.' at \d{8}, which index\.noun"),
        ("data.verb", cut_at_line, r"data\.verb of .* lacks 'bank' at \d{8}, which index\.verb has"),
        ("index.noun", cut_in_line, r"index\.noun, line \d+ is damaged or cut short"),
        ("index.adj", cut_at_line, r"index\.adj of .* lacks 'well-known' at \d{8}, which data\.adj has"),
        ("verb.exc", cut_in_line, r"verb\.exc, line \d+ is damaged or cut short"),
        ("cntlist.rev", cut_in_line, r"cntlist\.rev, line \d+ is damaged or cut short"),
    ],
)
def test_files_cut_short_are_named(
    folder: Path, cache: Path, name: str, damage: Callable[[Path], None], said: str
) -> None:
    damage(folder / name)
    with pytest.raises(UserError, match=said):
        open_lexicon(str(folder))
    assert not list(cache.rglob("index"))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("index.noun", "zoo n 2 0 2 0 00000167\n"),  # two synsets told, one listed
        ("index.noun", "zoo v 1 0 1 0 00000167\n"),
        ("index.noun", "zoo n 0 0 0 0\n"),
        ("index.noun", "zoo n one 0 1 0 00000167\n"),
        ("index.noun", "zoo\n"),
        ("index.noun", "\n"),
        ("noun.exc", "zoos\n"),
        ("cntlist.rev", "zoo%1:03:00:: 1 many\n"),
        ("cntlist.rev", "zoo%1:03:00:: 1 -1\n"),
        ("cntlist.rev", "zoo%1:03:00:: 1\n"),
        ("cntlist.rev", "caf\xe9%1:03:00:: 1 2\n"),
    ],
)
def test_damaged_lines_are_named(folder: Path, name: str, bad: str) -> None:
    good = (folder / name).read_bytes()
    (folder / name).write_bytes(good + bad.encode("latin-1"))
    number = good.count(b"\n") + 1
    with pytest.raises(UserError, match=rf"{name}, line {number} is damaged"):
        open_lexicon(str(folder))


def test_a_satellite_needs_its_head(folder: Path) -> None:
    text = (folder / "data.adj").read_text()
    for other in (text.replace("& ", "= "), text.replace(" s 01 ", " s 01 ").replace("& 00000", "& 99999")):
        (folder / "data.adj").write_text(other)
        with pytest.raises(UserError, match=r"data\.adj of .* has a satellite at \d{8} without its head"):
            open_lexicon(str(folder))


def test_files_of_two_versions_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_wordnet(tmp_path / "other", copies=2, version="3.1", sense_index=True)
    shutil.copy(other / "index.sense", folder)
    with pytest.raises(
        UserError, match=r"index\.sense of .* misplaces [\d,]+ of \d+ senses .*another version"
    ):
        open_lexicon(str(folder))
    (folder / "index.sense").unlink()
    shutil.copy(other / "data.verb", folder)
    with pytest.raises(UserError, match=r"files of WordNet 3\.0 \(data\.noun\) and 3\.1 \(data\.verb\)"):
        open_lexicon(str(folder))
    text = (folder / "data.verb").read_text().replace("3.1", "3.0")
    (folder / "data.verb").write_text(text)
    with pytest.raises(UserError, match=r"data\.verb of .* lacks 'ask_for_it'.*or the files are of two"):
        open_lexicon(str(folder))


def test_a_sense_index_cut_short_is_refused(mini: Path, tmp_path: Path) -> None:
    shutil.copytree(mini, tmp_path / "mini")
    cut_at_line(tmp_path / "mini" / "index.sense")
    with pytest.raises(UserError, match=r"index\.sense of .* lacks or misplaces 1 of 52 senses"):
        open_lexicon(str(tmp_path / "mini"))


def test_which_lexicon_is_opened(
    mini: Path, lexicon: Lexicon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_WORDNET", str(mini))
    assert open_lexicon().fingerprint == lexicon.fingerprint
    shutil.copytree(mini, tmp_path / "home" / "dict")
    assert open_lexicon(str(tmp_path / "home")).fingerprint == lexicon.fingerprint
    (tmp_path / "file").write_text("x")
    for wrong in ("", "wordnet3", str(tmp_path / "absent"), str(tmp_path / "file")):
        with pytest.raises(UserError, match="is no lexicon; write wordnet, or a folder"):
            open_lexicon(wrong)
        with pytest.raises(UserError, match="is no lexicon; write wordnet, or a folder"):
            check_lexicon(wrong)
    (tmp_path / "empty").mkdir()
    for asked in (open_lexicon, check_lexicon):
        with pytest.raises(UserError, match=r"empty lacks data\.noun, data\.verb"):
            asked(str(tmp_path / "empty"))
    check_lexicon("wordnet")
    check_lexicon(str(tmp_path / "home"))


def test_unknown_keys_are_named_and_counted(lexicon: Lexicon) -> None:
    known = list(lexicon.keys())
    check_keys(lexicon, known)
    check_keys(lexicon, [])
    wrong = [f"zoo%1:03:{number:02d}::" for number in range(7)]
    with pytest.raises(UserError) as error:
        check_keys(lexicon, [*known, *wrong, *wrong], "gold.key.txt")
    total = len(known) + 7
    named = ", ".join(wrong[:5])
    assert str(error.value) == (
        f"7 of {total} sense keys of gold.key.txt are not in the lexicon wordnet 3.0: {named}, …; correct "
        f"them, or use the version of WordNet they come from"
    )
    with pytest.raises(UserError, match=r"1 of 1 sense keys are .*: oewn-zoo-n; they are no sense keys of"):
        check_keys(lexicon, ["oewn-zoo-n"])


@pytest.mark.parametrize(
    ("version", "told"), [("3.1", "WordNet 3.1"), ("", "a WordNet that does not tell its version")]
)
def test_keys_of_another_wordnet_are_recognised(folder: Path, version: str, told: str) -> None:
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("WordNet 3.0", f"WordNet {version}"))
    other = open_lexicon(str(folder))
    assert other.version == version
    check_keys(other, ["bank%1:03:00::"])
    with pytest.raises(UserError) as error:
        check_keys(other, ["bank%1:17:01::", "bank%1:03:00::"])
    assert "1 of 2 sense keys are not in the lexicon wordnet" in str(error.value)
    assert f"SemCor and the evaluation sets are WordNet 3.0's, and this is {told}: point" in str(error.value)
