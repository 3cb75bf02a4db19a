"""Students: built from a size in many families, and taken from a teacher's layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from limbeck.distill.student import REFUSED, SUGGESTED, build_student, init_from_layers
from limbeck.errors import UserError

NAMES = ("unk", "cls", "sep", "pad", "mask")
TAKEN_FROM = ["bert", "roberta", "distilbert", "modernbert"]


@dataclass(frozen=True)
class Size:
    family: str = "modernbert"
    layers: int = 2
    hidden: int = 64
    heads: int | None = 4
    intermediate: int | None = None
    max_length: int = 24


@pytest.fixture(scope="module")
def tokenizer():
    pieces = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *(chr(97 + i) for i in range(26))]
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )


def inputs(length: int = 24) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 31, (2, length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.no_grad()
def logits(model, **given):
    return model.eval()(**(given or inputs())).logits


@pytest.mark.parametrize(
    "family", [*SUGGESTED, "xlm-roberta", "deberta", "nomic_bert", "xlm", "rembert", "gte"]
)
def test_families_build_take_their_full_length_and_are_without_dropout(family, tokenizer):
    torch.manual_seed(0)
    model = build_student(Size(family), tokenizer)
    assert model.config.num_hidden_layers == 2
    assert model.config.hidden_size == 64
    assert model.config.vocab_size == len(tokenizer) == 31
    assert model.config.pad_token_id == 3
    assert model.config.mask_token_id == 4
    assert (model.config.cls_token_id, model.config.sep_token_id) == (1, 2)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)
    assert logits(model).shape == (2, 24, 31)
    model.train()
    with torch.no_grad():
        assert torch.equal(model(**inputs()).logits, model(**inputs()).logits)


@pytest.mark.parametrize("family", SUGGESTED)
def test_the_same_seed_gives_the_same_student(family, tokenizer):
    first, second = [], []
    for found in (first, second):
        torch.manual_seed(7)
        found += build_student(Size(family), tokenizer).parameters()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_proportions_of_the_families(tokenizer):
    def config(**change):
        return build_student(replace(Size(heads=None, hidden=128), **change), tokenizer).config

    assert (config().intermediate_size, config().num_attention_heads) == (192, 2)
    assert config(family="bert").intermediate_size == 512
    assert config(family="distilbert").hidden_dim == 512
    assert config(family="distilbert", intermediate=96).hidden_dim == 96
    assert config(heads=8).num_attention_heads == 8
    assert config(hidden=32).num_attention_heads == 1
    assert config(hidden=100).num_attention_heads == 2
    kinds = [kind.removesuffix("_attention") for kind in config(layers=5).layer_types]
    assert kinds == ["full", "sliding", "sliding", "full", "sliding"]
    assert config()._attn_implementation == "sdpa"


def test_dropout_where_it_is_wanted(tokenizer):
    config = build_student(Size("bert"), tokenizer, dropout=0.2).config
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.2


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (Size("bertt"), "no masked-LM family of transformers; take one of modernbert, bert"),
        (Size("t5"), "no masked-LM family"),
        (Size("gpt2"), "no masked-LM family"),
        (Size("bart"), "predicts in a decoder; take one of"),
        (Size("bert", hidden=65), "student.hidden = 65 is not divisible by student.heads = 4: set heads"),
        (Size("xlm", intermediate=100), "student.intermediate cannot be set for xlm"),
    ],
)
def test_sizes_that_are_refused_in_one_line(size, message, tokenizer):
    with pytest.raises(UserError, match=message) as caught:
        build_student(size, tokenizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", REFUSED)
def test_every_refused_family_says_why(family, tokenizer):
    with pytest.raises(UserError, match="cannot be a student"):
        build_student(Size(family), tokenizer)


@pytest.mark.parametrize("what", ["mask", "pad"])
def test_a_tokenizer_without_mask_or_padding_is_refused(what, tokenizer):
    tokens = {
        f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask") if name != what
    }
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **tokens)
    with pytest.raises(UserError, match=f"no {what} token"):
        build_student(Size(), bare)


# ---- taken layers


def teacher_of(family: str, tokenizer, layers: int = 4):
    """A teacher whose every weight is random, biases and norms too."""
    torch.manual_seed(3)
    teacher = build_student(Size(family, layers=layers), tokenizer)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return teacher


@pytest.mark.parametrize("family", TAKEN_FROM)
def test_all_layers_give_the_teacher_again_and_the_checkpoint_reloads(family, tokenizer, tmp_path):
    teacher = teacher_of(family, tokenizer)
    before = logits(teacher)
    student = init_from_layers(teacher, range(4))
    assert torch.equal(logits(student), before)
    student.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForMaskedLM.from_pretrained(tmp_path)), before)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert torch.equal(logits(teacher), before)  # the student's weights are its own


@pytest.mark.parametrize("family", TAKEN_FROM)
def test_chosen_layers_are_the_teachers(family, tokenizer, tmp_path):
    teacher = teacher_of(family, tokenizer)
    student = init_from_layers(teacher, [0, 3, 2])
    assert student.config.num_hidden_layers == 3
    assert teacher.config.num_hidden_layers == 4
    path = {"bert": "bert.encoder.layer", "roberta": "roberta.encoder.layer"}
    path |= {"distilbert": "distilbert.transformer.layer", "modernbert": "model.layers"}
    for new, old in enumerate([0, 3, 2]):
        mine = student.get_submodule(f"{path[family]}.{new}").state_dict()
        assert mine
        for name, tensor in teacher.get_submodule(f"{path[family]}.{old}").state_dict().items():
            assert torch.equal(mine[name], tensor)
    student.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForMaskedLM.from_pretrained(tmp_path)), logits(student))


def test_modernbert_layers_keep_their_kind_of_attention(tokenizer):
    torch.manual_seed(3)
    teacher = build_student(Size(layers=7, max_length=200), tokenizer)
    student = init_from_layers(teacher, [0, 1, 6])
    assert student.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]
    assert [layer.attention_type for layer in student.model.layers] == student.config.layer_types
    # Cut by hand: the teacher with its other layers taken out, on text longer than the local window.
    teacher.model.layers = torch.nn.ModuleList([teacher.model.layers[i] for i in (0, 1, 6)])
    teacher.config.num_hidden_layers = 3
    teacher.config.layer_types = student.config.layer_types
    assert torch.equal(logits(student, **inputs(200)), logits(teacher, **inputs(200)))


def test_a_bf16_teacher_gives_a_float32_student(tokenizer):
    teacher = teacher_of("bert", tokenizer).bfloat16()
    student = init_from_layers(teacher, [1])
    assert {p.dtype for p in student.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("family", "layers", "message"),
    [
        (
            "electra",
            [0],
            "cannot be taken from the electra family, only from bert, roberta, distilbert, modernbert",
        ),
        ("bert", [], "student.layers is empty"),
        ("bert", [0, 4], "4 out of range; the teacher has layers 0 to 3"),
        ("bert", [-1], "-1 out of range"),
        ("modernbert", [1, 2], "must begin with layer 0"),
        ("modernbert", [0, 0], "must begin with layer 0"),
    ],
)
def test_layers_that_are_refused_in_one_line(family, layers, message, tokenizer):
    with pytest.raises(UserError, match=message) as caught:
        init_from_layers(teacher_of(family, tokenizer), layers)
    assert "\n" not in str(caught.value)
