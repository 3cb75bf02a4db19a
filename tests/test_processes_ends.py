"""How several processes end: refusals, errors of one of them, deaths, Ctrl-C; one line, one exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.many_checks import WHOLE, machines, one_line
from tests.many_processes import Started, Starter
from tests.tiny_recipes import read_json, sentences, write_text, written_recipe

TRAIN = {"steps": 6, "batch": 8, "micro_batch": 8, "log_every": 2, "eval_every": 3, "save_every": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text and a recipe, alone.toml."""
    folder = tmp_path_factory.mktemp("world")
    write_text(folder)
    written_recipe(folder, train=TRAIN).rename(folder / "alone.toml")
    return folder


def test_a_number_that_does_not_divide_the_batch_is_refused(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    done = many.run("run", world / "alone.toml", "--output", tmp_path / "run", world=3)
    one_line(done, 2, "3 processes cannot share train.batch = 8 evenly")
    assert not (tmp_path / "run").exists()
    words = ["run", world / "alone.toml", "--output", tmp_path / "run", "--set", "train.batch=201"]
    one_line(many.run(*words, world=3), 2, "fewer than train.batch", "3 processes cannot share them evenly")


@pytest.mark.slow
def test_other_text_or_another_recipe_on_a_machine_is_named(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone.toml").write_text((world / "alone.toml").read_text())
    (tmp_path / "valid.txt").write_text((world / "valid.txt").read_text())
    (tmp_path / "train.txt").write_text("\n\n".join(sentences(150, seed=7)))

    def words(rank: int) -> list[object]:
        return ["run", [world, tmp_path][rank] / "alone.toml", "--output", tmp_path / "run"]

    done = many.run(words_of_rank=words, each=machines(tmp_path))
    one_line(done, 2, "process 0 on", "process 1 on", "differ in text.train (", "the same text")
    done = many.run(words_of_rank=lambda rank: [*words(rank), "--set", f"train.save_every={rank + 1}"])
    one_line(done, 2, "train.save_every (1 there, 2 here)")


def test_a_run_directory_that_is_behind_another_machines_is_refused(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    words = ["run", world / "alone.toml", "--set", "train.steps=1", "--output"]
    assert many.run(*words, tmp_path / "1", world=1).codes == [0]
    done = many.run(words_of_rank=lambda rank: [*words, tmp_path / str(rank)])
    one_line(done, 2, "is at step 1 where process 1 runs, and at 0 where process 0 does", "--node-rank")


@pytest.mark.parametrize("verb", ["check", "demo", "init", "env", "wsd"])
def test_commands_of_one_process_refuse_several(many: Starter, world: Path, verb: str) -> None:
    words = {"check": [world / "alone.toml"], "wsd": ["model", "a text"]}.get(verb, [])
    one_line(many.run(verb, *words), 2, "this command runs in one process; start it without torchrun")


def test_wrong_environments_are_told(many: Starter, world: Path) -> None:
    words = ["run", world / "alone.toml"]
    done = many.run(*words, world=1, each=[{"WORLD_SIZE": "2"}])
    one_line(done, 2, "RANK is not set; start several processes with torchrun")
    done = many.run(*words, each=[{"RANK": "x"}] * 2)
    assert done.codes == [2, 2]
    assert "RANK is 'x'" in done.lines[0]
    done = many.run(*words, each=[{"MASTER_PORT": ""}] * 2)
    one_line(done, 2, "MASTER_PORT is not set")


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("user error in 1", 2, "a line of process 1"),
        ("same error", 2, "a line of all"),
        ("diverged in 0", 1, "a line of process 0"),
    ],
)
def test_an_error_of_any_process_ends_all_with_one_line(
    many: Starter, tmp_path: Path, what: str, code: int, line: str
) -> None:
    one_line(many.run(what, tmp_path / "mark", job="side_by_side"), code, line)


def test_an_error_before_anything_is_joined_is_told_once(many: Starter, world: Path, tmp_path: Path) -> None:
    one_line(many.run("run", tmp_path / "none.toml"), 2, "none.toml")
    used = {"LIMBECK_CACHE": str(world / "alone.toml")}  # a file
    done = many.run("run", world / "alone.toml", "--output", tmp_path / "run", each=[{}, used])
    one_line(done, 2, "cannot write")


def test_a_bug_shows_its_traceback_once(many: Starter, tmp_path: Path) -> None:
    done = many.run("bug in 1", tmp_path / "mark", job="side_by_side")
    assert done.codes == [1, 1]
    assert "AssertionError: a bug" in done.err[1]
    assert "Traceback" not in done.err[0]


def test_divergence_is_told_once_and_every_batch_is_kept(many: Starter, tmp_path: Path) -> None:
    one_line(many.run(tmp_path / "run", job="explodes"), 1, "the loss is", "non-finite-step-3*.safetensors")
    kept = sorted(path.name for path in (tmp_path / "run").glob("non-finite*"))
    assert kept == ["non-finite-step-3-1.safetensors", "non-finite-step-3.safetensors"]
    assert read_json(tmp_path / "run" / "status.json")["state"] == "failed"


@pytest.mark.parametrize(
    ("what", "dies", "hook"),
    [("wait for main", 0, False), ("wait for main", 1, True), ("busy", 1, True), ("left alone", 1, False)],
)
def test_a_death_ends_the_others_whatever_they_do(
    many: Starter, tmp_path: Path, what: str, dies: int, hook: bool
) -> None:
    started = many.start(what, tmp_path / "mark", job="side_by_side")
    started.wait_for(lambda: (tmp_path / "mark.0").exists() and (tmp_path / "mark.1").exists())
    began = time.monotonic()
    started.kill(dies)
    done = started.end()
    assert time.monotonic() - began < 30
    assert done.codes[dies] == -signal.SIGKILL
    assert done.codes[1 - dies] == 1
    assert len(done.lines) == 1, done.err
    assert (
        f"process {dies} of 2 (pid {started.pids[dies]}) died; give the same command again" in done.lines[0]
    )
    assert (tmp_path / "mark.hook").exists() is hook, "called only where the main thread is busy"


def checkpoints(folder: Path) -> bool:
    return any(folder.glob("checkpoints/step-*"))


LONG = {"train.steps": "400", "train.save_every": "5", "train.eval_every": "100", "train.log_every": "5"}


def long_run(world: Path, folder: Path, changes: Mapping[str, str] = LONG) -> list[object]:
    overrides = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    return ["run", world / "alone.toml", "--output", folder, *overrides]


def interrupted_at_work(many: Starter, world: Path, folder: Path) -> Started:
    started = many.start(*long_run(world, folder))
    started.wait_for(lambda: checkpoints(folder))
    return started


@pytest.mark.slow
def test_a_run_whose_process_died_goes_on_to_the_same_bits(
    many: Starter, world: Path, tmp_path: Path
) -> None:
    short = LONG | {"train.steps": "60"}
    whole = many.start(*long_run(world, tmp_path / "whole", short))
    started = many.start(*long_run(world, tmp_path / "run", short))
    started.wait_for(lambda: checkpoints(tmp_path / "run"))
    started.kill(1)
    done = started.end()
    assert done.codes == [1, -signal.SIGKILL]
    assert len(done.lines) == 1, done.err
    assert f"process 1 of 2 (pid {started.pids[1]}) died" in done.lines[0]
    assert read_json(tmp_path / "run" / "status.json")["state"] == "failed"
    assert whole.end().codes == [0, 0]
    assert many.run(*long_run(world, tmp_path / "run", short)).codes == [0, 0]
    assert "going on after step" in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / WHOLE).read_bytes() == (tmp_path / "whole" / WHOLE).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_saves_and_says_once_how_to_go_on(
    many: Starter, world: Path, tmp_path: Path, number: signal.Signals
) -> None:
    started = interrupted_at_work(many, world, tmp_path / "run")
    for rank in (1, 0):
        started.kill(rank, number)
    done = started.end()
    assert done.codes == [130, 130], done.err
    assert "".join(done.err).count("all is saved. To go on: the same command again") == 1
    assert "".join(done.err).count("stopping after this step") == (number == signal.SIGINT)
    assert done.lines == []
    status = read_json(tmp_path / "run" / "status.json")
    assert status["state"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / f"step-{status['step']:08d}").is_dir()


def test_interrupted_while_text_is_prepared(many: Starter, tmp_path: Path) -> None:
    started = many.start("wait for main", tmp_path / "mark", job="side_by_side")
    started.wait_for(lambda: (tmp_path / "mark.0").exists() and (tmp_path / "mark.1").exists())
    started.kill(0, signal.SIGINT)
    done = started.end()
    assert done.codes == [130, 130]
    assert done.lines == []


def children(pid: int) -> dict[int, int]:
    """Processes that torchrun started, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((path / "stat").read_text().rpartition(") ")[2].split()[1]) == pid:
                environment = dict(
                    entry.partition("=")[::2] for entry in (path / "environ").read_text().split("\0")
                )
                found[int(environment["RANK"])] = int(path.name)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("end", ["death", "ctrl-c"])
def test_under_torchrun_itself(world: Path, tmp_path: Path, end: str) -> None:
    """Also that a finished run shows its results once, and that one process goes on where two stopped."""
    folder = tmp_path / "run"
    limbeck = ["-m", "limbeck", *map(str, long_run(world, folder, LONG | {"train.steps": "300"}))]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with subprocess.Popen(
        [*torchrun, *limbeck], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            until = time.monotonic() + 400
            while not checkpoints(folder):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            ranks = children(process.pid)
            assert sorted(ranks) == [0, 1]
            if end == "death":
                os.kill(ranks[1], signal.SIGKILL)
            else:
                process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()  # the processes it started then end by themselves
    if end == "death":
        assert said.count(f"limbeck: process 1 of 2 (pid {ranks[1]}) died") == 1
    else:
        words = (
            f"To go on: torchrun --nproc-per-node=2 -m limbeck run {world / 'alone.toml'} --output {folder}"
        )
        assert said.count(words) == 1
    assert said.count("limbeck: ") == (end == "death"), said
    assert process.returncode != 0
    done = subprocess.run([sys.executable, *limbeck], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Masked words of valid") == 1
    assert "going on after step" in (folder / "log.txt").read_text()
