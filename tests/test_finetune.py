"""Fine-tuning: what is learnt, what is left on disk, exact resume, and what is refused."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.errors import UserError
from limbeck.finetune.classifier import Classifier
from limbeck.finetune.examples import Examples
from limbeck.finetune.job import Job
from limbeck.finetune.labels import Labels
from limbeck.finetune.settings import FinetuneSettings, default_rate
from limbeck.finetune.train import finetune
from tests.many_checks import WHOLE, close, same_metrics
from tests.many_processes import Starter
from tests.models import FAMILIES, make_checkpoint
from tests.tiny_labelled import TEXTS, animals, counted, pairs, write_examples
from tests.tiny_training import metrics, weights

QUICK = {"device": "cpu", "threads": 1, "batch": 16, "max_length": 32, "learning_rate": 3e-3}


def quick(**changes: Any) -> FinetuneSettings:
    return FinetuneSettings(**{**QUICK, **changes})


@pytest.fixture(scope="module")
def bert(checkpoint: Callable[..., Path]) -> Path:
    return checkpoint("bert", texts=TEXTS)


@pytest.fixture(scope="module")
def learnt(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that tells animals from things."""
    folder = tmp_path_factory.mktemp("learnt") / "run"
    return finetune(bert, animals(400, 1, "a.tsv"), animals(100, 2, "b.tsv"), folder, quick(epochs=4))


def test_classes_are_learnt(learnt: Any) -> None:
    results = learnt.results
    assert results["valid"]["accuracy"] > 0.97
    assert results["valid"]["f1"] > 0.97
    assert results["valid"]["baselines"]["majority"]["accuracy"] < 0.7
    assert results["labels"] == {"kind": "classes", "classes": ["animal", "thing"]}
    assert sum(results["data"]["train"]["classes"].values()) == results["data"]["train"]["rows"] == 400
    assert (results["cost"]["steps"], results["cost"]["epochs"]) == (100, 4.0)
    assert results["valid"]["best"] >= results["valid"]["accuracy"]
    assert results["model"]["new_weights"] == [
        "bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight",
    ]  # fmt: skip
    assert json.loads((learnt.folder / "results.json").read_text()) == results
    evaluated = [line["step"] for line in metrics(learnt.folder) if line["kind"] == "valid"]
    assert evaluated == [25, 50, 75, 100]


@pytest.mark.parametrize("which", ["model", "best"])
def test_transformers_alone_says_the_same(learnt: Any, which: str) -> None:
    folder = learnt.folder / which
    assert not list(folder.glob("*.bin"))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = animals(20, 3).texts
    with torch.no_grad():
        logits = model(**tokenizer(list(texts), padding=True, return_tensors="pt")).logits
    ours = learnt.classifier(best=which == "best")
    np.testing.assert_allclose(ours.outputs(ours.encode(texts)), logits.numpy(), atol=1e-5)
    said = pipeline("text-classification", str(folder), device="cpu")(["quiet old horse", "new lamp"])
    assert [one["label"] for one in said] == ["animal", "thing"]


def test_scores_are_learnt(bert: Path, tmp_path: Path) -> None:
    done = finetune(bert, counted(600, 1), counted(100, 2), tmp_path / "run", quick(epochs=6))
    assert done.results["valid"]["pearson"] > 0.9
    assert done.results["valid"]["spearman"] > 0.9
    assert done.results["valid"]["baselines"]["majority"]["pearson"] is None
    assert done.results["valid"]["judge"] == "mse"
    config = json.loads((tmp_path / "run/model/config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "score"})
    model = done.classifier()
    assert model.labels == Labels(None)
    assert model.outputs(model.encode(["dog cat dog cat", "lamp lamp chair book"]))[:, 0] == pytest.approx(
        [4.5, 0.5], abs=1.0
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_pairs(family: str, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Also where the tokenizer has no template for pairs; transformers alone then joins them the same way."""
    made = pairs(32, 1)
    done = finetune(checkpoint(family, texts=TEXTS), made, pairs(8, 2), tmp_path / "run", quick(epochs=0.5))
    folder = tmp_path / "run" / "model"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert made.seconds is not None
    given = tokenizer(list(made.texts[:4]), list(made.seconds[:4]), padding=True, return_tensors="pt")
    alone = tokenizer.num_special_tokens_to_add(pair=False)
    assert tokenizer.num_special_tokens_to_add(pair=True) > alone
    with torch.no_grad():
        logits = model(**given).logits
    ours = done.classifier()
    encoded = ours.encode(made.texts[:4], made.seconds[:4])
    np.testing.assert_allclose(ours.outputs(encoded), logits.numpy(), atol=1e-5)
    if "token_type_ids" in given:
        assert encoded.types is not None
        assert encoded.types.max() >= 1


def test_a_headless_encoder_and_a_model_of_ours(bert: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "encoder")
    headless = Classifier.start(tmp_path / "encoder", Labels(("a", "b")), max_length=32, seed=0)
    whole = Classifier.start(bert, Labels(("a", "b")), max_length=32, seed=0)
    assert headless.weights_read == whole.weights_read
    assert headless.fresh == whole.fresh


def test_a_classifier_is_trained_on(learnt: Any, tmp_path: Path) -> None:
    """One of the same classes keeps its head and their order; another number of classes gets a new head."""
    folder = learnt.folder / "model"
    again = Classifier.start(folder, Labels(("thing", "animal")), max_length=32, seed=0)
    assert again.labels.classes == ("animal", "thing")
    assert again.fresh == ()
    other = Classifier.start(folder, Labels(("a", "b", "c")), max_length=32, seed=0)
    assert other.fresh == ("classifier.bias", "classifier.weight")
    assert other.model.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_a_model_that_is_no_classifier_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no classifier: it has no .*; train one with `limbeck finetune`"):
        Classifier.load(bert)
    with pytest.raises(UserError, match="is not a model"):
        Classifier.load(tmp_path)


def test_long_texts_are_cut_and_counted(bert: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    rows = animals(20, 1)
    long = Examples([*rows.texts[:19], "cat " * 90], None, rows.labels, "long.tsv")
    with caplog.at_level(logging.WARNING, "limbeck"):
        done = finetune(bert, long, rows, tmp_path / "run", quick(epochs=1))
    assert done.results["data"]["train"]["cut"] == 1
    assert "1 of 20 texts of long.tsv are longer than 32 pieces and were cut" in caplog.text
    assert "19 of 20 texts of animals stand in long.tsv as well" in caplog.text
    assert done.results["data"]["overlap"] == 19
    assert finetune(bert, rows, None, tmp_path / "b", quick(epochs=1)).results["valid"] is None


class StoppedError(Exception):
    pass


def test_stopped_after_every_few_steps_it_ends_with_the_same_bits(
    checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dropping(checkpoint("modernbert", texts=TEXTS), tmp_path)
    rows, held, settings = animals(90, 1), animals(20, 2), quick(epochs=3)
    whole = finetune(source, rows, held, tmp_path / "whole", settings)
    step = Job.step
    for last in (4, 6, 11):

        def stops(self: Job, module: Any, batch: Any, context: Any, last: int = last) -> Any:
            if context.step == last:
                raise StoppedError
            return step(self, module, batch, context)

        monkeypatch.setattr(Job, "step", stops)
        with pytest.raises(StoppedError):
            finetune(source, rows, held, tmp_path / "parts", settings)
    monkeypatch.setattr(Job, "step", step)
    parts = finetune(source, rows, held, tmp_path / "parts", settings)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    assert parts.results["valid"] == whole.results["valid"]


def dropping(model: Path, folder: Path) -> Path:
    """The model with dropout, so that random numbers matter."""
    copy = folder / "dropping"
    AutoTokenizer.from_pretrained(model).save_pretrained(copy)
    made = AutoModelForSequenceClassification.from_pretrained(model, classifier_dropout=0.3, mlp_dropout=0.1)
    made.base_model.save_pretrained(copy)
    config = json.loads((copy / "config.json").read_text())
    assert config["classifier_dropout"] == 0.3
    return copy


KILLS = """
import os, signal, sys
from limbeck.finetune import job
from limbeck.finetune.job import Job
job.SAVE_LEAST = 1  # each epoch ends with a checkpoint
step = Job.step
def dies(self, module, batch, context):
    if context.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, module, batch, context)
Job.step = dies
from limbeck.cli import app
app(sys.argv[1:])
"""


def test_killed_and_started_again_by_the_same_command(bert: Path, tmp_path: Path) -> None:
    write_examples(tmp_path / "t.tsv", animals(90, 1))
    write_examples(tmp_path / "v.tsv", animals(20, 2))
    words = ["finetune", str(bert), "--train", str(tmp_path / "t.tsv"), "--valid", str(tmp_path / "v.tsv")]
    words += ["--batch", "16", "--device", "cpu"]
    killed = [*words, "--output", str(tmp_path / "killed")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLS, *killed], capture_output=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for folder in ("killed", "whole"):
        result = CliRunner().invoke(app, [*words, "--output", str(tmp_path / folder), "--json"])
        assert result.exit_code == 0, result.output
    assert "going on after step 5" in (tmp_path / "killed/log.txt").read_text()
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")
    again = CliRunner().invoke(app, killed)
    assert "is finished; nothing to do" in again.stderr
    assert "F1 of thing" in again.stdout
    refused = CliRunner().invoke(app, [*killed, "--epochs", "4"])
    assert refused.exit_code == 2
    assert "finetune.epochs (was 3.0, now 4.0)" in refused.stderr


def test_two_processes_train_as_one(many: Starter, tmp_path: Path) -> None:
    model = make_checkpoint("bert", tmp_path / "bert", texts=TEXTS)
    write_examples(tmp_path / "t.tsv", animals(64, 1))
    write_examples(tmp_path / "v.tsv", animals(16, 2))
    words = ["finetune", model, "--train", tmp_path / "t.tsv", "--valid", tmp_path / "v.tsv", "--epochs", "1"]
    words += ["--batch", "16", "--device", "cpu", "--output"]
    alone, pair = many.start(*words, tmp_path / "one", world=1), many.start(*words, tmp_path / "two")
    assert alone.end().codes == [0], alone.said()
    done = pair.end()
    assert done.codes == [0, 0], done.err
    assert done.out[1] == ""
    close(tmp_path / "one" / WHOLE, tmp_path / "two" / WHOLE, 1e-4, but="key.bias")
    same_metrics(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("train", "valid", "message"),
    [
        ("text\tlabel\na\tx\nb\tx\n", "text\tlabel\na\tx\n", "t.tsv has one class only, 'x'"),
        ("text\tlabel\na\tx\nb\ty\n", "text\tlabel\na\tz\n", "v.tsv has the label 'z' (1 rows), which"),
        ("", "text\tlabel\na\tx\n", "t.tsv is empty; give it a header"),
        ("text\tlabel\na\tx\nb\ty\n", "", "v.tsv is empty; give it a header"),
        ("words\tlabel\na\tx\n", "text\tlabel\na\tx\n", "t.tsv has no column 'text'; its header"),
        ("text\tlabel\na\tx\nb\ty\n", "text\ttext2\tlabel\na\tc\tx\n", "v.tsv has pairs of texts and"),
        ("text\tlabel\na\xe9\tx\n", "text\tlabel\na\tx\n", "t.tsv, line 2, is not UTF-8"),
    ],
)  # fmt: skip
def test_bad_rows_are_one_line_and_exit_code_2(train: str, valid: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(train.encode("latin-1"))
    (tmp_path / "v.tsv").write_bytes(valid.encode("latin-1"))
    words = ["finetune", "no/model", "--train", str(tmp_path / "t.tsv"), "--valid", str(tmp_path / "v.tsv")]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("limbeck: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"max_length": 7}, "max_length is 7; it must be at least 8"),
        ({"kind": "words"}, "kind is 'words'; it must be one of auto, classes, scores"),
        ({"precision": "f8"}, "precision is 'f8'"),
        ({"precision": "f16", "device": "cpu"}, "precision f16 does not work on the CPU"),
        ({"device": "tpu"}, "'tpu' is no device"),
        ({"device": "mps"}, "device 'mps' cannot be trained on"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FinetuneSettings(**changes)


def test_models_that_cannot_be_used(tmp_path: Path) -> None:
    rows = animals(20, 1)
    with pytest.raises(UserError, match=r"is not a model: there is no config.json"):
        finetune(tmp_path, rows, None, tmp_path / "run", quick())
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5/config.json").write_text('{"model_type": "vit_mae"}')
    with pytest.raises(UserError, match="of the family 'vit_mae', which has no classification head"):
        finetune(tmp_path / "t5", rows, None, tmp_path / "run", quick())
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").touch()
    with pytest.raises(UserError, match=r"holds notes.txt but no run of limbeck"):
        finetune("no/model", rows, None, tmp_path / "other", quick())


def test_small_models_get_a_higher_rate() -> None:
    assert [default_rate(width) for width in (128, 256, 312, 512, 768)] == [3e-4, 3e-4, 1e-4, 1e-4, 3e-5]
