"""What tells a model on disk from any other: a digest of all its files that decide its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.teachers import loading

_FILES = (
    *("config.json", "*.safetensors", "model.safetensors.index.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "*.model"),
    *("gloss.json", "detector.json"),
)
"""Configuration, weights (a gloss head's too), tokenizer, settings of a gloss head and of a detector.

Whatever else lies in the folder decides nothing: the model card, notes, logs.
"""
_EXPORTED = ("*.onnx", "*.onnx.data", "export.json")
"""Of a folder of `limbeck export`; never downloaded."""


def fingerprint(path_or_id: str | Path, *, what: str = "model") -> str:
    """16 hexadecimal digits of the files that a model is read from: weights, tokenizer, gloss head and such.

    The model is not loaded; of a hub id the files are downloaded, as loading it would. Copies of a folder
    have one fingerprint. It is not the digest of the weights that results carry as `weights`, which a
    checkpoint with another tokenizer or with a gloss head shares.

    Raises:
        UserError: a path that does not exist, a folder without any such file, a hub id that cannot be read.
    """
    where = f"{what}: {str(path_or_id)!r}"
    source = loading.find_source(path_or_id, where)
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(source, where)
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(one for one in folder.iterdir() if _decides(one.name) and one.is_file()):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while part := file.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()


def is_as_measured(model: Mapping[str, Any]) -> bool:
    """Whether a model of an evaluation is what it was. model: `path`, `fingerprint`; gone means unchanged."""
    path = Path(str(model.get("path")))
    if not path.is_dir():
        return True
    try:
        return fingerprint(path) == model.get("fingerprint")
    except UserError:  # its files are gone
        return False


def _decides(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in (*_FILES, *_EXPORTED))


def _downloaded(source: str, where: str) -> Path:
    from huggingface_hub import snapshot_download

    with loading.quiet():
        try:
            return Path(snapshot_download(source, allow_patterns=list(_FILES), ignore_patterns=["*/*"]))
        except Exception as error:  # of the hub's client, the network and the file system
            raise loading.unreachable(source, where, error) from error
