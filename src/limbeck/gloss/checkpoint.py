"""The files of a gloss model: a plain Hugging Face checkpoint, the gloss head and its settings beside it.

Nothing is unpickled and no code of a checkpoint is run (contract 3 of docs/architecture.md).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from transformers import AutoModel, PreTrainedModel

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.gloss.settings import GlossSettings
from limbeck.teachers import families, loading
from limbeck.text.pieces import PieceTokenizer

HEAD_FILE, SETTINGS_FILE = "gloss_head.safetensors", "gloss.json"


def is_headless(model: PreTrainedModel) -> bool:
    """Whether this is an encoder alone, without a head that predicts words."""
    return model.base_model is model


def read_encoder(source: str, where: str) -> tuple[PreTrainedModel, PieceTokenizer]:
    """A checkpoint folder or hub id, on the CPU in float32: its masked language model, or the encoder alone.

    The encoder alone where the checkpoint has no masked-LM head (sentence encoders, ELECTRA discriminators).
    A pooler it lacks is left away, one it has is kept and never used. The tokenizer's limit is the model's.

    Raises:
        UserError: as `load_masked_lm`, but for the missing head.
    """
    with loading.quiet():
        config = loading.load_config(source, where)
        tokenizer = loading.load_fast_tokenizer(source, where)
        kind = families.masked_lm_class(config)
        model, missing = loading.read_weights(source, config, kind, torch.float32, where)
        if any(name.startswith(f"{model.base_model_prefix}.") for name in missing):
            raise loading.incomplete(missing, config, model, where)
        if missing:
            model, missing = loading.read_weights(source, config, AutoModel, torch.float32, where)
            if any(not name.startswith("pooler.") for name in missing):
                raise loading.incomplete(missing, config, model, where)
            if missing:
                model.register_module("pooler", None)
    loading.check_vocabulary(tokenizer, families.logit_width(model), where)
    return model, PieceTokenizer.from_hf(tokenizer, limit=families.piece_limit(model), name=where)


def with_masked_lm_head(encoder: PreTrainedModel) -> PreTrainedModel:
    """The encoder's own weights in its family's masked language model, whose head is freshly initialised.

    Random weights come from torch's generator: the caller seeds it. A pooler is left away. The new weights
    are those outside `model.base_model`; the output matrix is tied to the embeddings as the family does it.
    """
    assert is_headless(encoder)
    kind = families.masked_lm_class(encoder.config)
    make = kind.from_config if hasattr(kind, "from_config") else kind._from_config
    model: PreTrainedModel = make(
        copy.deepcopy(encoder.config), attn_implementation=encoder.config._attn_implementation
    )
    weights = {n: t for n, t in encoder.state_dict().items() if "pooler" not in n.split(".")}
    model.base_model.load_state_dict(weights)
    model.tie_weights()
    return model


def write_head(folder: Path, head: nn.Linear, settings: GlossSettings) -> None:
    """Writes the two files beside a model."""
    tensors = {name: t.detach().float().cpu().contiguous() for name, t in head.state_dict().items()}
    atomic_write(folder / HEAD_FILE, save(tensors))
    atomic_write(folder / SETTINGS_FILE, settings.to_json())


def read_head(source: str, where: str, width: int) -> tuple[dict[str, torch.Tensor], GlossSettings]:
    """The gloss head's weights (`weight` [2, width], `bias` [2]) and settings of a folder or hub id.

    Raises:
        UserError: there is none, it is damaged, or it belongs to another model.
    """
    head, written = _find(source, HEAD_FILE, where), _find(source, SETTINGS_FILE, where)
    try:
        weights = load_file(head)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{where} has a damaged {HEAD_FILE} ({error}); copy the model again") from error
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if shapes != {"weight": (2, width), "bias": (2,)}:
        raise UserError(
            f"{where} has a {HEAD_FILE} that does not fit the model's width of {width}; copy both again"
        )
    try:
        content = written.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} has a damaged {SETTINGS_FILE}; copy the model again") from error
    return weights, GlossSettings.from_json(content, where)


def has_head(source: str) -> bool:
    """Whether a folder or hub id has a gloss head beside the model."""
    if Path(source).is_dir():
        return (Path(source) / HEAD_FILE).is_file()
    try:
        hf_hub_download(source, HEAD_FILE)
    except EntryNotFoundError:  # or offline, and not among what was downloaded with the model
        return False
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise loading.unreachable(source, f"model: {source!r}", error) from error
    return True


def _find(source: str, name: str, where: str) -> Path:
    """A file of a folder or hub id."""
    missing = UserError(
        f"{where} has no gloss head ({name}), so it cannot tell senses apart; train it with `limbeck gloss`, "
        "or give a model that was"
    )
    if Path(source).is_dir():
        if not (Path(source) / name).is_file():
            raise missing
        return Path(source) / name
    try:
        return Path(hf_hub_download(source, name))
    except LocalEntryNotFoundError as error:
        raise loading.unreachable(source, where, error) from error
    except EntryNotFoundError:
        raise missing from None
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise loading.unreachable(source, where, error) from error
