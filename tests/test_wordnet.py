from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.lexicon.wordnet import Synset, download_wordnet, find_wordnet, synsets
from tests.mini_wordnet import line, write_wordnet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_wordnet(tmp_path / "wordnet")


def test_synsets_in_the_order_asked_for(folder: Path) -> None:
    found = list(synsets(folder))
    assert [synset.pos for synset in found] == list("nnnnnvvaar")
    dog = found[1]
    assert dog.lemmas == ("dog", "domestic dog")
    assert dog.definition == "a tame animal that barks"
    assert dog.examples == ("the dog barked all night", "walk the dog; it is late")
    assert found[3].examples == ("the river was navigable for 50 miles",)  # its source is left out
    assert found[7].lemmas == ("galore",)  # the marker "(ip)" is no part of the word
    assert found[8].definition == "not agitated; without losing self-possession"
    assert [synset.pos for synset in synsets(folder, "rv")] == list("rvv")
    assert isinstance(dog, Synset)
    assert dog.offset == (folder / "data.noun").read_bytes().index(
        line(dog.offset, "n", "dog", "")[:8].encode()
    )


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense\n",
        "00001740 03 n 01 entity 0 000\n",  # no gloss
        "00001740 03 n 01 entity 0 000 | \n",
        "00001740 03 v 01 entity 0 000 | of another part of speech\n",
        "00001740 03 n 03 entity 0 000 | fewer words than counted\n",
        "00001740 03 n 01 entity 0 002 @ 00001740 n 0000 | fewer pointers than counted\n",
        "00001740 03 n 01 entity 0 000 | cut sho",
        "00001740 03 n 01 entity 0 000 | nul \0 byte\n",
    ],
)
def test_damaged_line_names_file_and_line(folder: Path, bad: str) -> None:
    good = (folder / "data.noun").read_text()
    (folder / "data.noun").write_text(good + bad)
    number = good.count("\n") + 1
    with pytest.raises(UserError, match=rf"data\.noun, line {number} "):
        list(synsets(folder, "n"))


def test_damage_of_whole_files(folder: Path) -> None:
    (folder / "data.adv").write_bytes(b"  1 licence only  \n")
    with pytest.raises(UserError, match=r"data\.adv has no synset"):
        list(synsets(folder, "r"))
    (folder / "data.adv").write_bytes(b"00001740 02 r 01 caf\xe9 0 000 | latin-1\n")
    with pytest.raises(UserError, match=r"data\.adv, line 1 "):
        list(synsets(folder, "r"))
    (folder / "data.adv").unlink()
    with pytest.raises(UserError, match=r"lacks data\.adv"):
        next(synsets(folder))
    with pytest.raises(UserError, match="part of speech 'x'"):
        next(synsets(folder, "x"))


def test_find_wordnet(folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WNHOME", raising=False)
    monkeypatch.setenv("LIMBECK_WORDNET", str(folder))
    assert find_wordnet() == folder
    monkeypatch.setenv("LIMBECK_WORDNET", str(tmp_path))
    with pytest.raises(UserError, match="LIMBECK_WORDNET"):
        find_wordnet()
    monkeypatch.delenv("LIMBECK_WORDNET")
    home = tmp_path / "home"
    inner = write_wordnet(home / "dict")
    monkeypatch.setenv("WNHOME", str(home))
    assert find_wordnet() == inner
    monkeypatch.delenv("WNHOME")
    if Path("/usr/share/wordnet/data.noun").is_file():
        assert find_wordnet() == Path("/usr/share/wordnet")
        return
    with pytest.raises(UserError, match=r"LIMBECK_WORDNET.*WNHOME.*wordnet-base.*limbeck data wordnet"):
        find_wordnet()
    write_wordnet(cache / "wordnet")
    assert find_wordnet() == cache / "wordnet"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which a server of our own serves it."""
    served = tmp_path / "site"
    served.mkdir()
    handler = functools.partial(_Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield served, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _archive(path: Path, source: Path, *, evil: bool = False, prefix: str = "WordNet-3.0") -> str:
    with tarfile.open(path, "w:bz2") as tar:
        for file in sorted(source.iterdir()):
            tar.add(file, f"{prefix}/dict/{file.name}")
        licence = tarfile.TarInfo(f"{prefix}/LICENSE")
        licence.size = 4
        tar.addfile(licence, io.BytesIO(b"free"))
        if evil:
            for name in ("../../evil", f"{prefix}/dict/../../evil", "/tmp/dict/evil"):
                member = tarfile.TarInfo(name)
                member.size = 4
                tar.addfile(member, io.BytesIO(b"evil"))
            link = tarfile.TarInfo(f"{prefix}/dict/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_download(site: tuple[Path, str], folder: Path, tmp_path: Path) -> None:
    served, address = site
    sha256 = _archive(served / "wn.tar.bz2", folder, evil=True)
    target, seen = tmp_path / "deep" / "target", []
    done = download_wordnet(
        target, f"{address}/wn.tar.bz2", sha256, lambda got, total: seen.append((got, total))
    )
    assert done == target
    size = (served / "wn.tar.bz2").stat().st_size
    assert seen[-1] == (size, size)
    assert {file.name for file in target.iterdir()} == {file.name for file in folder.iterdir()} | {"LICENSE"}
    assert list(synsets(target)) == list(synsets(folder))
    assert os.listdir(target.parent) == ["target"]
    assert not list(tmp_path.rglob("evil"))


def test_failed_download_leaves_nothing(site: tuple[Path, str], folder: Path, tmp_path: Path) -> None:
    served, address = site
    parent = tmp_path / "parent"
    sha256 = _archive(served / "wn.tar.bz2", folder)
    with pytest.raises(UserError, match=f"expected {'0' * 64}"):
        download_wordnet(parent / "target", f"{address}/wn.tar.bz2", "0" * 64)
    with pytest.raises(UserError, match=r"cannot download .*404"):
        download_wordnet(parent / "target", f"{address}/absent", sha256)
    with pytest.raises(UserError, match="cannot download"):
        download_wordnet(parent / "target", "http://127.0.0.1:1/wn", sha256)
    (served / "text").write_text("no archive")
    with pytest.raises(UserError, match="no tar archive"):
        download_wordnet(parent / "target", f"{address}/text", hashlib.sha256(b"no archive").hexdigest())
    whole = (served / "wn.tar.bz2").read_bytes()
    (served / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no tar archive"):
        download_wordnet(
            parent / "target", f"{address}/cut", hashlib.sha256(whole[: len(whole) // 2]).hexdigest()
        )
    (folder / "data.verb").unlink()
    sha256 = _archive(served / "less.tar.bz2", folder)
    with pytest.raises(UserError, match=r"data\.verb"):
        download_wordnet(parent / "target", f"{address}/less.tar.bz2", sha256)
    assert os.listdir(parent) == []


def test_download_replaces_only_wordnet(
    site: tuple[Path, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, address = site
    sha256, url = _archive(served / "wn.tar.bz2", folder), f"{address}/wn.tar.bz2"
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "letter.doc").write_text("dear")
    with pytest.raises(UserError, match=r"letters holds letter\.doc, which is no file of WordNet"):
        download_wordnet(letters, url, sha256)
    write_wordnet(letters)
    with pytest.raises(UserError, match=r"letters holds letter\.doc"):
        download_wordnet(letters, url, sha256)
    assert (letters / "letter.doc").read_text() == "dear"
    half = tmp_path / "half"
    half.mkdir()
    (half / "data.verb").write_text("old")
    with pytest.raises(UserError, match=r"half holds data\.verb but no data\.noun"):
        download_wordnet(half, url, sha256)
    with pytest.raises(UserError, match="is a file, not a folder"):
        download_wordnet(half / "data.verb", url, sha256)
    older = write_wordnet(tmp_path / "older")
    for name in ("index.sense", "adj.exc", "cntlist.rev", "log.grind.3.0", "verb.Framestext", "LICENSE"):
        (older / name).write_text("old")
    assert download_wordnet(older, url, sha256) == older
    assert not (older / "index.sense").exists()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert download_wordnet(Path("../empty/../new"), url, sha256) == tmp_path / "new"
    for place in (".", "../empty", ".."):
        with pytest.raises(UserError, match="the folder you work in"):
            download_wordnet(Path(place), url, sha256)
    assert Path.cwd().is_dir()


@pytest.mark.data
def test_real_wordnet() -> None:
    folder = Path("/usr/share/wordnet")
    if not (folder / "data.noun").is_file():
        pytest.skip("WordNet is not installed")
    found = list(synsets(folder))
    assert len(found) == 117_659  # as Princeton publishes for WordNet 3.0
    assert all(synset.definition and all(synset.lemmas) for synset in found)
    assert sum(len(synset.examples) for synset in found) > 48_000
