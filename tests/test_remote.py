"""Text from elsewhere, addresses and datasets: fetched once, and then a file like any other."""

from __future__ import annotations

import builtins
import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from limbeck.errors import UserError
from limbeck.text import remote
from limbeck.text.corpus import Corpus, build_corpus
from limbeck.text.readers import find_sources
from tests.many_processes import Starter
from tests.tiny_recipes import read_json, write_text, written_recipe

DOCUMENTS = [f"document number {number} tells of a river and its banks" for number in range(40)]


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def corpus(tmp_path: Path, *patterns: str) -> Corpus:
    return build_corpus(
        patterns, base=tmp_path, words=16, min_words=2, on_error="stop", cache=tmp_path / "cache", label="t"
    )


def passages(found: Corpus) -> list[str]:
    return [found.text(index) for index in range(len(found))]


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("remote-*"))


def dataset(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_a_remote_file_is_read_as_a_local_one_and_fetched_once(
    tmp_path: Path, memory: fsspec.AbstractFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    content = "\n\n".join(DOCUMENTS).encode()
    (tmp_path / "local.txt").write_bytes(content)
    memory.pipe("/corpus/a.txt.gz", gzip.compress(content))
    with caplog.at_level(logging.INFO, "limbeck"):
        found = corpus(tmp_path, "memory://corpus/a.txt.gz")
        again = corpus(tmp_path, "memory://corpus/a.txt.gz")
    assert passages(found) == passages(corpus(tmp_path, "local.txt"))
    assert again.folder == found.folder
    assert sum("fetching" in line for line in caplog.messages) == 1
    assert read_json(copies(tmp_path)[0] / "source.json")["source"] == "memory://corpus/a.txt.gz"


def test_folders_and_patterns_and_a_file_that_has_changed(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    for number, document in enumerate(DOCUMENTS[:3]):
        memory.pipe(f"/many/{number}.txt", document.encode())
    memory.pipe("/many/readme.md", b"not a text of the corpus")
    assert passages(corpus(tmp_path, "memory://many")) == DOCUMENTS[:3]
    assert passages(corpus(tmp_path, "memory://many/[12].txt")) == DOCUMENTS[1:3]
    before = len(copies(tmp_path))
    memory.pipe("/many/1.txt", b"something else entirely now")
    assert passages(corpus(tmp_path, "memory://many/1.txt")) == ["something else entirely now"]
    assert len(copies(tmp_path)) == before + 1


def test_without_a_connection_the_copy_serves(
    tmp_path: Path,
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory.pipe("/a.txt", DOCUMENTS[0].encode())
    found = corpus(tmp_path, "memory://a.txt")

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(type(memory), "info", unreachable)
    assert corpus(tmp_path, "memory://a.txt").folder == found.folder
    assert "memory://a.txt cannot be reached; the copy that is here is used" in caplog.text
    with pytest.raises(UserError, match=r"t: memory://b\.txt cannot be reached, and no copy of it is here"):
        corpus(tmp_path, "memory://b.txt")


def test_a_fetch_that_breaks_off_leaves_nothing(
    tmp_path: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/a.txt", DOCUMENTS[0].encode())

    def broken(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "open", broken)
        with pytest.raises(UserError, match=r"memory://a\.txt cannot be read: .*reset"):
            corpus(tmp_path, "memory://a.txt")
    assert not copies(tmp_path)
    assert passages(corpus(tmp_path, "memory://a.txt")) == DOCUMENTS[:1]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("memory://nothing.txt", "there is no text at memory://nothing.txt; correct the address"),
        ("nosuch://a.txt", "nosuch://a.txt cannot be read: Protocol not known: nosuch"),
        ("hf:only", r"'hf:only' is not understood; write hf:DATASET\[/CONFIG\]:SPLIT:COLUMN"),
        ("hf:a/b:train[5]:text", "is not understood"),
        ("hf:a/b:train:", "is not understood"),
        ("hf:./data:train:body", "has no column 'body'; it has: number, text"),
        ("hf:./data:train:number", "column 'number' of .* holds int, not text"),
        ("hf:./data:other:text", "cannot be read: .*; correct or remove it"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(
    tmp_path: Path,
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    said: str,
) -> None:
    dataset(tmp_path / "data", [{"number": 1, "text": "some words of text"}])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as error:
        find_sources([pattern], tmp_path, "t", tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not copies(tmp_path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name in ("datasets", "aiohttp"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs the package datasets; install .*limbeck\[hub\]"):
        remote.fetch("hf:org/name:train:text", tmp_path, "t")


def test_rows_of_a_dataset_are_documents(tmp_path: Path) -> None:
    texts = ["one two three.\n\nfour five\r\n\r\nsix", "  ", *DOCUMENTS]
    folder = dataset(tmp_path / "data", [{"text": text} for text in texts])
    found = corpus(tmp_path, f"hf:{folder}:train:text")
    assert passages(found) == ["one two three.\nfour five\nsix", *DOCUMENTS]
    assert passages(corpus(tmp_path, f"hf:{folder}:train[:4]:text")) == passages(found)[:3]
    assert len(copies(tmp_path)) == 2


def test_a_hub_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hf:org/name:train:text cannot be reached, and no copy"):
        remote.fetch("hf:org/name:train:text", tmp_path, "t")


def test_several_processes_train_on_it_as_one_does_on_a_file(many: Starter, tmp_path: Path) -> None:
    train = {"steps": 4, "batch": 8, "micro_batch": 8, "eval_every": 4, "save_every": 2}
    write_text(tmp_path)
    recipe = written_recipe(tmp_path, train=train)
    documents = (tmp_path / "train.txt").read_text(encoding="utf-8").split("\n\n")
    folder = dataset(tmp_path / "data", [{"text": text} for text in documents])
    text = [
        "--set",
        f'text.train=["hf:{folder}:train:text"]',
        "--set",
        f'text.valid=["file://{tmp_path}/valid.txt"]',
    ]
    one = many.run("run", recipe, "--output", tmp_path / "one", world=1)
    assert one.codes == [0], one.err
    half = many.run("run", recipe, *text, "--set", "train.steps=2", "--output", tmp_path / "two")
    assert half.codes == [0, 0], half.err
    rest = many.run(
        "run", recipe, *text, "--set", "train.steps=2", "--extend", "2", "--output", tmp_path / "two"
    )
    assert rest.codes == [0, 0], rest.err
    first, second = (read_json(tmp_path / name / "results.json") for name in ("one", "two"))
    assert second["text"]["train"]["passages"] == first["text"]["train"]["passages"]
    whole = many.run("run", recipe, *text, "--output", tmp_path / "whole", world=1)
    assert whole.codes == [0], whole.err
    model = "model/model.safetensors"
    assert (tmp_path / "whole" / model).read_bytes() == (tmp_path / "one" / model).read_bytes()
