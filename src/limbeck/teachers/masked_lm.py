"""A Hugging Face masked language model that answers at chosen positions only, and its strict loading.

Teachers and students alike. The head, by far the widest matrix of a small model, runs at the slots; no tensor
of [batch, length, vocabulary] is ever made (contract 7 of docs/architecture.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from limbeck.errors import UserError
from limbeck.teachers import families, loading
from limbeck.teachers.attention import use_short_attention
from limbeck.teachers.dropout import use_fast_dropout
from limbeck.teachers.padded_linear import pad_head

# The CPU's matrix library prepares a kernel for every new shape, at the cost of a product or two. No two
# batches have the same number of slots, so that number is rounded up for the head.
SLOT_MULTIPLE = 32


class _Gather:
    """Forward pre-hook of the head: passes on the rows of the backbone's output that stand at `position`."""

    def __init__(self) -> None:
        self.position: torch.Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.position is None:  # the model is used without us: its own full logits
            return None
        hidden = args[0]
        return (hidden.reshape(-1, hidden.shape[-1]).index_select(0, self.position), *args[1:])


class MaskedLM(nn.Module):
    """Wraps a Hugging Face model with a masked-LM head; `.model` is that model, saved by its own method.

    Parameters that take no part (poolers, XLNet's segment terms) are frozen.

    Args:
        model: any `AutoModelForMaskedLM`, BART included, or `XLNetLMHeadModel`.
        mask_id: the tokenizer's mask piece, which XLNet needs to hide masked positions that are no targets.
        slot_multiple: the head runs at a multiple of so many rows; 1: exactly those asked for.

    Raises:
        UserError: the family has no head behind a backbone.
    """

    def __init__(
        self, model: PreTrainedModel, mask_id: int | None = None, *, slot_multiple: int = SLOT_MULTIPLE
    ) -> None:
        super().__init__()
        self.model = model
        self.mask_id = mask_id
        self.slot_multiple = slot_multiple
        self._gather = _Gather()
        head = families.head_of(model)
        if head is None:
            kind = type(model).__name__
            raise UserError(
                f"{kind} cannot predict at chosen positions; use one of the BERT kind, XLNet or BART"
            )
        head.register_forward_pre_hook(self._gather)
        for parameter in families.unused_parameters(model):
            parameter.requires_grad_(False)  # contract 1: DDP waits for gradients that never come
        use_short_attention(model)
        use_fast_dropout(model)
        pad_head(model)
        self._fixed = families.fixed_inputs(model)
        self._attends = families.takes_attention_mask(model)

    @property
    def width(self) -> int:
        """Number of logits per position, V."""
        return families.logit_width(self.model)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position: torch.Tensor,
        more: Mapping[str, Any] | None = None,
        *,
        padded: bool = False,
    ) -> torch.Tensor:
        """Logits [C, V] at position [C], flat in B·L of input_ids and attention_mask [B, L] (all int64).

        `more`: further arguments of the model's own forward, or others in place of those above. With no
        position at all the result is [0, V] and still back-propagates zeros (contract 1). `padded`: rows of
        no account may follow, which to cut off would cost the backward a copy of the whole gradient.
        """
        inputs: dict[str, Any] = {"input_ids": input_ids, **self._fixed}
        if self._attends:
            inputs["attention_mask"] = attention_mask
        inputs.update(more or {})
        if self.model.config.model_type == "xlnet":
            extra, gathered = families.permutation_inputs(input_ids, position, self.mask_id)
            inputs.update(extra)
        else:
            gathered = nn.functional.pad(position, (0, -position.shape[0] % self.slot_multiple))
        self._gather.position = gathered
        try:
            logits: torch.Tensor = self.model(**inputs)[0]
        finally:
            self._gather.position = None
        return logits if padded else logits[: len(position)]


def weights_digest(model: nn.Module, *, but: Collection[str] = ()) -> str:
    """blake2b of all parameters, in order of name: tells two models apart whatever they are called.

    but: names of those that are left out.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, parameter in sorted((n, p) for n, p in model.named_parameters() if n not in but):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def encoder_digest(model: nn.Module) -> str:
    """The digest of a model's encoder alone, by which results of all tasks know it, whatever head it has.

    The names are the encoder's own; heads and poolers, which not every task reads, do not count.
    """
    encoder = getattr(model, "base_model", model)
    poolers = {name for name, _ in encoder.named_parameters() if "pooler" in name.split(".")}
    return weights_digest(encoder, but=poolers)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    parameters: their number; family: transformers' model type; width: logits per position; limit: the most
    pieces of a passage, special tokens included (None: unlimited).
    """

    parameters: int
    family: str
    width: int
    limit: int | None


def resolve_device(name: str) -> torch.device:
    """The device of this name; "auto" is the first GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"{name!r} is no device; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise UserError(f"device {name!r} cannot be used; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device {name!r} does not exist here ({count} CUDA devices found); use auto or cpu")
    return device


def load_masked_lm(
    path_or_id: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    what: str = "model",
) -> tuple[MaskedLM, PreTrainedTokenizerFast, LoadReport]:
    """Loads a checkpoint directory or hub id, in eval mode, and makes sure that it predicts masked words.

    Nothing is unpickled and no code of the checkpoint is run. `what` opens every message: "teacher
    'fiction'".

    Raises:
        UserError: not a model; weights only pickled, or damaged; a masked-LM head that would be freshly
            initialised (ELECTRA discriminators, headless encoders); code that would need `trust_remote_code`;
            a slow tokenizer or one without a mask token; predictions that are not finite; no such device.
    """
    where = f"{what}: {str(path_or_id)!r}"
    source = loading.find_source(path_or_id, where)
    target = resolve_device(device) if isinstance(device, str) else device
    with loading.quiet():
        config = loading.load_config(source, where)
        tokenizer = loading.load_fast_tokenizer(source, where)
        model = loading.load_weights(source, config, dtype, where)
    width = families.logit_width(model)
    largest = max(tokenizer.get_vocab().values())
    if largest >= width:
        raise UserError(
            f"{where} has a tokenizer of {largest + 1} pieces but only {width} logits; "
            "give the tokenizer that the model was trained with"
        )
    module = MaskedLM(model, tokenizer.mask_token_id).to(target).eval()
    _probe(module, where)
    report = LoadReport(
        parameters=sum(p.numel() for p in model.parameters()),
        family=config.model_type,
        width=width,
        limit=families.piece_limit(model),
    )
    return module, tokenizer, report


def load_tokenizer(path_or_id: str | Path, *, what: str = "tokenizer") -> PreTrainedTokenizerFast:
    """Loads the fast tokenizer of a checkpoint directory or hub id; its weights are not looked at.

    Raises:
        UserError: nothing there, no tokenizer, a slow one, or one without a mask token.
    """
    where = f"{what}: {str(path_or_id)!r}"
    with loading.quiet():
        return loading.load_fast_tokenizer(loading.find_source(path_or_id, where), where)


@torch.no_grad()
def _probe(module: MaskedLM, where: str) -> None:
    """Predicts at one masked position: the family fits our hook, and its numbers are numbers."""
    device = next(module.parameters()).device
    ids = torch.full((1, 4), module.mask_id or 0, dtype=torch.long, device=device)
    logits = module(ids, torch.ones_like(ids), torch.ones(1, dtype=torch.long, device=device))
    if logits.shape != (1, module.width):
        family = module.model.config.model_type
        raise UserError(f"{where} is of the family {family!r}, which cannot predict at chosen positions")
    if not bool(torch.isfinite(logits).all()):
        raise UserError(
            f"{where} predicts NaN or infinite values: its weights are damaged; copy or download it again"
        )
