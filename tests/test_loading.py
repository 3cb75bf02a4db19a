"""Checkpoints that cannot teach are refused, each in one line that says what and how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from limbeck.errors import UserError
from limbeck.finetune.classifier import Classifier
from limbeck.finetune.labels import Labels
from limbeck.tasks.cost_model import load
from limbeck.teachers.masked_lm import encoder_digest, load_masked_lm, load_tokenizer
from tests.models import FAMILIES, make_config, make_tokenizer

Checkpoint = Callable[..., Path]


@pytest.fixture
def spoilt(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, for a test to spoil."""
    return Path(shutil.copytree(checkpoint("bert"), tmp_path / "spoilt"))


def refusal(source: str | Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load_masked_lm(source, what="teacher 'x'", **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith("teacher 'x': ") or "device" in message
    assert "\n" not in message
    return message


def edit_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def save_as(kind: type[transformers.PreTrainedModel], family: str, folder: Path) -> Path:
    tokenizer = make_tokenizer()
    kind(make_config(family, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def replace_tokenizer(folder: Path, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    for file in folder.glob("*token*"):
        file.unlink()
    tokenizer.save_pretrained(folder)


def test_refuses_a_tokenizer_without_mask_token(spoilt: Path) -> None:
    replace_tokenizer(spoilt, make_tokenizer(mask=False))
    assert "without a mask token" in refusal(spoilt)


def test_refuses_a_slow_tokenizer(spoilt: Path) -> None:
    slow = transformers.ByT5Tokenizer()
    slow.add_special_tokens({"mask_token": "<mask>"})
    replace_tokenizer(spoilt, slow)
    assert "slow tokenizer (ByT5Tokenizer)" in refusal(spoilt)
    with pytest.raises(UserError, match="slow tokenizer"):
        load_tokenizer(spoilt)


def test_refuses_a_folder_without_tokenizer(spoilt: Path) -> None:
    for file in spoilt.glob("*token*"):
        file.unlink()
    assert "no tokenizer files" in refusal(spoilt)


def test_refuses_a_damaged_tokenizer(spoilt: Path) -> None:
    (spoilt / "tokenizer.json").write_text("{}")
    assert "no tokenizer that can be loaded" in refusal(spoilt)


def test_refuses_a_tokenizer_larger_than_the_model(spoilt: Path) -> None:
    replace_tokenizer(spoilt, make_tokenizer("bpe", vocabulary=450))
    assert "tokenizer of 450 pieces but only" in refusal(spoilt)


def test_refuses_an_electra_discriminator(tmp_path: Path) -> None:
    message = refusal(save_as(transformers.ElectraForPreTraining, "electra", tmp_path))
    assert "ElectraForPreTraining" in message
    assert "freshly initialised head" in message
    assert "use the generator" in message


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (transformers.BertModel, "bert"),
        (transformers.BertForSequenceClassification, "bert"),
        (transformers.ModernBertModel, "modernbert"),
        (transformers.XLNetModel, "xlnet"),
    ],
)
def test_refuses_a_fresh_head(kind: type[transformers.PreTrainedModel], family: str, tmp_path: Path) -> None:
    message = refusal(save_as(kind, family, tmp_path))
    assert kind.__name__ in message
    assert "freshly initialised head" in message


def test_refuses_an_untied_decoder_that_is_missing(spoilt: Path) -> None:
    edit_config(spoilt, tie_word_embeddings=False)
    assert "freshly initialised head (cls.predictions.decoder" in refusal(spoilt)


def test_refuses_missing_layers(spoilt: Path) -> None:
    edit_config(spoilt, num_hidden_layers=3)
    assert "lacks weights that its config.json asks for (bert.encoder.layer.2" in refusal(spoilt)


def test_refuses_weights_of_other_shapes(spoilt: Path) -> None:
    edit_config(spoilt, intermediate_size=96)
    assert "is [64], not [96]" in refusal(spoilt)


def test_refuses_nan_weights(spoilt: Path) -> None:
    weights = load_file(spoilt / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(weights, spoilt / "model.safetensors", {"format": "pt"})
    assert "NaN" in refusal(spoilt)


def test_refuses_pickled_weights(spoilt: Path) -> None:
    torch.save(load_file(spoilt / "model.safetensors"), spoilt / "pytorch_model.bin")
    (spoilt / "model.safetensors").unlink()
    message = refusal(spoilt)
    assert "only as pytorch_model.bin" in message
    assert "save_pretrained" in message


@pytest.mark.parametrize("size", [0, 50, -5000])
def test_refuses_truncated_weights(spoilt: Path, size: int) -> None:
    file = spoilt / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert "damaged weight file" in refusal(spoilt)


def test_refuses_code_of_the_checkpoint(spoilt: Path) -> None:
    code = {"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"}
    (spoilt / "own.py").write_text("raise SystemExit('this must never run')")
    edit_config(spoilt, model_type="own", auto_map=code, architectures=["OwnForMaskedLM"])
    assert "trust_remote_code" in refusal(spoilt)
    edit_config(spoilt, model_type="gpt2")
    assert "trust_remote_code" in refusal(spoilt)


def test_refuses_foreign_weights_of_a_native_type_that_brings_code(spoilt: Path) -> None:
    edit_config(spoilt, auto_map={"AutoModelForMaskedLM": "own.Model"})
    load_masked_lm(spoilt)  # what transformers can do itself needs no code
    weights = load_file(spoilt / "model.safetensors")
    save_file(
        {f"own.{name}": w for name, w in weights.items()}, spoilt / "model.safetensors", {"format": "pt"}
    )
    assert "trust_remote_code" in refusal(spoilt)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model_type": "gpt2"}, "which has no masked-LM head"),
        ({"model_type": "nothing-known"}, "does not know"),
        ({"hidden_size": "wide"}, "config.json that cannot be used"),
        ({"num_attention_heads": 5}, "do not fit its config.json"),
    ],
)
def test_refuses_configurations(spoilt: Path, fields: dict[str, object], says: str) -> None:
    edit_config(spoilt, **fields)
    assert says in refusal(spoilt)


def test_refuses_what_is_no_model(spoilt: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refusal(tmp_path / "empty")
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "does not exist" in refusal("./nowhere")
    assert "is a file" in refusal(spoilt / "config.json")
    assert "reading it from the hub failed" in refusal("nobody/no-such-model")
    assert "reading it from the hub failed" in refusal("what is this?")
    (spoilt / "config.json").write_text("{")
    assert "not a valid JSON file" in refusal(spoilt)
    (spoilt / "config.json").write_text("{}")
    assert "names no model_type" in refusal(spoilt)
    edit_config(spoilt, model_type="bert")
    (spoilt / "model.safetensors").unlink()
    assert "no weight file" in refusal(spoilt)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_refuses_devices(checkpoint: Checkpoint, device: str) -> None:
    assert device in refusal(checkpoint("bert"), device=device)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_has_one_digest_whatever_head_it_is_read_with(
    family: str, checkpoint: Callable[..., Path]
) -> None:
    model = checkpoint(family, seed=3)
    masked, _, _ = load_masked_lm(model)
    tuned = Classifier.start(str(model), Labels(("no", "yes")), max_length=32, seed=5)
    measured = load(str(model), device=torch.device("cpu"))
    assert tuned.fresh, "its head is random, and not part of what it was"
    assert encoder_digest(masked.model) == tuned.encoder_read == measured.digest
    other, _, _ = load_masked_lm(checkpoint(family, seed=4))
    assert encoder_digest(other.model) != measured.digest
