"""Training instances on disk, their batches, and what is masked in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.distill.step import DistillStep, Placed
from limbeck.errors import UserError
from limbeck.gloss.batches import GlossBatches
from limbeck.gloss.encode import Encoder
from limbeck.gloss.instances import Instance, candidates, wordnet_examples
from limbeck.gloss.layout import Layout, arrange
from limbeck.gloss.masking import GlossTrainingBatch, Masker, _taught
from limbeck.gloss.prepared import PreparedInstances, choose, prepare_instances
from limbeck.gloss.texts import Located
from limbeck.lexicon.lexicon import Lexicon
from limbeck.recipe import DistillSection
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.teachers.projection import Projection
from limbeck.teachers.teacher import Teacher
from limbeck.text.align import BOUNDARIES, GOLD
from limbeck.text.batches import Collator
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare import prepare, prepare_texts
from limbeck.text.words import SHOW_MASK, mask_plan, passage_hash, word_spans
from tests.models import make_tokenizer
from tests.tiny_gloss import TRAINING_TEXT, some, world
from tests.vocabularies import Memory


@dataclasses.dataclass
class World:
    folder: Path
    lexicon: Lexicon
    tokenizer: PieceTokenizer

    def encoder(self, **options: Any) -> Encoder:
        return Encoder(self.tokenizer, **{"max_length": 64} | options)

    def layout(self, kind: str) -> Layout:
        return Layout(self.encoder().template, kind, family="bert")

    def prepared(self, *names: str, kind: str = "pairs", **options: Any) -> PreparedInstances:
        arguments: dict[str, Any] = {"of": "gold", "window": 0, "cache": self.folder / "cache"}
        arguments |= {"label": "gloss.train"} | options
        names = names or (str(self.folder / "train.jsonl"),)
        return prepare_instances(names, self.lexicon, self.encoder(), self.layout(kind), **arguments)

    def masker(self, **options: Any) -> Masker:
        return Masker(self.tokenizer, **{"seed": 3, "rate": 0.3, "student_sees": "bert"} | options)

    def source(self, prepared: PreparedInstances, *, kind: str = "pairs", **options: Any) -> GlossBatches:
        arguments: dict[str, Any] = {"of": "gold", "seed": 3, "batch": 8, "tokens": 200}
        arguments |= {"masker": self.masker()} | options
        rows = arguments.pop("rows", np.arange(len(prepared)))
        masker = arguments.pop("masker")
        return GlossBatches(
            prepared, rows, self.lexicon, self.encoder(), self.layout(kind), masker, **arguments
        )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("gloss")
    tokenizer = make_tokenizer("wordpiece", TRAINING_TEXT, vocabulary=500)
    return World(folder, world(folder), PieceTokenizer.from_hf(tokenizer, name="student", limit=64))


def instances(here: World) -> list[Instance]:
    return list(wordnet_examples(here.lexicon))


def tensors(batch: Any) -> Iterator[torch.Tensor]:
    for value in vars(batch).values():
        if isinstance(value, torch.Tensor):
            yield value
        elif dataclasses.is_dataclass(value):
            yield from tensors(value)


def same(a: list[GlossTrainingBatch], b: list[GlossTrainingBatch]) -> bool:
    pairs = zip([t for x in a for t in tensors(x)], [t for x in b for t in tensors(x)], strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_what_is_prepared_is_what_was_read(here: World) -> None:
    prepared = here.prepared()
    read = instances(here)
    assert len(prepared) == len(read) == prepared.counts.kept == prepared.counts.read
    assert [prepared.instance(i) for i in range(len(read))] == read
    assert list(prepared.texts()) == [(one.context, one.gold) for one in read]
    senses = [candidates(here.lexicon, one, "gold") for one in read]
    assert prepared.candidates.tolist() == [len(some) for some in senses]
    encoded = here.encoder().encode(list(zip(read, senses, strict=True)))
    rows = [here.layout("pairs").rows(one) for one in encoded]
    assert prepared.rows.tolist() == [len(some) for some in rows]
    assert prepared.width.tolist() == [max(row.length for row in some) for some in rows]
    assert len(set(prepared.hashes.tolist())) == len(read)


def test_prepared_again_it_is_only_opened(here: World, tmp_path: Path) -> None:
    first = here.prepared(cache=tmp_path)
    data = tmp_path / first.folder.name / "instances.arrow"
    before = data.stat().st_mtime_ns
    assert here.prepared(cache=tmp_path).fingerprint == first.fingerprint
    assert data.stat().st_mtime_ns == before
    others = [here.prepared(cache=tmp_path, of="all"), here.prepared(cache=tmp_path, kind="packed")]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 3
    del first
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged: delete the folder"):
        here.prepared(cache=tmp_path)


def test_what_cannot_be_trained_on_is_counted(here: World) -> None:
    good = next(one for one in instances(here) if one.lemma == "run")
    other = next(one.gold for one in instances(here) if one.lemma != "run")
    given = [
        good,
        dataclasses.replace(good, id="nobody", gold=()),
        dataclasses.replace(good, id="unknown", lemma="", start=0, end=3, context="xyzzy ran"),
        dataclasses.replace(good, id="another", gold=other),
    ]
    counts = here.prepared(some(here.folder, given)).counts
    assert dataclasses.asdict(counts) == {
        "read": 4, "kept": 1, "no_gold": 1, "no_candidates": 1, "gold_is_no_candidate": 1
    }  # fmt: skip
    said = r"no instance left to train on \(read 1, kept 0, no gold 1"
    with pytest.raises(UserError, match=said) as caught:
        here.prepared(some(here.folder, given[1:2], "none.jsonl"))
    assert "\n" not in str(caught.value)


def test_unknown_sense_keys_are_named_and_counted(here: World) -> None:
    good = instances(here)[0]
    given = [good] + [
        dataclasses.replace(good, id=f"{n}", gold=(f"nothing%1:00:0{n}::", *good.gold)) for n in range(3)
    ]
    said = r"^3 of 4 sense keys of gloss.train are not in the lexicon"
    with pytest.raises(UserError, match=said) as caught:
        here.prepared(some(here.folder, given, "unknown.jsonl"))
    assert all(f"nothing%1:00:0{n}::" in str(caught.value) for n in range(3))


def test_a_context_that_is_far_too_long(here: World) -> None:
    one = dataclasses.replace(instances(here)[0], context=instances(here)[0].context + " and so on" * 7000)
    with pytest.raises(UserError, match="characters; give at most 60,000 around the word"):
        here.prepared(some(here.folder, [one], "long.jsonl"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.jsonl", "gloss.train: .*nowhere.jsonl does not exist; give wordnet-examples"),
        ("train.txt", "gloss.train: .*train.txt is of no form that is known; give"),
        (".", "gloss.train: .* is of no form that is known; give"),
        ("alone.data.xml", "has no alone.gold.key.txt beside it"),
    ],
)
def test_sources_that_are_none(here: World, name: str, said: str) -> None:
    for made in ("train.txt", "alone.data.xml"):
        (here.folder / made).touch()
    with pytest.raises(UserError, match=said):
        here.prepared(str(here.folder / name))


def test_the_lexicons_own_examples(here: World) -> None:
    parts = [here.prepared(f"wordnet-examples{part}") for part in ("", "/train", "/valid")]
    ids = [{part.instance(i).id for i in range(len(part))} for part in parts]
    assert ids[1] | ids[2] == ids[0]
    assert not ids[1] & ids[2]
    assert ids[2]


def test_the_choice_of_instances(here: World) -> None:
    prepared = here.prepared()
    options: dict[str, Any] = {"seed": 3, "share": 1.0, "limit": None, "monosemous": True}
    everything = choose(prepared, **options)
    assert everything.tolist() == list(range(len(prepared)))
    several = choose(prepared, **options | {"monosemous": False})
    assert several.tolist() == np.flatnonzero(prepared.candidates > 1).tolist()
    half, third = (choose(prepared, **options | {"share": s}) for s in (0.5, 0.3))
    assert set(third) < set(half)
    assert len(half) == round(len(prepared) / 2)
    limited = choose(prepared, **options | {"limit": len(third)})
    assert limited.tolist() == third.tolist()
    assert choose(prepared, **options | {"seed": 4, "share": 0.5}).tolist() != half.tolist()
    assert len(choose(prepared, **options | {"share": 1e-9})) == 1


@pytest.mark.parametrize("kind", ["pairs", "packed"])
def test_batches_are_a_pure_function_of_the_step(here: World, kind: str) -> None:
    prepared = here.prepared(kind=kind)
    source, again = here.source(prepared, kind=kind), here.source(prepared, kind=kind)
    steps = source.steps_per_epoch
    assert steps > 2
    forward = [source.micro_batches(step) for step in range(steps + 1)]
    for step in reversed(range(steps + 1)):
        assert same(forward[step], again.micro_batches(step))
    other = here.source(prepared, kind=kind, seed=4)
    assert not same(forward[0], other.micro_batches(0))
    counts = [[batch.count for batch in batches] for batches in forward]
    assert all(sum(some) == 8 for some in counts)
    assert any(len(some) > 1 for some in counts), "the budget was never met"


def test_an_epoch_takes_each_instance_once(here: World) -> None:
    prepared = here.prepared()
    source = here.source(prepared, batch=5)
    epochs = []
    for epoch in range(2):
        seen: list[int] = []
        for step in range(source.steps_per_epoch):
            seen += source.order.rows(epoch * source.steps_per_epoch + step)[1].tolist()
        assert len(seen) == len(set(seen)) == 5 * (len(prepared) // 5)
        epochs.append(seen)
    assert epochs[0] != epochs[1]
    small = here.source(prepared, rows=np.arange(3), batch=8)
    assert (small.order.batch, small.steps_per_epoch) == (3, 1)


def test_the_budget_holds(here: World) -> None:
    prepared = here.prepared()
    for tokens in (16, 300, 2000):
        for step in range(3):
            for batch in here.source(prepared, tokens=tokens).micro_batches(step):
                assert batch.count == 1 or batch.gloss.input_ids.numel() <= tokens
                assert batch.tokens == int(batch.gloss.attention_mask.sum())


def test_two_ranks_share_a_step(here: World) -> None:
    prepared = here.prepared()
    whole = here.source(prepared, tokens=10_000).micro_batches(1)
    ranks = [here.source(prepared, tokens=10_000, rank=r, world=2).micro_batches(1) for r in (0, 1)]
    assert [sum(b.count for b in batches) for batches in ranks] == [4, 4]

    def gold(batches: list[GlossTrainingBatch]) -> int:
        return sum(int(b.gloss.gold.sum()) for b in batches)

    assert gold(whole) == sum(map(gold, ranks))
    assert len(whole[0].gloss.pooled) == sum(len(b.gloss.pooled) for batches in ranks for b in batches)


def masked_pieces(here: World, items: list[Any], kind: str, variant: int, **options: Any) -> dict[Any, Any]:
    """What is shown at each masked piece, by its text and its place in it; the same for all its copies."""
    arranged = arrange(here.encoder().encode(items), here.layout(kind))
    batch = here.masker(**options)(arranged, variant)
    place = {int(p): i for i, p in enumerate(arranged.position)}
    first = np.searchsorted(arranged.text, np.arange(len(arranged.texts)))
    found: dict[Any, Any] = {}
    slots = batch.gloss.position.tolist(), batch.gloss.gold_piece.tolist(), batch.gloss.masked.tolist()
    for flat, gold, kept in zip(*slots, strict=True):
        piece = place[flat]
        text = int(arranged.text[piece])
        key = arranged.texts[text].text, piece - int(first[text])
        value = gold, int(batch.gloss.input_ids.view(-1)[flat]), kept
        assert found.setdefault(key, value) == value
        assert int(arranged.ids[piece]) == gold
    return found


def items(here: World, count: int) -> list[Any]:
    return [(one, candidates(here.lexicon, one, "gold")) for one in instances(here)[:count]]


def test_the_mask_plan_follows_from_the_text_alone(here: World) -> None:
    some = items(here, 12)
    found = masked_pieces(here, some, "pairs", 1)
    assert found == masked_pieces(here, some, "packed", 1)
    assert found == masked_pieces(here, some[::-1], "pairs", 1)
    alone = [masked_pieces(here, [item], "packed", 1) for item in some]
    assert found == {key: value for part in alone for key, value in part.items()}
    assert found != masked_pieces(here, some, "pairs", 2)
    assert found != masked_pieces(here, some, "pairs", 1, seed=4)


def test_whole_words_of_context_and_gloss_are_masked(here: World) -> None:
    some = items(here, 12)
    encoded = here.encoder().encode(some)
    found = masked_pieces(here, some, "pairs", 0)
    texts = {text.text: text for one in encoded for text in (*one.contexts, *one.glosses)}
    assert any('"' in text for text in texts), "the marks are words like others"
    assert {name for name, _ in found} == set(texts)
    for name, text in texts.items():
        plan = mask_plan(len(word_spans(name)), passage_hash(name), seed=3, variant=0, rate=0.3)
        expected = [
            place
            for place in range(len(text))
            if text.first[place] <= text.last[place]
            and any(text.first[place] <= word <= text.last[place] for word in plan.selected)
        ]
        assert [place for where, place in sorted(found) if where == name] == expected


def test_what_the_model_is_shown(here: World) -> None:
    some = items(here, 40)
    mask = here.tokenizer.mask_id
    always = masked_pieces(here, some, "packed", 0, student_sees="mask")
    assert all(shown == mask and masked for _, shown, masked in always.values())
    bert = masked_pieces(here, some, "packed", 0)
    assert bert.keys() == always.keys()
    shares = [sum(masked for _, _, masked in bert.values()) / len(bert)]
    shares.append(sum(shown == gold for gold, shown, masked in bert.values() if not masked) / len(bert))
    assert 0.7 < shares[0] < 0.9
    assert 0.03 < shares[1] < 0.2
    assert all((shown == mask) == masked for _, shown, masked in bert.values())
    assert SHOW_MASK == 0


@pytest.mark.parametrize("kind", ["pairs", "packed"])
def test_every_instance_has_the_weight_of_one(here: World, kind: str) -> None:
    some = items(here, 12)
    arranged = arrange(here.encoder().encode(some), here.layout(kind))
    batch = here.masker()(arranged, 0)
    assert batch.words is not None
    assert torch.equal(batch.words.gold[batch.slot], batch.gloss.gold_piece)
    assert torch.equal(batch.words.kind[batch.slot], batch.gloss.kind)
    assert torch.equal(batch.words.masked[batch.slot], batch.gloss.masked)
    instance = torch.zeros(len(batch.gloss.input_ids), dtype=torch.long)
    instance[arranged.row[arranged.is_gloss]] = batch.gloss.instance
    of_slot = instance[batch.gloss.position // batch.gloss.input_ids.shape[1]]
    totals = torch.zeros(batch.count).index_add(0, of_slot, batch.weight)
    assert torch.allclose(totals, torch.ones(batch.count))
    # Within an instance every distinct slot weighs the same, however often its text stands there.
    for number in range(batch.count):
        mine = of_slot == number
        each = torch.zeros(batch.words.count).index_add(0, batch.slot[mine], batch.weight[mine])
        assert torch.allclose(each[each > 0], 1 / (each > 0).sum())


def place(here: World, folder: Path, name: str) -> Placed:
    module, hf, report = load_masked_lm(folder)
    tokenizer = PieceTokenizer.from_hf(hf, name=name, limit=report.limit)
    projection = Projection.build(
        tokenizer, here.tokenizer, teacher_width=module.width, student_width=here.tokenizer.vocab_size
    )
    return Placed(Teacher(name, module, tokenizer), projection, 1.0)


def test_targets_are_those_of_the_distil_stage(
    here: World, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Contexts and glosses as a prepared corpus, through the text side's own collator, against the masker."""
    teachers = [
        place(here, checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1), "same words"),
        place(here, checkpoint("roberta", tokenizer="bpe", texts=TRAINING_TEXT, seed=2), "bytes"),
    ]
    some = items(here, 6)
    arranged = arrange(here.encoder().encode(some), here.layout("pairs"))
    batch = here.masker(student_sees="mask", placed=teachers)(arranged, 1)
    assert batch.words is not None
    step = DistillStep(teachers, DistillSection(weighting="gold"), here.tokenizer.vocab_size)
    targets = step.targets(batch.words)
    assert 0 < int(targets.covered.sum()) < targets.covered.numel()
    texts = list(dict.fromkeys(text.text for text in arranged.texts))
    tokenizers = [p.teacher.tokenizer for p in teachers]
    maps = [p.projection.gold_map for p in teachers]
    prepared = prepare(Memory(texts), here.tokenizer, tokenizers, maps, cache=tmp_path, workers=1)
    collator = Collator(here.tokenizer, tokenizers, seed=3, rate=0.3, student_sees="mask")
    expected = collator([prepared.passage(i) for i in range(len(texts))], 1)
    assert torch.equal(batch.words.gold, expected.gold)
    wanted = step.targets(expected)
    assert torch.equal(targets.covered, wanted.covered)
    assert torch.allclose(
        *(t.mixture.targets(slice(None)) for t in (targets, wanted)), atol=1e-6
    )  # other batches of the teachers


def test_no_teacher_answers_for_pieces_it_reads_otherwise(
    here: World, checkpoint: Callable[..., Path]
) -> None:
    """A context cut to the length limit keeps the pieces of the whole; teachers read what is left."""
    teacher = place(here, checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1), "t")
    context = " ".join(TRAINING_TEXT[:6]) + " the old dog barked, and " + " ".join(TRAINING_TEXT[:6])
    start = context.index("dog barked")
    one = Instance("cut", context, start, start + 3, "dog", "n", ("dog%1:03:00::",))
    senses = candidates(here.lexicon, one, "gold")
    arranged = arrange(here.encoder().encode([(one, senses)]), here.layout("pairs"))
    assert len(arranged.texts[0].text) < len(context)
    batch = here.masker(student_sees="mask", placed=[teacher])(arranged, 0)
    assert batch.words is not None
    assert len(batch.words.teachers[0].slot)
    assert torch.equal(batch.words.gold[batch.slot], batch.gloss.gold_piece)


def test_teachers_sides_fitted_to_other_pieces(here: World, checkpoint: Callable[..., Path]) -> None:
    teacher = place(here, checkpoint("bert", texts=TRAINING_TEXT, vocabulary=600, seed=1), "t")
    text = Located.of(here.tokenizer, ["the old dog"]).text(0, 0, None)
    (passage,) = prepare_texts(
        [text.text], here.tokenizer, [teacher.teacher.tokenizer], [teacher.projection.gold_map]
    )
    assert (passage.hash, passage.n_words) == (text.hash, text.words)
    assert _taught(text, passage)[0].map.tolist() == passage.teachers[0].map.tolist()
    assert passage.teachers[0].map[0] >= 0
    other = text.table.copy()
    other[0, 0] += 1
    fitted = _taught(dataclasses.replace(text, table=other), passage)[0].map
    assert fitted.tolist() == [GOLD, *passage.teachers[0].map[1:].tolist()]
    longer = _taught(dataclasses.replace(text, table=np.hstack([text.table, other])), passage)[0].map
    assert longer.tolist() == [BOUNDARIES] * 2 * len(text)
