"""The run directory.

A run directory holds `recipe.toml`, `environment.json`, `metrics.jsonl`, `log.txt`, `status.json`,
`checkpoints/`, `best/`, `model/`, and whatever later stages add (`results.json`, `report.md`). Everything
another program may read is written to a temporary sibling first and renamed, so a reader never meets half a
file.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from limbeck.errors import UserError
from limbeck.files import atomic_write, clean_temporary, writing
from limbeck.run_folder import STEPS, check_ours, check_same, differences

_log = logging.getLogger("limbeck")


def environment() -> dict[str, Any]:
    """What a result may depend on besides the recipe; no name or kernel of a host, no paths."""
    versions = {}
    for package in (
        "limbeck",
        "torch",
        "transformers",
        "tokenizers",
        "accelerate",
        "safetensors",
        "numpy",
        "pyarrow",
    ):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only Linux has it; elsewhere the line above stands
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        processor = found[1] if found else processor
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "cores": os.cpu_count(),
    }


class Run:
    """A run directory that this process alone writes to, from `Run.open` to `close`.

    Attributes:
        folder: the directory.
        affecting: every recipe field that affects the result, by dotted name, as JSON values.
        main: False in the other processes of a distributed run; they write nothing.
        resume_hint: what to type to go on after an interruption, or "".
    """

    def __init__(self, folder: Path, affecting: dict[str, Any], *, main: bool, resume_hint: str) -> None:
        self.folder, self.affecting, self.main, self.resume_hint = folder, affecting, main, resume_hint
        self._lock: IO[str] | None = None
        self._metrics: IO[str] | None = None
        self._handler: _LogFile | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object per line, appended."""
        return self.folder / "metrics.jsonl"

    @property
    def fingerprint(self) -> str:
        """Hex digest of the affecting fields but the steps, so that an extended run keeps its own."""
        fields = {name: value for name, value in self.affecting.items() if name not in STEPS}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def open(
        cls,
        folder: Path,
        recipe_text: str,
        affecting: Mapping[str, object],
        *,
        extend: bool = False,
        main: bool = True,
        resume_hint: str = "",
    ) -> Self:
        """Makes a run directory, or opens the one there to go on with it.

        Args:
            folder: the directory; made when absent.
            recipe_text: the resolved recipe, written to `recipe.toml`.
            affecting: flat dotted field name -> value of every field that affects the result.
            extend: allows `train.steps` to grow. The learning-rate schedule (and whatever else runs over
                the length of
                the run) is then that of the new total, from the step the run goes on at; steps already done
                stay.
            main: False in the processes of a distributed run that write nothing.
            resume_hint: what the user types to go on after an interruption.

        Raises:
            UserError: the folder cannot be written, is a file, is another program's, is in use by another
                process, or
                holds a run with other settings (every changed field is named).
        """
        run = cls(folder, json.loads(json.dumps(affecting)), main=main, resume_hint=resume_hint)
        if not main:
            return run
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, not a folder; choose another run directory")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            run._take_lock()
        try:
            run._prepare(recipe_text, extend)
        except BaseException:
            run.close()
            raise
        return run

    def _take_lock(self) -> None:
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise UserError(
                f"{self.folder} is in use by another process; wait for it or choose another run directory"
            ) from None

    def _prepare(self, recipe_text: str, extend: bool) -> None:
        """Checks that the folder is ours to go on with, then brings its files up to date and opens them."""
        clean_temporary(self.folder)
        clean_temporary(self.checkpoints)
        record = self.folder / "affecting.json"
        if record.exists():
            check_same(self.folder, json.loads(record.read_text()), self.affecting, extend)
        else:
            check_ours(self.folder)
        started = self.checkpoints.is_dir() and any(self.checkpoints.iterdir())
        if not started and self.status().get("state") != "finished":
            self.metrics.unlink(missing_ok=True)  # killed before its first checkpoint: it begins anew
        with writing(self.folder):
            self._metrics = self.metrics.open("a", encoding="utf-8", buffering=1)
            self._handler = _LogFile(self.folder / "log.txt")
        if _log.level == logging.NOTSET:
            _log.setLevel(logging.INFO)
        _log.addHandler(self._handler)
        atomic_write(record, json.dumps(self.affecting, indent=1, sort_keys=True) + "\n")
        atomic_write(self.folder / "recipe.toml", recipe_text)
        self.record_environment()

    def record_environment(self, **more: object) -> None:
        """Writes `environment.json` with `more` added; a resume in another environment is said in the log."""
        if not self.main:
            return
        path = self.folder / "environment.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        new = {**old, **environment(), **more}
        if changed := [line for name in old for line in differences({name: old[name]}, {name: new[name]})]:
            _log.warning("the environment changed since this run began: %s", "; ".join(changed))
        atomic_write(path, json.dumps(new, indent=1) + "\n")

    def log_metrics(self, values: Mapping[str, object]) -> None:
        """Appends a line to `metrics.jsonl`; a number that is not finite becomes null."""
        if self._metrics is None:
            return
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        with writing(self.metrics):
            self._metrics.write(json.dumps(clean, allow_nan=False) + "\n")

    def metrics_position(self) -> int:
        """Bytes of `metrics.jsonl` so far, made durable first."""
        if self._metrics is None:
            return 0
        with writing(self.metrics):
            self._metrics.flush()
            os.fsync(self._metrics.fileno())
        return os.path.getsize(self.metrics)

    def cut_metrics(self, position: int) -> None:
        """Cuts `metrics.jsonl` back to its first `position` bytes, where a checkpoint left it."""
        if self._metrics is None:
            return
        if os.path.getsize(self.metrics) < position:
            _log.warning("%s is shorter than at the checkpoint: part of it was deleted", self.metrics)
        else:
            self._metrics.truncate(position)

    def set_status(self, state: str, *, durable: bool = True, **fields: object) -> None:
        """Writes `status.json`: `state` is running, finished, interrupted or failed."""
        if self.main:
            content = json.dumps({"state": state, **fields}, indent=1) + "\n"
            atomic_write(self.folder / "status.json", content, durable=durable)

    def status(self) -> dict[str, Any]:
        """What `status.json` holds, or {} before it is written."""
        path = self.folder / "status.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def note(self, line: str) -> None:
        """Writes a line to `log.txt` alone, where the terminal already shows the same in its progress bar."""
        if self._handler is not None:
            self._handler.handle(logging.LogRecord("limbeck", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Ends the log and gives the directory free, also where a full disk refuses the last lines."""
        handler, files = self._handler, (self._metrics, self._lock)
        self._handler = self._metrics = self._lock = None
        with writing(self.folder), contextlib.ExitStack() as closing:
            for file in files:
                if file is not None:
                    closing.callback(file.close)
            if handler is not None:
                _log.removeHandler(handler)
                closing.callback(handler.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def clear_run(folder: Path, names: Sequence[str]) -> None:
    """Takes the files and folders of these names, a training's, out of a run directory, in their order.

    Raises:
        UserError: another process is at work there, or something lies there that no run leaves; nothing is
            taken then.
    """
    run = Run(folder, {}, main=True, resume_hint="")
    run._take_lock()
    try:
        check_ours(folder, names)
        for path in (folder / name for name in names):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    finally:
        run.close()


class _LogFile(logging.FileHandler):
    """Writes `log.txt`; unlike logging's own handlers it does not swallow a full disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Called by logging inside its `except`: raises what happened, a full disk as a UserError."""
        error = sys.exc_info()[1]
        assert error is not None
        with writing(self.path):
            raise error
