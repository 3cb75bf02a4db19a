"""Gloss training on several processes is gloss training on one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limbeck.gloss.instances import wordnet_examples
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.recipe import to_toml
from tests.many_checks import WHOLE, close, machines, one_line, same_metrics
from tests.many_processes import Starter
from tests.models import make_checkpoint
from tests.tiny_gloss import TRAINING_TEXT, gloss_recipe, some, world
from tests.tiny_recipes import read_json

# Their gradients are zero but for rounding, of which AdamW makes whole steps: a softmax does not see them.
IDLE = "key.bias"
IDLE_IN_HEAD = "bias"
# Without dropout, of which every process has its own.
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
COMMON = {"dropout": 0.0, "steps": 3, "eval_every": 3, "save_every": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("glosses")
    world(found)
    make_checkpoint("bert", found / "bert", texts=TRAINING_TEXT, vocabulary=500, seed=5)
    config = found / "bert" / "config.json"
    config.write_text(json.dumps(read_json(config) | STILL), encoding="utf-8")
    return found


def written(
    folder: Path, name: str, init: Path, teachers: dict[str, Path] | None = None, **changes: Any
) -> Path:
    path = folder / f"{name}.toml"
    recipe = gloss_recipe(folder, init, teachers, **COMMON | changes)
    path.write_text(to_toml(recipe), encoding="utf-8")
    return path


def both(many: Starter, recipe: Path, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of one process and of two, whose weights and metrics are the same."""
    alone = many.start("gloss", recipe, "--output", out / "one", world=1)
    pair = many.start("gloss", recipe, "--output", out / "two")
    assert alone.end().codes == [0], alone.said()
    done = pair.end()
    assert done.codes == [0, 0], done.err
    assert done.err[1] == done.out[1] == "", "one process alone talks to the user"
    for name, idle in ((WHOLE, IDLE), ("model/gloss_head.safetensors", IDLE_IN_HEAD)):
        close(out / "one" / name, out / "two" / name, 1e-4, but=idle)
    same_metrics(out / "one", out / "two")
    one, two = (read_json(out / name / "results.json") for name in ("one", "two"))
    assert (one["cost"]["processes"], two["cost"]["processes"]) == (1, 2)
    assert two["valid"]["nats"] == pytest.approx(one["valid"]["nats"], rel=1e-4)
    for name in ("train", "method", "model"):
        assert two[name] == one[name]
    return one, two


@pytest.mark.parametrize("layout", ["packed", "pairs"])
def test_masked_words_and_glosses(many: Starter, folder: Path, tmp_path: Path, layout: str) -> None:
    recipe = written(folder, layout, folder / "bert", layout=layout)
    one, two = both(many, recipe, tmp_path)
    nats = [[row["headline"]["nats"] for row in found["gloss_words"]["models"]] for found in (one, two)]
    assert nats[0] == pytest.approx(nats[1], rel=1e-4)
    again = many.run("gloss", recipe, "--output", tmp_path / "two", "--json")
    assert again.codes == [0, 0]
    assert "is finished; nothing to do" in again.err[0]


@pytest.mark.slow
def test_with_teachers(many: Starter, folder: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    teachers = {
        "words": checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1),
        "bytes": checkpoint("roberta", tokenizer="bpe", texts=TRAINING_TEXT, seed=2),
    }
    recipe = written(folder, "cohesive", folder / "bert", teachers, cohesive=True)
    one, two = both(many, recipe, tmp_path)
    assert one["teachers"] == two["teachers"]
    assert one["method"] == "cohesive LMGC-M"


@pytest.mark.slow
def test_a_head_that_is_missing_is_trained_by_all_on_machines_that_share_nothing(
    many: Starter, folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    headless = tmp_path / "headless"
    AutoModel.from_pretrained(folder / "bert").save_pretrained(headless)
    AutoTokenizer.from_pretrained(folder / "bert").save_pretrained(headless)
    one = next(wordnet_examples(open_lexicon(str(folder / "wordnet"))))
    more = some(folder, [replace(one, id="more", context=f"{one.context} And two make it even.")])
    train = [str(folder / "train.jsonl"), more]
    recipe = written(folder, "headless", headless, train=train, head_steps=3)
    refused = written(folder, "refused", headless, head_steps=3)
    done = many.run("gloss", refused, "--output", tmp_path / "refused")
    one_line(done, 2, "37 passages a step, which 2 processes cannot share evenly")
    alone = many.start("gloss", recipe, "--output", tmp_path / "one", world=1)
    apart = [["gloss", recipe, "--output", tmp_path / f"machine-{rank}"] for rank in range(2)]
    pair = many.start(words_of_rank=lambda rank: apart[rank], each=machines(tmp_path))
    assert alone.end().codes == [0], alone.said()
    done = pair.end()
    assert done.codes == [0, 0], done.err
    for name in (WHOLE, "head/model/model.safetensors"):
        close(tmp_path / "one" / name, tmp_path / "machine-0" / name, 1e-4, but=IDLE)
    assert not (tmp_path / "machine-1").exists(), "the run directory is the main process's"


def test_what_cannot_be_shared_is_refused(many: Starter, folder: Path, tmp_path: Path) -> None:
    recipe = written(folder, "odd", folder / "bert")
    words = ["gloss", recipe, "--output", tmp_path / "run"]
    one_line(many.run(*words, world=3), 2, "3 processes cannot share gloss.batch = 8 evenly")
    few = [*words, "--set", "gloss.limit=5"]
    one_line(many.run(*few), 2, "gloss.train has 5 instances", "2 processes cannot share them evenly")
    assert not (tmp_path / "run").exists()
