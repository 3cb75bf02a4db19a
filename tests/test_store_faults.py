"""What may befall a store, what a user may get wrong with one: a line each, exit code 2; the mend works."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from limbeck.pipeline.store import build
from limbeck.recipe import load_recipe
from tests.models import make_checkpoint
from tests.test_bad_input import done, invoke, refused
from tests.tiny_store import PIECES, contents, make_home, small_chunks

FROM_STORE = ("--set", "distill.predictions=store")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "home"
    folder.mkdir()
    with small_chunks():
        build(load_recipe(make_home(folder)))
    return folder


@pytest.fixture
def home(pristine: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of text, teachers, recipe and whole stores, to be spoilt."""
    copy = tmp_path / "home"  # a model is shown by its last two folders
    shutil.copytree(pristine, copy)
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(pristine), str(copy)))
    with small_chunks():
        yield copy


def flip(path: Path, place: int = -9) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def chunk(home: Path, name: str = "000-000001") -> Path:
    return home / "store" / "sea" / "chunks" / name


def remove_shard(home: Path) -> None:
    for number in range(5):
        chunk(home, f"001-{number:06d}").unlink()


def change_places(home: Path) -> None:
    one, other = chunk(home), chunk(home, "000-000002")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def take_another_s(home: Path) -> None:
    shutil.copy(home / "store" / "hill" / "chunks" / "000-000001", chunk(home))


def store_file(name: str) -> Callable[[Path], Path]:
    return lambda home: home / "store" / "sea" / name


HEADER, PASSAGES, WORDS, TOKENIZER = map(
    store_file, ("header.json", "passages.u64", "valid.safetensors", "tokenizer/tokenizer.json")
)
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit": (lambda h: flip(chunk(h)), "sea: chunk 000-000001 is damaged (its checksum does not fit)"),
    "flipped bit in the counts": (lambda h: flip(chunk(h), 45), "sea: chunk 000-000001 is "),
    "flipped bit in the key": (lambda h: flip(chunk(h), 30), "000-000001 is of another store, or damaged"),
    "flipped bit at the start": (lambda h: flip(chunk(h), 2), "does not start as a chunk does"),
    "cut off": (lambda h: cut(chunk(h)), "sea: chunk 000-000001 is cut off or damaged ("),
    "almost nothing": (lambda h: chunk(h).write_bytes(b"LIM"), "000-000001 is cut off after 3 bytes"),
    "empty": (lambda h: chunk(h).write_bytes(b""), "000-000001 is cut off after 0 bytes"),
    "missing": (lambda h: chunk(h).unlink(), "sea: chunk 000-000001 is missing"),
    "a missing shard": (remove_shard, "sea: 5 chunks, 001-000000 to 001-000004, are missing"),
    "chunks that changed places": (
        change_places,
        "000-000001 is damaged (it says that it belongs elsewhere)",
    ),
    "another teacher's chunk": (take_another_s, "000-000001 is of another store, or damaged"),
    "header": (lambda h: flip(HEADER(h), 200), "sea: header.json is damaged"),
    "passages": (lambda h: flip(PASSAGES(h)), "passages.u64 is damaged"),
    "no passages": (lambda h: PASSAGES(h).unlink(), "passages.u64 is missing"),
    "words": (lambda h: flip(WORDS(h)), "valid.safetensors is damaged"),
    "no words": (lambda h: WORDS(h).unlink(), "valid.safetensors is missing"),
    "tokenizer": (lambda h: TOKENIZER(h).write_text("{}"), "its tokenizer is missing or damaged"),
    "another tokenizer": (
        lambda h: shutil.copy(h / "store" / "hill" / "tokenizer" / "tokenizer.json", TOKENIZER(h)),
        "its tokenizer is damaged, or read otherwise than by tokenizers",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_named_and_repaired(home: Path, fault: str) -> None:
    """`verify` names it, training from the store is refused, `--repair` leaves the very bytes of before."""
    recipe, spoil, said = home / "recipe.toml", *FAULTS[fault]
    sound = contents(home / "store")
    done("store", "verify", recipe)
    spoil(home)
    spoilt = {name for name, content in contents(home / "store").items() if sound.get(name) != content}
    result = invoke("store", "verify", recipe)
    assert result.exit_code == 2
    assert result.stdout == ""
    named = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert any(said in line for line in named), named
    assert named[-1] == "limbeck: `limbeck store verify RECIPE --repair` makes it again"
    assert len(named) == (3 if fault == "chunks that changed places" else 2)
    assert "limbeck store" in refused("run", recipe, *FROM_STORE)
    shown = done("store", "verify", recipe, "--repair")
    assert "Made again" in shown.stdout
    done("store", "verify", recipe)
    assert contents(home / "store") == sound
    assert spoilt or fault in ("missing", "a missing shard", "no passages", "no words")


def test_building_again_repairs_as_well_and_touches_nothing_else(home: Path) -> None:
    sound = contents(home / "store")
    kept = chunk(home, "001-000003").stat().st_mtime_ns
    flip(chunk(home))
    shown = done("store", "build", home / "recipe.toml")
    assert "chunk 000-000001 is damaged (its checksum does not fit); made again" in shown.stderr
    assert "1 of 10 chunks to build" in shown.stderr
    assert contents(home / "store") == sound
    assert chunk(home, "001-000003").stat().st_mtime_ns == kept


OTHERS: dict[str, tuple[tuple[str, ...], str]] = {
    "masks": (("distill.mask=0.3",), "masks 0.15 of the words, but distill.mask is 0.3"),
    "seed": (("seed=4",), "has the masks of seed 3, not 4 (distill.masking_seed = 3 takes them)"),
    "temperature": (("distill.temperature=2.0",), "was built for distill.temperature = 1, not 2"),
    "k": (("distill.kept=9",), "keeps 8 pieces of a prediction, but distill.kept is 9"),
    "precision": (("teachers.sea.precision=bf16",), "was built in f32, but teachers.sea.precision is bf16"),
    "text": (('text.train=["valid.txt"]',), "is of another text"),
    "passages": (("text.words=12",), "is of another text"),
    "variants": (("distill.variants=3",), "has 2 mask variants, but distill.variants is 3"),
    "nothing there": (("distill.store=nowhere",), "is no store of predictions; `limbeck store build RECIPE`"),
    "a file": (("distill.store=train.txt",), "is no store of predictions"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_store_of_something_else_is_refused(home: Path, other: str) -> None:
    changes, said = OTHERS[other]
    overrides = [word for change in changes for word in ("--set", change)]
    line = refused("run", home / "recipe.toml", *FROM_STORE, *overrides)
    assert said in line
    assert "limbeck store build RECIPE" in line
    if other not in ("variants", "nothing there", "a file"):
        assert "--rebuild" in line
        # nor is it written over, but on demand
        before = contents(home / "store")
        assert "limbeck store build RECIPE --rebuild" in refused(
            "store", "build", home / "recipe.toml", *overrides
        )
        assert contents(home / "store") == before


def test_the_command_that_rebuilds(home: Path) -> None:
    colder = ("--set", "distill.temperature=2.0")
    done("store", "build", home / "recipe.toml", "--rebuild", *colder)
    done("run", home / "recipe.toml", *FROM_STORE, *colder)
    assert "was built for distill.temperature = 2, not 3" in refused(
        "run", home / "recipe.toml", *FROM_STORE, "--set", "distill.temperature=3.0", "--output", home / "no"
    )
    assert "was built with distill.calibrate = true" in refused(
        "run",
        home / "recipe.toml",
        *FROM_STORE,
        *colder,
        "--set",
        "distill.calibrate=false",
        "--output",
        home / "n",
    )


def test_another_teacher_of_that_name(home: Path) -> None:
    make_checkpoint("roberta", home / "sea", tokenizer="bpe", seed=9, vocabulary=PIECES)
    line = refused("run", home / "recipe.toml", *FROM_STORE)
    assert "is of another model than " in line
    assert "or the model has changed since" in line
    shutil.rmtree(home / "store")
    done("store", "build", home / "recipe.toml", "--teacher", "sea")
    assert "hill is no store of predictions" in refused("run", home / "recipe.toml", *FROM_STORE)


def test_a_shard_that_was_never_built(home: Path) -> None:
    shutil.rmtree(home / "store")
    for shard in ("1/3", "3/3"):
        done("store", "build", home / "recipe.toml", "--shard", shard)
    line = refused("run", home / "recipe.toml", *FROM_STORE)
    assert "sea: chunk 000-000003 of 10 is missing and 2 more are not whole either" in line
    result = invoke("store", "verify", home / "recipe.toml")
    assert "sea: 2 chunks, 000-000003 to 000-000004, are missing" in result.stderr
    assert "not finished" in done("store", "info", home / "recipe.toml").stdout
    done("store", "build", home / "recipe.toml", "--shard", "2/3")
    done("run", home / "recipe.toml", *FROM_STORE)


BAD_WORDS = {
    "shard 0 of 2": (("build", "--shard", "0/2"), "--shard 0/2: there is no such shard"),
    "shard 3 of 2": (("build", "--shard", "3/2"), "--shard 3/2: there is no such shard"),
    "no shard": (("build", "--shard", "second"), "--shard second: must be I/N, such as 1/4"),
    "no such teacher": (("build", "--teacher", "lake"), "no teacher 'lake'; there are: sea, hill"),
    "no such store": (("info", "--teacher", "lake"), "no teacher 'lake'; there are: sea, hill"),
}


@pytest.mark.parametrize("words", BAD_WORDS)
def test_wrong_words(home: Path, words: str) -> None:
    (verb, *rest), said = BAD_WORDS[words]
    assert said in refused("store", verb, home / "recipe.toml", *rest)


def test_more_pieces_than_there_are(home: Path) -> None:
    shutil.rmtree(home / "store")
    line = refused("store", "build", home / "recipe.toml", "--set", "distill.kept=1000")
    assert line == f"distill.kept is 1000, but teacher 'sea' has only {PIECES} pieces; set it lower"
    assert "[distill] kept = 1: must be a whole number" in refused(
        "store", "build", home / "recipe.toml", "--set", "distill.kept=1"
    )


def test_recipes_with_nothing_to_store(home: Path) -> None:
    text = (home / "recipe.toml").read_text()
    (home / "alone.toml").write_text(text.split("[[teachers]]")[0])
    assert "the recipe has no [[teachers]]: there is nothing to store" in refused(
        "store", "build", home / "alone.toml"
    )


def test_folders_in_place_of_recipes(home: Path) -> None:
    shown = done("store", "info", home / "store").stdout
    assert "Store of sea" in shown
    assert "Store of hill" in shown
    done("store", "verify", home / "store" / "sea")
    (home / "empty").mkdir()
    assert "holds no store" in refused("store", "verify", home / "empty")
    assert "holds no store of teacher 'lake'" in refused("store", "info", home / "store", "--teacher", "lake")
    assert "give the recipe instead of the folder" in refused("store", "verify", home / "store", "--repair")
    found = json.loads(done("store", "info", home / "store", "--json").stdout)
    assert found["stores"][0]["complete"] is True
    assert 2 < found["stores"][0]["bytes_per_token"] < 8


def test_somebody_else_s_folder_is_left_alone(home: Path) -> None:
    (home / "store2" / "sea").mkdir(parents=True)
    (home / "store2" / "sea" / "thesis.tex").write_text("precious")
    line = refused("store", "build", home / "recipe.toml", "--set", "distill.store=store2")
    assert "holds thesis.tex but no store" in line
    assert [path.name for path in (home / "store2" / "sea").iterdir() if path.name[0] != "."] == [
        "thesis.tex"
    ]


def test_chunks_without_their_header_are_not_written_over(home: Path) -> None:
    before = contents(home / "store" / "sea" / "chunks")
    flip(home / "store" / "sea" / "header.json", 200)
    line = refused("store", "build", home / "recipe.toml", "--set", "distill.mask=0.4")
    assert "has no sound header.json, and its chunks are not of this recipe" in line
    assert contents(home / "store" / "sea" / "chunks") == before


@pytest.fixture
def room() -> Iterator[Callable[[int | None], None]]:
    """`room(n)` refuses files of more than n bytes, as a disk with no more space would; None: no limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def leave(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_what_is_complete_usable(home: Path, room: Callable[[int | None], None]) -> None:
    sound = contents(home / "store")
    sizes = {path: path.stat().st_size for path in (home / "store" / "sea" / "chunks").iterdir()}
    large = sorted(sizes.values())[len(sizes) // 2]
    for path in sizes:
        path.unlink()
    room(large)
    line = refused("store", "build", home / "recipe.toml", "--teacher", "sea")
    assert "File too large; free space there or write elsewhere" in line
    room(None)
    left = contents(home / "store")
    assert 1 < len(left) < len(sound)
    assert left.items() <= sound.items(), "nothing half written, and what is there is whole"
    done("store", "build", home / "recipe.toml")
    assert contents(home / "store") == sound


def test_one_whole_variant_is_enough_for_who_asks_for_no_more(home: Path) -> None:
    chunk(home, "001-000000").unlink()
    assert "001-000000 of 10 is missing" in refused("run", home / "recipe.toml", *FROM_STORE)
    done("run", home / "recipe.toml", *FROM_STORE, "--set", "distill.variants=1")


def test_damage_found_while_training_ends_it_with_a_line(home: Path) -> None:
    flip(chunk(home))
    line = refused("run", home / "recipe.toml", *FROM_STORE)
    assert "000-000001 is damaged (its checksum does not fit); `limbeck store verify RECIPE --repair`" in line
