"""What a user may get wrong: one line that says what and how to mend it, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from limbeck.cli import app
from tests.models import TEXTS, make_checkpoint
from tests.tiny_recipes import read_json, sentences, write_text, written_recipe


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), prog_name="limbeck")


def refused(*words: object) -> str:
    """The one line that a refused command says."""
    result = invoke(*words)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert len(said) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == said[0], "it is the last thing said"
    return said[0].removeprefix("limbeck: ")


def done(*words: object) -> Result:
    result = invoke(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_text(tmp_path)
    return tmp_path


def empty(path: Path) -> None:
    path.write_bytes(b"")


def blank(path: Path) -> None:
    path.write_text(" \n\t\n\u3000\r\n" * 300, encoding="utf-8")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def not_utf8(path: Path) -> None:
    path.write_bytes("das Öl der alten Mühle floß über\n".encode("latin-1") * 20)


def short(path: Path) -> None:
    path.write_text("\n\n".join(f"only {n} words" for n in range(50)), encoding="utf-8")


def unbroken(path: Path) -> None:
    path.write_text("x" * 3_000_000, encoding="utf-8")


BAD_TEXT: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (empty, "is empty"),
    "white space": (blank, "has nothing but white space"),
    "binary": (binary, "NUL bytes"),
    "not UTF-8": (not_utf8, 'text.on_error = "skip"'),
    "short": (short, "text.min_words"),
    "unbroken": (unbroken, "without white space"),
}


@pytest.mark.parametrize("part", ["train", "valid"])
@pytest.mark.parametrize("name", BAD_TEXT)
def test_text_that_cannot_be_used(home: Path, name: str, part: str) -> None:
    write, words = BAD_TEXT[name]
    write(home / "bad.txt")
    said = refused("run", written_recipe(home, text={part: ["bad.txt"], "min_words": 4}))
    assert words in said
    assert "bad.txt" in said or f"text.{part}" in said
    assert not (home / "run").exists()


def test_text_that_is_not_there(home: Path) -> None:
    (home / "folder").mkdir()
    (home / "folder" / "notes.md").write_text("no text by its name")
    (home / "fake.gz").write_bytes(b"\x1f\x8b\x08 this is no gzip file")
    for train, words in (
        ("nowhere.txt", "nowhere.txt"),
        ("*.text", "nothing matches"),
        ("folder", "no file in"),
        ("fake.gz", "damaged"),
        ("wordnet:cats", "not understood"),
    ):
        assert words in refused("run", written_recipe(home, text={"train": [train]}))


def test_lines_that_are_not_utf8_may_be_skipped_and_are_counted(home: Path) -> None:
    good = (home / "train.txt").read_bytes()
    (home / "mixed.txt").write_bytes(
        b"\n\n".join([good, b"an \xff odd line of it", b"one \xc3( more", good[:99]])
    )
    path = written_recipe(home, text={"train": ["mixed.txt"], "on_error": "skip"})
    done("run", path)
    assert read_json(home / "run" / "results.json")["text"]["train"]["bad_lines"] == 2
    assert "mixed.txt" in refused("run", path, "--set", "text.on_error=stop", "--output", home / "other")


def test_valid_that_overlaps_train_is_warned_of_and_counted(home: Path) -> None:
    said = done("run", written_recipe(home, text={"valid": ["valid.txt", "train.txt"]}))
    results = read_json(home / "run" / "results.json")["text"]
    assert results["overlap"] == results["train"]["passages"]
    assert results["valid"]["passages"] > results["overlap"]
    assert f"{results['overlap']} of {results['valid']['passages']} passages of text.valid" in said.stderr


def test_a_corpus_smaller_than_a_batch(home: Path) -> None:
    (home / "small.txt").write_text("\n\n".join(TEXTS[:5]))
    said = done(
        "run", written_recipe(home, text={"train": ["small.txt"]}, train={"batch": 64, "micro_batch": 64})
    )
    assert "has only 5 passages" in said.stderr
    assert "calibrated" not in said.stderr, "there are no teachers"
    assert read_json(home / "run" / "results.json")["cost"]["steps"] == 2


def test_one_passage_to_train_and_one_to_measure_on(home: Path) -> None:
    (home / "one.txt").write_text("She reads the book that he wrote")
    (home / "two.txt").write_text("Water boils at a hundred degrees")
    model = make_checkpoint("bert", home / "bert")
    text = {"train": ["one.txt"], "valid": ["two.txt"]}
    path = written_recipe(home, {"bert": model}, text=text)
    done("check", path)
    assert "uncalibrated" in done("run", path).stderr
    results = read_json(home / "run" / "results.json")
    assert results["text"]["valid"]["passages"] == 1
    assert results["valid"]["nats"] > 0


def test_a_student_without_a_piece_for_what_it_is_measured_on(home: Path) -> None:
    (home / "odd.txt").write_text("\ufffd \ufffd \ufffd \ufffd \ufffd", encoding="utf-8")
    said = refused("run", written_recipe(home, text={"valid": ["odd.txt"]}))
    assert "text.valid" in said
    assert "give more text" in said


WRONG_RECIPE = [
    ({"train": {"steps": 0}}, "[train] steps = 0"),
    ({"train": {"steps": 2.5}}, "[train] steps = 2.5"),
    ({"distill": {"mask": 0}}, "[distill] mask = 0"),
    ({"distill": {"mask": 1}}, "[distill] mask = 1"),
    ({"distill": {"kd": 1.5}}, "[distill] kd = 1.5"),
    ({"distill": {"temperature": 0}}, "[distill] temperature = 0"),
    ({"distill": {"weighting": "best"}}, "max_prob"),
    ({"train": {"precision": "f16"}}, "use bf16 or f32"),
    ({"student": {"tokenizer": "teacher:nobody"}}, "there is no such teacher"),
    ({"text": {"train": []}}, "[text] train"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG_RECIPE, ids=lambda value: str(value)[:40])
def test_a_recipe_with_a_wrong_value(home: Path, changes: dict[str, Any], words: str) -> None:
    for verb in ("run", "check"):
        assert words in refused(verb, written_recipe(home, **changes))


def test_teachers_of_one_name_and_priors_of_0(home: Path) -> None:
    path = written_recipe(home, {"a": "nowhere/a"})
    path.write_text(path.read_text() + '[[teachers]]\nname = "a"\nmodel = "nowhere/b"\n')
    assert '"a": 2 teachers have it' in refused("run", path)
    path = written_recipe(home, {"a": "nowhere/a", "b": "nowhere/b"})
    said = refused("run", path, "--set", "teachers.a.prior=0", "--set", "teachers.b.prior=0")
    assert "priors sum to 0" in said


def test_a_file_that_is_no_recipe(home: Path) -> None:
    path = home / "recipe.toml"
    path.write_text("steps = = 3\n")
    assert "is not TOML" in refused("run", path)
    path.write_bytes(b'name = "\xff"\n')
    assert "not UTF-8" in refused("run", path)
    assert "cannot read the recipe" in refused("run", home / "nothing.toml")
    assert "cannot read the recipe" in refused("run", home)


@pytest.mark.skipif(torch.cuda.is_available(), reason="f16 and cuda work here")
def test_what_this_machine_cannot_do_is_said_before_any_text_is_read(home: Path) -> None:
    path = written_recipe(home, text={"train": ["nowhere.txt"]}, train={"device": "auto"})
    assert "f16" in refused("run", path, "--set", "train.precision=f16")
    assert "cuda" in refused("run", path, "--set", "train.device=cuda")
    assert "cuda" in refused("check", path, "--set", "train.device=cuda")
    teacher = written_recipe(home, {"a": "nowhere/a"})
    said = refused("run", teacher, "--set", "teachers.a.precision=f16", "--set", "teachers.a.device=auto")
    assert "teacher 'a'" in said
    assert "f16" in said


@pytest.fixture(scope="module")
def bert(checkpoint: Callable[..., Path]) -> Path:
    return checkpoint("bert", tokenizer="wordpiece", seed=5)


def truncated(model: Path) -> str:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return "damaged"


def half_a_header(model: Path) -> str:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])
    return "damaged"


def no_weights(model: Path) -> str:
    (model / "model.safetensors").unlink()
    return "no weight file"


def no_config(model: Path) -> str:
    (model / "config.json").unlink()
    return "no config.json"


def no_tokenizer(model: Path) -> str:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    return "tokenizer"


def not_finite(model: Path) -> str:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    for tensor in weights.values():
        tensor.fill_(float("nan"))
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    return "NaN"


def other_size(model: Path) -> str:
    config = read_json(model / "config.json")
    (model / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    return "do not fit"


@pytest.mark.parametrize(
    "spoil", [truncated, half_a_header, no_weights, no_config, no_tokenizer, not_finite, other_size]
)
def test_a_model_that_cannot_be_used(home: Path, bert: Path, spoil: Callable[[Path], str]) -> None:
    words = spoil(Path(shutil.copytree(bert, home / "model")))
    said = refused("run", written_recipe(home, {"fiction": "./model"}))
    assert words in said
    assert "teacher 'fiction'" in said
    said = refused("run", written_recipe(home, student={"init": "./model"}))
    assert words in said
    assert "student.init" in said


def test_a_path_that_is_no_model(home: Path) -> None:
    for model in ("./nowhere", "./train.txt", "."):
        assert "teacher 'a'" in refused("run", written_recipe(home, {"a": model}))
    assert "student.tokenizer" in refused("run", written_recipe(home, student={"tokenizer": "./nowhere"}))


def test_layers_that_the_model_does_not_have(home: Path, bert: Path) -> None:
    said = refused("run", written_recipe(home, student={"init": str(bert), "layers": [0, 7]}))
    assert "7 out of range" in said
    with_albert = make_checkpoint("albert", home / "albert")
    said = refused("run", written_recipe(home, student={"init": str(with_albert), "layers": [0]}))
    assert "albert" in said
    done("run", written_recipe(home, student={"init": str(bert), "layers": [0]}))  # once it is mended


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_run_directory_that_cannot_be_written(home: Path, verb: str) -> None:
    places = ["train.txt/run", *(["/proc/limbeck"] if Path("/proc").is_dir() else [])]
    for place in places:
        path = written_recipe(home, text={"train": ["nowhere.txt"]})  # said before any text is read
        said = refused(verb, path, "--set", f"output={place}")
        assert "cannot write" in said
        assert place in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_directory_without_permission(home: Path) -> None:
    (home / "closed").mkdir(mode=0o500)
    said = refused("run", written_recipe(home), "--set", "output=closed/run")
    assert "Permission denied" in said


def test_a_run_directory_of_something_else(home: Path) -> None:
    (home / "run").mkdir()
    (home / "run" / "thesis.tex").write_text("precious")
    assert "holds thesis.tex but no run of limbeck" in refused("run", written_recipe(home))
    assert (home / "run" / "thesis.tex").read_text() == "precious"
    assert "cannot write" in refused("run", written_recipe(home), "--output", home / "train.txt")


def test_a_cache_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(home / "train.txt"))
    assert "cannot write" in refused("run", written_recipe(home))


@pytest.fixture
def room() -> Iterator[Callable[[int | None], None]]:
    """`room(n)` refuses files of more than n bytes, as a disk with no more space would; None: no limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def leave(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up(home: Path, room: Callable[[int | None], None]) -> None:
    """Prepared before, so that it is the model that has no room; with room it goes on to the end."""
    path = written_recipe(home)
    done("check", path)
    room(24_000)
    said = refused("run", path)
    assert "cannot write" in said
    assert "free space" in said
    room(None)
    done("run", path)
    assert not list((home / "run").rglob(".tmp-*"))


def test_a_disk_that_is_full_while_text_is_prepared(
    home: Path, cache: Path, room: Callable[[int | None], None]
) -> None:
    room(2000)
    said = refused("run", written_recipe(home))
    assert "cannot write" in said
    assert str(cache) in said


_LONG_LINE = """
import resource, sys
from pathlib import Path
from typer.testing import CliRunner
import torch
torch.set_num_threads(1)
from limbeck.cli import app

def peak(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (result.output, result.exception)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

recipe = sys.argv[1]
print(peak("run", recipe, "--output", "small"), peak("run", recipe, "--set", 'text.train=["long.txt"]'))
"""


def test_one_line_of_50_megabytes(home: Path) -> None:
    """A whole run takes (almost) no more memory than one of a short text."""
    period = " ".join(f"{text} number {n}" for n, text in enumerate(sentences(400, seed=1)))
    with (home / "long.txt").open("w") as file:
        while file.tell() < 50_000_000:
            file.write(period + " ")
    path = written_recipe(home)
    command = [sys.executable, "-c", _LONG_LINE, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=home, check=False)
    assert result.returncode == 0, result.stderr
    short, long = map(int, result.stdout.split())
    assert long - short < 40, "MiB"
    text = read_json(home / "run" / "results.json")["text"]["train"]
    assert text["documents"] == 1
    assert text["passages"] + text["duplicates"] > 100_000
