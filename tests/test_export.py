"""`limbeck export`: the file gives what transformers gives, and nothing is left of one that does not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import transformers

from limbeck.files import half_written
from limbeck.gloss.model import GlossModel
from limbeck.tasks.cost_model import Loaded
from limbeck.tools import export
from tests.models import FAMILIES
from tests.test_bad_input import done, refused
from tests.test_cost import save_as
from tests.tiny_gloss import settings
from tests.tiny_recipes import read_json

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT's folder."""
    folder = tmp_path_factory.mktemp("exported") / "bert"
    done("export", checkpoint("bert"), "-o", folder)
    return folder


def run(folder: Path, **inputs: torch.Tensor) -> torch.Tensor:
    """What a user of onnxruntime alone gets."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def batch(tokenizer: Any, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pieces; every row but the first ends in padding."""
    ids = torch.randint(5, len(tokenizer), (rows, length))
    attention = torch.ones_like(ids)
    for row in range(1, rows):
        attention[row, length - row :] = 0
    return ids.masked_fill(attention == 0, tokenizer.pad_token_id), attention


def test_a_folder_by_the_models_name(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint("bert"), "small")
    done("export", "small")
    assert Path("runs/onnx/small/model.onnx").is_file()
    assert refused("export", "small") == "runs/onnx/small is not empty; name a new folder"


def check_masked_lm(model: Path, folder: Path) -> None:
    """Logits at chosen positions, in any order and number, of a batch and length the exporter never saw."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(model)
    for rows, length in ((1, 3), (4, 29), (2, 64)):
        ids, attention = batch(tokenizer, rows, length)
        real = attention.flatten().nonzero().flatten()
        for position in (real.flip(0), real[-1:]):
            with torch.no_grad():
                expected = theirs(input_ids=ids, attention_mask=attention).logits
            expected = expected.flatten(0, 1)[position]
            found = run(folder, input_ids=ids, attention_mask=attention, position=position)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_masked_language_model(checkpoint: Checkpoint, exported: Path) -> None:
    check_masked_lm(checkpoint("bert"), exported)
    names = {path.name for path in exported.iterdir()}
    assert names == {"model.onnx", "config.json", "export.json", "tokenizer.json", "tokenizer_config.json"}
    about = read_json(exported / "export.json")
    assert about["inputs"]["position"] == ["positions"]
    assert 0 <= about["parity"]["largest_difference"] <= 1e-4 * about["parity"]["largest_output"]
    assert [1, 64] in about["parity"]["compared"]
    ours = transformers.AutoTokenizer.from_pretrained(exported)
    theirs = transformers.AutoTokenizer.from_pretrained(checkpoint("bert"))
    assert ours("the old sea").input_ids == theirs("the old sea").input_ids
    assert transformers.AutoConfig.from_pretrained(exported).model_type == "bert"


SLOW = [pytest.param(f, marks=pytest.mark.slow) for f in ("albert", "electra", "xlm-roberta", "camembert")]


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert", *SLOW])
def test_families(checkpoint: Checkpoint, tmp_path: Path, family: str) -> None:
    assert family in export.FAMILIES
    result = json.loads(done("export", checkpoint(family), "-o", tmp_path / "out", "--json").stdout)
    assert (result["family"], result["folder"]) == (family, str(tmp_path / "out"))
    assert result["bytes"] == (tmp_path / "out" / "model.onnx").stat().st_size
    check_masked_lm(checkpoint(family), tmp_path / "out")


def test_a_wide_head_whose_rows_are_padded_elsewhere(tmp_path: Path) -> None:
    """See teachers/padded_linear.py; the number of positions stays open."""
    model = save_as(transformers.BertForMaskedLM, tmp_path / "wide", vocab_size=5001)
    done("export", model, "-o", tmp_path / "out")
    check_masked_lm(model, tmp_path / "out")


def test_a_sequence_classifier_to_an_empty_folder(tmp_path: Path) -> None:
    model = save_as(transformers.BertForSequenceClassification, tmp_path / "c", num_labels=3)
    (tmp_path / "out").mkdir()
    shown = done("export", model, "-o", tmp_path / "out").stdout
    assert "float32 [batch, classes]" in shown
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    ids, attention = batch(transformers.AutoTokenizer.from_pretrained(model), 4, 21)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=attention).logits
    found = run(tmp_path / "out", input_ids=ids, attention_mask=attention)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_an_encoder_without_a_head(tmp_path: Path) -> None:
    model = save_as(transformers.DistilBertModel, tmp_path / "h", "distilbert")
    done("export", model, "-o", tmp_path / "out")
    theirs = transformers.AutoModel.from_pretrained(model)
    ids, attention = batch(transformers.AutoTokenizer.from_pretrained(model), 3, 40)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=attention).last_hidden_state
    found = run(tmp_path / "out", input_ids=ids, attention_mask=attention)
    real = attention.bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_its_cost_stands_beside_its_models(checkpoint: Checkpoint, exported: Path) -> None:
    words = ["--seconds", "0.02", "--lengths", "8", "--precision", "bf16", "--device", "cpu", "--json"]
    result = json.loads(done("eval", "cost", checkpoint("bert"), exported, *words).stdout)
    model, file = result["models"]
    same = ("head", "family", "parameters", "parameters_without_embeddings", "weights", "longest_input")
    assert {name: model[name] for name in same} == {name: file[name] for name in same}
    assert (model["runtime"], model["precision"]) == ("torch", "bf16")
    assert (file["runtime"], file["precision"], file["device"]) == ("onnxruntime", "f32", "cpu")
    assert file["disk_bytes"] == (exported / "model.onnx").stat().st_size
    assert file["lengths"][0]["macs_per_token"] is None
    assert file["lengths"][0]["latency"]["p50_ms"] > 0
    assert file["memory"]["bytes"]["loaded"] >= file["memory"]["bytes"]["libraries"]
    assert [note for note in result["notes"] if "is an exported file: it runs on the CPU in f32" in note]


def nothing_at(output: Path) -> bool:
    return not output.exists() and not half_written(output.parent)


def test_a_file_that_differs_is_not_left_behind(
    checkpoint: Checkpoint, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the same model with other weights."""

    def wrong(loaded: Loaded, path: Path) -> None:
        shutil.copy(exported / "model.onnx", path)

    monkeypatch.setattr(export, "write_onnx", wrong)
    said = refused("export", checkpoint("bert", seed=1), "-o", tmp_path / "out")
    assert "differs from torch's: values off by" in said
    assert "nothing was written" in said
    assert nothing_at(tmp_path / "out")


def test_a_file_that_cannot_be_run_is_not_left_behind(
    checkpoint: Checkpoint, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "write_onnx", lambda _, path: path.write_bytes(b"no graph"))
    assert "cannot be run by onnxruntime" in refused("export", checkpoint("bert"), "-o", tmp_path / "out")
    assert nothing_at(tmp_path / "out")
    other = save_as(transformers.BertModel, tmp_path / "other")  # without the input `position`
    monkeypatch.setattr(export, "write_onnx", lambda _, path: shutil.copy(exported / "model.onnx", path))
    assert "cannot be run by onnxruntime" in refused("export", other, "-o", tmp_path / "out")
    assert nothing_at(tmp_path / "out")


@pytest.mark.parametrize("family", sorted({*FAMILIES} & {"bart", "xlnet", "mpnet", "deberta-v2"}))
def test_other_families_are_refused(checkpoint: Checkpoint, tmp_path: Path, family: str) -> None:
    said = refused("export", checkpoint(family), "-o", tmp_path / "out")
    assert f"is of the family '{family}'; only bert, roberta" in said
    assert nothing_at(tmp_path / "out")


def test_a_gloss_model_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    GlossModel.start(checkpoint("bert"), settings()).save(tmp_path / "gloss")
    said = refused("export", tmp_path / "gloss", "-o", tmp_path / "out")
    assert "is a gloss model, whose head cannot be exported" in said
    assert nothing_at(tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    said = refused("export", checkpoint("bert"), "-o", tmp_path / "out")
    assert said == f"{tmp_path / 'out'} is not empty; name a new folder"
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    said = refused("export", checkpoint("bert"), "-o", tmp_path / "out" / "mine.txt")
    assert said.endswith("mine.txt is a file; name a new folder")
    assert "cannot write" in refused("export", checkpoint("bert"), "-o", "/proc/out")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused("export", tmp_path / "empty", "-o", tmp_path / "out")
    assert "is not a model: there is no config.json in it" in said
    assert nothing_at(tmp_path / "out")


def test_a_missing_package_is_named(
    checkpoint: Checkpoint, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = refused("export", checkpoint("bert"), "-o", tmp_path / "out")
    assert said == "export needs the package onnxruntime; install limbeck with its extra: limbeck[onnx]"
    said = refused("eval", "cost", exported, "--device", "cpu")
    assert "needs the package onnxruntime; install limbeck with its extra: limbeck[onnx]" in said


def test_a_folder_that_is_not_ours_or_damaged_is_refused(exported: Path, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(exported, tmp_path / "spoilt"))
    (spoilt / "model.onnx").write_bytes(b"no graph")
    assert "cannot be run by onnxruntime" in refused("eval", "cost", spoilt, "--device", "cpu")
    (spoilt / "export.json").write_text("{}")
    assert "has an export.json that cannot be used" in refused("eval", "cost", spoilt, "--device", "cpu")
    (spoilt / "export.json").unlink()
    assert "has no export.json beside model.onnx" in refused("eval", "cost", spoilt, "--device", "cpu")
    assert "is exported already" in refused("export", spoilt, "-o", tmp_path / "out")
