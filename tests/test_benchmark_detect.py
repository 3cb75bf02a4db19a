"""benchmarks/detect.py runs through on a tiny detector and tiny sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.finetune.settings import FinetuneSettings
from limbeck.tools.detect_data import read_sets
from limbeck.tools.detect_train import train_detector
from tests.tiny_detect import TEXTS, document, pairs, write_set
from tests.tiny_labelled import write_table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import detect


@pytest.mark.slow  # it starts processes that load torch
def test_it_runs_through(
    checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, valid, label = read_sets(write_set(tmp_path / "set"), None, None, None)
    settings = FinetuneSettings(device="cpu", threads=1, learning_rate=3e-3, epochs=3, kind="classes")
    made = train_detector(
        checkpoint("bert", texts=TEXTS), train, valid, tmp_path / "run", settings, min_words=8,
        paraphrased=label,
    )  # fmt: skip
    data, out = tmp_path / "data", tmp_path / "detect.json"
    write_table(data / detect.OTHER, ("text",), [[text] for text in document([False] * 40)])
    write_table(data / detect.TEST, ("article_id", "original", "spun"), pairs(40, 70_000))
    for name in (detect.OTHER, detect.TEST):  # as small as they are, they need not be packed
        (data / name).rename(data / name.removesuffix(".zst"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "OTHER", detect.OTHER.removesuffix(".zst"))
        patch.setattr(detect, "TEST", detect.TEST.removesuffix(".zst"))
        patch.setattr(detect, "isolated", lambda function, *arguments: function(*arguments))
        small = "--rounds 1 --threads 1 --pages 2 --texts 40 --documents 4 --paragraphs 10".split()  # noqa: SIM905
        sizes = ["--characters", "2000", "8000"]
        detect.main([made["detector"], *small, *sizes, "--data", str(data), "--json", str(out)])
    result = json.loads(out.read_text())
    assert result["pdf_seconds"]["median"] > 0
    assert [one["share_of_paragraphs"] for one in result["documents"]] == list(detect.SHARES)
    assert result["documents"][-1]["estimated"] > 0.7 > 0.3 > result["documents"][0]["estimated"]
    assert result["test"]["passages"] == 40
    assert "inside the interval" in capsys.readouterr().out
