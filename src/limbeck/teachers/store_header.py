"""What a store of predictions is of: teacher, text, masks and form (docs/store.md, architecture section 4).

The plan decides every byte of every chunk; its digest, the key, stands in each of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.teachers.store_format import FORMAT_VERSION, Layout
from limbeck.text.words import WORD_RULE_VERSION

HEADER, PASSAGES, TOKENIZER = "header.json", "passages.u64", "tokenizer"

# Passages of a chunk, and the most chunks of a variant; a larger text has larger chunks instead.
_CHUNK, _MOST_CHUNKS = 1024, 4096
# Fields of a config.json that say who wrote it and not what it predicts.
_NOT_OF_THE_MODEL = ("_commit_hash", "_name_or_path", "dtype", "torch_dtype", "transformers_version")


@dataclass(frozen=True)
class Masks:
    """Which words are masked: the mask plan's settings (text/words.py)."""

    seed: int
    rate: float
    rule: int = WORD_RULE_VERSION


@dataclass(frozen=True)
class Plan:
    """What decides the content of every chunk.

    model: `model_digest`; precision: of its forwards; tokenizer: its fingerprint; width: of its logits;
    text: digest of the passages' sorted hashes; passages: their number; chunk: passages of a chunk; k: pieces
    kept; calibration: c_t, and whether it was to be fitted (`calibrated`), else 1; temperature: T of the
    targets that it was built for.
    """

    model: str
    precision: str
    tokenizer: str
    width: int
    text: str
    passages: int
    masks: Masks
    k: int
    chunk: int
    calibration: float = 1.0
    calibrated: bool = False
    temperature: float = 1.0
    format: int = FORMAT_VERSION

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Those whose tail mass is kept: c_t for the weights, c_t · T for the targets; one where T is 1."""
        c = self.calibration
        return tuple(dict.fromkeys((c, c * self.temperature)))

    @property
    def layout(self) -> Layout:
        """Of a record."""
        return Layout(self.k, len(self.temperatures), self.width)

    @property
    def key(self) -> bytes:
        """16 bytes that stand for the plan."""
        return hashlib.blake2b(json.dumps(asdict(self)).encode(), digest_size=16).digest()

    @property
    def chunks(self) -> int:
        """Chunks of one variant."""
        return -(-self.passages // self.chunk)


def chunk_size(passages: int) -> int:
    """Passages of a chunk; depends on nothing but the text, so neither do the chunks."""
    size = _CHUNK
    while passages > size * _MOST_CHUNKS:
        size *= 2
    return size


@dataclass(frozen=True)
class Header:
    """`header.json`: the plan, and what is known of the teacher without loading it.

    variants: mask variants that the store is to have; name, shown (its model, for tables), parameters,
    weights (`weights_digest`), limit (pieces of its longest input, special tokens included): of the teacher;
    measured: its figures on held-out text, and what that was; versions: of the libraries that built it.
    """

    plan: Plan
    variants: int
    name: str
    shown: str
    parameters: int
    weights: str
    limit: int
    measured: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes the file; whole or not at all."""
        body = asdict(self)
        content = json.dumps({"digest": _digest(body), **body}, indent=1, ensure_ascii=False)
        atomic_write(folder / HEADER, content + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of the store in `folder`.

        Raises:
            UserError: there is none, it is damaged, or it is of another version of the format.
        """
        try:
            whole = json.loads((folder / HEADER).read_text(encoding="utf-8"))
            digest = whole.pop("digest")
            version = whole["plan"]["format"]
            plan = dict(whole.pop("plan"))
            masks = Masks(**plan.pop("masks")) if version == FORMAT_VERSION else None
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{folder} is no store of predictions; `limbeck store build RECIPE` makes one"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise cls.damaged(folder) from error
        if masks is None:
            raise UserError(
                f"store {folder} is of format {version}, this Limbeck reads {FORMAT_VERSION}; "
                "`limbeck store build RECIPE --rebuild` makes it anew"
            )
        try:
            header = cls(Plan(**plan, masks=masks), **whole)
        except TypeError as error:
            raise cls.damaged(folder) from error
        if _digest(asdict(header)) != digest:
            raise cls.damaged(folder)
        return header

    @staticmethod
    def damaged(folder: Path) -> UserError:
        """The header is not as it was written."""
        return UserError(
            f"store {folder}: {HEADER} is damaged; `limbeck store verify RECIPE --repair` makes it again"
        )


def _digest(body: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(body).encode(), digest_size=16).hexdigest()


def model_folder(model: str) -> Path | None:
    """The folder of a model on this machine: itself, or a hub id's in the cache; None where there is none."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # not the form of a hub id
        return None
    return Path(found).parent if isinstance(found, str) else None


def model_digest(folder: Path) -> str | None:
    """Of what decides a model's predictions, read from its files: weights, configuration, tokenizer.

    None where the folder has no weights (a hub's cache may hold the rest alone).
    """
    weights = sorted(folder.glob("*.safetensors"))
    config = folder / "config.json"
    if not weights or not config.is_file():
        return None
    try:
        decides = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        decides = {}  # loading will say what is wrong with it
    digest = hashlib.blake2b(digest_size=16)
    told = {key: value for key, value in decides.items() if key not in _NOT_OF_THE_MODEL}
    digest.update(json.dumps(told, sort_keys=True).encode())
    for path in (*weights, folder / "tokenizer.json"):
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()
