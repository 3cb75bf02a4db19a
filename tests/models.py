"""Real tiny models with real tokenizers, made on the spot: what the tests load instead of downloads.

`make_checkpoint` writes a plain Hugging Face checkpoint directory (config, safetensors, fast tokenizer) of a
family in a fraction of a second, with random weights that depend on `seed` only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

POSITIONS = 64  # pieces a tiny model takes, special tokens included
FAMILIES = (
    "bert", "roberta", "albert", "distilbert", "electra", "deberta", "deberta-v2", "deberta-v3", "mpnet",
    "modernbert", "xlm-roberta", "camembert", "nomic_bert", "bart", "xlnet",
)  # fmt: skip
TOKENIZERS = ("wordpiece", "wordpiece-cased", "bpe", "unigram", "sentencepiece-bpe")
TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "A limbeck is an old word for an alembic, the vessel that distils several liquids into one.",
    "In 1492 Columbus sailed the ocean blue; in 2013 nobody sailed well-known seas (hello there).",
    "A café in Zürich sells naïve jokes. Its owner speaks English, French and a little 日本語.",
    "She reads the book that he wrote while they were waiting for the train to the old town.",
    "Small students learn from large teachers when the teachers know more than the students do.",
    "Some words are rare, most words are short, and every word stands between two other words.",
    "Water boils at a hundred degrees; iron melts at far more, and gold at something between.",
)
_ROBERTA_LIKE = {"roberta", "mpnet", "xlm-roberta", "camembert", "bart", "xlnet"}


def make_tokenizer(
    kind: str = "wordpiece",
    texts: Iterable[str] | None = None,
    *,
    vocabulary: int = 400,
    family: str = "bert",
    mask: bool = True,
) -> transformers.PreTrainedTokenizerFast:
    """A fast tokenizer trained on `texts`, with the special tokens, order and padding side of `family`."""
    names = dict(
        zip(("bos", "pad", "eos", "unk", "mask"), ("<s>", "<pad>", "</s>", "<unk>", "<mask>"), strict=True)
    )
    if family not in _ROBERTA_LIKE:
        names = dict(
            zip(
                ("pad", "unk", "bos", "eos", "mask"),
                ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
                strict=True,
            )
        )
    if family == "xlnet":
        names = {"unk": "<unk>", "bos": "<cls>", "eos": "<sep>", "pad": "<pad>", "mask": "<mask>"}
    if not mask:
        del names["mask"]
    serialised = _train(
        kind, tuple(TEXTS if texts is None else texts), vocabulary, tuple(names.values()), names["unk"]
    )
    backend = Tokenizer.from_str(serialised)
    template = "$A <sep> <cls>" if family == "xlnet" else f"{names['bos']} $A {names['eos']}"
    backend.post_processor = processors.TemplateProcessing(
        single=template,
        special_tokens=[(names[k], backend.token_to_id(names[k])) for k in ("bos", "eos")],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="left" if family == "xlnet" else "right",
        unk_token=names["unk"], pad_token=names["pad"], cls_token=names["bos"], sep_token=names["eos"],
        bos_token=names["bos"], eos_token=names["eos"], mask_token=names.get("mask"),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _train(kind: str, texts: tuple[str, ...], vocabulary: int, special: tuple[str, ...], unk: str) -> str:
    options: dict[str, Any] = {
        "vocab_size": vocabulary,
        "special_tokens": list(special),
        "show_progress": False,
    }
    if kind.startswith("wordpiece"):
        cased = kind.endswith("cased")
        backend = Tokenizer(models.WordPiece(unk_token=unk))
        backend.normalizer = normalizers.BertNormalizer(lowercase=not cased, strip_accents=not cased)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(**options)
    elif kind == "bpe":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **options)
    elif kind in ("unigram", "sentencepiece-bpe"):
        model = models.Unigram() if kind == "unigram" else models.BPE(unk_token=unk)
        backend = Tokenizer(model)
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        trainer = (
            trainers.UnigramTrainer(unk_token=unk, **options)
            if kind == "unigram"
            else trainers.BpeTrainer(**options)
        )
    else:
        raise ValueError(f"no tokenizer kind {kind!r}; one of {', '.join(TOKENIZERS)}")
    backend.train_from_iterator(texts, trainer)
    return backend.to_str()


def make_config(
    family: str, tokenizer: transformers.PreTrainedTokenizerFast, *, hidden: int = 32, layers: int = 2
) -> transformers.PretrainedConfig:
    """The configuration of a tiny model of `family` for `tokenizer`; dropout 0."""
    special = {
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }  # fmt: skip
    common = {
        "vocab_size": len(tokenizer), "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden, "max_position_embeddings": POSITIONS,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 2, **special,
    }  # fmt: skip
    offset = {"max_position_embeddings": POSITIONS + tokenizer.pad_token_id + 1}
    t = transformers
    if family in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        kinds = {
            "roberta": t.RobertaConfig,
            "xlm-roberta": t.XLMRobertaConfig,
            "camembert": t.CamembertConfig,
        }
        return kinds.get(family, t.MPNetConfig)(**common | offset)
    if family in ("deberta", "deberta-v2", "deberta-v3"):
        relative = {
            "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
            "position_biased_input": False, "legacy": family != "deberta-v3",
        }  # fmt: skip
        if family == "deberta":
            return t.DebertaConfig(**common | relative)
        buckets = {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        return t.DebertaV2Config(**common | relative | buckets)
    if family == "bert":
        return t.BertConfig(**common)
    if family == "albert":
        return t.AlbertConfig(**common | {"embedding_size": hidden // 2})
    if family == "electra":
        return t.ElectraConfig(**common | {"embedding_size": hidden // 2})
    if family == "nomic_bert":
        return t.NomicBertConfig(**common | {"head_dim": hidden // 4})
    if family == "modernbert":
        return t.ModernBertConfig(**common | {"global_attn_every_n_layers": 2, "local_attention": 16})
    if family == "distilbert":
        return t.DistilBertConfig(
            vocab_size=len(tokenizer), dim=hidden, hidden_dim=2 * hidden, n_layers=layers, n_heads=4,
            dropout=0.0, attention_dropout=0.0, max_position_embeddings=POSITIONS, **special,
        )  # fmt: skip
    if family == "bart":
        return t.BartConfig(
            vocab_size=len(tokenizer), d_model=hidden, encoder_layers=layers, decoder_layers=layers,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=2 * hidden,
            decoder_ffn_dim=2 * hidden, max_position_embeddings=POSITIONS, dropout=0.0,
            decoder_start_token_id=tokenizer.eos_token_id, forced_eos_token_id=None, **special,
        )  # fmt: skip
    if family == "xlnet":
        return t.XLNetConfig(
            vocab_size=len(tokenizer), d_model=hidden, n_layer=layers, n_head=4, d_inner=2 * hidden,
            dropout=0.0, **special,
        )  # fmt: skip
    raise ValueError(f"no family {family!r}; one of {', '.join(FAMILIES)}")


def make_model(config: transformers.PretrainedConfig, *, seed: int = 0) -> transformers.PreTrainedModel:
    """A model of `config` with a masked-LM head, in eval mode; weights so wide that places differ."""
    kind = transformers.XLNetLMHeadModel if config.model_type == "xlnet" else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config) if kind else transformers.AutoModelForMaskedLM.from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim >= 2:
                    parameter.normal_(0.0, 0.15)
                elif name.endswith("bias"):
                    parameter.normal_(0.0, 0.02)
    return model.eval()


def make_checkpoint(
    family: str,
    folder: Path,
    *,
    tokenizer: str | transformers.PreTrainedTokenizerFast = "wordpiece",
    texts: Iterable[str] | None = None,
    hidden: int = 32,
    layers: int = 2,
    vocabulary: int = 400,
    seed: int = 0,
) -> Path:
    """Writes a tiny checkpoint of `family` (see FAMILIES) with its tokenizer to `folder`, and returns
    `folder`.

    tokenizer: a kind of TOKENIZERS, trained on `texts` (TEXTS by default) to at most `vocabulary` pieces, or
    one made before.
    """
    if isinstance(tokenizer, str):
        tokenizer = make_tokenizer(tokenizer, texts, vocabulary=vocabulary, family=family)
    model = make_model(make_config(family, tokenizer, hidden=hidden, layers=layers), seed=seed)
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
