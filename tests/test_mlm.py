"""Nats and accuracy per masked word: the same words for every model; against a slow reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from limbeck.errors import UserError
from limbeck.tasks.bootstrap import PairedMeans, paired_means
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_files, evaluate_models, table
from limbeck.tasks.mlm_model import OK
from limbeck.tasks.mlm_words import Sample, sample_logits, score
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.text.corpus import Corpus, build_corpus
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.words import mask_plan, word_spans
from tests.tiny_recipes import sentences

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlm") / "text.txt"
    path.write_text("\n\n".join(sentences(30, seed=4)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(text: Path) -> Corpus:
    return build_corpus(
        [str(text)], base=text.parent, words=24, min_words=4, on_error="stop", cache=text.parent, label="text"
    )


def loaded(path: Path, name: str = "model") -> Compared:
    module, hf, report = load_masked_lm(path)
    return Compared(name, module, PieceTokenizer.from_hf(hf, limit=report.limit, name=name), name)


@pytest.mark.parametrize(
    ("family", "tokenizer"), [("bert", "wordpiece"), ("roberta", "bpe"), ("xlnet", "unigram")]
)
def test_scores_against_a_slow_reference(
    family: str, tokenizer: str, corpus: Corpus, checkpoint: Callable[..., Path]
) -> None:
    compared = loaded(checkpoint(family, tokenizer=tokenizer, seed=1))
    rows = np.arange(8)
    found = score(compared, Sample(corpus, rows, 0.3, 0), CPU, "f32", 4)
    hf = compared.tokenizer.hf
    place = 0
    for row in rows:
        spans = word_spans(corpus.text(int(row)))
        plan = mask_plan(len(spans), int(corpus.hashes[row]), seed=0, variant=0, rate=0.3)
        pieces = compared.tokenizer.encode([corpus.text(int(row))])
        chosen = [tuple(spans[word]) for word in plan.selected]
        over = [
            [p for p in range(len(pieces.ids)) if pieces.start[p] < end and pieces.end[p] > start]
            for start, end in chosen
        ]
        ids = pieces.ids.astype(np.int64).tolist()
        shown = [hf.mask_token_id if any(p in run for run in over) else ids[p] for p in range(len(ids))]
        prefix = len(compared.tokenizer.prefix)
        fed = torch.tensor([[*compared.tokenizer.prefix, *shown, *compared.tokenizer.suffix]])
        position = torch.tensor(sorted({prefix + p for run in over for p in run}))
        with torch.no_grad():
            logits = compared.module(fed, torch.ones_like(fed), position)
        where = {int(p): k for k, p in enumerate(position)}
        for run in over:
            if found.state[place] == OK:
                said = [logits[where[prefix + p]].log_softmax(-1) for p in run]
                nats = -sum(float(log[ids[p]]) for log, p in zip(said, run, strict=True))
                assert found.nats[place] == pytest.approx(nats, rel=1e-4, abs=1e-4)
                hit = all(int(log.argmax()) == ids[p] for log, p in zip(said, run, strict=True))
                assert bool(found.correct[place]) == hit
            place += 1
    assert place == len(found.nats)
    assert (found.state == OK).mean() > 0.5


def test_sample_logits_are_those_that_are_scored(corpus: Corpus, checkpoint: Callable[..., Path]) -> None:
    compared = loaded(checkpoint("bert", seed=1))
    sample = Sample(corpus, np.arange(10), 0.15, 0)
    pairs = sample_logits(compared, sample, device=CPU, precision="f32", batch=4)
    nats = sum(float(torch.nn.functional.cross_entropy(x, y, reduction="sum")) for x, y in pairs)
    found = score(compared, sample, CPU, "f32", 4)
    if (found.state == OK).all():
        assert nats == pytest.approx(found.nats.sum(), rel=1e-5)
    else:
        assert nats > found.nats.sum()


def test_models_of_other_tokenizers_are_asked_about_the_same_words(
    text: Path, checkpoint: Callable[..., Path]
) -> None:
    models = [checkpoint("bert", seed=1), checkpoint("roberta", tokenizer="bpe", seed=2)]
    result = evaluate_files(models, [str(text)], words=24, mask=0.3, bootstrap=200)
    counts = result["counts"]
    assert 0 < counts["headline"] < counts["all_words"] <= counts["masked_words"]
    for model in result["models"]:
        for part in ("headline", "all_words"):
            low, high = model[part]["nats_interval"]
            assert low < model[part]["nats"] < high
    (difference,) = result["differences"]
    first, second = (model["headline"]["nats"] for model in result["models"])
    assert difference["headline"]["nats"] == pytest.approx(second - first)
    again = evaluate_files(models, [str(text)], words=24, mask=0.3, bootstrap=200)
    assert again == result
    columns, rows = table(result)
    assert len(rows) == 2
    assert all(len(row) == len(columns) for row in rows)
    alone = evaluate_files(models[:1], [str(text)], words=24, mask=0.3, bootstrap=0)
    assert alone["counts"]["masked_words"] == counts["masked_words"]
    assert alone["counts"]["headline"] >= counts["headline"], "fewer tokenizers, more single-piece words"


def test_intervals_shrink_with_more_passages() -> None:
    nats = np.random.default_rng(0).normal(4, 1, 400)

    def width(passages: int) -> float:
        keep, passage = np.arange(400) < 4 * passages, np.arange(400) // 4
        found = paired_means([nats], keep, passage, passages, replicates=500, seed=0)
        assert found is not None
        bounds = found.contrast(0)[1]
        assert bounds is not None
        return bounds[1] - bounds[0]

    assert width(100) == pytest.approx(width(25) / 2, rel=0.3)


def test_a_share_of_the_passages_is_drawn_by_what_they_say(
    corpus: Corpus, text: Path, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    compared = loaded(checkpoint("bert", seed=1))
    turned = tmp_path / "turned.txt"
    turned.write_text("\n\n".join(reversed(text.read_text(encoding="utf-8").split("\n\n"))), encoding="utf-8")
    other = build_corpus(
        [str(turned)], base=tmp_path, words=24, min_words=4, on_error="stop", cache=tmp_path, label="text"
    )
    settings = MlmSettings(mask=0.3, passages=7, bootstrap=0)
    first, second = (evaluate_models([compared], c, settings) for c in (corpus, other))
    assert first["data"]["passages"] == 7
    assert first["data"]["fingerprint"] != second["data"]["fingerprint"]
    assert first["counts"] == second["counts"]
    nats = [result["models"][0]["all_words"]["nats"] for result in (first, second)]
    assert nats[0] == pytest.approx(nats[1], rel=1e-5)


def test_words_beyond_the_longest_input_are_left_out_for_all(
    text: Path, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    whole = loaded(checkpoint("bert", seed=1), "whole")
    hf = whole.tokenizer.hf
    short = Compared("short", whole.module, PieceTokenizer.from_hf(hf, limit=10, name="short"), "short")
    corpus = build_corpus(
        [str(text)], base=text.parent, words=24, min_words=4, on_error="stop", cache=tmp_path, label="text"
    )
    result = evaluate_models([whole, short], corpus, MlmSettings(mask=0.3, bootstrap=0))
    assert result["counts"]["left_out"]["truncated"] > 0
    assert result["models"][0]["left_out"]["truncated"] == 0
    both = [model["all_words"]["nats"] for model in result["models"]]
    assert not math.isclose(both[0], both[1]), "the short one sees less of the passage"


def test_nothing_to_measure_and_nonsense_are_refused(
    text: Path, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    model = checkpoint("bert", seed=1)
    with pytest.raises(UserError, match="no model"):
        evaluate_files([], [str(text)])
    with pytest.raises(UserError, match="mask"):
        evaluate_files([model], [str(text)], mask=1.0)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError):
        evaluate_files([model], [str(tmp_path / "empty.txt")])
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    save_file({k: v * math.nan for k, v in weights.items()}, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="NaN"):
        evaluate_files([broken], [str(text)])


def test_a_word_with_an_unknown_piece_is_left_out_for_all(
    text: Path, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    """A WordPiece vocabulary has no ideographs; a byte-level one has every byte."""
    mixed = tmp_path / "mixed.txt"
    mixed.write_text("\n\n".join(f"{line} 龘 the 靐 dog" for line in sentences(30, seed=5)), encoding="utf-8")
    models = [checkpoint("roberta", tokenizer="bpe", seed=2), checkpoint("bert", seed=1)]
    result = evaluate_files(models, [str(mixed)], words=12, mask=0.4, bootstrap=0)
    counts = result["counts"]
    unknown = counts["left_out"]["unknown"]
    assert unknown > 0
    assert [model["left_out"]["unknown"] for model in result["models"]] == [0, unknown]
    assert counts["all_words"] == counts["masked_words"] - sum(counts["left_out"].values())
    assert all(model["all_words"]["words"] == counts["all_words"] for model in result["models"])
    assert any("not in the vocabulary" in note for note in result["notes"])


@pytest.mark.parametrize(("family", "tokenizer"), [("bert", "wordpiece"), ("roberta", "bpe")])
def test_a_passage_alone_with_full_logits_of_transformers(
    family: str, tokenizer: str, corpus: Corpus, checkpoint: Callable[..., Path]
) -> None:
    """Nothing of ours but the word rule and the mask plan: their model, their tokenizer, all logits."""
    path = checkpoint(family, tokenizer=tokenizer, seed=3)
    found = score(loaded(path), Sample(corpus, np.arange(6), 0.3, 0), CPU, "f32", 6)
    assert (found.state == OK).all()
    model, hf = AutoModelForMaskedLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    nats = []
    for row in range(6):
        passage = corpus.text(row)
        spans = word_spans(passage)
        plan = mask_plan(len(spans), int(corpus.hashes[row]), seed=0, variant=0, rate=0.3)
        encoded = hf(passage, return_offsets_mapping=True, return_tensors="pt")
        offsets = encoded.pop("offset_mapping")[0].tolist()
        over = [
            [i for i, (low, high) in enumerate(offsets) if low < high and low < end and high > start]
            for start, end in (spans[word] for word in plan.selected)
        ]
        gold = encoded["input_ids"][0].clone()
        for run in over:
            encoded["input_ids"][0, run] = hf.mask_token_id
        with torch.no_grad():
            said = model(**encoded).logits[0].double().log_softmax(-1)
        nats += [-sum(float(said[i, gold[i]]) for i in run) for run in over]
    assert found.nats == pytest.approx(np.array(nats), rel=1e-4, abs=1e-4)


def test_the_bootstrap_is_of_passages_paired_and_fixed_by_its_seed() -> None:
    rng = np.random.default_rng(0)
    passage = np.repeat(np.arange(40), 5)
    first = rng.normal(4, 1, 40)[passage] + rng.normal(0, 0.1, 200)
    second = first + 0.5 + rng.normal(0, 0.01, 200)
    keep = rng.random(200) < 0.8

    def measured(seed: int) -> PairedMeans:
        found = paired_means([first, second], keep, passage, 40, replicates=500, seed=seed)
        assert found is not None
        return found

    found = measured(1)
    mean, bounds = found.contrast(0)
    assert bounds is not None
    assert mean == pytest.approx(first[keep].mean())
    assert bounds[0] < mean < bounds[1]
    assert bounds[1] - bounds[0] > 3 * 2 * 0.1 / math.sqrt(keep.sum()), "words of a passage go together"
    difference, narrow = found.contrast(1, 0)
    assert narrow is not None
    assert difference == pytest.approx((second - first)[keep].mean())
    assert narrow[0] <= difference <= narrow[1]
    assert narrow[1] - narrow[0] < 0.05 * (bounds[1] - bounds[0]), "what both share cancels"
    assert np.array_equal(measured(1).samples, found.samples)
    assert not np.array_equal(measured(2).samples, found.samples)
    assert paired_means([first], keep & (passage < 0), passage, 40, replicates=5, seed=0) is None
    one = paired_means([first], passage == 3, passage, 40, replicates=5, seed=0)
    assert one is not None
    assert one.contrast(0)[1] is None, "one passage says nothing of others"
