"""The files of a gloss model: the input's own parameters, a head beside them, and strict loading."""

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
from limbeck.gloss.checkpoint import HEAD_FILE, SETTINGS_FILE, is_headless, with_masked_lm_head
from limbeck.gloss.encode import Encoder
from limbeck.gloss.layout import Masking, arrange, collate
from limbeck.gloss.model import GlossModel
from limbeck.gloss.settings import GlossSettings
from tests.gloss_models import GLOSS_FAMILIES, ITEMS, family_tokenizer
from tests.models import POSITIONS, make_config, make_tokenizer

SETTINGS = GlossSettings(max_length=POSITIONS, lexicon="WordNet 3.0", candidates="all")
HEADLESS = {
    "BertModel": "bert",
    "DistilBertModel": "distilbert",
    "ElectraForPreTraining": "electra",
    "ModernBertModel": "modernbert",
    "XLNetModel": "xlnet",
    "AlbertModel": "albert",
    "RobertaModel": "roberta",
    "DebertaV2Model": "deberta-v3",
}


@pytest.fixture(scope="module")
def folder(checkpoint: Callable[..., Path]) -> Callable[[str], Path]:
    return lambda family: checkpoint(family, tokenizer=family_tokenizer(family))


def headless(name: str, folder: Path, **options: object) -> Path:
    """A checkpoint that was saved without a masked-LM head."""
    tokenizer = family_tokenizer(HEADLESS[name])
    config = make_config(HEADLESS[name], tokenizer)
    getattr(transformers, name)(config, **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plainly_loaded(path: Path, family: str) -> dict[str, torch.Tensor]:
    """The parameters of a folder as transformers alone loads it."""
    kind = transformers.XLNetLMHeadModel if family == "xlnet" else transformers.AutoModelForMaskedLM
    return dict(kind.from_pretrained(path).named_parameters())


@pytest.mark.parametrize("family", GLOSS_FAMILIES)
def test_the_input_keeps_its_parameters(family: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    model = GlossModel.start(folder(family), SETTINGS, masking=True)
    arranged = arrange(model.encoder.encode(ITEMS), model.layout)
    index = torch.tensor([2, 30]).numpy()
    mask = model.encoder.tokenizer.mask_id
    batch = arranged.batch(Masking(index, index * 0 + mask, index > 0))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    match, logits = model(batch)
    (match.square().sum() + logits.logsumexp(-1).sum()).backward()
    optimiser.step()
    model.eval().save(tmp_path / "out")
    before, after = plainly_loaded(folder(family), family), plainly_loaded(tmp_path / "out", family)
    assert [(n, p.shape, p.dtype) for n, p in before.items()] == [
        (n, p.shape, p.dtype) for n, p in after.items()
    ]
    assert set(load_file(folder(family) / "model.safetensors")) == set(
        load_file(tmp_path / "out/model.safetensors")
    )
    assert any((before[name] != after[name]).any() for name in before), (
        "nothing was learnt, so nothing was shown"
    )
    again = GlossModel.load(tmp_path / "out")
    assert not again.training
    assert again.settings == SETTINGS
    assert sum(p.numel() for p in again.head.parameters()) == 2 * 32 + 2
    with torch.no_grad():
        torch.testing.assert_close(again(arranged.plain)[0], model(arranged.plain)[0])


@pytest.mark.parametrize("family", ["bert", "xlnet"])
def test_the_saved_tokenizer_is_the_same(family: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    model = GlossModel.start(folder(family), SETTINGS)
    model.save(tmp_path)
    again = GlossModel.load(tmp_path)
    assert again.encoder.tokenizer.fingerprint == model.encoder.tokenizer.fingerprint
    assert (again.encoder.template, again.encoder.max_length) == (model.encoder.template, POSITIONS)


@pytest.mark.parametrize("name", HEADLESS)
def test_encoders_without_a_masked_lm_head(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = headless(name, tmp_path / "in")
    capfd.readouterr()
    model = GlossModel.start(source, SETTINGS).eval()
    assert capfd.readouterr() == ("", "")
    assert model.masked is None
    assert is_headless(model.model)
    batch = collate(model.encoder.encode(ITEMS), model.layout)
    model.train()(batch)[0].sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name
    model.eval().save(tmp_path / "out")
    alone = transformers.AutoModel.from_pretrained(tmp_path / "out")
    expected = transformers.AutoModel.from_pretrained(source)
    for (a, before), (b, after) in zip(expected.named_parameters(), alone.named_parameters(), strict=True):
        assert a == b
        assert torch.equal(before, after)
    with torch.no_grad():
        torch.testing.assert_close(GlossModel.load(tmp_path / "out")(batch), model(batch))


def test_barts_head_is_its_embeddings(tmp_path: Path) -> None:
    config = make_config("bart", family_tokenizer("bart"))
    transformers.BartModel(config).save_pretrained(tmp_path)
    family_tokenizer("bart").save_pretrained(tmp_path)
    assert GlossModel.start(tmp_path, SETTINGS, masking=True).masked is not None


@pytest.mark.parametrize("name", ["BertModel", "RobertaModel", "AlbertModel"])
def test_a_pooler_that_is_missing_is_left_away(name: str, tmp_path: Path) -> None:
    source = headless(name, tmp_path / "in", add_pooling_layer=False)
    model = GlossModel.start(source, SETTINGS)
    assert all(p.requires_grad for p in model.parameters())
    model.save(tmp_path / "out")
    assert set(load_file(source / "model.safetensors")) == set(
        load_file(tmp_path / "out" / "model.safetensors")
    )


def test_a_pooler_that_is_there_is_kept_and_frozen(tmp_path: Path) -> None:
    model = GlossModel.start(headless("BertModel", tmp_path), SETTINGS)
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == {
        "alone.pooler.dense.weight",
        "alone.pooler.dense.bias",
    }


def test_an_encoder_with_a_weight_missing_is_refused(tmp_path: Path) -> None:
    source = headless("BertModel", tmp_path)
    weights = load_file(source / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks weights .*layer.1.output.dense.weight"):
        GlossModel.start(source, SETTINGS)


def test_masking_needs_a_masked_lm_head(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without a masked-LM head cannot be trained on masked words"):
        GlossModel.start(headless("BertModel", tmp_path), SETTINGS, masking=True)


@pytest.mark.parametrize("name", HEADLESS)
def test_a_fresh_masked_lm_head_on_an_encoder(name: str, tmp_path: Path) -> None:
    encoder = GlossModel.start(headless(name, tmp_path / "in"), SETTINGS)
    torch.manual_seed(3)
    headed = with_masked_lm_head(encoder.model)
    torch.manual_seed(3)
    twin = with_masked_lm_head(encoder.model)
    own = dict(headed.base_model.named_parameters())
    for parameter_name, parameter in encoder.model.named_parameters():
        if "pooler" not in parameter_name:
            assert torch.equal(own[parameter_name], parameter)
            assert own[parameter_name] is not parameter
    body = {id(p) for p in own.values()}
    new = [p for p in headed.parameters() if id(p) not in body]
    assert new, "no head"
    pieces = headed.config.vocab_size
    assert all(p.ndim < 2 or len(p) != pieces for p in new), "the output matrix is not tied"
    assert all(torch.equal(a, b) for a, b in zip(headed.parameters(), twin.parameters(), strict=True))
    model = GlossModel(headed, encoder.encoder, SETTINGS, masking=True).eval()
    batch = collate(model.encoder.encode(ITEMS), model.layout)
    model.head.load_state_dict(encoder.head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[0], encoder.eval()(batch)[0])
    model.save(tmp_path / "out")
    assert GlossModel.load(tmp_path / "out").masked is not None


@pytest.fixture
def saved(folder: Callable[[str], Path], tmp_path: Path) -> Path:
    GlossModel.start(folder("bert"), SETTINGS).save(tmp_path / "saved")
    return tmp_path / "saved"


def refusal(path: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        GlossModel.load(path)
    message = str(caught.value)
    assert message.startswith("model: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", [HEAD_FILE, SETTINGS_FILE])
def test_a_model_without_a_gloss_head_is_refused(saved: Path, name: str) -> None:
    GlossModel.load(saved)
    (saved / name).unlink()
    message = refusal(saved)
    assert f"has no gloss head ({name})" in message
    assert "train it with `limbeck gloss`" in message


def test_what_is_no_model_is_refused_first(tmp_path: Path) -> None:
    assert "is not a model" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_damaged_files_are_refused(saved: Path, tmp_path: Path) -> None:
    def spoilt(name: str, content: bytes) -> str:
        twin = Path(shutil.copytree(saved, tmp_path / "twin", dirs_exist_ok=True))
        (twin / name).write_bytes(content)
        return refusal(twin)

    assert "damaged gloss_head.safetensors" in spoilt(HEAD_FILE, b"no weights")
    assert "damaged gloss.json" in spoilt(SETTINGS_FILE, b"{")
    assert "damaged gloss.json" in spoilt(SETTINGS_FILE, b"\xff\xfe")
    assert "is no object" in spoilt(SETTINGS_FILE, b"[1]")
    assert "whose max_length is '160'" in spoilt(SETTINGS_FILE, b'{"max_length": "160"}')
    assert "whose objective is 'both'" in spoilt(SETTINGS_FILE, b'{"objective": "both"}')
    save_file({"weight": torch.zeros(2, 8), "bias": torch.zeros(2)}, tmp_path / "other")
    assert "does not fit the model's width of 32" in spoilt(HEAD_FILE, (tmp_path / "other").read_bytes())


def test_settings_come_back_and_later_fields_are_passed_over() -> None:
    settings = GlossSettings(
        marks="none", max_length=99, layout="packed", objective="choice", lexicon="Wörter"
    )
    assert GlossSettings.from_json(settings.to_json(), "x") == settings
    more = json.dumps({"marks": "none", "colour": "red"})
    assert GlossSettings.from_json(more, "x") == GlossSettings(marks="none")


def test_a_tokenizer_of_another_model_is_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(folder("distilbert"), tmp_path / "in"))
    for file in source.glob("*token*"):
        file.unlink()
    make_tokenizer("bpe", vocabulary=900).save_pretrained(source)
    with pytest.raises(UserError, match="but a vocabulary of only"):
        GlossModel.start(source, SETTINGS)


def test_the_models_limit_is_the_encoders(folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=f"the model takes {POSITIONS} pieces at most"):
        GlossModel.start(folder("roberta"), GlossSettings(max_length=POSITIONS + 1))
    model = GlossModel.start(folder("roberta"), SETTINGS).eval()
    assert isinstance(model.encoder, Encoder)
    long = ITEMS[0][0]
    item = type(long)("i", "the old sea " * 40 + "fox", 480, 483, "fox", "n")
    batch = collate(model.encoder.encode([(item, ITEMS[0][1])]), model.layout)
    assert batch.attention_mask.sum(1).max() > POSITIONS - 40
    assert model(batch)[0].isfinite().all()
