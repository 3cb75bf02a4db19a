"""Offline, one thread, and a cache of the tests' own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before transformers or limbeck are imported anywhere, and inherited by the processes that tests start.
_CACHE = tempfile.TemporaryDirectory(prefix="limbeck-tests-", ignore_cleanup_errors=True)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["LIMBECK_CACHE"] = _CACHE.name

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from tests.many_processes import Starter

torch.set_num_threads(1)
# Where the suite runs in the background it is started deaf to Ctrl-C, and so would be all that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    """Every test starts from the same global random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`checkpoint(family, **options)` as `make_checkpoint`, made once; not to be changed by a test."""
    from tests.models import make_checkpoint

    root = tmp_path_factory.mktemp("checkpoints")
    made: dict[str, Path] = {}

    def get(family: str, **options: Any) -> Path:
        key = repr((family, sorted(options.items())))
        if key not in made:
            made[key] = make_checkpoint(family, root / f"{len(made)}-{family}", **options)
        return made[key]

    return get


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts several processes that work together, quickly; see tests/many_processes.py."""
    from tests.many_processes import starter

    with starter(tmp_path_factory.mktemp("started")) as made:
        yield made


# A shared machine is slow at times, which is no failure; in CI the examples are the same every time.
settings.register_profile(
    "limbeck",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("limbeck")
