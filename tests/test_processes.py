"""Several processes (contract 1): equal results, resume with another number, one log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.many_checks import WHOLE, close, machines, same_metrics
from tests.many_processes import Starter
from tests.models import FAMILIES
from tests.tiny_recipes import read_json, write_text, written_recipe
from tests.tiny_training import metrics

TRAIN = {"steps": 6, "batch": 8, "micro_batch": 8, "log_every": 2, "eval_every": 3, "save_every": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., Path]) -> Path:
    """A folder with text and two recipes: alone.toml, and taught.toml with two teachers."""
    folder = tmp_path_factory.mktemp("world")
    write_text(folder)
    written_recipe(folder, train=TRAIN).rename(folder / "alone.toml")
    teachers = {
        name: checkpoint(name, tokenizer=kind, seed=5)
        for name, kind in (("bert", "wordpiece"), ("roberta", "bpe"))
    }
    written_recipe(folder, teachers, train=TRAIN).rename(folder / "taught.toml")
    return folder


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_gradients_and_weights_are_those_of_one_process(many: Starter, tmp_path: Path, sharding: str) -> None:
    one = many.start(tmp_path / "1", "none", world=1, job="gradients")
    two = many.start(tmp_path / "2", sharding, job="gradients")
    assert one.end().codes == [0]
    assert two.end().codes == [0, 0], two.said()
    for name in ("gradients.safetensors", WHOLE):
        close(tmp_path / "1" / name, tmp_path / "2" / name)
    same_metrics(tmp_path / "1", tmp_path / "2")


@pytest.mark.parametrize("what", ["loop", "command"])
def test_nothing_is_wrapped_any_more_when_the_processes_part(
    many: Starter, world: Path, tmp_path: Path, what: str
) -> None:
    """Gloo's threads and the end of DDP's reducer may else wait for each other, now and then, for ever."""
    words = ["run", world / "alone.toml", "--set", "train.steps=1", "--output", tmp_path / "run"]
    done = many.run(tmp_path, *(words if what == "command" else []), job="parts")
    assert done.codes == [0, 0], done.err
    assert [(tmp_path / f"wrapped-{rank}").read_text() for rank in range(2)] == ["0", "0"]


SOME = ["bert", "albert", "bart", "modernbert", "xlnet"]
FAMILIES_SLOW = [name for name in FAMILIES if name not in SOME]


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
@pytest.mark.parametrize("name", [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES_SLOW)])
def test_gradients_of_every_family(
    many: Starter, checkpoint: Callable[..., Path], name: str, sharding: str
) -> None:
    folder = checkpoint(name)
    done = many.run(folder.parent, folder.name, sharding, job="family")
    assert done.codes == [0, 0], done.err


@pytest.fixture(scope="module")
def whole_run(many: Starter, world: Path) -> Path:
    """Two teachers, one process."""
    done = many.run("run", world / "taught.toml", "--output", world / "one", "--json", world=1)
    assert done.codes == [0], done.err
    return world / "one"


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_a_whole_command_gives_what_it_gives_in_one_process(
    many: Starter, world: Path, whole_run: Path, sharding: str
) -> None:
    folder = world / f"two-{sharding}"
    words = [
        "run",
        world / "taught.toml",
        "--output",
        folder,
        "--set",
        f"train.sharding={sharding}",
        "--json",
    ]
    done = many.run(*words)
    assert done.codes == [0, 0], done.err
    for name in (WHOLE, "best/model.safetensors", "checkpoints/step-00000006/optimiser.safetensors"):
        close(whole_run / name, folder / name, 2e-5)
    same_metrics(whole_run, folder)
    one, two = read_json(whole_run / "results.json"), read_json(folder / "results.json")
    assert (one["cost"]["processes"], two["cost"]["processes"]) == (1, 2)
    assert two["valid"] == pytest.approx(one["valid"], rel=1e-5)
    assert two["teachers"] == one["teachers"]
    assert two["text"] == one["text"]
    said = json.loads(done.out[0])
    assert [row["state"] for row in said.pop("stages")] == ["ran"]
    assert said == two
    assert done.out[1] == ""
    assert done.err[1] == "", "one process alone talks to the user"
    assert (folder / "log.txt").read_text().count("held-out") == 2
    assert not list(folder.rglob("*-1*")), "nothing of the other process"


@pytest.mark.slow
def test_one_two_one_processes_end_as_one_that_was_never_stopped(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    steady = ["--set", "train.schedule=constant", "--set", "train.warmup=0", "--set", "train.eval_every=9"]
    recipe = world / "alone.toml"
    three = ["--set", "train.steps=3"]
    assert many.run("run", recipe, "--output", tmp_path / "whole", *steady, "--set",
                    "train.steps=12", world=1).codes == [0]  # fmt: skip
    for number, (count, more) in enumerate([(1, []), (2, []), (2, ["fsdp"]), (1, [])]):
        sharding = ["--set", f"train.sharding={more[0]}"] if more else []
        extend = ["--extend", str(3 * number)] if number else []
        words = ["run", recipe, "--output", tmp_path / "parts", *steady, *three, *sharding, *extend]
        done = many.run(*words, world=count)
        assert done.codes == [0] * count, done.err
    close(tmp_path / "whole" / WHOLE, tmp_path / "parts" / WHOLE, 1e-4)
    assert (tmp_path / "parts" / "log.txt").read_text().count("going on after step") == 3
    assert read_json(tmp_path / "parts" / "status.json")["result"]["steps"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_resumed_with_as_many_processes_it_ends_with_the_same_bits(
    many: Starter, tmp_path: Path, sharding: str
) -> None:
    """With dropout: each process has a random stream of its own, and gets it back."""
    runs = [many.start(tmp_path / name, "8", sharding, job="tiny") for name in ("a", "b")]
    until = time.monotonic() + 60
    while not (tmp_path / "b" / "checkpoints").is_dir() or not any(
        (tmp_path / "b" / "checkpoints").iterdir()
    ):
        assert time.monotonic() < until
        time.sleep(0.001)
    runs[1].kill(1)
    runs[1].kill(0)
    runs[1].end()
    assert runs[0].end().codes == [0, 0]
    done = many.run(tmp_path / "b", "8", sharding, job="tiny")
    assert done.codes == [0, 0], done.err
    assert (tmp_path / "a" / WHOLE).read_bytes() == (tmp_path / "b" / WHOLE).read_bytes()
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


@pytest.mark.slow
def test_f16_scaler_is_the_same_sharded_or_not(many: Starter, tmp_path: Path) -> None:
    runs = [many.start(tmp_path / sharding, sharding, job="precise") for sharding in ("none", "fsdp")]
    for run in runs:
        assert run.end().codes == [0, 0], run.said()
    close(tmp_path / "none" / WHOLE, tmp_path / "fsdp" / WHOLE)
    states = [read_json(tmp_path / n / "checkpoints/step-00000006/state.json") for n in ("none", "fsdp")]
    assert states[0]["state"]["scaler"] == states[1]["state"]["scaler"] is not None


def test_a_process_more_than_before_gets_a_stream_of_its_own(many: Starter, tmp_path: Path) -> None:
    assert many.run(tmp_path / "run", "4", "none", job="tiny", world=1).codes == [0]
    done = many.run(tmp_path / "run", "8", "none", job="tiny", world=4)
    assert done.codes == [0] * 4, done.err
    assert "processes (was 1, now 4)" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.slow
def test_with_caches_of_their_own_each_machine_prepares_and_gets_the_same_tokenizer(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    each = machines(tmp_path)
    words = ["run", world / "taught.toml", "--output", tmp_path / "run", "--set", "train.steps=1"]
    done = many.run(*words, each=each)
    assert done.codes == [0, 0], done.err
    caches = [Path(own["LIMBECK_CACHE"]) for own in each]
    trained = [sorted(p.read_bytes() for p in cache.glob("tokenizers/*/*")) for cache in caches]
    assert trained[0] == trained[1] != []
    for kind in ("text", "prepared"):
        names = [sorted(path.name for path in (cache / kind).iterdir()) for cache in caches]
        assert names[0] == names[1] != []
    assert not [path for cache in caches for path in cache.glob(".tmp-*")]


@pytest.mark.slow
def test_another_tokenizer_in_a_machines_cache_is_left_alone(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    each = machines(tmp_path)
    words = ["run", world / "alone.toml", "--set", "train.steps=1", "--output"]
    assert many.run(*words, tmp_path / "one", world=1, each=each[1:]).codes == [0]
    (file,) = (tmp_path / "cache-1" / "tokenizers").glob("*/tokenizer_config.json")
    content = file.read_text().rstrip() + "\n\n\n"
    file.write_text(content)
    done = many.run(*words, tmp_path / "two", each=each)
    assert done.codes == [0, 0], done.err
    assert file.read_text() == content
    assert len(list((tmp_path / "cache-1" / "tokenizers").iterdir())) == 2


def test_one_process_of_a_cache_makes_what_all_of_it_need(many: Starter, tmp_path: Path) -> None:
    shared = [{"LIMBECK_CACHE": str(tmp_path / name)} for name in ("a", "a", "b")]
    done = many.run(tmp_path, job="exchange", world=3, each=shared)
    assert done.codes == [0, 0, 0], done.err
    assert sorted(path.name for path in tmp_path.glob("made-*")) == ["made-by-0", "made-by-2"]
    got = [(tmp_path / f"got-{rank}").read_text() for rank in range(3)]
    assert got == ["9000000 0", "9000000 0", "9000000 2"]
