"""The run directory: atomic files, refusals, lock, metrics."""

import json
import logging
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import limbeck.files
from limbeck.errors import UserError
from limbeck.files import atomic_folder, atomic_write, cache_dir, check_writable, clean_temporary
from limbeck.run import Run, clear_run, environment
from limbeck.run_folder import check_folder

FIELDS: dict[str, object] = {
    "seed": 1,
    "train.steps": 10,
    "train.betas": (0.9, 0.99),
    "text.train": ["a.txt"],
}


@pytest.fixture
def small_files() -> Iterator[None]:
    """Refuses files over 4 KiB, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("LIMBECK_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "limbeck"


@pytest.mark.parametrize("durable", [True, False])
def test_atomic_write_replaces(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "file"
    atomic_write(path, "älter\n", durable=durable)
    atomic_write(path, b"newer", durable=durable)
    assert path.read_bytes() == b"newer"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_atomic_write_on_a_full_disk_keeps_the_old_file(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")
    with pytest.raises(UserError, match=r"cannot write .*file: .*free space") as caught:
        atomic_write(path, "x" * 5000)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_atomic_folder_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "folder"
    with atomic_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a").write_text("1")
        assert not path.exists()
    with atomic_folder(path) as folder:
        (folder / "b").write_text("2")
    assert [p.name for p in path.iterdir()] == ["b"]
    with pytest.raises(FileNotFoundError), atomic_folder(path) as folder:
        (folder / "no such folder" / "c").write_text("3")
    assert [p.name for p in path.iterdir()] == ["b"]
    assert [p.name for p in path.parent.iterdir()] == ["folder"]


def test_atomic_folder_leaves_other_errors_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "folder"):
        (tmp_path / "corpus.txt").read_text()


def test_full_disk_told_by_a_rust_library(tmp_path: Path, small_files: None) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    with (
        pytest.raises(UserError, match="free space"),
        atomic_folder(tmp_path / "model") as folder,
    ):
        save_file({"a": torch.zeros(5000)}, folder / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose a folder"):
        atomic_write(tmp_path / "file" / "below", "x")
    with pytest.raises(UserError, match="is a file, not a folder"):
        Run.open(tmp_path / "file", "", FIELDS)


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "file.json")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("old")
    check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"
    bad = [tmp_path, tmp_path / "file" / "below", *([Path("/proc/x")] if Path("/proc").is_dir() else [])]
    for path in bad:
        with pytest.raises(UserError, match=f"cannot write {path}"):
            check_writable(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="choose a folder that can be written"):
        Run.open(tmp_path / "run", "", FIELDS)


def test_clean_temporary(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-1-77").mkdir()
    (tmp_path / ".tmp-step-1-77" / "x").write_text("")
    (tmp_path / ".tmp-status.json-77").write_text("")
    (tmp_path / "kept").write_text("")
    clean_temporary(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    clean_temporary(tmp_path / "absent")


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    """Two machines that share a cache may have the same process id: each has a folder of its own."""
    path = tmp_path / "folder"
    with atomic_folder(path) as one, atomic_folder(path) as two:
        assert one != two
        (one / "a").write_text("1")
        (two / "a").write_text("2")
    assert (path / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    (tmp_path / "usual").mkdir()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_what_another_has_made_in_the_cache_stays_where_it_is(cache: Path) -> None:
    """A reader that has seen its folder finds its files there from then on."""
    path = cache / "text" / "corpus"
    with atomic_folder(path) as one, atomic_folder(path) as two:
        (one / "a").write_text("1")
        (two / "a").write_text("2")
    assert (path / "a").read_text() == "2"
    assert os.listdir(path.parent) == ["corpus"]
    with atomic_folder(path) as three:  # what was there when it began is not whole, or nobody would make it
        (three / "a").write_text("3")
    assert (path / "a").read_text() == "3"
    with atomic_folder(path) as four, atomic_folder(path) as five:
        (four / "a").write_text("4")
        (five / "a").write_text("5")
    assert (path / "a").read_text() == "5"
    assert os.listdir(path.parent) == ["corpus"]


def test_a_folder_made_in_the_last_moment_stays_in_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was looked for, before the rename."""
    path = cache / "text" / "corpus"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("1")
    unseen, look = iter([None, None]), limbeck.files._inode
    monkeypatch.setattr(limbeck.files, "_inode", lambda path: next(unseen, look(path)))
    with atomic_folder(path) as folder:
        (folder / "a").write_text("2")
    assert list(unseen) == []
    assert (path / "a").read_text() == "1"
    assert os.listdir(path.parent) == ["corpus"]


def test_what_others_left_in_the_cache_is_deleted_after_a_day(tmp_path: Path, cache: Path) -> None:
    old = time.time() - 25 * 3600
    for place in (cache / "text", tmp_path / "runs"):
        for name in (".tmp-old", ".tmp-growing", ".tmp-new", "kept"):
            (place / name).mkdir(parents=True)
            (place / name / "part").write_text("")
            os.utime(place / name / "part", None if name in (".tmp-growing", ".tmp-new") else (old, old))
            os.utime(place / name, None if name == ".tmp-new" else (old, old))
        with atomic_folder(place / "made"):
            pass
    assert sorted(os.listdir(cache / "text")) == [".tmp-growing", ".tmp-new", "kept", "made"]
    assert ".tmp-old" in os.listdir(tmp_path / "runs")


def test_open_writes_recipe_and_environment(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", "seed = 1\n", FIELDS) as run:
        logging.getLogger("limbeck.anywhere").info("hello")
        run.note("only here")
    assert (run.folder / "recipe.toml").read_text() == "seed = 1\n"
    text = (run.folder / "environment.json").read_text()
    assert json.loads(text)["versions"]["torch"].startswith("2.")
    assert os.uname().nodename not in text.replace("Linux", "")
    log = (run.folder / "log.txt").read_text()
    assert "INFO hello" in log
    assert "INFO only here" in log
    logging.getLogger("limbeck.anywhere").warning("after the end")
    assert (run.folder / "log.txt").read_text() == log


def test_environment_names_no_place() -> None:
    found = environment()
    assert str(Path.home()) + "/" not in json.dumps(found)
    assert os.uname().release not in found["platform"]
    assert found["platform"].split() == [os.uname().sysname, os.uname().machine]


def test_changed_environment_is_said(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", "", FIELDS) as run:
        run.record_environment(threads=2)
    with Run.open(tmp_path / "run", "", FIELDS) as run:
        run.record_environment(threads=1)
    assert "threads (was 2, now 1)" in (run.folder / "log.txt").read_text()


def test_resume_is_refused_naming_every_changed_field(tmp_path: Path) -> None:
    Run.open(tmp_path, "", FIELDS).close()
    Run.open(tmp_path, "", FIELDS).close()
    changed = FIELDS | {"seed": 2, "text.train": ["b.txt"], "distill.kd": 0.5}
    with pytest.raises(UserError) as caught:
        Run.open(tmp_path, "", changed)
    for part in (
        "distill.kd (was null, now 0.5)",
        "seed (was 1, now 2)",
        'text.train (was ["a.txt"], now ["b.txt"])',
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    Run.open(tmp_path, "", FIELDS).close()  # the refusal changed nothing and gave the lock back


def test_extend_lets_only_steps_grow(tmp_path: Path) -> None:
    Run.open(tmp_path, "", FIELDS).close()
    with pytest.raises(UserError, match=r"set train\.steps back to 10 and add --extend 10$"):
        Run.open(tmp_path, "", FIELDS | {"train.steps": 20})
    with pytest.raises(UserError, match=r"train\.steps \(was 10, now 5\); set it back"):
        Run.open(tmp_path, "", FIELDS | {"train.steps": 5}, extend=True)
    with pytest.raises(UserError, match="seed"):
        Run.open(tmp_path, "", FIELDS | {"train.steps": 20, "seed": 2}, extend=True)
    first = Run.open(tmp_path, "", FIELDS)
    first.close()
    with Run.open(tmp_path, "", FIELDS | {"train.steps": 20}, extend=True) as run:
        assert run.fingerprint == first.fingerprint
    Run.open(tmp_path, "", FIELDS | {"train.steps": 20}).close()


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.doc").write_text("")
    for refuse in (lambda: Run.open(tmp_path, "", FIELDS), lambda: check_folder(tmp_path, FIELDS)):
        with pytest.raises(UserError, match=r"holds letter\.doc but no run"):
            refuse()


def test_what_opening_would_refuse_is_refused_before_text_is_read(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", FIELDS)
    check_folder(tmp_path, FIELDS)
    Run.open(tmp_path, "", FIELDS | {"text.train (contents)": "abc"}).close()
    check_folder(tmp_path, FIELDS)  # contents are not known yet
    longer = FIELDS | {"train.steps": FIELDS["train.steps"] + 1}
    check_folder(tmp_path, longer, extend=True)
    for changed in (longer, FIELDS | {"seed": 77}):
        with pytest.raises(UserError, match="holds a run with other settings"):
            check_folder(tmp_path, changed)


def test_second_process_is_refused(tmp_path: Path) -> None:
    code = "import pathlib, sys, limbeck.run as run; run.Run.open(pathlib.Path(sys.argv[1]), '', {})"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    with Run.open(tmp_path, "", {}):
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        assert "is in use by another process" in other.stderr
        with pytest.raises(UserError, match="in use"):
            Run.open(tmp_path, "", {})
    Run.open(tmp_path, "", {}).close()


def test_metrics_are_cut_back(tmp_path: Path) -> None:
    with Run.open(tmp_path, "", {}) as run:
        run.log_metrics({"step": 1, "loss": 0.5})
        position = run.metrics_position()
        run.log_metrics({"step": 2, "loss": float("nan")})
        lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        assert lines == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
        run.cut_metrics(position)
        run.log_metrics({"step": 2, "loss": 0.25})
    assert [json.loads(x)["step"] for x in run.metrics.read_text().splitlines()] == [1, 2]


def test_metrics_start_again_without_a_checkpoint(tmp_path: Path) -> None:
    with Run.open(tmp_path, "", {}) as run:
        run.log_metrics({"step": 1})
    with Run.open(tmp_path, "", {}) as run:
        assert run.metrics.read_text() == ""
        run.checkpoints.mkdir()
        (run.checkpoints / "step-00000001").mkdir()
        run.log_metrics({"step": 1})
    with Run.open(tmp_path, "", {}) as run:
        assert run.metrics.read_text() != ""


def test_metrics_of_a_finished_run_stay_where_its_checkpoints_are_gone(tmp_path: Path) -> None:
    with Run.open(tmp_path, "", {}) as run:
        run.log_metrics({"step": 1})
        run.set_status("finished")
    with Run.open(tmp_path, "", {}) as run:
        assert '"step": 1' in run.metrics.read_text()


def test_a_training_is_taken_away_alone_and_whole_or_not_at_all(tmp_path: Path) -> None:
    with Run.open(tmp_path, "", {}) as run:
        run.checkpoints.mkdir()
        with pytest.raises(UserError, match="in use by another process"):
            clear_run(tmp_path, ["checkpoints"])
    names = ["checkpoints", "affecting.json", "recipe.toml", "environment.json", "metrics.jsonl", "log.txt"]
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds thesis\.tex which no run leaves"):
        clear_run(tmp_path, names)
    assert run.checkpoints.is_dir()
    (tmp_path / "thesis.tex").unlink()
    elsewhere = tmp_path.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    run.checkpoints.rmdir()
    run.checkpoints.symlink_to(elsewhere)
    (tmp_path / "eval").mkdir()
    clear_run(tmp_path, names)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "eval"]
    assert (elsewhere / "kept").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["log.txt", "metrics.jsonl"])
def test_full_disk_in_log_and_metrics_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    (tmp_path / "affecting.json").write_text("{}")
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    run = Run.open(tmp_path, "", {})
    write = run.note if name == "log.txt" else lambda line: run.log_metrics({"step": line})
    with pytest.raises(UserError, match=rf"{name}: No space left"):
        write("a line")
    with pytest.raises(UserError, match="No space left"):
        run.close()
    run.close()
    logging.getLogger("limbeck").info("no longer written there")


def test_status(tmp_path: Path) -> None:
    with Run.open(tmp_path, "", {}) as run:
        assert run.status() == {}
        run.set_status("running", step=3, steps=10)
        assert run.status() == {"state": "running", "step": 3, "steps": 10}


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", "", {}, main=False) as run:
        run.log_metrics({"step": 1})
        run.set_status("running")
        run.record_environment()
        run.note("x")
    assert not (tmp_path / "run").exists()
