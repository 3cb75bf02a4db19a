"""The student: built from a size, or initialised from chosen layers of a teacher (docs/architecture.md §3.1).

Both give a plain Hugging Face masked LM. Random weights come from torch's generator: the caller seeds it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from limbeck.errors import UserError

# What the message about an unknown family suggests; the mapping's other text-only families work as well.
SUGGESTED = ("modernbert", "bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "mpnet")

# Families of transformers' masked-LM mapping that are no student of ours, with the reason.
_DECODES = "it predicts in a decoder"
_OTHER_INPUT = "it reads more than plain text"
_OTHER_SIZE = "its size is not given by layers, hidden and heads"
REFUSED: dict[str, str] = {
    "bart": _DECODES,
    "mbart": _DECODES,
    "mvp": _DECODES,
    "esm": "it reads proteins",
    "esmc": "it reads proteins",
    "layoutlm": _OTHER_INPUT,
    "luke": _OTHER_INPUT,
    "modernvbert": _OTHER_INPUT,
    "neomme": _OTHER_INPUT,
    "nystromformer": "it reads passages of one length only",
    "roc_bert": _OTHER_INPUT,
    "tapas": _OTHER_INPUT,
    "ultravbert": _OTHER_INPUT,
    "funnel": _OTHER_SIZE,
    "mobilebert": _OTHER_SIZE,
    "perceiver": _OTHER_SIZE,
    "reformer": _OTHER_SIZE,
    "xmod": "it must be told the language of every input",
}

# Positions of these families start behind the padding id, so that they need pad + 1 more of them.
_OFFSET_POSITIONS = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "longformer",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)

# Where a family keeps its layers: the only families whose layers can be taken over.
_LAYERS: dict[str, str] = {
    "bert": "bert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "modernbert": "model.layers",
}


class StudentSize(Protocol):
    """The `[student]` section of a recipe, as far as its size goes; None takes the family's proportions."""

    @property
    def family(self) -> str:
        """A masked-LM family of transformers, such as `modernbert`."""

    @property
    def layers(self) -> int:
        """Number of layers."""

    @property
    def hidden(self) -> int:
        """Width of a hidden state."""

    @property
    def heads(self) -> int | None:
        """Attention heads; None: of about 64 each."""

    @property
    def intermediate(self) -> int | None:
        """Width inside the feed-forward layers; None: in the family's own proportion to `hidden`."""

    @property
    def max_length(self) -> int:
        """The longest input in pieces, special tokens included."""


def build_student(
    section: StudentSize, tokenizer: PreTrainedTokenizerBase, *, dropout: float = 0.0
) -> PreTrainedModel:
    """A freshly initialised masked LM of the wanted size for this tokenizer.

    Args:
        section: family and size.
        tokenizer: of Hugging Face, with a mask and a padding token; the vocabulary reaches to its largest id.
        dropout: of the body, everywhere; 0 by default, as a small student underfits.

    Raises:
        UserError: unknown or refused family; `hidden` not divisible by the heads; a tokenizer without mask or
            padding; `intermediate` for a family that fixes it.
    """
    config = _config(section, tokenizer, dropout)
    extra: dict[str, Any] = {"attn_implementation": "sdpa"} if section.family == "modernbert" else {}
    model: PreTrainedModel = AutoModelForMaskedLM.from_config(  # type: ignore[no-untyped-call]
        config, **extra
    )
    return model


def _config(section: StudentSize, tokenizer: PreTrainedTokenizerBase, dropout: float) -> Any:
    family, hidden = section.family, section.hidden
    check_family(family)
    heads = section.heads or _default_heads(hidden)
    if hidden % heads:
        raise UserError(
            f"student.hidden = {hidden} is not divisible by student.heads = {heads}: "
            f"set heads to a divisor of {hidden}"
        )
    usual = AutoConfig.for_model(family)
    size = {"hidden_size": hidden, "num_hidden_layers": section.layers, "num_attention_heads": heads}
    size = {usual.attribute_map.get(name, name): value for name, value in size.items()}
    size |= _intermediate(usual, section)
    positions = section.max_length
    if family in _OFFSET_POSITIONS:
        positions += _special(tokenizer, "pad") + 1
    size["max_position_embeddings"] = positions
    if hasattr(usual, "num_key_value_heads"):
        size["num_key_value_heads"] = heads
    if getattr(usual, "head_dim", None) is not None:
        size["head_dim"] = hidden // heads
    for name in ("embedding_size", "input_embedding_size", "output_embedding_size"):
        width = getattr(usual, name, None)
        if (
            width is not None
        ):  # factorised embeddings: never wider than the model, as wide where that is usual
            size[name] = hidden if width == usual.hidden_size else min(int(width), hidden)
    return AutoConfig.for_model(family, **size, **_vocabulary(tokenizer), **_dropouts(usual, dropout))


def check_family(family: str) -> None:
    """Raises UserError for a family that is no masked LM, or that cannot be a student."""
    choice = f"take one of {', '.join(SUGGESTED)}"
    if family in REFUSED:
        raise UserError(f'student.family = "{family}" cannot be a student: {REFUSED[family]}; {choice}')
    if family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise UserError(f'student.family = "{family}" is no masked-LM family of transformers; {choice}')


def _default_heads(hidden: int) -> int:
    """The divisor of `hidden` nearest to hidden / 64; of two as near, the larger."""
    divisors = [n for n in range(1, hidden + 1) if hidden % n == 0]
    return min(divisors, key=lambda n: (abs(n - hidden / 64), -n))


def _intermediate(usual: Any, section: StudentSize) -> dict[str, int]:
    """The feed-forward width: BERT 4 × hidden, ModernBERT (gated) 1.5 × hidden, in multiples of 8."""
    name = next((n for n in ("intermediate_size", "hidden_dim") if hasattr(usual, n)), None)
    if name is None:
        if section.intermediate is not None:
            raise UserError(
                f"student.intermediate cannot be set for {section.family}, which fixes it at 4 × hidden: "
                "leave it out"
            )
        return {}
    if section.intermediate is not None:
        return {name: section.intermediate}
    wanted = section.hidden * getattr(usual, name) / usual.hidden_size
    return {name: max(8, round(wanted / 8) * 8)}


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids = {
        "pad_token_id": _special(tokenizer, "pad"),
        "mask_token_id": _special(tokenizer, "mask"),
        "bos_token_id": tokenizer.bos_token_id if tokenizer.bos_token_id is not None else cls,
        "eos_token_id": tokenizer.eos_token_id if tokenizer.eos_token_id is not None else sep,
        "cls_token_id": cls,
        "sep_token_id": sep,
    }
    # Not the number of pieces: a vocabulary may have holes.
    return {"vocab_size": max(tokenizer.get_vocab().values()) + 1} | ids


def _special(tokenizer: PreTrainedTokenizerBase, what: str) -> int:
    found = getattr(tokenizer, f"{what}_token_id")
    if found is None:
        raise UserError(
            f"the student's tokenizer has no {what} token: take another, or add one with add_special_tokens"
        )
    return int(found)


def _dropouts(usual: Any, dropout: float) -> dict[str, float]:
    """Every dropout of the body; those of task heads keep the family's values."""
    heads = ("classifier", "qa_", "seq_classif", "summary_", "pooler_")
    return {
        name: dropout
        for name, value in usual.to_dict().items()
        if ("dropout" in name or name == "layerdrop")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and not name.startswith(heads)
    }


def init_from_layers(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A model of the teacher's family with its embeddings, the chosen layers in this order, and its head.

    Args:
        teacher: a masked LM of BERT, RoBERTa, DistilBERT or ModernBERT.
        layers: 0-based layers of the teacher, such as [0, 2, 4]. ModernBERT's layer 0 must come first, and
            only once: it is the one without a norm before its attention.

    Returns:
        A new model with weights of its own, in float32.

    Raises:
        UserError: another family, no layers, a layer the teacher lacks, ModernBERT without layer 0 first.
    """
    family = str(teacher.config.model_type)
    if family not in _LAYERS:
        raise UserError(
            f"student.layers cannot be taken from the {family} family, only from {', '.join(_LAYERS)}: "
            "leave student.init out to build the student from a size"
        )
    _check_layers(family, layers, int(teacher.config.num_hidden_layers))
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None) is not None:  # every copied layer keeps its own kind of attention
        config.layer_types = [teacher.config.layer_types[i] for i in layers]
    config.dtype = torch.float32
    student = type(teacher)(config)
    prefix = _LAYERS[family] + "."
    taken: dict[str, torch.Tensor] = {}
    for name, tensor in teacher.state_dict().items():
        if not name.startswith(prefix):
            taken[name] = tensor
            continue
        number, rest = name.removeprefix(prefix).split(".", 1)
        taken |= {f"{prefix}{new}.{rest}": tensor for new, old in enumerate(layers) if old == int(number)}
    student.load_state_dict(taken)
    student.tie_weights()
    return student


def _check_layers(family: str, layers: Sequence[int], available: int) -> None:
    if not layers:
        raise UserError("student.layers is empty: name at least one layer of the teacher, such as [0]")
    wrong = [i for i in layers if not 0 <= i < available]
    if wrong:
        raise UserError(
            f"student.layers: {', '.join(map(str, wrong))} out of range; "
            f"the teacher has layers 0 to {available - 1}"
        )
    if family == "modernbert" and (layers[0] != 0 or list(layers).count(0) > 1):
        raise UserError(
            "student.layers of a modernbert model must begin with layer 0 and have it once "
            "(it has no norm before its attention): such as [0, 2, 4]"
        )
