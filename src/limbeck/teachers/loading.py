"""Reads a checkpoint strictly: what would silently give a useless model is refused in one line.

Nothing is ever unpickled, no code of a checkpoint is run, and no weight may be missing (contract 3 of
docs/architecture.md). `where` opens every message here, e.g. "teacher 'fiction': 'runs/a/model'".
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as hf_logging

from limbeck.errors import UserError
from limbeck.teachers import families

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_USABLE = "use one of the BERT kind, XLNet or BART"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No loading report and no progress bar of transformers: what matters in them is an error of ours."""
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def find_source(path_or_id: str | Path, where: str) -> str:
    """The folder as a string, or the hub id as it is.

    Raises:
        UserError: a path that does not exist, or a file.
    """
    folder = Path(path_or_id).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.exists():
        raise UserError(f"{where} is a file; give the folder that save_pretrained wrote, or a hub id")
    text = str(path_or_id)
    if isinstance(path_or_id, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise UserError(f"{where} does not exist; give a checkpoint folder or a hub id such as owner/name")
    return text


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(" ".join(lines[:2] if lines[0].endswith(":") else lines[:1]).split())


def unreachable(source: str, where: str, error: Exception) -> UserError:
    """The error for a checkpoint that cannot be read, here or on the hub."""
    if Path(source).is_dir():
        return UserError(f"{where} cannot be loaded: {_first_line(error)}")
    return UserError(
        f"{where} is no folder here, and reading it from the hub failed ({_first_line(error)}); "
        "check the name and the network"
    )


def load_config(source: str, where: str, *, classifier: bool = False) -> Any:
    """The configuration of a family that predicts masked words, or with `classifier` one that classifies.

    Raises:
        UserError: not a model, another kind of model, or one that needs its own code.
    """
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise UserError(
            f"{where} is not a model: there is no config.json in it; give a folder that save_pretrained wrote"
        )
    try:
        raw, _ = transformers.PretrainedConfig.get_config_dict(source)
    except (OSError, ValueError) as error:  # ValueError: not even the form of a hub id
        raise unreachable(source, where, error) from error
    kind = raw.get("model_type")
    usable = families.has_classifier if classifier else families.has_masked_lm
    if not families.is_known(kind) or not usable(kind):
        if raw.get("auto_map"):
            raise _needs_code(where)
        if kind is None:
            raise UserError(f"{where} is not a model: its config.json names no model_type")
        if not families.is_known(kind):
            raise UserError(
                f"{where} is of the family {kind!r}, which transformers {transformers.__version__} does not "
                f"know; {_USABLE}"
            )
        head = "classification" if classifier else "masked-LM"
        raise UserError(f"{where} is of the family {kind!r}, which has no {head} head; {_USABLE}")
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise UserError(f"{where} has a config.json that cannot be used: {_first_line(error)}") from error


def load_fast_tokenizer(source: str, where: str, *, mask: bool = True) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a checkpoint.

    Raises:
        UserError: none there, damaged, slow, or without a mask token where one is needed (`mask`).
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged tokenizer.json
        raise UserError(
            f"{where} has no tokenizer that can be loaded ({_first_line(error)}); save one beside the model"
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"{where} has a slow tokenizer ({type(tokenizer).__name__}), which gives no character offsets; "
            "save it with a fast one (tokenizer.json)"
        )
    # Without any file transformers makes a tokenizer of the family's special tokens alone.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise UserError(f"{where} has no tokenizer files; save the model's tokenizer beside it")
    if mask and tokenizer.mask_token_id is None:
        raise UserError(f"{where} has a tokenizer without a mask token; use a masked language model")
    return cast(PreTrainedTokenizerFast, tokenizer)


def load_weights(source: str, config: Any, dtype: torch.dtype, where: str) -> PreTrainedModel:
    """The masked language model with every weight from the checkpoint.

    Raises:
        UserError: weights only pickled, damaged, of other shapes than the configuration says, or missing.
    """
    model, missing = read_weights(source, config, families.masked_lm_class(config), dtype, where)
    if missing:
        raise incomplete(missing, config, model, where)
    return model


def read_weights(
    source: str, config: Any, kind: Any, dtype: torch.dtype, where: str, *, new_head: bool = False
) -> tuple[PreTrainedModel, list[str]]:
    """A model of the class `kind`, and the names of its weights that the checkpoint lacks.

    With `new_head` those count as lacking that are of another shape and lie outside the backbone.

    Raises:
        UserError: weights only pickled, damaged, or of other shapes than the configuration says.
    """
    _check_files(source, where)
    try:
        model, info = kind.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that the message can name them
            output_loading_info=True,
        )
    except (SafetensorError, json.JSONDecodeError, EOFError) as error:
        raise UserError(
            f"{where} has a damaged weight file ({_first_line(error)}); copy or download it again"
        ) from error
    except OSError as error:
        if "safetensors" in str(error) and not Path(source).is_dir():
            raise _pickled_only(where, "pickled files") from error
        raise unreachable(source, where, error) from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{where} has weights that do not fit its config.json: {_first_line(error)}"
        ) from error
    differing = sorted(info["mismatched_keys"])
    if new_head:
        differing = [one for one in differing if one[0].startswith(f"{model.base_model_prefix}.")]
    if differing:
        name, stored, wanted = differing[0]
        raise UserError(
            f"{where} has weights that do not fit its config.json ({name} is {list(stored)}, not "
            f"{list(wanted)}); take both from the same checkpoint"
        )
    for parameter in model.parameters():
        # What a checkpoint holds fused (NomicBERT's) comes as views of one tensor, which is not to be saved.
        if parameter.untyped_storage().nbytes() > parameter.numel() * parameter.element_size():
            parameter.data = parameter.data.clone()
    other = {name for name, *_ in info["mismatched_keys"]}
    return model, sorted({*info["missing_keys"], *other})


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, width: int, where: str) -> None:
    """Raises UserError if the tokenizer has ids beyond the model's vocabulary of `width` pieces."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= width:
        raise UserError(
            f"{where} has a tokenizer of {largest + 1} pieces but a vocabulary of only {width}; "
            "give the tokenizer that the model was trained with"
        )


def _check_files(source: str, where: str) -> None:
    folder = Path(source)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
    if pickled:
        raise _pickled_only(where, pickled[0])
    raise UserError(f"{where} is not a model: there is no weight file (*.safetensors) in it")


def _pickled_only(where: str, name: str) -> UserError:
    return UserError(
        f"{where} has its weights only as {name}, which is never unpickled here; load it once with "
        "transformers where you trust it and write model.safetensors with save_pretrained"
    )


def _needs_code(where: str) -> UserError:
    return UserError(
        f"{where} needs code from the checkpoint (trust_remote_code), which is never run here; "
        "use a checkpoint of an architecture that transformers has itself"
    )


def incomplete(missing: list[str], config: Any, model: PreTrainedModel, where: str) -> UserError:
    """The error that names the weights a checkpoint lacks, and what it was saved as."""
    names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    if any(name.startswith(f"{model.base_model_prefix}.") for name in missing):
        if getattr(config, "auto_map", None):
            return _needs_code(where)
        return UserError(
            f"{where} lacks weights that its config.json asks for ({names}); copy or download it again"
        )
    saved = ", ".join(config.architectures or ["an encoder"])
    advice = "use a checkpoint that was trained with a masked-LM head"
    if config.model_type == "electra":
        advice = "an ELECTRA discriminator cannot predict words, use the generator"
    return UserError(
        f"{where} was saved as {saved} and would get a freshly initialised head ({names}); {advice}"
    )
